"""Explains the predictions of a classifier by showing which parts of an image support a class."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.surgery.feature_maps import last_feature_map
from zoo.surgery.flattening import flat, input_of, output_of

__all__ = ["grad_cam"]

BATCH_SIZE = 16  # It bounds the memory of the activations that the gradient needs.


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    layer: str | None = None,
) -> np.ndarray:
    """Computes how much each pixel of an image supports a class (Grad-CAM).

    The score of the class is taken before the softmax, as in the paper. The map of each image is resized bilinearly to
    the size of the image, and divided by its maximum.

    Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks", equations 1 and 2.

    Args:
        model: A classifier with the output `[n, num_classes]`; see `zoo.surgery.flattening.flat` for the models that
            can be looked at.
        images: Images `[n, h, w, 3]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts.
        layer: Name of a layer whose output is a map `[n, h, w, c]`. Defaults to the last such layer.

    Returns:
        Maps `[n, h, w]` in 0..1, float32. A map is 0 everywhere if no pixel supports the class.

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
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"images are [n, height, width, channels], got {images.shape}: give one image as images[None]")
    model = flat(model)
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        shapes = [output.shape for output in model.outputs]
        raise ValueError(f"Grad-CAM needs a classifier with one output [n, num_classes], got the outputs {shapes}")
    num_classes = model.outputs[0].shape[1]
    classes = _checked_classes(class_index, len(images), num_classes)
    last_input, to_scores = _before_squashing(model)
    tapped = keras.Model(model.input, [_feature_map(model, layer), last_input])

    maps = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = tf.convert_to_tensor(images[start : start + BATCH_SIZE], tf.float32)
        with tf.GradientTape() as tape:
            # The tape watches the images, so that it records frozen layers as well.
            tape.watch(batch)
            activations, x = tapped(batch, training=False)
            scores = to_scores(x)
            explained = tf.argmax(scores, axis=1) if classes is None else classes[start : start + BATCH_SIZE]
            score = tf.gather(scores, explained, axis=1, batch_dims=1)
        # The images of a batch do not influence each other, so the gradient of the sum contains that of each image.
        gradients = tape.gradient(score, activations, unconnected_gradients="zero")
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)  # equation 1
        cam = tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1, keepdims=True))  # equation 2
        cam = tf.image.resize(cam, images.shape[1:3])[..., 0]
        maps.append(tf.math.divide_no_nan(cam, tf.reduce_max(cam, axis=(1, 2), keepdims=True)).numpy())
    return np.concatenate(maps) if maps else np.zeros(images.shape[:3], np.float32)


def _checked_classes(class_index, num_images: int, num_classes: int) -> np.ndarray | None:
    if class_index is None:
        return None
    classes = np.asarray(class_index, np.int32)
    if classes.ndim > 1 or (classes.ndim == 1 and len(classes) != num_images):
        raise ValueError(f"class_index is one class or one for each of {num_images} images, got {class_index}")
    if np.any((classes < 0) | (classes >= num_classes)):
        raise ValueError(f"class_index is in 0..{num_classes - 1}, got {class_index}")
    return np.broadcast_to(classes, num_images)


def _feature_map(model: keras.Model, layer: str | None):
    if layer is not None and layer not in {candidate.name for candidate in model.layers}:
        raise ValueError(f"{model.name} has no layer {layer!r}; its last feature map is {last_feature_map(model)!r}")
    output = output_of(model, layer or last_feature_map(model))
    if len(output.shape) != 4:
        raise ValueError(
            f"layer {layer!r} returns the shape {output.shape}, and Grad-CAM needs a map [n, height, width, channels]"
        )
    return output


def _before_squashing(model: keras.Model) -> tuple[keras.KerasTensor, Callable]:
    """Returns a tensor of the graph, and the function from it to the scores before the last softmax or sigmoid."""
    last = model.layers[-1]
    squashes = getattr(last, "activation", None) in (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or (isinstance(last, keras.layers.Activation) and squashes):
        return input_of(model, last.name), tf.identity
    if isinstance(last, keras.layers.Dense) and squashes:
        bias = last.bias if last.use_bias else 0.0
        return input_of(model, last.name), lambda x: tf.matmul(tf.cast(x, last.kernel.dtype), last.kernel) + bias
    return model.outputs[0], tf.identity
