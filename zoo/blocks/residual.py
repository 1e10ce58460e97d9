"""Residual units."""

from collections.abc import Callable
from functools import partial

import keras

from zoo.blocks.convolution import bn_activation, conv_bn, depthwise_bn
from zoo.blocks.excitation import squeeze_excite
from zoo.primitives.residual import DropPath

__all__ = ["bottleneck", "inverted_residual", "preactivation_unit", "residual_add", "residual_unit", "shortcut"]


def residual_add(x, shortcut, *, drop_path: float = 0.0, seed: int | None = None, name: str):
    """`shortcut + x`, the branch `x` dropped at the rate `drop_path` in training. Shapes are equal and stay."""
    if drop_path:
        x = DropPath(drop_path, seed=seed, name=f"{name}_drop")(x)
    return keras.layers.Add(name=f"{name}_add")([shortcut, x])


def shortcut(x, filters: int, *, strides: int = 1, epsilon: float = 1e-3, momentum: float = 0.99, name: str):
    """`x` itself where a unit keeps its shape; else a 1x1 convolution and batch norm that bring it to the new shape.

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
    """Two 3x3 convolutions with batch norm, added to a shortcut; ReLU after the sum.

    Source: He et al. 2016, "Deep Residual Learning", figure 2 and table 1 (18 and 34 layers).

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output. The shortcut is `x` itself where strides and channels allow it.
        strides: of the first convolution and of the shortcut.
        padding: "same", or "symmetric" for weights from PyTorch, as in `conv_bn`.
        activation: after the first batch norm and after the sum.
        epsilon, momentum: of the batch norms.
        drop_path: rate at which the branch is dropped in training.
        name: prefix of the layers' names.

    Returns:
        `[n, h / strides, w / strides, filters]`, rounded up.

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
    padding: str = "symmetric",
    activation: str | Callable = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    drop_path: float = 0.0,
    name: str,
):
    """A 3x3 convolution between two 1x1 ones that narrow and widen, added to a shortcut; ReLU after the sum.

    With `groups` above 1 it is the unit of ResNeXt (32 groups of 4 channels: `groups=32, width=128`), with `se_ratio`
    that of SE-ResNet.

    Source: He et al. 2016, "Deep Residual Learning", figure 5 right; Xie et al. 2017, "Aggregated Residual
    Transformations", figure 3c; Hu et al. 2018, "Squeeze-and-Excitation Networks", figure 3.

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output. The shortcut is `x` itself where strides and channels allow it.
        width: channels of the 3x3 convolution; a multiple of `groups`. A quarter of `filters` unless told.
        strides: of the unit.
        stride_at: the convolution that has the strides: the first, "1x1", as published; or "3x3", as in PyTorch's
            models, which drops no pixel unseen.
        groups: of the 3x3 convolution.
        se_ratio: of the squeeze-and-excitation before the sum; 0 leaves it out.
        padding: of the 3x3 convolution, as in `conv_bn`.
        activation: after the first two batch norms and after the sum.
        epsilon, momentum: of the batch norms.
        drop_path: rate at which the branch is dropped in training.
        name: prefix of the layers' names.

    Returns:
        `[n, h / strides, w / strides, filters]`, rounded up.

    Raises:
        ValueError: another `stride_at`, or a width that is not a multiple of `groups`.

    Example:

    >>> x = keras.Input((7, 9, 64))
    >>> bottleneck(x, 256, width=128, groups=32, strides=2, stride_at="3x3", name="unit").shape
    (None, 4, 5, 256)
    """
    if stride_at not in ("1x1", "3x3"):
        raise ValueError(f'stride_at is "1x1" or "3x3", got {stride_at!r}')
    width = filters // 4 if width is None else width
    first, second = (strides, 1) if stride_at == "1x1" else (1, strides)
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    branch = conv(x, width, strides=first, padding="valid", activation=activation, name=f"{name}_1")
    branch = conv(
        branch, width, 3, strides=second, padding=padding, groups=groups, activation=activation, name=f"{name}_2"
    )
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
    """A residual unit whose batch norms and ReLUs stand before the convolutions, so that the shortcut stays clean.

    Two 3x3 convolutions; or, with `width`, a 3x3 of that width between two 1x1. Strides are the first 3x3's. Where
    the channels change, the shortcut is a 1x1 convolution of the activated input; where only the size does, it
    takes every other pixel of `x`.

    Source: He et al. 2016, "Identity Mappings in Deep Residual Networks", figure 1b and section 4.1; dropout between
    the two convolutions from Zagoruyko & Komodakis 2016, "Wide Residual Networks", figure 1d.

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output.
        width: channels of the 3x3 convolution of a bottleneck.
        strides: of the unit.
        use_bias: for the convolutions that no batch norm follows (the last one and the shortcut's).
        dropout: rate before the last convolution.
        epsilon, momentum: of the batch norms.
        name: prefix of the layers' names.

    Returns:
        `[n, h / strides, w / strides, filters]`, rounded up.

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


def inverted_residual(
    x,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    expansion: float,
    se_ratio: float = 0.0,
    se_activation: str | None = None,
    se_gate: str = "sigmoid",
    activation: str = "relu6",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    drop_path: float = 0.0,
    name: str,
):
    """Expand with 1x1, filter each channel, project with 1x1 and no activation; shortcut where shapes allow.

    Source: Sandler et al. 2018, "MobileNetV2", table 1 and figure 4; with squeeze-and-excitation on the filtered
    channels as in Tan & Le 2019, "EfficientNet", and Howard et al. 2019, "MobileNetV3", figure 4.

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output.
        kernel_size, strides: of the depthwise convolution.
        expansion: the inner width is `c * expansion`; 1 leaves the first convolution out.
        se_ratio: bottleneck of squeeze-and-excitation as a share of `c`; 0 leaves it out.
        se_activation, se_gate: in squeeze-and-excitation; `activation` unless told, and sigmoid.
        activation: after the first two batch norms.
        epsilon, momentum: of the batch norms.
        drop_path: rate at which the branch is dropped in training, where there is a shortcut.
        name: prefix of the layers' names.

    Returns:
        `[n, h / strides, w / strides, filters]`, rounded up.

    >>> x = keras.Input((7, 9, 16))
    >>> inverted_residual(x, 24, 3, strides=2, expansion=6, name="block2a").shape
    (None, 4, 5, 24)
    """
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = conv(x, round(channels * expansion), activation=activation, name=f"{name}_expand")
    x = depthwise_bn(
        x, kernel_size, strides=strides, activation=activation, epsilon=epsilon, momentum=momentum, name=name
    )
    if se_ratio:
        reduced = max(1, round(channels * se_ratio))
        x = squeeze_excite(x, reduced=reduced, activation=se_activation or activation, gate=se_gate, name=f"{name}_se")
    x = conv(x, filters, activation=None, name=f"{name}_project")
    if strides == 1 and channels == filters:
        x = residual_add(x, shortcut, drop_path=drop_path, name=name)
    return x
