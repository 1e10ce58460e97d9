"""The beginning of a network: bringing 0..255 to the range that it was trained on, and images with other channels."""

from itertools import takewhile

import keras
import numpy as np

from zoo.blocks import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, normalise
from zoo.surgery.conversion import adapted_kernel
from zoo.surgery.graph import copied, graph_of, rebuild
from zoo.surgery.keras_layers import in_zoo

__all__ = ["VALUES", "Rescaled", "normalising_copy", "values_of"]

L = keras.layers

# Layers that may stand between the image and the first convolution, and that take any number of channels.
BEFORE_THE_STEM = (L.InputLayer, L.ZeroPadding2D, L.Rescaling, L.Normalization)

# Values as `scale * x + offset`, with one number each or one for each colour, where no scheme of the zoo names them.
Rescaled = tuple[float | list[float], float | list[float]]

# What `zoo.blocks.normalise` makes of 0..255, in words.
VALUES = {
    "none": "0..255",
    "unit": "0..1",
    "symmetric": "-1..1",
    "imagenet": "0..1 less ImageNet's mean, over its deviation",
    "caffe": "0..255 less ImageNet's mean",
}


def normalising_copy(
    original: keras.Model, values: str | Rescaled, shape: tuple[int, int, int], *, name: str, random: bool
) -> keras.Model:
    """Returns a copy of a model that takes 0..255: the zoo's normalisation replaces the model's own, if it has one.

    Some models normalise their images themselves (EfficientNet of `keras.applications` with one more layer when it has
    ImageNet weights), and some have models inside. The copy is one flat graph with one input, whatever the weights are.

    Args:
        original: A model without its classifier, from `[n, h, w, 3]` to a feature map.
        values: The range of values that it was trained on, as `zoo.blocks.normalise` names it, or as scale and offset.
        shape: Height, width and channels of the images. For other channels than 3, the first convolution is adapted.
        name: The name of the new model.
        random: Whether the weights are random; a first convolution for other channels is then drawn afresh.

    Returns:
        A model from images in 0..255 to the same feature map, with copies of the weights.

    Raises:
        ValueError: The network gives no feature map, or it has batch norms inside layers of its own, where freezing
            cannot hold them.
    """
    graph = graph_of(original)
    own_normalisation = set()
    if values != "none":
        first = takewhile(lambda call: isinstance(call.operation, L.Rescaling | L.Normalization), graph.calls)
        own_normalisation = {id(call) for call in first}

    def convert(call):
        if id(call) in own_normalisation:
            return None, []
        return in_zoo(call)

    image = keras.Input(shape, name="image")
    normalised = _normalised(image, values)
    body = rebuild(original, convert, graph=graph)
    _check_flat(body, name)
    if values == "caffe" and not random:
        _from_bgr(body)
    body = _for_channels(body, normalised.shape[-1], random=random)
    return rebuild(keras.Model(image, body(normalised), name=name))


def _normalised(image: keras.KerasTensor, values: str | Rescaled) -> keras.KerasTensor:
    if isinstance(values, str):
        return normalise(image, values)
    scale, offset = (np.asarray(value, "float64") for value in values)
    if scale.ndim or offset.ndim:
        scale, offset = (np.resize(value, image.shape[-1]).tolist() for value in (scale, offset))
    return L.Rescaling(scale, offset=offset, name="rescaling")(image)


def _check_flat(model: keras.Model, name: str) -> None:
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 4:
        raise ValueError(
            f"{name} gives {[output.shape for output in model.outputs]}, and a backbone gives one feature map "
            "[n, height, width, channels]; take a convolutional network"
        )
    for layer in model.layers:
        inner = [each for each in layer._flatten_layers() if each is not layer]
        if any(isinstance(each, L.BatchNormalization) for each in inner):
            raise ValueError(
                f"{name} has batch norms inside its layer {layer.name!r} ({type(layer).__name__}), where freezing "
                "cannot hold them; take a network that is built of Keras' own layers"
            )


def _stem(model: keras.Model) -> keras.layers.Conv2D:
    """Returns the first convolution, which is given the image."""
    first = next(layer for layer in model.layers if not isinstance(layer, BEFORE_THE_STEM))
    if not isinstance(first, L.Conv2D):
        raise ValueError(
            f"{model.name} does not begin with a convolution of all channels, so it cannot be adapted to images of "
            "other channels; take another network, or channels=3"
        )
    return first


def _from_bgr(model: keras.Model) -> None:
    """Reorders the input channels of the first convolution: Caffe's networks read BGR, and the model is given RGB."""
    kernel, *bias = _stem(model).get_weights()
    _stem(model).set_weights([kernel[:, :, ::-1], *bias])


def _for_channels(model: keras.Model, channels: int, *, random: bool) -> keras.Model:
    """Returns the same layers with a first convolution for other channels, adapted or, for random weights, new."""
    if channels == model.input_shape[-1]:
        return model
    old = _stem(model)
    kernel, *bias = old.get_weights()
    new = copied(old)
    new.build((*model.input_shape[:-1], channels))
    if not random:
        new.set_weights([adapted_kernel(kernel, channels), *bias])
    return keras.models.clone_model(
        model,
        input_tensors=keras.Input((*model.input_shape[1:-1], channels)),
        clone_function=lambda layer: new if layer is old else layer,
    )


def values_of(model: keras.Model) -> str:
    """Returns the range that a functional model brings 0..255 to before its first convolution, in words.

    >>> image = keras.Input((4, 6, 3))
    >>> values_of(keras.Model(image, keras.layers.Rescaling(1 / 255)(image)))
    '0..1'
    """
    low, high = np.array(0.0), np.array(255.0)
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Rescaling):
            low, high = (value * np.array(layer.scale) + np.array(layer.offset) for value in (low, high))
        elif not isinstance(layer, keras.layers.Concatenate):  # It gives grey images a channel for each colour.
            break
    if low.ndim == 0:
        return f"{low:.3g}..{high:.3g}"
    for scheme, black in (("imagenet", -np.array(IMAGENET_MEAN) / IMAGENET_STD), ("caffe", -np.array(CAFFE_MEAN))):
        if np.allclose(low, np.resize(black, low.shape)):
            return VALUES[scheme]
    return ", ".join(f"{black:.3g}..{white:.3g}" for black, white in zip(low, high, strict=True))
