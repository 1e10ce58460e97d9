"""SmoothGrad: the gradient of a score, averaged over noisy copies of the image."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.image_gradients import attributed
from zoo.explain.subject import BATCH_SIZE, Subject
from zoo.explain.targets import Target

__all__ = ["smooth_gradients"]


def smooth_gradients(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    noise: float = 0.15,
    copies: int = 25,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes the gradient of a score with respect to the image, averaged over noisy copies of it (SmoothGrad).

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3.2.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts for the images without noise.
        target: What to explain instead of a class; see `zoo.explain.targets`.
        noise: Standard deviation of the noise, as a share of the range of each image's values. Defaults to 0.15.
        copies: Number of noisy copies, at least 1. Defaults to 25.
        seed: Decides the noise.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        Gradients `[n, h, w, c]`, float32; `zoo.explain.as_heat` makes maps of them that can be looked at.

    Raises:
        ValueError: The images or the classes do not fit the model, or `noise` or `copies` is out of range.

    Example:

    >>> model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> smooth_gradients(model, np.zeros((4, 2, 3, 1)), 1, copies=2).shape
    (4, 2, 3, 1)
    """
    if noise < 0 or copies < 1:
        raise ValueError(f"expected noise of at least 0 and at least 1 copy, got noise={noise} and copies={copies}")
    subject, random = Subject(model), np.random.default_rng(seed)

    def attribute(batch: tf.Tensor, own: Target) -> tf.Tensor:
        spread = tf.reduce_max(batch, axis=(1, 2, 3)) - tf.reduce_min(batch, axis=(1, 2, 3))
        deviation = noise * spread[:, None, None, None]
        total = tf.zeros_like(batch)
        for _ in range(copies):
            noisy = batch + deviation * random.standard_normal(batch.shape, np.float32)
            total += subject.gradients(noisy, own)[0]
        return total / copies

    return attributed(subject, images, class_index, target, batch_size, attribute)
