"""Wide ResNets for small images, among them WRN-28-10: fewer layers, of more channels.

Zagoruyko & Komodakis 2016, "Wide Residual Networks", table 1: pre-activation units of two 3x3 convolutions, made
`width` times wider than a ResNet for CIFAR. Wide ResNet-50-2, for ImageNet, is in `zoo.models.resnet`.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import bn_activation, normalise, preactivation_unit
from zoo.heads import classifier
from zoo.models.resnet import EPSILON
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "WideResNet", "head", "trunk"]


@dataclass(frozen=True)
class WideResNet(Variant):
    """`WideResNet(28, 10)` is the paper's WRN-28-10.

    Attributes:
        depth: convolutions, without the shortcuts'; 6 * n + 4, for n units in each of three groups.
        width: the factor k.
        dropout: rate between the two convolutions of a unit (the paper's 0.3, where it uses any).
    """

    depth: int
    width: int
    dropout: float = 0.0


CIFAR = {"image_size": 32, "min_size": 8, "num_classes": 10}
VARIANTS = {
    "wrn_28_10": WideResNet(28, 10, **CIFAR),
    "wrn_16_8": WideResNet(16, 8, **CIFAR),
    "wrn_40_4": WideResNet(40, 4, **CIFAR),
}


def trunk(image, variant: WideResNet):
    """`[n, h, w, 3]` in 0..255 -> `[n, h / 4, w / 4, 64 * width]`, rounded up at each stride."""
    units, rest = divmod(variant.depth - 4, 6)
    if rest or units < 1:
        raise ValueError(f"a Wide ResNet has a depth of 6 * n + 4 (10, 16, 22, 28, ...), got {variant.depth}")
    x = normalise(image, "symmetric")
    conv = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name="stem_conv")
    x = conv(x)
    for group in range(3):
        for unit in range(units):
            x = preactivation_unit(
                x,
                16 * variant.width * 2**group,
                strides=2 if group > 0 and unit == 0 else 1,
                dropout=variant.dropout,
                epsilon=EPSILON,
                name=f"group{group + 2}_unit{unit + 1}",
            )
    return bn_activation(x, activation="relu", epsilon=EPSILON, name="top")


def head(x, variant: WideResNet, num_classes: int, activation: str | None):
    return classifier(x, num_classes, activation=activation)
