"""Decoding with Pillow, without TensorFlow."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

__all__ = ["MAX_PIXELS", "WHITE", "decode_with_pillow"]

# Larger images are refused before they are decoded: they would take 600 MB and more, which a file of a few kilobytes
# can ask for.
MAX_PIXELS = 200_000_000

WHITE = (255, 255, 255)


def decode_with_pillow(
    contents: bytes, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Any image that Pillow reads: upright, its first frame, transparency over `background`.

    Of 16-bit grey the upper 8 bits are kept. Greys of 32 bits and of floating point have no agreed range and are
    refused.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: too large, or of such greys.
        OSError: not an image, or damaged.
    """
    try:
        picture: Image.Image = Image.open(BytesIO(contents))
        if picture.width * picture.height > max_pixels:
            raise ValueError(f"an image of {picture.width * picture.height} pixels: expected at most {max_pixels}")
        picture.load()
    except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, about damaged heads
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
