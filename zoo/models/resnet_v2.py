"""ResNet-50, 101 and 152 V2: residual networks whose batch norms and ReLUs stand before the convolutions.

He, Zhang, Ren & Sun 2016, "Identity Mappings in Deep Residual Networks", figure 1b and section 4.1.

Two details are those of the authors' second code and of `keras.applications`, and not of the paper: the stride of a
stage is in its last unit, whose shortcut takes every other pixel, and convolutions that no batch norm follows have a
bias.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import bn_activation, normalise, pad_symmetric, preactivation_unit
from zoo.heads import classifier
from zoo.models.resnet import EPSILON
from zoo.models.resnet import keras_layer as resnet_layer
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "ResNetV2", "head", "keras_layer", "trunk"]


@dataclass(frozen=True)
class ResNetV2(Variant):
    """A row of the table of ResNets V2.

    Attributes:
        units: Number of units of each of the four stages.
    """

    units: tuple[int, ...]


VARIANTS = {
    "resnet50_v2": ResNetV2((3, 4, 6, 3)),
    "resnet101_v2": ResNetV2((3, 4, 23, 3)),
    "resnet152_v2": ResNetV2((3, 8, 36, 3)),
}


def trunk(image, variant: ResNetV2):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 2048]`.

    Sizes are rounded up at each stride.
    """
    x = pad_symmetric(normalise(image, "symmetric"), 7, name="stem")
    x = keras.layers.Conv2D(64, 7, strides=2, kernel_initializer="he_normal", name="stem_conv")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(pad_symmetric(x, 3, name="stem_pool"))
    for stage, units in enumerate(variant.units):
        for unit in range(units):
            last = unit == units - 1 and stage < len(variant.units) - 1
            x = preactivation_unit(
                x,
                256 * 2**stage,
                width=64 * 2**stage,
                strides=2 if last else 1,
                use_bias=True,
                epsilon=EPSILON,
                name=f"stage{stage + 2}_unit{unit + 1}",
            )
    return bn_activation(x, activation="relu", epsilon=EPSILON, name="top")


def head(x, variant: ResNetV2, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of ResNet-50, 101 or 152 V2 in `keras.applications`.

    >>> keras_layer("top_bn"), keras_layer("stage2_unit1_preact_bn")
    ('post_bn', 'conv2_block1_preact_bn')
    """
    return resnet_layer(name).replace("top_", "post_")
