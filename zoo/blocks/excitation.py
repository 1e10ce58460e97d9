"""Squeeze-and-excitation."""

import keras

__all__ = ["squeeze_excite"]


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
