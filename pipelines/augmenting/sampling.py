"""The ranges that transforms draw from, and random numbers for each image of a batch."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.augmenting.padding import size_of

__all__ = ["Factor", "between", "interval", "per_image", "probability", "uniform", "window_masks"]

Factor = float | Sequence[float]


def interval(
    layer: str, name: str, factor: Factor, low: float, high: float, *, one_sided: bool = False
) -> tuple[float, float]:
    """The range that a number or a pair of numbers stands for, as Keras reads it."""
    try:
        lower, upper = (0.0 if one_sided else -factor, factor) if isinstance(factor, int | float) else sorted(factor)
    except (TypeError, ValueError):
        lower, upper = math.nan, math.nan
    if not low <= lower <= upper <= high:
        raise ValueError(
            f"{layer}: expected `{name}` as a number or a pair of numbers in {low:g}..{high:g}, received {factor!r}"
        )
    return float(lower), float(upper)


def between(u: tf.Tensor, limits: Sequence[float]) -> tf.Tensor:
    """Numbers in [0, 1) as numbers between the limits."""
    return limits[0] + u * (limits[1] - limits[0])


def probability(factor: Factor) -> Factor:
    """A probability as the range that holds nothing else."""
    return (factor, factor) if isinstance(factor, int | float) else factor


def uniform(seed: tf.Tensor, n: Any, count: int) -> list[tf.Tensor]:
    """`count` times `[n]` numbers in [0, 1)."""
    return tf.unstack(tf.random.stateless_uniform([n, count], seed), axis=1)


def per_image(values: tf.Tensor) -> tf.Tensor:
    """`[n]` as `[n, 1, 1, 1]`, to go with images."""
    return values[:, None, None, None]


def window_masks(u: Sequence[tf.Tensor], height: tf.Tensor, width: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Where windows of `height` and `width` `[n]`, in whole pixels, lie in the images: `bool [n, h, w, 1]`."""
    full_height, full_width = size_of(images)
    top = tf.floor(u[0] * (tf.cast(full_height, tf.float32) - height + 1))
    left = tf.floor(u[1] * (tf.cast(full_width, tf.float32) - width + 1))
    y, x = tf.range(full_height, dtype=tf.float32), tf.range(full_width, dtype=tf.float32)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    return rows[:, :, None, None] & columns[:, None, :, None]
