"""Residual units: branches that learn what to add to their input."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras

from zoo.blocks.convolution import bn_activation, conv_bn, depthwise_bn
from zoo.blocks.excitation import squeeze_excite
from zoo.primitives.residual import DropPath

__all__ = [
    "Excitation",
    "bottleneck",
    "inverted_residual",
    "preactivation_unit",
    "residual_add",
    "residual_unit",
    "shortcut",
]


def residual_add(x, shortcut, *, drop_path: float = 0.0, seed: int | None = None, name: str):
    """Adds the branch `x` to `shortcut`, which has the same shape.

    With `drop_path` above 0, the branches of samples are dropped at this rate in training, by draws that `seed`
    repeats.
    """
    if drop_path:
        x = DropPath(drop_path, seed=seed, name=f"{name}_drop")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def shortcut(x, filters: int, *, strides: int = 1, epsilon: float = 1e-3, momentum: float = 0.99, name: str):
    """Returns `x` where a unit keeps its shape, and otherwise `x` in the new shape by a 1x1 convolution and batch norm.

    Source: He et al. 2016, "Deep Residual Learning", section 3.3, option B.

    >>> x = keras.Input((7, 9, 16))
    >>> shortcut(x, 16, name="a") is x, shortcut(x, 24, strides=2, name="b").shape
    (True, (None, 4, 5, 24))
    """
    if strides == 1 and x.shape[-1] == filters:
        return x
    return conv_bn(
        x, filters, strides=strides, padding="valid", activation=None, epsilon=epsilon, momentum=momentum, name=name
    )


def residual_unit(
    x,
    filters: int,
    *,
    strides: int = 1,
    padding: str = "same",
    activation: str = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    drop_path: float = 0.0,
    name: str,
):
    """Adds two 3x3 convolutions with batch norm to a shortcut, and applies a ReLU to the sum.

    Source: He et al. 2016, "Deep Residual Learning", figure 2 and table 1 (18 and 34 layers).

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels. The shortcut is `x` itself where its shape is that of the output.
        strides: Stride of the first convolution and of the shortcut. Defaults to 1.
        padding: Padding that `conv_bn` takes. Weights from PyTorch need "symmetric". Defaults to "same".
        activation: Activation after the first batch norm and after the sum. Defaults to "relu".
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        drop_path: Rate at which the branch is dropped in training. Defaults to 0.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / strides, w / strides, filters]`. Sizes are rounded up.

    >>> x = keras.Input((7, 9, 16))
    >>> residual_unit(x, 24, strides=2, name="unit").shape
    (None, 4, 5, 24)
    """
    conv = partial(conv_bn, padding=padding, epsilon=epsilon, momentum=momentum)
    branch = conv(x, filters, 3, strides=strides, activation=activation, name=f"{name}_1")
    branch = conv(branch, filters, 3, activation=None, name=f"{name}_2")
    x = shortcut(x, filters, strides=strides, epsilon=epsilon, momentum=momentum, name=f"{name}_shortcut")
    x = residual_add(branch, x, drop_path=drop_path, name=name)
    return keras.layers.Activation(activation, name=f"{name}_activation")(x)


def bottleneck(
    x,
    filters: int,
    *,
    width: int | None = None,
    strides: int = 1,
    stride_at: str = "1x1",
    groups: int = 1,
    se_ratio: int = 0,
    activation: str | Callable = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    drop_path: float = 0.0,
    name: str,
):
    """Adds a 3x3 convolution between two 1x1 convolutions to a shortcut, and applies a ReLU to the sum.

    The first 1x1 convolution reduces the number of channels, and the second increases it. With `groups` above 1 this
    is the unit of ResNeXt (32 groups of 4 channels: `groups=32, width=128`), and with `se_ratio` that of SE-ResNet. The
    3x3 convolution pads all sides equally, as in Caffe and PyTorch.

    Source: He et al. 2016, "Deep Residual Learning", figure 5 right; Xie et al. 2017, "Aggregated Residual
    Transformations", figure 3c; Hu et al. 2018, "Squeeze-and-Excitation Networks", figure 3.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels. The shortcut is `x` itself where its shape is that of the output.
        width: Number of channels of the 3x3 convolution, a multiple of `groups`. Defaults to a quarter of `filters`.
        strides: Stride of the unit. Defaults to 1.
        stride_at: Convolution that has the stride. "1x1" is the first one, as published. "3x3" is what the models of
            PyTorch have; it skips no pixel. Defaults to "1x1".
        groups: Number of groups of the 3x3 convolution. Defaults to 1.
        se_ratio: Ratio of the squeeze-and-excitation before the sum. 0 leaves it out. Defaults to 0.
        activation: Activation after the first two batch norms and after the sum. Defaults to "relu".
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        drop_path: Rate at which the branch is dropped in training. Defaults to 0.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / strides, w / strides, filters]`. Sizes are rounded up.

    Raises:
        ValueError: `stride_at` is neither "1x1" nor "3x3", or the width is not a multiple of `groups`.

    Example:

    >>> x = keras.Input((7, 9, 64))
    >>> bottleneck(x, 256, width=128, groups=32, strides=2, stride_at="3x3", name="unit").shape
    (None, 4, 5, 256)
    """
    if stride_at not in ("1x1", "3x3"):
        raise ValueError(f'stride_at must be "1x1" or "3x3", got {stride_at!r}')
    width = filters // 4 if width is None else width
    first, second = (strides, 1) if stride_at == "1x1" else (1, strides)
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    branch = conv(x, width, strides=first, padding="valid", activation=activation, name=f"{name}_1")
    middle = partial(conv, kernel_size=3, strides=second, padding="symmetric", groups=groups)
    branch = middle(branch, width, activation=activation, name=f"{name}_2")
    branch = conv(branch, filters, activation=None, name=f"{name}_3")
    if se_ratio:
        branch = squeeze_excite(branch, ratio=se_ratio, name=f"{name}_se")
    x = shortcut(x, filters, strides=strides, epsilon=epsilon, momentum=momentum, name=f"{name}_shortcut")
    x = residual_add(branch, x, drop_path=drop_path, name=name)
    return keras.layers.Activation(activation, name=f"{name}_activation")(x)


def preactivation_unit(
    x,
    filters: int,
    *,
    width: int | None = None,
    strides: int = 1,
    use_bias: bool = False,
    dropout: float = 0.0,
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """Applies a residual unit whose batch norms and ReLUs stand before the convolutions, and not on the shortcut.

    The branch has two 3x3 convolutions, or, with `width`, a 3x3 convolution of that width between two 1x1 convolutions.
    The first 3x3 convolution has the stride. Where the number of channels changes, the shortcut is a 1x1 convolution of
    the activated input. Where only the size changes, the shortcut takes every other pixel of `x`.

    Source: He et al. 2016, "Identity Mappings in Deep Residual Networks", figure 1b and section 4.1. The dropout
    between the two convolutions is from Zagoruyko & Komodakis 2016, "Wide Residual Networks", figure 1d.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels.
        width: Number of channels of the 3x3 convolution of a bottleneck. None makes no bottleneck. Defaults to None.
        strides: Stride of the unit. Defaults to 1.
        use_bias: Whether the convolutions that no batch norm follows (the last one and that of the shortcut) have a
            bias. Defaults to False.
        dropout: Rate of the dropout before the last convolution. Defaults to 0.
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / strides, w / strides, filters]`. Sizes are rounded up.

    >>> x = keras.Input((7, 9, 16))
    >>> preactivation_unit(x, 32, strides=2, name="unit").shape
    (None, 4, 5, 32)
    """
    conv = partial(conv_bn, padding="symmetric", epsilon=epsilon, momentum=momentum)
    plain = partial(keras.layers.Conv2D, padding="same", use_bias=use_bias, kernel_initializer="he_normal")
    active = bn_activation(x, activation="relu", epsilon=epsilon, momentum=momentum, name=f"{name}_preact")
    if x.shape[-1] != filters:
        x = plain(filters, 1, strides=strides, name=f"{name}_shortcut_conv")(active)
    elif strides > 1:
        x = keras.layers.MaxPooling2D(1, strides=strides, name=f"{name}_shortcut_pool")(x)

    if width is None:
        branch = conv(active, filters, 3, strides=strides, name=f"{name}_1")
    else:
        branch = conv(active, width, name=f"{name}_1")
        branch = conv(branch, width, 3, strides=strides, name=f"{name}_2")
    if dropout:
        branch = keras.layers.Dropout(dropout, name=f"{name}_dropout")(branch)
    last = f"{name}_{2 if width is None else 3}_conv"
    branch = plain(filters, 3 if width is None else 1, name=last)(branch)
    return residual_add(branch, x, name=name)


class Excitation(NamedTuple):
    """The squeeze-and-excitation of an inverted residual.

    Attributes:
        ratio: Width of its bottleneck as a share of the channels of the unit's input, above 0.
        activation: Activation of the bottleneck. None takes that of the unit.
        gate: Activation of the gate.
    """

    ratio: float
    activation: str | None = None
    gate: str = "sigmoid"


def inverted_residual(
    x,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    expansion: float,
    excitation: Excitation | None = None,
    padding: str = "same",
    activation: str = "relu6",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    drop_path: float = 0.0,
    name: str,
):
    """Applies a residual unit that is narrow at both ends and wide inside.

    A 1x1 convolution expands the channels, a depthwise convolution filters each of them, and a 1x1 convolution without
    activation projects them. The input is added where its shape is that of the output.

    Source: Sandler et al. 2018, "MobileNetV2", table 1 and figure 4. The squeeze-and-excitation of the filtered
    channels is from Tan & Le 2019, "EfficientNet", and Howard et al. 2019, "MobileNetV3", figure 4.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels.
        kernel_size: Size of the kernel of the depthwise convolution.
        strides: Stride of the depthwise convolution. Defaults to 1.
        expansion: Factor of the width inside, which is `c * expansion`. 1 leaves the first convolution out.
        excitation: Squeeze-and-excitation behind the depthwise convolution, or None.
        padding: "same" or "symmetric" padding of the depthwise convolution, as for `conv_bn`. Defaults to "same".
        activation: Activation after the first two batch norms. Defaults to "relu6".
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        drop_path: Rate at which the branch is dropped in training, where the input is added. Defaults to 0.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / strides, w / strides, filters]`. Sizes are rounded up.

    >>> x = keras.Input((7, 9, 16))
    >>> inverted_residual(x, 24, 3, strides=2, expansion=6, name="block2a").shape
    (None, 4, 5, 24)
    """
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = conv(x, round(channels * expansion), activation=activation, name=f"{name}_expand")
    x = depthwise_bn(
        x,
        kernel_size,
        strides=strides,
        padding=padding,
        activation=activation,
        epsilon=epsilon,
        momentum=momentum,
        name=name,
    )
    if excitation is not None:
        reduced = max(1, round(channels * excitation.ratio))
        inner = excitation.activation or activation
        x = squeeze_excite(x, reduced=reduced, activation=inner, gate=excitation.gate, name=f"{name}_se")
    x = conv(x, filters, activation=None, name=f"{name}_project")
    if strides == 1 and channels == filters:
        x = residual_add(x, shortcut, drop_path=drop_path, name=name)
    return x
