"""Decoding of images with Pillow, without TensorFlow, for formats that TensorFlow cannot read."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

__all__ = ["MAX_PIXELS", "WHITE", "decode_with_pillow"]

# Larger images are refused before they are decoded. They would take 600 MB of memory or more, and a file of a few
# kilobytes can announce such a size.
MAX_PIXELS = 200_000_000

WHITE = (255, 255, 255)


def decode_with_pillow(
    contents: bytes, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image of any format that Pillow reads into upright RGB.

    Of animations, the first frame is returned. Transparent pixels are composited over `background`. Of 16-bit grey,
    the upper 8 bits are kept. Grey of 32 bits and of floating point is refused, because it has no agreed range.

    Args:
        contents: The whole file.
        background: Red, green and blue in 0..255. Defaults to white.
        max_pixels: Largest number of pixels. Larger images are refused before they are decoded.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: The image is too large, or has grey of 32 bits or of floating point.
        OSError: The file is not an image, or it is damaged.

    Example:

    >>> buffer = BytesIO()
    >>> Image.new("RGB", (3, 2)).save(buffer, "TIFF")
    >>> decode_with_pillow(buffer.getvalue()).shape
    (2, 3, 3)
    """
    try:
        picture: Image.Image = Image.open(BytesIO(contents))
        if picture.width * picture.height > max_pixels:
            raise ValueError(f"an image of {picture.width * picture.height} pixels: expected at most {max_pixels}")
        picture.load()
    except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow raises these for damaged heads
        raise OSError(f"damaged: {error}") from error
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"pixels of kind {picture.mode} (32 bits): expected 8 or 16 bits a channel; convert the image")
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*background, 255)), picture)
    return np.asarray(picture.convert("RGB"))
