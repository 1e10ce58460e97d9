"""The photos that every export is proven on."""

import importlib.resources
import io
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import decode_any, decode_image
from pipelines.prepare.photos import decode
from transfer.contract import ExportError

__all__ = ["Photo", "decoded_photo", "encoded_photo", "proof_photos"]

Photo = str | Path | bytes | np.ndarray


def proof_photos() -> list[bytes]:
    """Returns five encoded photos, none of them square, from 57 x 83 to 427 x 640 pixels.

    They are the two photos of scikit-learn, and cuts of them: a JPEG that lies on its side, a WebP with transparency
    and a PNG with a palette. So they tell apart decoders that do not agree.

    >>> len(proof_photos())
    5
    """
    china, flower = (
        (importlib.resources.files("sklearn.datasets.images") / name).read_bytes()
        for name in ("china.jpg", "flower.jpg")
    )
    whole = decode_image(china), decode_image(flower)
    cuts = whole[0][:331, 30:247], whole[1][90:147, 200:283], whole[0][100:299, 5:638]
    tall, small, wide = (Image.fromarray(cut.numpy()) for cut in cuts)
    exif = Image.Exif()
    exif[274] = 6  # the stored photo has to be turned clockwise
    small.putalpha(Image.linear_gradient("L").resize(small.size))
    return [
        china,
        flower,
        _encoded(tall.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif),
        _encoded(small, "WEBP", lossless=True),
        _encoded(wide.quantize(64), "PNG"),
    ]


def _encoded(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def decoded_photo(contents: bytes, index: int) -> np.ndarray:
    """Decodes a photo as data to train on are decoded, after a comparison with every other decoder.

    Exported graphs decode with `pipelines.decode_image`, and photos for the other runtimes are decoded with Pillow.

    Args:
        contents: The file.
        index: Its number among the photos, for the message.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ExportError: Two decoders give different pixels.
    """
    trained = decode_any(contents).numpy()
    for name, pixels in (("the exported graph", decode_image(contents).numpy()), ("Pillow", decode(contents))):
        if not np.array_equal(pixels, trained):
            raise ExportError(
                f"photo {index}: {name} decodes other pixels than those that a model is trained on; they have the "
                f"sizes {pixels.shape[:2]} and {trained.shape[:2]}. Save the photo again as a JPEG, and report this."
            )
    return trained


def encoded_photo(photo: Photo, index: int) -> bytes:
    """Returns a photo as the contents of a file.

    Args:
        photo: A file, its contents, or pixels, uint8 `[h, w, 3]`.
        index: Its number among the photos, for the message where it has no name.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        if isinstance(photo, np.ndarray):
            return tf.io.encode_png(photo).numpy()
        contents = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        decode_image(contents)
        return contents
    except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
        name = photo if isinstance(photo, str | Path) else f"number {index}"
        raise ValueError(f"photo {name} cannot be decoded, so nothing can be compared on it: {error}") from error
