"""Decoding photos to predict on, without TensorFlow: what `pipelines.decode_image` accepts, and the same pixels.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are used where TensorFlow is not installed, or takes too long to load.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipelines.prepare.pillow_decoding import TooManyPixels, decode_with_pillow

__all__ = ["FORMATS", "decode"]

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")


def decode(contents: bytes, *, max_pixels: int | None = None, formats: Sequence[str] = FORMATS) -> np.ndarray:
    """Decodes a JPEG, PNG, GIF, BMP or WebP file into upright RGB, as `pipelines.decode_image` does.

    Args:
        contents: Contents of the whole file.
        max_pixels: Largest number of pixels; files that announce more are refused before they are unpacked. `None` is
            Pillow's own limit of 179 million.
        formats: Names of the formats that are accepted.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: The file has another format, is damaged, or has too many pixels.

    Example:

    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (5, 4), "red").save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (4, 5, 3)
    """
    try:
        return decode_with_pillow(contents, max_pixels=max_pixels, formats=[name.upper() for name in formats])
    except TooManyPixels as error:
        height, width = error.size
        raise ValueError(f"has {height} x {width} pixels; at most {max_pixels:,} in all are accepted") from error
    except Exception as error:  # Pillow's decoders raise whatever their format's code does
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise ValueError(f"has too many pixels: {error.__cause__}") from error
        expected = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise ValueError(f"cannot be decoded; expected a whole {expected} file") from error
