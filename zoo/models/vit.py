"""ViT tiny, small and base: an image as a sequence of patches of 16x16, with attention between all of them.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", table 1 and figure 1; tiny and small as in Steiner et al.
2021, "How to train your ViT?", table 1.

The position embeddings are those of the variant's `image_size`, and interpolated for other sizes (section 3.2), so that
the same weights serve all of them. An image whose size is not a multiple of the patch's is padded with zeros, evenly,
and at the bottom and right first.
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
    """Width of a token, heads of the attention, blocks, and pixels along the side of a patch."""

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
    """`[n, h, w, 3]` in 0..255 -> the feature map `[n, h / patch, w / patch, c]`, rounded up, and the class token."""
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
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x["class_token"])
