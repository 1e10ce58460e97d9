"""The evaluation crop in operations that every format has.

`tf.image.resize` with antialiasing becomes an operation that ONNX, OpenVINO and LiteRT do not know. But resizing is
linear and separable: a matrix for the rows times the image times a matrix for the columns. The matrices are computed
in the graph from the size of the photo, so that an exported model takes photos of any size.
"""

from fractions import Fraction
from math import pi
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import EvaluationCrop

__all__ = ["portable_crop"]


def portable_crop(images: Any, crop: EvaluationCrop) -> tf.Tensor:
    """What `crop` makes of images, to the rounding of floats.

    Source: Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing", equation 15 with a = -1/2; the
    kernel is stretched by the scale when an image is made smaller.

    Args:
        images: [n, h, w, 3], uint8 or float32 in 0..255; all of it may be unknown in a graph.
        crop: its size, fraction and interpolation.

    Returns:
        float32 [n, H, W, 3], whole numbers 0..255.

    Example:

    >>> portable_crop(tf.fill([1, 10, 8, 3], 9), EvaluationCrop((4, 6)))[0, 0, 0].numpy().tolist()
    [9.0, 9.0, 9.0]
    """
    height, width = crop.size
    shape = tf.shape(images)
    n, h, w = shape[0], shape[1], shape[2]
    # Whole numbers throughout: not every runtime has doubles, and a single float would miss pixels.
    fraction = Fraction(crop.fraction).limit_denominator(1000)
    fits = fraction.numerator * tf.minimum(h * width, w * height)
    rows = tf.maximum(1, fits // (fraction.denominator * width))
    columns = tf.maximum(1, fits // (fraction.denominator * height))
    top, left = (h - rows + 1) // 2, (w - columns + 1) // 2

    to_rows = _matrix(h, top, rows, height, crop.interpolation)  # [H, h]
    to_columns = _matrix(w, left, columns, width, crop.interpolation)  # [W, w]
    flat = tf.reshape(tf.cast(images, tf.float32), [n, h, w * 3])
    flat = tf.reshape(tf.matmul(to_rows, flat), [n * height, w, 3])
    cropped = tf.reshape(tf.matmul(to_columns, flat), [n, height, width, 3])
    return tf.clip_by_value(tf.round(cropped), 0.0, 255.0)


def _matrix(length: tf.Tensor, start: tf.Tensor, window: tf.Tensor, size: int, interpolation: str) -> tf.Tensor:
    """[size, length]: how much each pixel of an axis counts for each pixel of the resized window.

    In single precision and in the order of `ScaleAndTranslate`, the operation behind `tf.image.resize`: values that lie
    within rounding of half a grey level then fall on the same side.
    """
    places = tf.range(length) - start  # of the pixels in the window
    inside = tf.logical_and(places >= 0, places < window)
    inverse = tf.gather(_inverse_scales(size), window)
    centres = (tf.range(size, dtype=tf.float32) + 0.5) * inverse
    if interpolation == "nearest":
        return tf.cast(tf.equal(places[None, :], tf.cast(tf.floor(centres), tf.int32)[:, None]), tf.float32)
    shrink = tf.gather(1 / np.maximum(_inverse_scales(size), np.float32(1)), window)
    distances = tf.abs((tf.cast(places, tf.float32) + 0.5)[None, :] - centres[:, None]) * shrink
    weights = tf.where(inside[None, :], _KERNELS[interpolation](distances), 0.0)
    return weights * (1.0 / tf.reduce_sum(weights, axis=1, keepdims=True))


def _inverse_scales(size: int) -> np.ndarray:
    """How many pixels of a window become one, for windows of 0 to 65,535 pixels, the most that a JPEG file can have.

    A table, because runtimes turn divisions into products with reciprocals, which are not quite the same.
    """
    windows = np.maximum(np.arange(65_536), 1).astype(np.float32)
    return np.float32(1) / (np.float32(size) / windows)


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(0.0, 1.0 - x)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, 0.0))


def _lanczos(x: tf.Tensor) -> tf.Tensor:
    safe = tf.maximum(x, 1e-3) * pi
    inside = tf.where(x < 1e-3, 1.0, 3.0 * tf.sin(safe) * tf.sin(safe / 3.0) / (safe * safe))
    return tf.where(x < 3.0, inside, 0.0)


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic, "lanczos3": _lanczos}
