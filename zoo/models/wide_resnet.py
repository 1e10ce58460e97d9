"""Wide ResNets for small images, for example WRN-28-10: fewer layers with more channels.

Zagoruyko & Komodakis 2016, "Wide Residual Networks", table 1. The networks have pre-activation units of two 3x3
convolutions, with `width` times the channels of a ResNet for CIFAR. Wide ResNet-50-2, which is for ImageNet, is in
`zoo.models.resnet`.
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
    """A row of the table of wide ResNets. `WideResNet(28, 10)` is the WRN-28-10 of the paper.

    Attributes:
        depth: Number of convolutions, without those of the shortcuts. It must be 6 * n + 4, for n units in each of
            three groups.
        width: Factor of the number of channels: the factor k of the paper.
        dropout: Rate of the dropout between the two convolutions of a unit. Where the paper has dropout, its rate is
            0.3. Defaults to 0.
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
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 4, w / 4, 64 * width]`.

    Sizes are rounded up at each stride.
    """
    units, rest = divmod(variant.depth - 4, 6)
    if rest or units < 1:
        raise ValueError(f"a Wide ResNet needs a depth of 6 * n + 4 (10, 16, 22, 28, ...), got {variant.depth}")
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
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)
