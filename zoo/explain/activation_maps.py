"""Grad-CAM and Grad-CAM++: which places of a layer's feature map support a score."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import BATCH_SIZE, Subject
from zoo.explain.targets import Target

__all__ = ["grad_cam", "grad_cam_plus_plus"]


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    layer: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes how much each pixel of an image supports a score, such as that of a class (Grad-CAM).

    The score of a class is taken before the softmax, as in the paper. The map of each image is resized bilinearly to
    the size of the image, and divided by its maximum.

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", equations 1 and 2.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat` for the models that can be looked at.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts.
        target: What to explain instead of a class: a function from the outputs to one score for each image; see
            `zoo.explain.targets`.
        layer: Name of a layer whose output is a map `[n, h, w, c]`. Defaults to the last such layer.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        Maps `[n, h, w]` in 0..1, float32. A map is 0 everywhere if no pixel supports the score.

    Raises:
        ValueError: The images, the classes or the layer do not fit the model.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    >>> grad_cam(model, np.zeros((2, 32, 48, 3), "uint8"), class_index=1).shape
    (2, 32, 48)
    """

    def weights(maps: Any, gradients: Any, scores: Any) -> Any:
        return tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)  # equation 1

    return _maps(weights, model, images, class_index, target, layer, batch_size)


def grad_cam_plus_plus(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    layer: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes how much each pixel of an image supports a score, where several objects may do so (Grad-CAM++).

    Grad-CAM averages the gradient over all places, so that a small object counts less than a large one. Here each place
    is weighted, so that all places that support the score count.

    Source: Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional
    Networks", equations 5 and 19. The score goes through an exponential, as there, so that the higher derivatives are
    powers of the first. Its factor, which is the same for all places, cancels out when the map is divided by its
    maximum.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain, as for `grad_cam`.
        target: What to explain instead of a class, as for `grad_cam`.
        layer: Name of a layer whose output is a map `[n, h, w, c]`. Defaults to the last such layer.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        Maps `[n, h, w]` in 0..1, float32. A map is 0 everywhere if no pixel supports the score.

    Raises:
        ValueError: The images, the classes or the layer do not fit the model.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=2)(image))
    >>> model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    >>> grad_cam_plus_plus(model, np.zeros((2, 32, 48, 3), "uint8"), class_index=1).shape
    (2, 32, 48)
    """

    def weights(maps: Any, gradients: Any, scores: Any) -> Any:
        squared = gradients**2
        below = 2 * squared + tf.reduce_sum(maps, axis=(1, 2), keepdims=True) * gradients * squared
        alphas = tf.math.divide_no_nan(squared, below)  # equation 19
        return tf.reduce_sum(alphas * tf.nn.relu(gradients), axis=(1, 2), keepdims=True)  # equation 5

    return _maps(weights, model, images, class_index, target, layer, batch_size)


def _maps(
    weights: Callable[[Any, Any, Any], Any],
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None,
    target: Target | None,
    layer: str | None,
    batch_size: int,
) -> np.ndarray:
    """Weights the channels of a layer's map, and sums them up."""
    subject = Subject(model, [layer])
    maps = []
    for batch, own in subject.batches(images, class_index, target, batch_size=batch_size):
        activations, gradients, scores = subject.map_gradients(batch, own)
        weighted = weights(activations, gradients, scores) * activations
        cam = tf.nn.relu(tf.reduce_sum(weighted, axis=-1, keepdims=True))  # equation 2 of Grad-CAM
        cam = tf.image.resize(cam, batch.shape[1:3])[..., 0]
        maps.append(tf.math.divide_no_nan(cam, tf.reduce_max(cam, axis=(1, 2), keepdims=True)).numpy())
    return np.concatenate(maps) if maps else np.zeros(np.shape(images)[:3], np.float32)
