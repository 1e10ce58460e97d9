"""Resizing without TensorFlow, to the values that TensorFlow gives."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pipelines.prepare.kernels import KERNELS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["resize_photo", "resizing_matrix"]


def resize_photo(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Computes what `pipelines.prepare.graph_resizing.resize` makes of an image, to the rounding of floats.

    Args:
        image: `[h, w, 3]`, `uint8` or floats in 0..255.
        size: Height and width of the result, in pixels.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos3". Shrinking averages over all that a pixel covers.

    Returns:
        `float32 [H, W, 3]`, not rounded.

    Example:

    >>> resize_photo(np.full((10, 8, 3), 9, np.uint8), (4, 6), "bilinear").shape
    (4, 6, 3)
    """
    part = image.astype(np.float32)
    for length, new_length in zip(image.shape[:2], size, strict=True):
        # One axis after the other; each comes out second, so that both are in their places after two turns.
        resized = resizing_matrix(length, new_length, interpolation) @ part.reshape(length, -1)
        part = resized.reshape(new_length, -1, 3).swapaxes(0, 1)
    return part


@lru_cache(64)  # photos of one camera have the same sizes
def resizing_matrix(length: int, size: int, interpolation: str) -> "csr_array":
    """Returns the matrix that resizes an axis: float32 [size, length], zero but for a few numbers in each row."""
    from scipy.sparse import csr_array

    places, weights = _taps(length, size, interpolation)
    begins = np.arange(size + 1) * places.shape[1]
    return csr_array((weights.ravel(), places.ravel(), begins), shape=(size, length))


def _taps(length: int, size: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels that each pixel of a resized axis is made of, int [size, n], and their weights, float32."""
    one = np.float32(1)
    inverse = one / (np.float32(size) / np.float32(length))
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * inverse
    if interpolation == "nearest":
        return np.floor(centres).astype(int)[:, None], np.ones((size, 1), np.float32)
    kernel, radius = KERNELS[interpolation]
    stretch = max(inverse, one)
    reach = np.float32(radius) * stretch
    first = np.maximum(np.ceil(centres - reach - np.float32(0.5)), 0).astype(int)
    last = np.minimum(np.floor(centres + reach - np.float32(0.5)), length - 1).astype(int)
    places = first[:, None] + np.arange((last - first).max() + 1)
    distances = np.abs(places.astype(np.float32) + np.float32(0.5) - centres[:, None]) * (one / stretch)
    weights = np.where(places <= last[:, None], kernel(distances, np), np.float32(0))
    return np.minimum(places, length - 1), weights * (one / weights.sum(axis=1, keepdims=True, dtype=np.float32))
