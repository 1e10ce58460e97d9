"""Cross stage partial blocks, which send only a part of the channels through the units of a stage."""

from collections.abc import Callable
from functools import partial

import keras

from zoo.blocks.convolution import conv_bn

__all__ = ["csp_stage"]


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
    """Sends one part of the channels through residual units and the other part past them, and joins both.

    Source: Wang et al. 2020, "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", figure 3b. The paper
    splits the channels of `x` into two parts. Here each part is a 1x1 convolution of all channels, as in the authors'
    code.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels.
        units: Number of units.
        unit: Function that takes a tensor and a keyword `name`, for example a partial of `bottleneck`.
        part: Number of channels of each of the two parts.
        activation: Activation after the two transitions that follow the units. Defaults to "relu".
        part_activation: Activation after the convolutions that make the parts. Defaults to "relu".
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
        momentum: Momentum of the moving statistics of the batch norms. Defaults to 0.99.
        name: Prefix of the names of the layers.

    Returns:
        Feature map `[n, h, w, filters]`.

    Example:

    >>> from zoo.blocks import bottleneck
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
