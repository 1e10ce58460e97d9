"""Xception: residual units of separable convolutions.

Chollet 2017, "Xception: Deep Learning with Depthwise Separable Convolutions", figure 5. The optional dense layers
before the classifier are left out, and so is the weight decay, which an optimizer can apply.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import conv_bn, normalise, separable_bn, shortcut
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "Xception", "head", "trunk"]


@dataclass(frozen=True)
class Xception(Variant):
    """A row of the table of Xceptions.

    Attributes:
        middle: Number of units of the middle flow. Defaults to 8.
        dropout: Rate of the dropout before the classifier. Defaults to 0.5.
    """

    middle: int = 8
    dropout: float = 0.5
    image_size: int = 299
    min_size: int = 71


VARIANTS = {"xception": Xception()}


def trunk(image, variant: Xception):
    """Builds the network up to the last feature map: `[n, 299, 299, 3]` in 0..255 -> `[n, 10, 10, 2048]`."""
    x = normalise(image, "symmetric")
    x = conv_bn(x, 32, 3, strides=2, padding="valid", name="block1_1")
    x = conv_bn(x, 64, 3, padding="valid", name="block1_2")
    # Entry flow. The input of the first unit is already activated.
    x = unit(x, (128, 128), strides=2, activate=False, name="block2")
    x = unit(x, (256, 256), strides=2, name="block3")
    x = unit(x, (728, 728), strides=2, name="block4")
    for i in range(5, 5 + variant.middle):
        x = unit(x, (728, 728, 728), name=f"block{i}")
    # Exit flow.
    last = 5 + variant.middle
    x = unit(x, (728, 1024), strides=2, name=f"block{last}")
    x = separable_bn(x, 1536, name=f"block{last + 1}_1")
    return separable_bn(x, 2048, name=f"block{last + 1}_2")


def unit(x, filters: tuple[int, ...], *, strides: int = 1, activate: bool = True, name: str):
    """Adds separable convolutions, each after a ReLU, to a shortcut. With a stride, a max pooling follows them."""
    branch = x
    for i, channels in enumerate(filters, 1):
        if i > 1 or activate:
            branch = keras.layers.Activation("relu", name=f"{name}_{i}_preactivation")(branch)
        branch = separable_bn(branch, channels, activation=None, name=f"{name}_{i}")
    if strides > 1:
        branch = keras.layers.MaxPooling2D(3, strides=strides, padding="same", name=f"{name}_pool")(branch)
    x = shortcut(x, filters[-1], strides=strides, name=f"{name}_shortcut")
    return keras.layers.Add(name=f"{name}_add")([branch, x])


def head(x, variant: Xception, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)
