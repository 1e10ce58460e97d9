"""VGG-11, 13, 16 and 19: nothing but 3x3 convolutions and 2x2 pooling.

Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1, columns A, B,
D and E.

Weights for 16 and 19 come from Caffe and expect the mean subtracted; those for 11 and 13 come from PyTorch and expect
the standard deviation divided out as well.
"""

from dataclasses import dataclass

import keras
import numpy as np

from zoo.blocks import DefaultConv2D, normalise
from zoo.heads import dense_classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "VGG", "head", "torch_modules", "trunk"]

CHANNELS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class VGG(Variant):
    """`convolutions` in each of the five blocks; `normalisation` as in `zoo.blocks.normalise`."""

    convolutions: tuple[int, ...]
    normalisation: str = "caffe"
    dropout: float = 0.5


VARIANTS = {
    "vgg11": VGG((1, 1, 2, 2, 2), normalisation="imagenet"),
    "vgg13": VGG((2, 2, 2, 2, 2), normalisation="imagenet"),
    "vgg16": VGG((2, 2, 3, 3, 3)),
    "vgg19": VGG((2, 2, 4, 4, 4)),
}


def trunk(image, variant: VGG):
    """`[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 512]`, rounded down at each pooling."""
    x = normalise(image, variant.normalisation)
    for block, (channels, convolutions) in enumerate(zip(CHANNELS, variant.convolutions, strict=True), 1):
        for i in range(1, convolutions + 1):
            x = DefaultConv2D(channels, name=f"block{block}_conv{i}")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return x


def head(x, variant: VGG, num_classes: int, activation: str | None):
    return dense_classifier(x, num_classes, units=(4096, 4096), dropout=variant.dropout, activation=activation)


def torch_modules(model) -> dict[str, str]:
    """Names of the layers in torchvision, which counts every convolution, activation and pooling.

    Raises:
        ValueError: the model only subtracts the mean from its images, as Caffe's weights expect.
    """
    if np.max(model.get_layer("rescaling").scale) == 1:
        raise ValueError(
            f"{model.name} normalises images for Caffe's weights, and weights from PyTorch expect it otherwise: give "
            'them to a network of the row replace(VARIANTS[...], normalisation="imagenet")'
        )
    names = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
    index = 0
    for layer in model.layers:
        if "_conv" in layer.name:
            names[layer.name] = f"features.{index}"
            index += 2
        elif "_pool" in layer.name:
            index += 1
    return names
