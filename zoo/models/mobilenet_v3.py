"""MobileNetV3, large and small: a MobileNetV2 with squeeze-and-excitation, in sizes that a search has found.

Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2.

Two details are those of the authors' code and of `keras.applications`: the bottleneck of squeeze-and-excitation is a
quarter of the expanded width, rounded to a multiple of 8, and the last hidden layer has a bias and no batch norm.
"""

import re
from dataclasses import dataclass

import keras

from zoo.blocks import Excitation, conv_bn, inverted_residual, normalise, scaled_channels
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "MobileNetV3", "head", "keras_layer", "trunk"]

# Kernel size, expanded width, number of channels, squeeze-and-excitation, hard swish (otherwise ReLU), stride.
LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
STEM = 16
MOMENTUM = 0.999


@dataclass(frozen=True)
class MobileNetV3(Variant):
    """A row of the table of MobileNetV3.

    Attributes:
        blocks: Rows of table 1 or 2.
        hidden: Width of the hidden layer before the classifier.
        alpha: Factor of the number of channels: the width multiplier of table 6. Defaults to 1.
        dropout: Rate of the dropout before the classifier. Defaults to 0.2.
    """

    blocks: tuple[tuple[int, int, int, bool, bool, int], ...]
    hidden: int
    alpha: float = 1.0
    dropout: float = 0.2


VARIANTS = {
    "mobilenet_v3_large": MobileNetV3(LARGE, 1280),
    "mobilenet_v3_large_075": MobileNetV3(LARGE, 1280, alpha=0.75),
    "mobilenet_v3_small": MobileNetV3(SMALL, 1024),
    "mobilenet_v3_small_075": MobileNetV3(SMALL, 1024, alpha=0.75),
}


def trunk(image, variant: MobileNetV3):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at each stride.
    """
    x = normalise(image, "symmetric")
    x = conv_bn(x, STEM, 3, strides=2, activation="hard_swish", momentum=MOMENTUM, name="stem")
    before = STEM
    for i, (kernel_size, expanded, channels, excite, swish, strides) in enumerate(variant.blocks):
        # The tables are for alpha = 1. For other factors, the expansion stays the same, and the width is rounded.
        width = scaled_channels(x.shape[-1] * (expanded / before))
        reduced = scaled_channels(width / 4)
        x = inverted_residual(
            x,
            scaled_channels(channels * variant.alpha),
            kernel_size,
            strides=strides,
            expansion=width / x.shape[-1],
            excitation=Excitation(reduced / x.shape[-1], "relu", "hard_sigmoid") if excite else None,
            activation="hard_swish" if swish else "relu",
            momentum=MOMENTUM,
            name=f"block{i}",
        )
        before = channels
    return conv_bn(x, scaled_channels(x.shape[-1] * 6), activation="hard_swish", momentum=MOMENTUM, name="top")


def head(x, variant: MobileNetV3, num_classes: int, activation: str | None):
    """Builds the layers up to the probabilities of the classes: the "efficient last stage" of figure 5.

    The widest layer stands after the pooling.
    """
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    hidden = scaled_channels(variant.hidden * max(1.0, variant.alpha))
    x = keras.layers.Dense(hidden, activation="hard_swish", kernel_initializer="he_normal", name="top_dense")(x)
    x = keras.layers.Dropout(variant.dropout, name="top_dropout")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of MobileNetV3 in `keras.applications`.

    >>> keras_layer("block0_dwconv"), keras_layer("block3_bn"), keras_layer("block3_se_expand")
    ('expanded_conv_depthwise', 'expanded_conv_3_depthwise_bn', 'expanded_conv_3_squeeze_excite_conv_1')
    """
    top = {
        "stem_conv": "conv",
        "stem_bn": "conv_bn",
        "top_conv": "conv_1",
        "top_bn": "conv_1_bn",
        "top_dense": "conv_2",
        "predictions": "logits",
    }
    layers = {
        "dwconv": "depthwise",
        "bn": "depthwise_bn",
        "se_reduce": "squeeze_excite_conv",
        "se_expand": "squeeze_excite_conv_1",
    }
    if not (match := re.fullmatch(r"block(\d+)_(\w+)", name)):
        return top.get(name, name)
    block, layer = match.groups()
    prefix = f"expanded_conv_{block}" if block != "0" else "expanded_conv"
    return f"{prefix}_{layers.get(layer, layer.removesuffix('_conv'))}"
