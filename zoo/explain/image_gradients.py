"""The gradient of a score with respect to the pixels (saliency)."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import BATCH_SIZE, Subject
from zoo.explain.targets import Target

__all__ = ["attributed", "input_gradients"]


def input_gradients(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes how a score changes with each pixel: its gradient with respect to the image.

    Source: Simonyan et al. 2014, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
    Saliency Maps", section 3.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts.
        target: What to explain instead of a class; see `zoo.explain.targets`.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        Gradients `[n, h, w, c]`, float32; `zoo.explain.as_heat` makes maps of them that can be looked at.

    Raises:
        ValueError: The images or the classes do not fit the model.

    Example:

    >>> model = keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> input_gradients(model, np.zeros((4, 2, 3, 1)), 1).shape
    (4, 2, 3, 1)
    """
    subject = Subject(model)
    return attributed(
        subject, images, class_index, target, batch_size, lambda batch, own: subject.gradients(batch, own)[0]
    )


def attributed(
    subject: Subject,
    images: np.ndarray,
    class_index: int | Sequence[int] | None,
    target: Target | None,
    batch_size: int,
    attribute: Callable[[tf.Tensor, Target], tf.Tensor],
) -> np.ndarray:
    """Returns what a function from a batch and its target gives for all images, float32 of the shape of the images."""
    batches = subject.batches(images, class_index, target, fixed=True, batch_size=batch_size)
    parts = [np.asarray(attribute(batch, own), np.float32) for batch, own in batches]
    return np.concatenate(parts) if parts else np.zeros(np.shape(images), np.float32)
