"""Photos to pixels without TensorFlow: the same pixels that `pipelines.decode_image` and `EvaluationCrop` give.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are used where TensorFlow is not installed, or takes too long to load.
Pillow decodes there. A test holds every format and every interpolation to the graph's result.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from pipelines import EvaluationCrop

__all__ = ["SUFFIXES", "crop_photo", "decode"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

UNREADABLE = "cannot be decoded; expected a whole JPEG, PNG, GIF, BMP or WebP file"
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}


def decode(contents: bytes, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes a JPEG, PNG, GIF, BMP or WebP file into upright RGB, as `pipelines.decode_image` does.

    Args:
        contents: the whole file.
        max_pixels: files that announce more are refused before they are unpacked; Pillow's own limit of 179 million
            unless told.

    Returns:
        uint8 [h, w, 3].

    Raises:
        ValueError: no such file, a damaged one, or one of too many pixels.

    Example:

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (5, 4), "red").save(file, "PNG")
    >>> decode(file.getvalue()).shape
    (4, 5, 3)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's opinion on large images and odd metadata
            image = Image.open(io.BytesIO(contents), formats=_FORMATS)
            width, height = image.size
            if max_pixels is not None and width * height > max_pixels:
                raise ValueError(f"has {height} x {width} pixels; at most {max_pixels:,} in all are taken")
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


def crop_photo(image: np.ndarray, crop: EvaluationCrop) -> np.ndarray:
    """What `crop` makes of an image, without TensorFlow.

    Args:
        image: [h, w, 3], uint8 or floats in 0..255.
        crop: its size, fraction and interpolation.

    Returns:
        uint8 [H, W, 3]. The crop rounds to whole numbers, so nothing is lost by the type. (Where a value lies within
        rounding of half a grey level, it may come out one level apart from TensorFlow's: about one pixel in 10,000.)

    Example:

    >>> crop_photo(np.full((10, 8, 3), 9, np.uint8), EvaluationCrop((4, 6))).shape
    (4, 6, 3)
    """
    top, left, rows, columns = window(image.shape[0], image.shape[1], crop)
    height, width = crop.size
    if crop.interpolation == "nearest":
        down = ((np.arange(height) + 0.5) * rows / height).astype(int) + top
        right = ((np.arange(width) + 0.5) * columns / width).astype(int) + left
        return np.clip(np.rint(image[down[:, None], right]), 0, 255).astype(np.uint8)
    part = image[top : top + rows, left : left + columns]
    resized = np.empty((height, width, 3), np.float32)
    for channel in range(3):  # mode F: in 8 bits Pillow would round between its two passes
        plane = Image.fromarray(np.ascontiguousarray(part[..., channel], np.float32))
        resized[..., channel] = np.asarray(plane.resize((width, height), _FILTERS[crop.interpolation]))
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def window(h: int, w: int, crop: EvaluationCrop) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of an image of `h` x `w` pixels that the crop keeps.

    >>> window(100, 80, EvaluationCrop((4, 4), 0.5))
    (30, 20, 40, 40)
    """
    height, width = crop.size
    rows = max(1, int(crop.fraction * min(float(h), w * height / width)))
    columns = max(1, int(crop.fraction * min(float(w), h * width / height)))
    return (h - rows + 1) // 2, (w - columns + 1) // 2, rows, columns
