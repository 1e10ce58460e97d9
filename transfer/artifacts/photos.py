"""The photos that every export is proven on."""

import importlib.resources
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines import decode_image

__all__ = ["Photo", "encoded_photo", "proof_photos"]

Photo = str | Path | bytes | np.ndarray


def proof_photos() -> list[bytes]:
    """Returns five encoded photos, none of them square, from 57 x 83 to 427 x 640 pixels.

    They are the two photos of scikit-learn, and cuts of them.

    >>> len(proof_photos())
    5
    """
    china, flower = (
        (importlib.resources.files("sklearn.datasets.images") / name).read_bytes()
        for name in ("china.jpg", "flower.jpg")
    )
    whole = decode_image(china), decode_image(flower)
    cuts = whole[0][:331, 30:247], whole[1][90:147, 200:283], whole[0][100:299, 5:638]
    return [china, flower, *(tf.io.encode_png(cut).numpy() for cut in cuts)]


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
