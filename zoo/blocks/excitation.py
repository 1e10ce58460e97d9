"""Squeeze-and-excitation: weights for the channels of a feature map."""

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
    """Multiplies each channel by a weight that is computed from the means of all channels.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4. The two dense layers of the paper are
    1x1 convolutions on a 1x1 map here, which compute the same.

    Args:
        x: Feature map `[n, h, w, c]`.
        ratio: Factor by which the bottleneck has fewer channels: it has `c // ratio`. Defaults to 16.
        reduced: Number of channels of the bottleneck, which then does not depend on `ratio`.
        activation: Activation of the bottleneck. Defaults to "relu".
        gate: Activation that gives the weights of the channels, in 0..1. Defaults to "sigmoid".
        name: Prefix of the names of the layers.

    Returns:
        Feature map of the shape of `x`.

    Raises:
        ValueError: There are fewer channels than `ratio`.

    >>> squeeze_excite(keras.Input((7, 9, 32)), name="se").shape
    (None, 7, 9, 32)
    """
    reduced = x.shape[-1] // ratio if reduced is None else reduced
    if reduced < 1:
        raise ValueError(
            f"{name}: squeeze-and-excitation of {x.shape[-1]} channels at ratio {ratio} leaves {reduced} channels in "
            "the bottleneck: lower the ratio, or give `reduced`"
        )
    weight = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    weight = keras.layers.Conv2D(reduced, 1, activation=activation, name=f"{name}_reduce")(weight)
    weight = keras.layers.Conv2D(x.shape[-1], 1, activation=gate, name=f"{name}_expand")(weight)
    return keras.layers.Multiply(name=f"{name}_excite")([x, weight])
