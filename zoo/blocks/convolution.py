"""Convolutions together with their batch norm and their activation."""

from collections.abc import Callable
from functools import partial

import keras

from zoo.primitives.convolution import GroupedConv2D

__all__ = [
    "Conv2DBeforeNorm",
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

# A 3x3 convolution with bias and ReLU, as in a textbook's first networks.
DefaultConv2D = partial(
    keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu", kernel_initializer="he_normal"
)
# The same without bias and activation, which stands before a batch norm, as in a textbook's residual networks.
Conv2DBeforeNorm = partial(DefaultConv2D, use_bias=False, activation=None)


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
    """Applies a convolution without bias, a batch norm, and an activation.

    Source: Ioffe & Szegedy 2015, "Batch Normalization", section 3.2: the batch norm stands before the activation, and
    makes the bias of the convolution redundant.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels. It must be a multiple of `groups`.
        kernel_size: Size of the kernel: one number, or (height, width). Defaults to 1.
        strides: Stride of the convolution. Defaults to 1.
        padding: "same" and "valid" have their meaning in `keras.layers.Conv2D`. "symmetric" pads all sides equally, as
            Caffe and PyTorch do; "same" pads a strided convolution more at the bottom and on the right. Defaults to
            "same".
        groups: Number of groups into which the channels are split. Defaults to 1.
        dilation_rate: Distance between the pixels that the kernel looks at. Defaults to 1.
        activation: Name of an activation that Keras knows, or a function that is registered with Keras (otherwise the
            model cannot be saved). None applies no activation. Defaults to "relu".
        scale: Whether the batch norm multiplies by a weight. Before a ReLU, the next layer can do this. Defaults to
            True.
        epsilon: Number that the batch norm adds to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norm. Defaults to 0.99.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / strides, w / strides, filters]`. Sizes are rounded up for "same" padding.

    Raises:
        ValueError: The number of channels or of filters is not a multiple of `groups`.

    Example:

    >>> x = keras.Input((7, 9, 3))
    >>> conv_bn(x, 8, 3, strides=2, name="stem").shape
    (None, 4, 5, 8)
    """
    if x.shape[-1] % groups or filters % groups:
        raise ValueError(
            f"{name}: {x.shape[-1]} channels cannot be split into {groups} groups that make {filters} channels "
            f"together: both must be multiples of {groups}. Change them, or the number of groups"
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
    """Applies a convolution with bias and an activation, in one layer with the name `NAME_conv`.

    Networks from before batch norm have it where later ones have `conv_bn`, whose arguments and shapes it shares.

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
    """Applies a separable convolution without bias, a batch norm, and an activation.

    Each channel is filtered separately. Then a 1x1 convolution mixes the channels, with no activation in between. Both
    are one layer with the name `NAME_sepconv`. The arguments and the shapes are those of `conv_bn`.

    Source: Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions", section 3.1.

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
    """Applies a depthwise convolution without bias, a batch norm, and an activation.

    Each channel is filtered separately, and the number of channels stays the same. The convolution has the name
    `NAME_dwconv`. The arguments and the shapes are those of `conv_bn`.

    Source: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    section 3.1.

    >>> x = keras.Input((7, 9, 4))
    >>> depthwise_bn(x, 5, strides=2, name="block1").shape
    (None, 4, 5, 4)
    """
    x, padding = keras_padding(x, kernel_size, padding, strides=strides, dilation_rate=dilation_rate, name=name)
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
    """Returns `x` and a padding that Keras knows. Where "symmetric" differs from "same", `x` gets explicit zeros."""
    if padding != "symmetric":
        return x, padding
    if strides == 1:
        return x, "same"
    return pad_symmetric(x, kernel_size, dilation_rate=dilation_rate, name=name), "valid"


def pad_symmetric(x, kernel_size, *, dilation_rate: int = 1, name: str):
    """Adds zeros on all sides of a feature map, so that a "valid" window of odd size can be centred on every pixel.

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
    """Applies a batch norm and an activation. The shape and the dtype stay the same.

    Its arguments are those of `conv_bn`.
    """
    x = keras.layers.BatchNormalization(epsilon=epsilon, momentum=momentum, scale=scale, name=f"{name}_bn")(x)
    return keras.layers.Activation(activation, name=f"{name}_activation")(x) if activation else x


def scaled_channels(channels: float, divisor: int = 8) -> int:
    """Returns the multiple of `divisor` that is nearest to `channels`, but at least `divisor` and 0.9 of `channels`.

    MobileNetV2 and EfficientNet round their numbers of channels in this way after they multiply them by a factor.

    Source: the authors' code of both networks.

    >>> [scaled_channels(c) for c in (4, 11.9, 35.2, 44.8)]
    [8, 16, 32, 48]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
