"""Building blocks: functions from tensor to tensor that add plain Keras layers to a flat graph.

A model made of them has every convolution as a layer of its own, so that taps, Grad-CAM, cost, batch-norm folding
and freezing work on it. `name` is the prefix of the layers' names: `conv_bn(x, 32, name="stem")` adds `stem_conv`,
`stem_bn` and `stem_activation`.

Shapes are `[n, height, width, channels]` throughout; the dtype is that of Keras' policy.
"""

import math
from collections.abc import Callable
from functools import partial

import keras
import numpy as np

from zoo.layers import DropPath, GroupedConv2D, gelu

__all__ = [
    "DefaultConv2D",
    "bottleneck",
    "conv_bn",
    "conv_relu",
    "csp_stage",
    "dense_block",
    "depthwise_bn",
    "inception_module",
    "inverted_residual",
    "normalise",
    "parallel",
    "preactivation_unit",
    "residual_add",
    "residual_unit",
    "scaled_channels",
    "separable_bn",
    "shortcut",
    "squeeze_excite",
    "transformer_block",
    "transition",
]

# For textbook models: a 3x3 convolution with bias and ReLU. With `use_bias=False, activation=None` it is the one to
# put before a batch norm.
DefaultConv2D = partial(
    keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu", kernel_initializer="he_normal"
)


# Statistics of ImageNet's training photos, as fractions of 255, in the order RGB.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What Caffe's networks subtract, in 0..255, in the order RGB.
CAFFE_MEAN = (123.68, 116.779, 103.939)


def normalise(image, scheme: str):
    """Brings RGB in 0..255 to what a network was trained on, as layers of the model.

    Args:
        image: `[n, h, w, c]` in 0..255.
        scheme: "unit" for 0..1; "symmetric" for -1..1; "imagenet" for 0..1 less ImageNet's mean, over its standard
            deviation; "caffe" for 0..255 less ImageNet's mean (in RGB: where weights want BGR, they are reordered when
            they are read); "none".

    Returns:
        `[n, h, w, c]`. "imagenet" and "caffe" have a value for each colour, which further channels take in turn. Fewer
        than three they repeat until there is one for each colour, so that a grey image becomes what the same image in
        RGB does: no single channel could, since convolutions pad with zeros what has been normalised.

    Raises:
        ValueError: unknown scheme.

    >>> normalise(keras.Input((7, 9, 3)), "symmetric").shape
    (None, 7, 9, 3)
    """
    if scheme == "none":
        return image
    if scheme == "unit":
        return keras.layers.Rescaling(1 / 255, name="rescaling")(image)
    if scheme == "symmetric":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image)
    if scheme == "imagenet":
        return _by_colour(image, 255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD))
    if scheme == "caffe":
        return _by_colour(image, np.array(CAFFE_MEAN), np.ones(3))
    raise ValueError(f'scheme is one of "unit", "symmetric", "imagenet", "caffe", "none"; got {scheme!r}')


def _by_colour(x, mean: np.ndarray, deviation: np.ndarray):
    """Less the mean and over the deviation of each channel's colour.

    A `Rescaling`, since the constants of a `Normalization` are lost when Keras (3.15) exports a model to ONNX.
    """
    if (repeats := math.ceil(len(mean) / x.shape[-1])) > 1:
        x = keras.layers.Concatenate(name="colours")([x] * repeats)
    scale, offset = (np.resize(value, x.shape[-1]).tolist() for value in (1 / deviation, -mean / deviation))
    return keras.layers.Rescaling(scale, offset=offset, name="rescaling")(x)


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


def squeeze_excite(
    x,
    *,
    ratio: int = 16,
    reduced: int | None = None,
    activation: str = "relu",
    gate: str = "sigmoid",
    name: str,
):
    """Weighs each channel by a gate computed from the mean of all channels.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4. The two dense layers of the paper
    stand here as 1x1 convolutions on a 1x1 map, which is the same.

    Args:
        x: `[n, h, w, c]`.
        ratio: the bottleneck has `c // ratio` channels.
        reduced: channels of the bottleneck, where they are no such share of `c`.
        activation: of the bottleneck.
        gate: what makes a weight in 0..1 of each channel.
        name: prefix of the layers' names.

    Returns:
        The shape of `x`.

    Raises:
        ValueError: fewer channels than `ratio`.

    >>> squeeze_excite(keras.Input((7, 9, 32)), name="se").shape
    (None, 7, 9, 32)
    """
    reduced = x.shape[-1] // ratio if reduced is None else reduced
    if reduced < 1:
        raise ValueError(
            f"{name}: squeeze-and-excitation of {x.shape[-1]} channels at ratio {ratio} leaves {reduced} in the "
            "bottleneck: lower the ratio, or give `reduced`"
        )
    weight = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    weight = keras.layers.Conv2D(reduced, 1, activation=activation, name=f"{name}_reduce")(weight)
    weight = keras.layers.Conv2D(x.shape[-1], 1, activation=gate, name=f"{name}_expand")(weight)
    return keras.layers.Multiply(name=f"{name}_excite")([x, weight])


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


