"""The letterbox in operations that every format has: see `pipelines.prepare.portable_crop` for why and how.

Here the size that a photo is resized to is known only in the graph, too, so there is no table of scales. Instead,
places are computed in whole numbers and split into pixel and fraction, so that no runtime's way to divide moves them.
"""

from typing import Any

import tensorflow as tf

from pipelines.prepare.letterbox import Letterbox

__all__ = ["portable_letterbox"]


def portable_letterbox(images: Any, letterbox: Letterbox) -> tf.Tensor:
    """What `letterbox(images)` gives, to the rounding of floats.

    Args:
        images: [n, h, w, 3], uint8 or float32 in 0..255; all of it may be unknown in a graph.

    Returns:
        float32 [n, H, W, 3].

    Example:

    >>> portable_letterbox(tf.fill([1, 10, 10, 3], 9), Letterbox((2, 4)))[0, 0, :, 0].numpy().tolist()
    [114.0, 9.0, 9.0, 114.0]
    """
    height, width = letterbox.size
    shape = tf.shape(images)
    n, h, w = shape[0], shape[1], shape[2]
    top, left, rows, columns = letterbox.place(h, w)
    to_rows, row_is_shown = _matrix(h, top, rows, height)  # [H, h], [H]
    to_columns, column_is_shown = _matrix(w, left, columns, width)  # [W, w], [W]
    flat = tf.reshape(tf.cast(images, tf.float32), [n, h, w * 3])
    flat = tf.reshape(tf.matmul(to_rows, flat), [n * height, w, 3])
    shown = tf.reshape(tf.matmul(to_columns, flat), [n, height, width, 3])
    around = 1.0 - row_is_shown[:, None, None] * column_is_shown[None, :, None]
    return shown + letterbox.fill * around


def _matrix(length: tf.Tensor, start: tf.Tensor, window: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """How much each pixel of a photo's axis counts for each of the canvas, [size, length]; and which of the canvas show
    the photo, 1.0 or 0.0, [size]."""
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
