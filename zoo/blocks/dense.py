"""Densely connected blocks, in which each layer sees the outputs of all layers before it."""

from functools import partial

import keras

from zoo.blocks.convolution import Conv2DBeforeNorm, bn_activation, conv_bn

__all__ = ["dense_block", "transition"]


def dense_block(
    x, layers: int, growth_rate: int, *, width: int = 4, epsilon: float = 1e-3, momentum: float = 0.99, name: str
):
    """Applies layers that each add `growth_rate` channels to the channels of their input.

    A layer consists of a batch norm, a ReLU, a 1x1 convolution to `width * growth_rate` channels, a batch norm, a ReLU
    and a 3x3 convolution. Its output is concatenated with its input.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks", equation 2 and section 3 (DenseNet-B).

    Args:
        x: Feature map `[n, h, w, c]`.
        layers: Number of layers.
        growth_rate: Number of channels that each layer adds.
        width: Width of the 1x1 convolutions, as a multiple of the growth rate. Defaults to 4.
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h, w, c + layers * growth_rate]`.

    >>> dense_block(keras.Input((7, 9, 16)), 3, 12, name="dense1").shape
    (None, 7, 9, 52)
    """
    norm = partial(bn_activation, activation="relu", epsilon=epsilon, momentum=momentum)
    conv = partial(conv_bn, epsilon=epsilon, momentum=momentum)
    for layer in range(1, layers + 1):
        prefix = f"{name}_layer{layer}"
        added = conv(norm(x, name=f"{prefix}_preact"), width * growth_rate, name=f"{prefix}_1")
        added = Conv2DBeforeNorm(growth_rate, name=f"{prefix}_2_conv")(added)
        x = keras.layers.Concatenate(name=f"{prefix}_concat")([x, added])
    return x


def transition(x, compression: float = 0.5, *, epsilon: float = 1e-3, momentum: float = 0.99, name: str):
    """Reduces the channels by a 1x1 convolution and halves the size by average pooling, between two dense blocks.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks", section 3 (DenseNet-C).

    Args:
        x: Feature map `[n, h, w, c]`.
        compression: Share of the channels that is kept, in (0, 1]. Defaults to 0.5.
        epsilon: Number that the batch norm adds to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norm. Defaults to 0.99.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h / 2, w / 2, c * compression]`. All three are rounded down.

    Raises:
        ValueError: The compression is outside (0, 1], or leaves no channel.

    >>> transition(keras.Input((7, 9, 52)), name="transition1").shape
    (None, 3, 4, 26)
    """
    filters = int(x.shape[-1] * compression)
    if not 1 <= filters <= x.shape[-1]:
        raise ValueError(
            f"{name}: compression {compression} makes {filters} channels of {x.shape[-1]}: "
            "give a share in (0, 1] that leaves at least one channel"
        )
    x = bn_activation(x, activation="relu", epsilon=epsilon, momentum=momentum, name=name)
    x = Conv2DBeforeNorm(filters, kernel_size=1, name=f"{name}_conv")(x)
    return keras.layers.AveragePooling2D(2, name=f"{name}_pool")(x)
