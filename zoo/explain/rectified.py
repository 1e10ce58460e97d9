"""Guided backpropagation and deconvolution: what in an image excites a unit, with another gradient of the ReLU.

Both are the gradient of a score with respect to the image, but for the ReLUs on the way back. The gradient passes a
ReLU where its input was positive. Zeiler and Fergus let what comes back pass where it is positive itself; guided
backpropagation asks for both. Max-pooling layers send back to where the maximum was, as the paper's "switches" do.

Sources: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.1; Springenberg et
al. 2015, "Striving for Simplicity: The All Convolutional Net", figure 1.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.image_gradients import input_gradients
from zoo.explain.subject import BATCH_SIZE, RECTIFIERS, with_layers
from zoo.explain.targets import Target

__all__ = ["deconvolution", "guided_backpropagation"]


def guided_backpropagation(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes what in an image excites a unit (guided backpropagation).

    To explain a filter of a layer, give `zoo.explain.up_to(model, layer)` and `target=filter_score(index)`.

    Args:
        model: A model with ReLUs and one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts.
        target: What to explain instead of a class; see `zoo.explain.targets`.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        float32 `[n, h, w, c]`; `zoo.explain.as_heat` makes maps of it that can be looked at.

    Raises:
        ValueError: The images or the classes do not fit the model, or it has no ReLU.

    Example:

    >>> image = keras.Input((8, 9, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    >>> model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    >>> guided_backpropagation(model, np.zeros((2, 8, 9, 3))).shape
    (2, 8, 9, 3)
    """
    return input_gradients(_rectified(model, True), images, class_index, target=target, batch_size=batch_size)


def deconvolution(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes what in an image excites a unit (deconvolution after Zeiler and Fergus).

    The arguments and the result are those of `guided_backpropagation`.

    Raises:
        ValueError: The images or the classes do not fit the model, or it has no ReLU.

    Example:

    >>> image = keras.Input((8, 9, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    >>> model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    >>> deconvolution(model, np.zeros((2, 8, 9, 3))).shape
    (2, 8, 9, 3)
    """
    return input_gradients(_rectified(model, False), images, class_index, target=target, batch_size=batch_size)


class RectifiedGradient(keras.layers.Layer):
    """A ReLU whose gradient passes where what comes back is positive.

    Args:
        rectify: The function of the ReLU.
        guided: Whether the gradient must also pass the ReLU itself.
    """

    def __init__(self, rectify: Any, *, guided: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.rectify = rectify
        self.guided = guided

    def call(self, x: Any) -> Any:
        @tf.custom_gradient
        def rectified(x: Any) -> Any:
            y = self.rectify(x)

            def back(upstream: Any) -> Any:
                passing = tf.nn.relu(upstream)
                open_at = tf.cast(tf.logical_and(x > 0, tf.equal(x, y)), x.dtype)
                return passing * open_at if self.guided else passing

            return y, back

        return rectified(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def _rectified(model: keras.Model, guided: bool) -> keras.Model:
    """Returns a flat model with the same weights, whose ReLUs have another gradient."""
    model = with_layers(model)
    names: list[str] = []

    def gate(name: str, rectify: Any) -> RectifiedGradient:
        names.append(name)
        return RectifiedGradient(rectify, guided=guided, name=f"{name}_gate_{len(names)}")

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        activation = getattr(operation, "activation", None)
        if isinstance(operation, keras.layers.ReLU) or type(operation).__name__ in ("Relu", "Relu6"):
            if getattr(operation, "negative_slope", 0):
                return operation(*args, **kwargs)
            return gate(operation.name, operation)(args[0])
        if getattr(activation, "__name__", "") not in RECTIFIERS:
            return operation(*args, **kwargs)
        if isinstance(operation, keras.layers.Activation):
            return gate(operation.name, activation)(args[0])
        linear = type(operation).from_config({**operation.get_config(), "activation": "linear"})
        x = linear(*args, **kwargs)
        linear.set_weights(operation.get_weights())
        return gate(operation.name, activation)(x)

    source = model.inputs[0]
    image = keras.Input(batch_shape=source.shape, dtype=source.dtype, name=source.name)
    outputs = model._run_through_graph([image], call_fn=call)
    if not names:
        raise ValueError(
            f"{model.name} has no ReLU, whose gradient these methods change: take zoo.explain.smooth_gradients or "
            "zoo.explain.integrated_gradients"
        )
    return keras.Model(image, outputs, name=model.name)
