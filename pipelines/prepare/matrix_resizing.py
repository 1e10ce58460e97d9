"""Resizing as matrix products, in operations that ONNX, OpenVINO and LiteRT have.

`tf.image.resize` with antialiasing becomes an operation that these formats do not know. But resizing is linear and
separable: it is a matrix for the rows, times the image, times a matrix for the columns. The matrices are computed in
the graph from the size of the photo, so that an exported model takes photos of any size.
"""

from typing import Any

import numpy as np

from pipelines.prepare.kernels import KERNELS

__all__ = ["multiply", "placed_matrix", "window_matrix"]


def multiply(images: Any, to_rows: Any, to_columns: Any) -> Any:
    """Resizes images with a matrix for each axis.

    Args:
        images: `[n, h, w, c]`, `uint8` or `float32`; each of these numbers but the last may be unknown in a graph.
        to_rows: `float32 [H, h]`.
        to_columns: `float32 [W, w]`.

    Returns:
        `float32 [n, H, W, c]`.
    """
    import tensorflow as tf

    shape = tf.shape(images)
    n, h, w = shape[0], shape[1], shape[2]
    channels = images.shape[3]
    height, width = (
        tf.shape(matrix)[0] if matrix.shape[0] is None else matrix.shape[0] for matrix in (to_rows, to_columns)
    )
    flat = tf.reshape(tf.cast(images, tf.float32), [n, h, w * channels])
    flat = tf.reshape(tf.matmul(to_rows, flat), [n * height, w, channels])
    return tf.reshape(tf.matmul(to_columns, flat), [n, height, width, channels])


def window_matrix(length: Any, start: Any, window: Any, size: int, interpolation: str) -> Any:
    """Computes how much each pixel of a photo's axis counts for each pixel of a canvas that shows a window of it.

    The calculation is in single precision and in the order of `ScaleAndTranslate`, the operation behind
    `tf.image.resize`: values that lie within rounding of half a grey level then fall on the same side.

    Args:
        length: Number of pixels of the photo's axis, a scalar `int32` tensor.
        start: First pixel of the window, a scalar `int32` tensor.
        window: Number of pixels of the window, a scalar `int32` tensor.
        size: Number of pixels of the canvas.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos3".

    Returns:
        `float32 [size, length]`.
    """
    import tensorflow as tf

    places = tf.range(length) - start  # of the pixels in the window
    inside = tf.logical_and(places >= 0, places < window)
    inverse = tf.gather(_inverse_scales(size), window)
    centres = (tf.range(size, dtype=tf.float32) + 0.5) * inverse
    if interpolation == "nearest":
        return tf.cast(tf.equal(places[None, :], tf.cast(tf.floor(centres), tf.int32)[:, None]), tf.float32)
    shrink = tf.gather(1 / np.maximum(_inverse_scales(size), np.float32(1)), window)
    distances = tf.abs((tf.cast(places, tf.float32) + 0.5)[None, :] - centres[:, None]) * shrink
    kernel, _ = KERNELS[interpolation]
    weights = tf.where(inside[None, :], kernel(distances, tf), 0.0)
    return weights * (1.0 / tf.reduce_sum(weights, axis=1, keepdims=True))


def _inverse_scales(size: int) -> np.ndarray:
    """Returns how many pixels of a window become one, for windows of 0 to 65,535 pixels, the most that JPEG files have.

    It is a table because runtimes turn divisions into products with reciprocals, which are not quite the same.
    """
    windows = np.maximum(np.arange(65_536), 1).astype(np.float32)
    return np.float32(1) / (np.float32(size) / windows)


def placed_matrix(length: Any, start: Any, window: Any, size: Any) -> tuple[Any, Any]:
    """Computes how much each pixel of a photo's axis counts for each pixel of a canvas on which the photo lies.

    The size that the photo is resized to is known only in the graph, so that there is no table of scales. Instead,
    places are computed in whole numbers and split into pixel and fraction, so that no runtime's way to divide moves
    them. The interpolation is bilinear.

    Args:
        length: Number of pixels of the photo's axis, a scalar `int32` tensor.
        start: First pixel of the canvas that shows the photo, a scalar `int32` tensor.
        window: Number of pixels of the canvas that show the photo, a scalar `int32` tensor.
        size: Number of pixels of the canvas, an integer or a scalar `int32` tensor.

    Returns:
        The weights, `float32 [size, length]`, and which pixels of the canvas show the photo, `float32 [size]`, 1 or 0.
    """
    import tensorflow as tf

    places = tf.range(size) - start
    is_shown = tf.cast(tf.logical_and(places >= 0, places < window), tf.float32)
    places = tf.clip_by_value(places, 0, window - 1)
    # The middle of a pixel of the canvas is at (2 place + 1) / 2 * length / window of the photo's axis
    halves = (2 * places + 1) * length
    pixel = halves // (2 * window)
    fraction = tf.cast(halves - pixel * (2 * window), tf.float32) / tf.cast(2 * window, tf.float32)
    steps = tf.cast(tf.range(length)[None, :] - pixel[:, None], tf.float32)
    shrink = tf.minimum(1.0, tf.cast(window, tf.float32) / tf.cast(length, tf.float32))
    weights = tf.maximum(0.0, 1.0 - tf.abs(steps + (0.5 - fraction)[:, None]) * shrink)
    weights = weights / tf.reduce_sum(weights, axis=1, keepdims=True)
    return weights * is_shown[:, None], is_shown
