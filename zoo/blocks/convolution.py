"""Convolutions with their normalisation and activation."""

from collections.abc import Callable
from functools import partial

import keras

from zoo.primitives.convolution import GroupedConv2D

__all__ = [
    "DefaultConv2D",
    "bn_activation",
    "conv_bn",
    "conv_relu",
    "depthwise_bn",
    "keras_padding",
    "pad_symmetric",
    "scaled_channels",
    "separable_bn",
]

# For textbook models: a 3x3 convolution with bias and ReLU. With `use_bias=False, activation=None` it is the one to
# put before a batch norm.
DefaultConv2D = partial(
    keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu", kernel_initializer="he_normal"
)


def conv_bn(
    x,
    filters: int,
    kernel_size=1,
    *,
    strides: int = 1,
    padding: str = "same",
    groups: int = 1,
    dilation_rate: int = 1,
    activation: str | Callable | None = "relu",
    scale: bool = True,
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """A convolution without bias, a batch norm, and an activation unless that is None.

    Source: Ioffe & Szegedy 2015, "Batch Normalization", section 3.2: the norm stands before the activation, and
    makes the convolution's bias redundant.

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output; a multiple of `groups`, as the channels of `x` are.
        kernel_size: one number or (height, width).
        strides, groups, dilation_rate: as in `keras.layers.Conv2D`.
        padding: "same" or "valid" as in `keras.layers.Conv2D`; "symmetric" pads both sides alike, as Caffe and
            PyTorch do, where "same" puts the odd row of a strided convolution at the bottom and right.
        activation: a name that Keras knows, a function (registered with Keras, so that it can be saved), or None.
        scale, epsilon, momentum: of the batch norm. Before a ReLU its scale may be left to the next layer.
        name: prefix of the layers' names.

    Returns:
        `[n, h / strides, w / strides, filters]` (rounded up under "same" padding).

    Raises:
        ValueError: channels or filters that are not a multiple of `groups`.

    Example:

    >>> x = keras.Input((7, 9, 3))
    >>> conv_bn(x, 8, 3, strides=2, name="stem").shape
    (None, 4, 5, 8)
    """
    if x.shape[-1] % groups or filters % groups:
        raise ValueError(
            f"{name}: {x.shape[-1]} channels cannot be split into {groups} groups that make {filters} together: "
            f"both have to be multiples of {groups}; change them, or the number of groups"
        )
    x, padding = keras_padding(x, kernel_size, padding, strides=strides, dilation_rate=dilation_rate, name=name)
    layer = GroupedConv2D if groups > 1 else keras.layers.Conv2D
    x = layer(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        groups=groups,
        dilation_rate=dilation_rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return bn_activation(x, activation=activation, scale=scale, epsilon=epsilon, momentum=momentum, name=name)


def conv_relu(
    x,
    filters: int,
    kernel_size=1,
    *,
    strides: int = 1,
    padding: str = "same",
    activation: str | None = "relu",
    name: str,
):
    """A convolution with bias and its activation, in one layer named `NAME_conv`: what `conv_bn` was before batch norm.

    Arguments and shapes as in `conv_bn`.

    >>> conv_relu(keras.Input((7, 9, 3)), 8, 3, strides=2, padding="valid", name="stem").shape
    (None, 3, 4, 8)
    """
    x, padding = keras_padding(x, kernel_size, padding, strides=strides, name=name)
    conv = DefaultConv2D(
        filters,
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        activation=activation,
        name=f"{name}_conv",
    )
    return conv(x)


def separable_bn(
    x,
    filters: int,
    kernel_size=3,
    *,
    strides: int = 1,
    padding: str = "same",
    dilation_rate: int = 1,
    activation: str | None = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """A separable convolution without bias, a batch norm, and an activation unless that is None.

    Source: Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions", section 3.1: each channel
    is filtered on its own, then a 1x1 convolution mixes the channels, with no activation in between.

    Arguments and shapes as in `conv_bn`. The convolution is one layer, named `NAME_sepconv`.

    >>> separable_bn(keras.Input((7, 9, 3)), 8, strides=2, name="block1").shape
    (None, 4, 5, 8)
    """
    x = keras.layers.SeparableConv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        use_bias=False,
        depthwise_initializer="he_normal",
        pointwise_initializer="he_normal",
        name=f"{name}_sepconv",
    )(x)
    return bn_activation(x, activation=activation, epsilon=epsilon, momentum=momentum, name=name)


def depthwise_bn(
    x,
    kernel_size=3,
    *,
    strides: int = 1,
    padding: str = "same",
    dilation_rate: int = 1,
    activation: str | None = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """A depthwise convolution without bias, a batch norm, and an activation unless that is None.

    Arguments and shapes as in `conv_bn`; the number of channels stays. The convolution is named `NAME_dwconv`.

    >>> x = keras.Input((7, 9, 4))
    >>> depthwise_bn(x, 5, strides=2, name="block1").shape
    (None, 4, 5, 4)
    """
    x = keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_dwconv",
    )(x)
    return bn_activation(x, activation=activation, epsilon=epsilon, momentum=momentum, name=name)


def keras_padding(x, kernel_size, padding: str, *, strides: int, dilation_rate: int = 1, name: str):
    """Turns "symmetric" padding into explicit zeros where they differ from "same": `x`, and a padding Keras knows."""
    if padding != "symmetric":
        return x, padding
    if strides == 1:
        return x, "same"
    return pad_symmetric(x, kernel_size, dilation_rate=dilation_rate, name=name), "valid"


def pad_symmetric(x, kernel_size, *, dilation_rate: int = 1, name: str):
    """Zeros on all sides, as many as a "valid" window of an odd size needs to reach each border pixel's centre.

    >>> pad_symmetric(keras.Input((7, 9, 4)), (3, 1), name="stem").shape
    (None, 9, 9, 4)
    """
    sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    padding = tuple(dilation_rate * (size - 1) // 2 for size in sizes)
    return keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x) if any(padding) else x


def bn_activation(
    x,
    *,
    activation: str | Callable | None,
    scale: bool = True,
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """A batch norm, and an activation unless that is None. Shape and dtype stay."""
    x = keras.layers.BatchNormalization(epsilon=epsilon, momentum=momentum, scale=scale, name=f"{name}_bn")(x)
    return keras.layers.Activation(activation, name=f"{name}_activation")(x) if activation else x


def scaled_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least `divisor` and at least 0.9 of `channels`.

    Source: the authors' code of MobileNetV2 and EfficientNet, where width multipliers would give odd widths.

    >>> [scaled_channels(c) for c in (4, 11.9, 35.2, 44.8)]
    [8, 16, 32, 48]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
