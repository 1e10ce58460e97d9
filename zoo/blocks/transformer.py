"""Transformer blocks: attention between all tokens of a sequence."""

import keras

from zoo.blocks.residual import residual_add
from zoo.primitives.activations import gelu

__all__ = ["transformer_block"]


def transformer_block(x, heads: int, *, expansion: int = 4, epsilon: float = 1e-6, name: str):
    """Applies self-attention, and then two dense layers to each token.

    Both parts have a layer norm before them and a shortcut around them.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equations 2 and 3 and figure 1.

    Args:
        x: Tokens `[n, t, c]`.
        heads: Number of attention heads. They share the `c` channels evenly.
        expansion: Factor of the width of the first dense layer, which is `c * expansion`. Defaults to 4.
        epsilon: Number that the layer norms add to the variance. Defaults to 1e-6.
        name: Prefix of the names of the layers.

    Returns:
        Tokens of the shape of `x`.

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
