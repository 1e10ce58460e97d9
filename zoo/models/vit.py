"""ViT tiny, small and base: an image is a sequence of patches of 16x16 pixels, with attention between all of them.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", table 1 and figure 1. The tiny and the small variant are those
of Steiner et al. 2021, "How to train your ViT?", table 1.

The position embeddings belong to the `image_size` of the variant. For other sizes they are interpolated (section 3.2),
so that the same weights serve all sizes. An image whose size is not a multiple of that of a patch is padded with zeros
on all sides. Where their number is odd, one more is at the bottom or on the right.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import normalise, transformer_block
from zoo.layers import PatchMap, PatchTokens
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "VisionTransformer", "head", "trunk"]

EPSILON = 1e-6


@dataclass(frozen=True)
class VisionTransformer(Variant):
    """A row of table 1.

    Attributes:
        width: Number of channels of a token.
        heads: Number of attention heads.
        blocks: Number of transformer blocks. Defaults to 12.
        patch: Height and width of a patch, in pixels. Defaults to 16.
    """

    width: int
    heads: int
    blocks: int = 12
    patch: int = 16


VARIANTS = {
    "vit_tiny_patch16": VisionTransformer(192, 3, min_size=16),
    "vit_small_patch16": VisionTransformer(384, 6, min_size=16),
    "vit_base_patch16": VisionTransformer(768, 12, min_size=16),
}


def trunk(image, variant: VisionTransformer):
    """Builds the network from `[n, h, w, 3]` in 0..255 up to the last block.

    The result is a dict of the "feature_map" `[n, h / patch, w / patch, width]`, whose sizes are rounded up, and the
    "class_token" `[n, width]`.
    """
    grid = -(-variant.image_size // variant.patch)
    x = normalise(image, "symmetric")
    patches = keras.layers.Conv2D(variant.width, variant.patch, strides=variant.patch, padding="same", name="patches")(
        x
    )
    tokens = PatchTokens((grid, grid), name="tokens")(patches)
    for block in range(1, variant.blocks + 1):
        tokens = transformer_block(tokens, variant.heads, epsilon=EPSILON, name=f"block{block}")
    tokens = keras.layers.LayerNormalization(epsilon=EPSILON, name="top_norm")(tokens)
    return {"feature_map": PatchMap(name="feature_map")([tokens, patches]), "class_token": tokens[:, 0]}


def head(x, variant: VisionTransformer, num_classes: int, activation: str | None):
    """Builds the layer from the class token to the probabilities of the classes."""
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x["class_token"])
