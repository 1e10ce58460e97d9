"""Integrated gradients: how much each pixel contributes to a score, compared with an image that says nothing."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.image_gradients import attributed
from zoo.explain.subject import BATCH_SIZE, Subject
from zoo.explain.targets import Target

__all__ = ["integrated_gradients"]


def integrated_gradients(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    baseline: float | np.ndarray = 0.0,
    steps: int = 50,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes how much each pixel contributes to a score (integrated gradients).

    The gradients along the straight line from a baseline to the image are averaged, at the middles of equal parts, and
    multiplied by the difference of the two. So the contributions of an image add up to the difference of its score and
    that of the baseline ("completeness"), as far as the steps are fine enough.

    Source: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", equations 1 and 3.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts.
        target: What to explain instead of a class; see `zoo.explain.targets`.
        baseline: The image that says nothing, in 0..255: a number, or an array that fits the images. Defaults to 0,
            black.
        steps: Number of gradients, at least 1. Defaults to 50.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        Contributions `[n, h, w, c]`, float32, in units of the score.

    Raises:
        ValueError: The images or the classes do not fit the model, or there are no steps.

    Example:

    >>> model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    >>> images = np.full((1, 2, 3, 1), 100.0)
    >>> difference = model(images)[0, 1] - model(0 * images)[0, 1]
    >>> bool(np.isclose(integrated_gradients(model, images, 1).sum(), difference, rtol=1e-4))
    True
    """
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got steps={steps}")
    subject = Subject(model)
    start = np.broadcast_to(np.asarray(baseline, np.float32), np.shape(images))
    done = 0

    def attribute(batch: tf.Tensor, own: Target) -> tf.Tensor:
        nonlocal done
        origin = start[done : done + len(batch)]
        done += len(batch)
        total = tf.zeros_like(batch)
        for step in range(steps):
            total += subject.gradients(origin + (step + 0.5) / steps * (batch - origin), own)[0]
        return (batch - origin) * total / steps

    return attributed(subject, images, class_index, target, batch_size, attribute)
