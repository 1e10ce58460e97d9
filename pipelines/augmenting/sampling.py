"""The ranges that random transforms draw from, and random numbers for each image of a batch."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.augmenting.padding import size_of

__all__ = ["Factor", "between", "interval", "per_image", "probability", "uniform", "window_masks"]

Factor = float | Sequence[float]  # one number, or a pair (low, high)


def interval(
    layer: str, name: str, factor: Factor, low: float, high: float, *, one_sided: bool = False
) -> tuple[float, float]:
    """Returns the range that a number or a pair of numbers stands for, as Keras' layers read it.

    Args:
        layer: Name of the layer, which the error mentions.
        name: Name of the argument, which the error mentions.
        factor: A pair (low, high) in any order; or a number f, which stands for (-f, f).
        low: Smallest value that the range may contain.
        high: Largest value that the range may contain.
        one_sided: Whether a number f stands for (0, f) instead.

    Raises:
        ValueError: The range is not inside of low..high, or `factor` is neither a number nor a pair of numbers.

    Example:

    >>> interval("RandomZoom", "height_factor", 0.2, -1, 1)
    (-0.2, 0.2)
    >>> interval("RandomShear", "x_factor", 0.2, 0, 1, one_sided=True)
    (0.0, 0.2)
    """
    try:
        lower, upper = (0.0 if one_sided else -factor, factor) if isinstance(factor, int | float) else sorted(factor)
    except (TypeError, ValueError):
        lower, upper = math.nan, math.nan
    if not low <= lower <= upper <= high:
        raise ValueError(
            f"{layer}: expected `{name}` as a number or a pair of numbers in {low:g}..{high:g}, received {factor!r}"
        )
    return float(lower), float(upper)


def probability(factor: Factor) -> Factor:
    """Returns a probability p as the range (p, p), so that `interval` does not read it as (-p, p).

    >>> probability(0.5), probability((0.2, 0.4))
    ((0.5, 0.5), (0.2, 0.4))
    """
    return (factor, factor) if isinstance(factor, int | float) else factor


def between(u: tf.Tensor, limits: Any) -> tf.Tensor:
    """Scales numbers in 0..1 to the range `limits` = (low, high).

    >>> between(tf.constant([0.0, 0.5]), (10.0, 20.0)).numpy().tolist()
    [10.0, 15.0]
    """
    return limits[0] + u * (limits[1] - limits[0])


def uniform(seed: tf.Tensor, n: Any, count: int) -> list[tf.Tensor]:
    """Draws `count` tensors `float32 [n]` of numbers that are at least 0 and below 1.

    Args:
        seed: Tensor of two integers, which decides the numbers.
        n: Number of images.
        count: Number of tensors.
    """
    return tf.unstack(tf.random.stateless_uniform([n, count], seed), axis=1)


def per_image(values: tf.Tensor) -> tf.Tensor:
    """Reshapes `[n]` values, one for each image, to `[n, 1, 1, 1]`, so that they broadcast over images."""
    return values[:, None, None, None]


def window_masks(u: Sequence[tf.Tensor], height: tf.Tensor, width: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns masks of one window in each image, at a random place.

    Args:
        u: Two tensors `[n]` of numbers in 0..1, which decide how far down and how far to the right the windows lie.
        height: Heights of the windows `float32 [n]`, in whole pixels.
        width: Widths of the windows `float32 [n]`, in whole pixels.
        images: The images `[n, h, w, channels]`.

    Returns:
        `bool [n, h, w, 1]`, true inside of the windows.
    """
    full_height, full_width = size_of(images)
    top = tf.floor(u[0] * (tf.cast(full_height, tf.float32) - height + 1))
    left = tf.floor(u[1] * (tf.cast(full_width, tf.float32) - width + 1))
    y, x = tf.range(full_height, dtype=tf.float32), tf.range(full_width, dtype=tf.float32)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return rows[:, :, None, None] & columns[:, None, :, None]
