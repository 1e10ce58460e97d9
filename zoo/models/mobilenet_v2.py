"""MobileNetV2 at six widths: residual units that are narrow at both ends and wide inside.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2.
"""

import re
from dataclasses import dataclass

from zoo.blocks import conv_bn, inverted_residual, normalise, scaled_channels
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "MobileNetV2", "head", "keras_layer", "trunk"]

# Table 2: expansion, number of channels, number of units, stride.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOMENTUM = 0.999


@dataclass(frozen=True)
class MobileNetV2(Variant):
    """A row of the table of MobileNetV2.

    Attributes:
        alpha: Factor of the number of channels: the width multiplier of section 4. Factors below 1 do not apply to the
            last convolution. Defaults to 1.
    """

    alpha: float = 1.0


VARIANTS = {
    "mobilenet_v2": MobileNetV2(),
    "mobilenet_v2_035": MobileNetV2(0.35),
    "mobilenet_v2_050": MobileNetV2(0.5),
    "mobilenet_v2_075": MobileNetV2(0.75),
    "mobilenet_v2_130": MobileNetV2(1.3),
    "mobilenet_v2_140": MobileNetV2(1.4),
}


def trunk(image, variant: MobileNetV2):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at each stride. There are 1280 channels, times `alpha` where it is above 1.
    """
    x = normalise(image, "symmetric")
    stem = scaled_channels(32 * variant.alpha)
    x = conv_bn(x, stem, 3, strides=2, activation="relu6", momentum=MOMENTUM, name="stem")
    block = 0
    for expansion, channels, repeats, stride in STAGES:
        for repeat in range(repeats):
            x = inverted_residual(
                x,
                scaled_channels(int(channels * variant.alpha)),
                3,
                strides=stride if repeat == 0 else 1,
                expansion=expansion,
                momentum=MOMENTUM,
                name=f"block{block}",
            )
            block += 1
    top = scaled_channels(1280 * max(1.0, variant.alpha))
    return conv_bn(x, top, activation="relu6", momentum=MOMENTUM, name="top")


def head(x, variant: MobileNetV2, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of MobileNetV2 in `keras.applications`.

    >>> keras_layer("block0_dwconv"), keras_layer("block3_bn"), keras_layer("block3_expand_conv")
    ('expanded_conv_depthwise', 'block_3_depthwise_BN', 'block_3_expand')
    """
    special = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "top_conv": "Conv_1", "top_bn": "Conv_1_bn"}
    if not (match := re.fullmatch(r"block(\d+)_(expand_|project_|)(dwconv|conv|bn)", name)):
        return special.get(name, name)
    block, step, kind = match.groups()
    prefix = f"block_{block}_" if block != "0" else "expanded_conv_"
    return prefix + (step or "depthwise_") + "BN" if kind == "bn" else prefix + (step.rstrip("_") or "depthwise")
