"""EfficientNet B0 to B7 and EfficientNet-Lite0 to Lite4.

Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks": stages in table 1, scaling
of depth, width and resolution in section 3.3. Lite: Google's variant for phones and CPUs (2020), which has no
squeeze-and-excitation, ReLU6 in place of swish, and a stem, first and last stage of fixed size.

As the authors' code has it, and the paper does not say: batch norms with epsilon 1e-3, dropped branches at a rate
that grows to 0.2 with depth.
"""

import math
from dataclasses import dataclass

import keras

from zoo.blocks import conv_bn, inverted_residual, normalise, scaled_channels
from zoo.heads import classifier
from zoo.models import Variant

__all__ = ["VARIANTS", "EfficientNet", "head", "trunk"]

# Table 1: expansion, channels, layers, kernel size, stride of stages 2 to 8.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
DROP_PATH = 0.2


@dataclass(frozen=True)
class EfficientNet(Variant):
    width: float
    depth: float
    dropout: float
    lite: bool = False


VARIANTS = {
    "efficientnet_b0": EfficientNet(1.0, 1.0, 0.2, image_size=224),
    "efficientnet_b1": EfficientNet(1.0, 1.1, 0.2, image_size=240),
    "efficientnet_b2": EfficientNet(1.1, 1.2, 0.3, image_size=260),
    "efficientnet_b3": EfficientNet(1.2, 1.4, 0.3, image_size=300),
    "efficientnet_b4": EfficientNet(1.4, 1.8, 0.4, image_size=380),
    "efficientnet_b5": EfficientNet(1.6, 2.2, 0.4, image_size=456),
    "efficientnet_b6": EfficientNet(1.8, 2.6, 0.5, image_size=528),
    "efficientnet_b7": EfficientNet(2.0, 3.1, 0.5, image_size=600),
    "efficientnet_lite0": EfficientNet(1.0, 1.0, 0.2, lite=True, image_size=224),
    "efficientnet_lite1": EfficientNet(1.0, 1.1, 0.2, lite=True, image_size=240),
    "efficientnet_lite2": EfficientNet(1.1, 1.2, 0.3, lite=True, image_size=260),
    "efficientnet_lite3": EfficientNet(1.2, 1.4, 0.3, lite=True, image_size=300),
    "efficientnet_lite4": EfficientNet(1.4, 1.8, 0.3, lite=True, image_size=380),
}


def trunk(image, variant: EfficientNet):
    """`[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`, rounded up at each stride."""
    activation = "relu6" if variant.lite else "silu"
    stem, top = (32, 1280) if variant.lite else (scaled_channels(c * variant.width) for c in (32, 1280))

    if variant.lite:
        x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    else:
        x = normalise(image, "imagenet")
    x = conv_bn(x, stem, 3, strides=2, activation=activation, name="stem")
    repeats = [layers(stage, variant) for stage in range(len(STAGES))]
    done = 0
    for stage, (expansion, channels, _, kernel_size, strides) in enumerate(STAGES):
        for repeat in range(repeats[stage]):
            x = inverted_residual(
                x,
                scaled_channels(channels * variant.width),
                kernel_size,
                strides=strides if repeat == 0 else 1,
                expansion=expansion,
                se_ratio=0 if variant.lite else 0.25,
                activation=activation,
                drop_path=DROP_PATH * done / sum(repeats),
                name=f"block{stage + 1}{chr(ord('a') + repeat)}",
            )
            done += 1
    return conv_bn(x, top, activation=activation, name="top")


def head(x, variant: EfficientNet, num_classes: int, activation: str | None):
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)


def layers(stage: int, variant: EfficientNet) -> int:
    """Repeats of a stage's block, scaled by the variant's depth. Lite leaves the first and last stage as they are."""
    repeats = STAGES[stage][2]
    fixed = variant.lite and stage in (0, len(STAGES) - 1)
    return repeats if fixed else math.ceil(repeats * variant.depth)


def torch_modules(model) -> dict[str, str]:
    """Names of the layers in EfficientNet-PyTorch, the port whose names the Lite weights carry."""
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "se_reduce": "_se_reduce",
        "se_expand": "_se_expand",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    names = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "predictions": "_fc",
    }
    blocks = sorted({layer.name.partition("_")[0] for layer in model.layers if layer.name.startswith("block")})
    for index, block in enumerate(blocks):
        names |= {f"{block}_{part}": f"_blocks.{index}.{module}" for part, module in parts.items()}
    return names
