"""Densely connected blocks."""

from functools import partial

import keras

from zoo.blocks.convolution import DefaultConv2D, bn_activation, conv_bn

__all__ = ["dense_block", "transition"]


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
