"""What fools a network: small changes of an image that raise its error."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import BATCH_SIZE, Subject, checked_images
from zoo.explain.targets import Target, cross_entropy

__all__ = ["fast_gradient_sign", "projected_gradient_descent"]


def fast_gradient_sign(
    model: keras.Model,
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    epsilon: float = 2.0,
    loss: Target | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Changes each pixel by a small amount in the direction that raises the error (FGSM).

    Source: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 4.

    Args:
        model: A classifier with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        labels: The true class of each image, int `[n]`; the error is their cross-entropy.
        epsilon: The change of each value, in units of 0..255. Defaults to 2.
        loss: Another error, for models that are no classifiers: a function from the outputs of a batch to one number
            for each image. Softmax and sigmoid at the end of the model are left out of the outputs.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        float32 of the shape of the images, in 0..255.

    Raises:
        ValueError: The images or the labels do not fit the model, or epsilon is negative.

    Example:

    >>> model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> images = np.full((4, 2, 3, 1), 100.0)
    >>> float(np.abs(fast_gradient_sign(model, images, [0, 1, 0, 1]) - images).max())
    2.0
    """
    return projected_gradient_descent(
        model, images, labels, epsilon=epsilon, step=epsilon, steps=1, random_start=False, loss=loss,
        batch_size=batch_size,
    )  # fmt: skip


def projected_gradient_descent(
    model: keras.Model,
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    epsilon: float = 2.0,
    step: float | None = None,
    steps: int = 10,
    random_start: bool = True,
    seed: int = 0,
    loss: Target | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Raises the error by several small steps, none of which leaves the neighbourhood of the image (PGD).

    Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section 2.1.

    Args:
        model: A classifier with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        labels: The true class of each image, int `[n]`; the error is their cross-entropy.
        epsilon: The largest change of a value, in units of 0..255. Defaults to 2.
        step: The change in one step. Defaults to 2.5 * epsilon / steps, with which the edge of the neighbourhood can be
            reached from anywhere in it.
        steps: Number of steps, at least 1. Defaults to 10.
        random_start: Whether the first step begins at a random place of the neighbourhood. Defaults to True.
        seed: Decides that place.
        loss: Another error, as for `fast_gradient_sign`.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        float32 of the shape of the images, in 0..255.

    Raises:
        ValueError: The images or the labels do not fit the model, or an option is out of range.

    Example:

    >>> model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> images = np.full((4, 2, 3, 1), 100.0)
    >>> bool(np.abs(projected_gradient_descent(model, images, [0, 1, 0, 1]) - images).max() <= 2)
    True
    """
    if epsilon < 0 or steps < 1 or (step is not None and step < 0):
        raise ValueError(f"expected epsilon >= 0, step >= 0 and steps >= 1, got {epsilon}, {step} and {steps}")
    subject = Subject(model)
    images = checked_images(images, subject.flat).astype(np.float32)
    if (labels is None) == (loss is None):
        raise ValueError("expected the labels of the images, or a loss; got neither or both")
    if labels is not None and np.shape(labels) != (len(images),):
        raise ValueError(f"expected one label for each of {len(images)} images, got the shape {np.shape(labels)}")
    step = 2.5 * epsilon / steps if step is None else step
    random = np.random.default_rng(seed)
    results = []
    for start in range(0, len(images), batch_size):
        batch = tf.convert_to_tensor(images[start : start + batch_size])
        own = loss or cross_entropy(np.asarray(labels)[start : start + batch_size])
        changed = batch
        if random_start:
            noise = random.uniform(-epsilon, epsilon, batch.shape).astype(np.float32)
            changed = tf.clip_by_value(batch + noise, 0, 255)
        for _ in range(steps):
            changed = changed + step * tf.sign(subject.gradients(changed, own)[0])
            changed = tf.clip_by_value(changed, batch - epsilon, batch + epsilon)
            changed = tf.clip_by_value(changed, 0, 255)
        results.append(changed.numpy())
    return np.concatenate(results) if results else images