def dense_block(
    x, layers: int, growth_rate: int, *, width: int = 4, epsilon: float = 1e-3, momentum: float = 0.99, name: str
):
    """Layers that each add `growth_rate` channels to all the channels before them.

    A layer is batch norm, ReLU, a 1x1 convolution to `width * growth_rate` channels, batch norm, ReLU and a 3x3
    convolution; its output is joined to its input.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks", equation 2 and section 3 (DenseNet-B).

    Args:
        x: `[n, h, w, c]`.
        layers: how many.
        growth_rate: channels that each adds.
        width: of the 1x1 convolution, as a multiple of the growth rate.
        epsilon, momentum: of the batch norms.
        name: prefix of the layers' names.

    Returns:
        `[n, h, w, c + layers * growth_rate]`.

    >>> dense_block(keras.Input((7, 9, 16)), 3, 12, name="dense1").shape
    (None, 7, 9, 52)
    """
    norm = partial(bn_activation, activation="relu", epsilon=epsilon, momentum=momentum)
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    for layer in range(1, layers + 1):
        prefix = f"{name}_layer{layer}"
        added = conv(norm(x, name=f"{prefix}_preact"), width * growth_rate, name=f"{prefix}_1")
        added = DefaultConv2D(growth_rate, use_bias=False, activation=None, name=f"{prefix}_2_conv")(added)
        x = keras.layers.Concatenate(name=f"{prefix}_concat")([x, added])
    return x


def transition(x, compression: float = 0.5, *, epsilon: float = 1e-3, momentum: float = 0.99, name: str):
    """Between two dense blocks: fewer channels by a 1x1 convolution, half the size by average pooling.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks", section 3 (DenseNet-C).

    Args:
        x: `[n, h, w, c]`.
        compression: share of the channels that stays, in (0, 1].
        epsilon, momentum: of the batch norm.
        name: prefix of the layers' names.

    Returns:
        `[n, h / 2, w / 2, c * compression]`, each rounded down.

    Raises:
        ValueError: a compression outside (0, 1], or that leaves no channel.

    >>> transition(keras.Input((7, 9, 52)), name="transition1").shape
    (None, 3, 4, 26)
    """
    filters = int(x.shape[-1] * compression)
    if not 1 <= filters <= x.shape[-1]:
        raise ValueError(
            f"{name}: compression {compression} makes {filters} channels of {x.shape[-1]}: "
            "make it a share in (0, 1] that leaves at least one"
        )
    x = bn_activation(x, activation="relu", epsilon=epsilon, momentum=momentum, name=name)
    x = DefaultConv2D(filters, kernel_size=1, use_bias=False, activation=None, name=f"{name}_conv")(x)
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def csp_stage(
    x,
    filters: int,
    units: int,
    unit: Callable,
    *,
    part: int,
    activation: str | Callable | None = "relu",
    part_activation: str | Callable | None = "relu",
    epsilon: float = 1e-3,
    momentum: float = 0.99,
    name: str,
):
    """Sends one part of the channels through residual units and the other past them, and joins both.

    Source: Wang et al. 2020, "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", figure 3b. Where
    the paper splits the channels of `x`, each part here is a 1x1 convolution of all of them, as in the authors' code.

    Args:
        x: `[n, h, w, c]`.
        filters: channels of the output.
        units: how many.
        unit: a function of a tensor and a keyword `name`, such as a partial of `bottleneck`.
        part: channels of each of the two parts.
        activation: after the two transitions that follow the units.
        part_activation: after the convolutions that make the parts.
        epsilon, momentum: of the batch norms.
        name: prefix of the layers' names.

    Returns:
        `[n, h, w, filters]`.

    Example:

    >>> unit = partial(bottleneck, filters=32, width=16)
    >>> csp_stage(keras.Input((7, 9, 64)), 128, 2, unit, part=32, name="stage3").shape
    (None, 7, 9, 128)
    """
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    past = conv(x, part, activation=part_activation, name=f"{name}_past")
    x = conv(x, part, activation=part_activation, name=f"{name}_through")
    for i in range(1, units + 1):
        x = unit(x, name=f"{name}_unit{i}")
    x = conv(x, part, activation=activation, name=f"{name}_transition")
    x = keras.layers.Concatenate(name=f"{name}_concat")([past, x])
    return conv(x, filters, activation=activation, name=f"{name}_join")


