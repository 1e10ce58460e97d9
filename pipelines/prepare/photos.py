"""Decoding photos without TensorFlow: the same pixels that `pipelines.decode_image` gives.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are used where TensorFlow is not installed, or takes too long to load.
Pillow decodes there. A test holds every format to the graph's result.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

__all__ = ["FORMATS", "SUFFIXES", "decode"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

UNREADABLE = "cannot be decoded; expected a whole JPEG, PNG, GIF, BMP or WebP file"
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def decode(contents: bytes, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes a JPEG, PNG, GIF, BMP or WebP file into upright RGB, as `pipelines.decode_image` does.

    Args:
        contents: Contents of the whole file.
        max_pixels: Largest number of pixels; files that announce more are refused before they are unpacked. `None` is
            Pillow's own limit of 179 million.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: a file of another format, a damaged one, or one of too many pixels.

    Example:

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (5, 4), "red").save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (4, 5, 3)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about large images and odd metadata
            image = Image.open(io.BytesIO(contents), formats=FORMATS)
            width, height = image.size
            if max_pixels is not None and width * height > max_pixels:
                raise ValueError(f"has {height} x {width} pixels; at most {max_pixels:,} in all are accepted")
            image.load()
            return _upright_rgb(image)
    except ValueError as error:
        if "pixels; at most" in str(error):
            raise
        raise ValueError(UNREADABLE) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"has too many pixels: {error}") from error
    except Exception as error:  # Pillow's decoders raise whatever their format's code does
        raise ValueError(UNREADABLE) from error


def _upright_rgb(image: Image.Image) -> np.ndarray:
    kind = image.format
    if kind in ("JPEG", "MPO", "PNG", "WEBP"):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits: the upper 8 are kept
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    see_through = image.mode in ("LA", "PA", "RGBA", "La", "RGBa")
    if see_through or (image.mode == "P" and "transparency" in image.info):
        pixels = np.asarray(image.convert("RGBA"))
        rgb, alpha = pixels[..., :3], pixels[..., 3:]
        if kind == "BMP":
            return np.ascontiguousarray(rgb)
        if kind == "GIF":
            return np.where(alpha > 0, rgb, 0).astype(np.uint8)
        over_white = 255 - (255 - rgb.astype(np.float32)) * (alpha.astype(np.float32) / 255)
        return np.rint(over_white).astype(np.uint8)
    return np.array(image.convert("RGB"))
