"""DenseNet-121, 169 and 201: each layer takes the maps of all layers before it.

Huang, Liu, van der Maaten & Weinberger 2017, "Densely Connected Convolutional Networks", table 1 (DenseNet-BC).
"""

import re
from dataclasses import dataclass

import keras

from zoo.blocks import bn_activation, conv_bn, dense_block, normalise, pad_symmetric, transition
from zoo.heads import classifier
from zoo.models.resnet import EPSILON
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "DenseNet", "head", "keras_layer", "trunk"]


@dataclass(frozen=True)
class DenseNet(Variant):
    """A column of table 1.

    Attributes:
        layers: Number of layers of each dense block.
        growth_rate: Number of channels that each layer adds. Defaults to 32.
        compression: Share of the channels that each transition keeps. Defaults to 0.5.
    """

    layers: tuple[int, ...]
    growth_rate: int = 32
    compression: float = 0.5


VARIANTS = {
    "densenet121": DenseNet((6, 12, 24, 16)),
    "densenet169": DenseNet((6, 12, 32, 32)),
    "densenet201": DenseNet((6, 12, 48, 32)),
}


def trunk(image, variant: DenseNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at the first two strides, and down at the others.
    """
    x = normalise(image, "imagenet")
    x = conv_bn(x, 2 * variant.growth_rate, 7, strides=2, padding="symmetric", epsilon=EPSILON, name="stem")
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(pad_symmetric(x, 3, name="stem_pool"))
    for block, layers in enumerate(variant.layers, 1):
        if block > 1:
            x = transition(x, variant.compression, epsilon=EPSILON, name=f"transition{block - 1}")
        x = dense_block(x, layers, variant.growth_rate, epsilon=EPSILON, name=f"dense{block}")
    return bn_activation(x, activation="relu", epsilon=EPSILON, name="top")


def head(x, variant: DenseNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of a DenseNet in `keras.applications`.

    >>> keras_layer("dense1_layer6_preact_bn"), keras_layer("transition3_conv"), keras_layer("top_bn")
    ('conv2_block6_0_bn', 'pool4_conv', 'bn')
    """
    name = name.replace("stem_", "conv1_").replace("preact", "0").replace("top_", "")
    name = re.sub(r"transition(\d)", lambda match: f"pool{int(match[1]) + 1}", name)
    return re.sub(r"dense(\d)_layer", lambda match: f"conv{int(match[1]) + 1}_block", name)
