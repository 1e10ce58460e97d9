"""Cross stage partial blocks."""

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
