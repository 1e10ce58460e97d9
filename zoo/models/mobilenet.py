"""MobileNet v1 at four widths: depthwise convolutions, and 1x1 convolutions that mix the channels.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", table 1.

Two details are those of the authors' code and of `keras.applications`, and not of the paper: the activation is ReLU6,
and depthwise convolutions with a stride pad only at the bottom and on the right, so that odd sizes are rounded down.
"""

import re
from dataclasses import dataclass

import keras

from zoo.blocks import conv_bn, depthwise_bn, normalise
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "MobileNet", "head", "keras_layer", "trunk"]

# Table 1: number of channels and stride of the 13 depthwise separable convolutions.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


@dataclass(frozen=True)
class MobileNet(Variant):
    """A row of the table of MobileNets.

    Attributes:
        alpha: Factor of the number of channels: the width multiplier of section 3.3. Defaults to 1.
        dropout: Rate of the dropout before the classifier. Defaults to 1e-3.
    """

    alpha: float = 1.0
    dropout: float = 1e-3


VARIANTS = {
    "mobilenet_v1": MobileNet(),
    "mobilenet_v1_075": MobileNet(0.75),
    "mobilenet_v1_050": MobileNet(0.5),
    "mobilenet_v1_025": MobileNet(0.25),
}


def trunk(image, variant: MobileNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 1024 * alpha]`.

    Sizes are rounded up at the first stride, and down at the others.
    """
    x = normalise(image, "symmetric")
    x = conv_bn(x, int(32 * variant.alpha), 3, strides=2, activation="relu6", name="stem")
    for i, (channels, strides) in enumerate(BLOCKS, 1):
        name = f"block{i}"
        if strides > 1:
            x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
        padding = "valid" if strides > 1 else "same"
        x = depthwise_bn(x, strides=strides, padding=padding, activation="relu6", name=name)
        x = conv_bn(x, int(channels * variant.alpha), activation="relu6", name=f"{name}_point")
    return x


def head(x, variant: MobileNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of MobileNet in `keras.applications`.

    >>> keras_layer("stem_conv"), keras_layer("block3_dwconv"), keras_layer("block3_bn"), keras_layer("block3_point_bn")
    ('conv1', 'conv_dw_3', 'conv_dw_3_bn', 'conv_pw_3_bn')
    """
    name = {"stem_conv": "conv1", "stem_bn": "conv1_bn", "predictions": "conv_preds"}.get(name, name)
    name = re.sub(r"block(\d+)_point_(?:conv$)?", r"conv_pw_\1_", name)
    return re.sub(r"block(\d+)_(?:dwconv$)?", r"conv_dw_\1_", name).removesuffix("_")