def transformer_block(x, heads: int, *, expansion: int = 4, epsilon: float = 1e-6, name: str):
    """Self-attention, then two dense layers on each token, each with a layer norm before it and a shortcut around it.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equations 2 and 3 and figure 1.

    Args:
        x: tokens `[n, t, c]`.
        heads: of the attention; they share the `c` channels evenly.
        expansion: the inner width of the dense layers is `c * expansion`.
        epsilon: of the layer norms.
        name: prefix of the layers' names.

    Returns:
        The shape of `x`.

    Raises:
        ValueError: `c` is not a multiple of `heads`.

    >>> transformer_block(keras.Input((65, 192)), 3, name="block1").shape
    (None, 65, 192)
    """
    channels = x.shape[-1]
    if channels % heads:
        raise ValueError(
            f"{name}: {heads} heads cannot share {channels} channels evenly: make the channels a multiple of {heads}, "
            "or change the number of heads"
        )
    branch = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_attention_norm")(x)
    branch = keras.layers.MultiHeadAttention(heads, channels // heads, name=f"{name}_attention")(branch, branch)
    x = residual_add(branch, x, name=f"{name}_attention")
    branch = keras.layers.LayerNormalization(epsilon=epsilon, name=f"{name}_mlp_norm")(x)
    branch = keras.layers.Dense(channels * expansion, activation=gelu, name=f"{name}_mlp_expand")(branch)
    branch = keras.layers.Dense(channels, name=f"{name}_mlp_project")(branch)
    return residual_add(branch, x, name=f"{name}_mlp")


def parallel(x, *branches, conv=conv_bn, name: str):
    """Branches side by side on one input, joined along the channels.

    A branch is a sequence of steps, each a tuple (what, size, strides, padding), of which the last two can be left
    out. `what` is the number of filters of a convolution, or "max" or "average" for pooling. Strides are 1 unless told,
    the padding "same" at stride 1 and "valid" above. Step 2 of branch 1 of "mixed3a" is named "mixed3a_1_2". A step
    ("fork", branches) splits the branch into parallel ones in its turn.

    Args:
        x: `[n, h, w, c]`.
        branches: as above.
        conv: what makes a convolution: `conv_bn`, `conv_relu`, or a partial of one.
        name: of the joining layer, and prefix of all others.

    Returns:
        `[n, h', w', sum of the branches' channels]`.

    Example:

    >>> x = keras.Input((7, 9, 16))
    >>> parallel(x, [(4, 1)], [(8, 1), (12, (3, 1)), (12, (1, 3))], [("average", 3), (6, 1)], name="mixed").shape
    (None, 7, 9, 22)
    >>> parallel(x, [(4, 3, 2)], [("max", 3, 2)], name="reduction").shape
    (None, 3, 4, 20)
    """
    pools = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    ends = []
    for i, branch in enumerate(branches, 1):
        end = x
        for j, (what, size, *rest) in enumerate(branch, 1):
            strides = rest[0] if rest else 1
            padding = rest[1] if len(rest) > 1 else ("same" if strides == 1 else "valid")
            step = f"{name}_{i}_{j}"
            if what in pools:
                end = pools[what](size, strides=strides, padding=padding, name=f"{step}_pool")(end)
            elif what == "fork":
                end = parallel(end, *size, conv=conv, name=step)
            else:
                end = conv(end, what, size, strides=strides, padding=padding, name=step)
        ends.append(end)
    return keras.layers.Concatenate(name=name)(ends)


def inception_module(x, filters, *, kernel_sizes=(3, 5), batch_norm: bool = False, name: str):
    """Convolutions of three sizes and a max pooling side by side; 1x1 convolutions keep the large ones cheap.

    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2b and the columns of table 1.

    Args:
        x: `[n, h, w, c]`.
        filters: six numbers: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
        kernel_sizes: of the two larger convolutions.
        batch_norm: after each convolution, in place of its bias.
        name: of the joining layer, and prefix of all others.

    Returns:
        `[n, h, w, 1x1 + 3x3 + 5x5 + pool projection]`.

    Raises:
        ValueError: `filters` are not six.

    >>> x = keras.Input((7, 9, 192))
    >>> inception_module(x, (64, 96, 128, 16, 32, 32), name="inception3a").shape
    (None, 7, 9, 256)
    """
    if len(filters) != 6:
        raise ValueError(
            "inception_module needs six numbers of filters (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection), "
            f"got {len(filters)}: {tuple(filters)}"
        )
    one, reduce_three, three, reduce_five, five, projection = filters
    return parallel(
        x,
        [(one, 1)],
        [(reduce_three, 1), (three, kernel_sizes[0])],
        [(reduce_five, 1), (five, kernel_sizes[1])],
        [("max", 3), (projection, 1)],
        conv=conv_bn if batch_norm else conv_relu,
        name=name,
    )


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


def scaled_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least `divisor` and at least 0.9 of `channels`.

    Source: the authors' code of MobileNetV2 and EfficientNet, where width multipliers would give odd widths.

    >>> [scaled_channels(c) for c in (4, 11.9, 35.2, 44.8)]
    [8, 16, 32, 48]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
