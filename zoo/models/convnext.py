"""ConvNeXt-T: a ResNet that takes over the design of transformers, except for attention.

Liu et al. 2022, "A ConvNet for the 2020s", table 9 and figure 4. The stochastic depth is that of appendix A.1.
"""

import re
from dataclasses import dataclass

import keras

from zoo.blocks import normalise, residual_add
from zoo.layers import LayerScale, gelu
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "ConvNeXt", "convnext_block", "head", "keras_layer", "trunk"]

EPSILON = 1e-6


@dataclass(frozen=True)
class ConvNeXt(Variant):
    """A row of table 9.

    Attributes:
        blocks: Number of blocks of each stage.
        widths: Number of channels of each stage.
        drop_path: Rate at which the last block is dropped in training. The rates of the others grow to it with depth.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    drop_path: float


VARIANTS = {
    "convnext_tiny": ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
}


def trunk(image, variant: ConvNeXt):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded down at each stride.
    """
    x = normalise(image, "imagenet")
    done, last = 0, sum(variant.blocks) - 1
    for stage, (blocks, channels) in enumerate(zip(variant.blocks, variant.widths, strict=True), 1):
        # The first stride takes patches of 4x4. The later ones take patches of 2x2, after a norm.
        if stage == 1:
            x = keras.layers.Conv2D(channels, 4, strides=4, name="stem_conv")(x)
            x = keras.layers.LayerNormalization(epsilon=EPSILON, name="stem_norm")(x)
        else:
            x = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"stage{stage}_down_norm")(x)
            x = keras.layers.Conv2D(channels, 2, strides=2, name=f"stage{stage}_down_conv")(x)
        for block in range(1, blocks + 1):
            x = convnext_block(x, drop_path=variant.drop_path * done / last, name=f"stage{stage}_block{block}")
            done += 1
    return x


def convnext_block(x, *, drop_path: float = 0.0, name: str):
    """Applies a 7x7 depthwise convolution, a layer norm and two dense layers, and adds the input.

    A GELU stands between the dense layers.

    Source: figure 4 of the paper.

    Args:
        x: Feature map `[n, h, w, c]`.
        drop_path: Rate at which the branch is dropped in training. Defaults to 0.
        name: Prefix of the names of the layers.

    Returns:
        Feature map of the shape of `x`.

    >>> convnext_block(keras.Input((7, 9, 96)), name="block").shape
    (None, 7, 9, 96)
    """
    channels = x.shape[-1]
    branch = keras.layers.DepthwiseConv2D(7, padding="same", name=f"{name}_dwconv")(x)
    branch = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(branch)
    branch = keras.layers.Dense(4 * channels, activation=gelu, name=f"{name}_expand")(branch)
    branch = keras.layers.Dense(channels, name=f"{name}_project")(branch)
    branch = LayerScale(name=f"{name}_scale")(branch)
    return residual_add(branch, x, drop_path=drop_path, name=name)


def head(x, variant: ConvNeXt, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.LayerNormalization(epsilon=EPSILON, name="top_norm")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of ConvNeXt-T in `keras.applications`.

    >>> keras_layer("stage2_down_norm"), keras_layer("stage1_block3_expand")
    ('convnext_tiny_downsampling_layernorm_0', 'convnext_tiny_stage_0_block_2_pointwise_conv_1')
    """
    layers = {
        "dwconv": "depthwise_conv",
        "norm": "layernorm",
        "expand": "pointwise_conv_1",
        "project": "pointwise_conv_2",
        "scale": "layer_scale",
    }
    if match := re.fullmatch(r"stage(\d)_block(\d)_(\w+)", name):
        stage, block, layer = match.groups()
        name = f"stage_{int(stage) - 1}_block_{int(block) - 1}_{layers[layer]}"
    elif match := re.fullmatch(r"stage(\d)_down_(\w+)", name):
        name = f"downsampling_{layers.get(match[2], match[2])}_{int(match[1]) - 2}"
    else:
        top = {"stem_norm": "stem_layernorm", "top_norm": "head_layernorm", "predictions": "head_dense"}
        name = top.get(name, name)
    return f"convnext_tiny_{name}"
