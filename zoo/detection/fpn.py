"""Feature pyramids: coarse maps tell what an object is, fine maps tell where it is, and a pyramid combines both.

These are functions from tensors to tensors, like those of `zoo.blocks`. A pyramid is a dict from a level ("c3", "p3",
...) to a map `[n, h, w, c]`, from fine to coarse. Level 3 is the map at stride 8 (`zoo.features`).
"""

from collections.abc import Callable

import keras

from zoo.blocks import conv_bn

__all__ = ["bottom_up", "further_levels", "top_down"]

MOMENTUM = 0.9  # of batch norms: new ones must settle within the few hundred steps of a small data set


def top_down(
    maps: dict,
    filters: int,
    *,
    activation: str | Callable | None = "silu",
    momentum: float = MOMENTUM,
    name: str = "top_down",
) -> dict:
    """Adds to each map the next coarser one, enlarged, and applies a 3x3 convolution to the sum.

    Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", section 3 and figure 3. Deviation: batch
    norms and activations, which the paper found to matter little; here the trunk has not been trained for as long.

    Args:
        maps: A dict from levels to maps, such as the `output` of `zoo.surgery.feature_maps.features`. Each map must be
            half as high and wide as the one before.
        filters: Channels of all maps of the result.
        activation: Activation of the convolutions. Defaults to "silu".
        momentum: Momentum of the batch norms. Defaults to 0.9.
        name: Prefix of the names of the layers.

    Returns:
        A dict from "p3" (for "c3") and so on to maps of the same sizes.

    Raises:
        ValueError: If there are fewer than two maps, or if sizes are not halved from each map to the next.

    Example:

    >>> maps = {"c3": keras.Input((16, 24, 40)), "c4": keras.Input((8, 12, 112)), "c5": keras.Input((4, 6, 320))}
    >>> {level: map.shape for level, map in top_down(maps, 32).items()}
    {'p3': (None, 16, 24, 32), 'p4': (None, 8, 12, 32), 'p5': (None, 4, 6, 32)}
    """
    _check_halved(maps)
    result: dict = {}
    above = None
    for level, x in reversed(maps.items()):
        number = level[1:]
        x = conv_bn(x, filters, activation=None, momentum=momentum, name=f"{name}_{number}_lateral")
        if above is not None:
            magnified = keras.layers.UpSampling2D(2, name=f"{name}_{number}_magnify")(above)
            x = keras.layers.Add(name=f"{name}_{number}_add")([x, magnified])
        above = x
        result[f"p{number}"] = conv_bn(
            x, filters, 3, activation=activation, momentum=momentum, name=f"{name}_{number}_smooth"
        )
    return dict(reversed(result.items()))


def bottom_up(
    maps: dict,
    *,
    activation: str | Callable | None = "silu",
    momentum: float = MOMENTUM,
    name: str = "bottom_up",
) -> dict:
    """Adds to each map the next finer one, reduced by a 3x3 convolution of stride 2: the way back after `top_down`.

    Source: Liu et al. 2018, "Path Aggregation Network for Instance Segmentation", section 3.1 and figure 1b.

    Args:
        maps: A pyramid as `top_down` returns it. All maps have the same number of channels.
        activation: Activation of the convolutions. Defaults to "silu".
        momentum: Momentum of the batch norms. Defaults to 0.9.
        name: Prefix of the names of the layers.

    Returns:
        A dict with the same levels and shapes.

    Raises:
        ValueError: If there are fewer than two maps, or if sizes are not halved from each map to the next.

    >>> maps = {"p3": keras.Input((16, 24, 32)), "p4": keras.Input((8, 12, 32))}
    >>> {level: map.shape for level, map in bottom_up(maps).items()}
    {'p3': (None, 16, 24, 32), 'p4': (None, 8, 12, 32)}
    """
    _check_halved(maps)
    result: dict = {}
    below = None
    for level, x in maps.items():
        if below is not None:
            filters, prefix = x.shape[-1], f"{name}_{level[1:]}"
            reduced = conv_bn(
                below, filters, 3, strides=2, activation=activation, momentum=momentum, name=f"{prefix}_reduce"
            )
            x = keras.layers.Add(name=f"{prefix}_add")([x, reduced])
            x = conv_bn(x, filters, 3, activation=activation, momentum=momentum, name=f"{prefix}_smooth")
        result[level] = below = x
    return result


def further_levels(
    maps: dict,
    count: int,
    *,
    activation: str | Callable | None = "silu",
    momentum: float = MOMENTUM,
    name: str = "further",
) -> dict:
    """Adds coarser maps for larger objects: each is the one before, reduced by a 3x3 convolution of stride 2.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4 (P6 and P7). P6 is computed from P5,
    which Tian et al. 2019, "FCOS", section 3.2, found to be as good as from C5.

    Args:
        maps: A pyramid, from fine to coarse.
        count: Number of maps to add.
        activation: Activation of the convolutions. Defaults to "silu".
        momentum: Momentum of the batch norms. Defaults to 0.9.
        name: Prefix of the names of the layers.

    Returns:
        The pyramid with more levels, whose sizes are rounded up.

    >>> maps = {"p4": keras.Input((9, 12, 32)), "p5": keras.Input((5, 6, 32))}
    >>> {level: map.shape for level, map in further_levels(maps, 2).items() if level not in maps}
    {'p6': (None, 3, 3, 32), 'p7': (None, 2, 2, 32)}
    """
    result = dict(maps)
    level, x = list(maps.items())[-1]
    for number in range(int(level[1:]) + 1, int(level[1:]) + 1 + count):
        x = conv_bn(x, x.shape[-1], 3, strides=2, activation=activation, momentum=momentum, name=f"{name}_{number}")
        result[f"{level[0]}{number}"] = x
    return result


def _check_halved(maps: dict) -> None:
    if len(maps) < 2:
        raise ValueError(f"expected a pyramid of two levels or more, got {', '.join(maps) or 'none'}")
    sizes = {level: tuple(map.shape[1:3]) for level, map in maps.items()}
    below = None
    for size in sizes.values():
        if below is not None:
            for fine, coarse in zip(below, size, strict=True):
                if None not in (fine, coarse) and fine != 2 * coarse:
                    raise ValueError(
                        f"expected maps that are each half as high and wide as the one before, got {sizes}; take an "
                        'image size that is a multiple of the largest stride, and a trunk with padding "same"'
                    )
        below = size
