"""Photos to pixels without TensorFlow: the same pixels that `pipelines.decode_image` and `EvaluationCrop` give.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are used where TensorFlow is not installed, or takes too long to load.
Pillow decodes there. A test holds every format and every interpolation to the graph's result.
"""

import io
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from pipelines import EvaluationCrop

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["SUFFIXES", "crop_photo", "decode", "resize_photo"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

UNREADABLE = "cannot be decoded; expected a whole JPEG, PNG, GIF, BMP or WebP file"
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


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
        uint8 [H, W, 3]. The crop rounds to whole numbers, so nothing is lost by the type.

    Example:

    >>> crop_photo(np.full((10, 8, 3), 9, np.uint8), EvaluationCrop((4, 6))).shape
    (4, 6, 3)
    """
    top, left, rows, columns = window(image.shape[0], image.shape[1], crop)
    part = resize_photo(image[top : top + rows, left : left + columns], crop.size, crop.interpolation)
    np.rint(part, out=part)  # in its place: fresh memory for each step would take longer than the steps
    np.clip(part, 0, 255, out=part)
    return part.astype(np.uint8)


def resize_photo(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """What `pipelines.prepare.crop.resize` makes of an image, without TensorFlow, to the rounding of floats.

    Args:
        image: [h, w, 3], uint8 or floats in 0..255.
        size: height and width.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos3"; shrinking averages over what a pixel covers.

    Returns:
        float32 [H, W, 3], not rounded.

    Example:

    >>> resize_photo(np.full((10, 8, 3), 9, np.uint8), (4, 6), "bilinear").shape
    (4, 6, 3)
    """
    part = image.astype(np.float32)
    for length, new_length in zip(image.shape[:2], size, strict=True):
        # One axis after the other; each comes out second, so that both are in their places after two turns.
        resized = _matrix(length, new_length, interpolation) @ part.reshape(length, -1)
        part = resized.reshape(new_length, -1, 3).swapaxes(0, 1)
    return part


@lru_cache(64)  # photos of one camera have the same sizes
def _matrix(length: int, size: int, interpolation: str) -> "csr_array":
    """What resizes an axis: float32 [size, length], zero but for a few numbers in each row."""
    from scipy.sparse import csr_array

    places, weights = _taps(length, size, interpolation)
    begins = np.arange(size + 1) * places.shape[1]
    return csr_array((weights.ravel(), places.ravel(), begins), shape=(size, length))


def _taps(length: int, size: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a resized axis, which it is made of, int [size, n], and their weights, float32 [size, n].

    In single precision and in the order of `ScaleAndTranslate`, the operation behind `tf.image.resize`: values that lie
    within rounding of half a grey level then fall on the same side.
    """
    one = np.float32(1)
    inverse = one / (np.float32(size) / np.float32(length))
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * inverse
    if interpolation == "nearest":
        return np.floor(centres).astype(int)[:, None], np.ones((size, 1), np.float32)
    kernel, radius = _KERNELS[interpolation]
    stretch = max(inverse, one)
    reach = np.float32(radius) * stretch
    first = np.maximum(np.ceil(centres - reach - np.float32(0.5)), 0).astype(int)
    last = np.minimum(np.floor(centres + reach - np.float32(0.5)), length - 1).astype(int)
    places = first[:, None] + np.arange((last - first).max() + 1)
    distances = np.abs(places.astype(np.float32) + np.float32(0.5) - centres[:, None]) * (one / stretch)
    weights = np.where(places <= last[:, None], kernel(distances), np.float32(0))
    return np.minimum(places, length - 1), weights * (one / weights.sum(axis=1, keepdims=True, dtype=np.float32))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.float32(0), np.float32(1) - x)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, equation 15 with a = -1/2."""
    one_half, two, five_halves, four = (np.float32(value) for value in (1.5, 2, 2.5, 4))
    near = ((one_half * x - five_halves) * x) * x + np.float32(1)
    far = ((np.float32(-0.5) * x + five_halves) * x - four) * x + two
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


def _lanczos(x: np.ndarray) -> np.ndarray:
    turned = np.float32(np.pi) * np.maximum(x, np.float32(1e-3))
    inside = np.float32(3) * np.sin(turned) * np.sin(turned / np.float32(3)) / (turned * turned)
    return np.where(x <= 1e-3, np.float32(1), np.where(x < 3, inside, np.float32(0)))


_KERNELS = {"bilinear": (_triangle, 1), "bicubic": (_cubic, 2), "lanczos3": (_lanczos, 3)}


def window(h: int, w: int, crop: EvaluationCrop) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of an image of `h` x `w` pixels that the crop keeps.

    >>> window(100, 80, EvaluationCrop((4, 4), 0.5))
    (30, 20, 40, 40)
    """
    height, width = crop.size
    rows = max(1, int(crop.fraction * min(float(h), w * height / width)))
    columns = max(1, int(crop.fraction * min(float(w), h * width / height)))
    return (h - rows + 1) // 2, (w - columns + 1) // 2, rows, columns
