"""VGG-11, 13, 16 and 19: nothing but 3x3 convolutions and 2x2 pooling.

Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1, columns A, B,
D and E.

The weights for VGG-16 and 19 come from Caffe, and expect images less their mean. Those for VGG-11 and 13 come from
PyTorch, and expect images that are divided by the standard deviation as well.
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
    """A column of table 1.

    Attributes:
        convolutions: Number of convolutions of each of the five blocks.
        normalisation: Normalisation of the image, which `zoo.blocks.normalise` takes. Defaults to "caffe".
        dropout: Rate of the dropout after each hidden layer. Defaults to 0.5.
    """

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
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 512]`.

    Sizes are rounded down at each pooling.
    """
    x = normalise(image, variant.normalisation)
    for block, (channels, convolutions) in enumerate(zip(CHANNELS, variant.convolutions, strict=True), 1):
        for i in range(1, convolutions + 1):
            x = DefaultConv2D(channels, name=f"block{block}_conv{i}")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return x


def head(x, variant: VGG, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return dense_classifier(x, num_classes, units=(4096, 4096), dropout=variant.dropout, activation=activation)


def torch_modules(model) -> dict[str, str]:
    """Returns the names of the layers in torchvision, which numbers all convolutions, activations and poolings.

    Raises:
        ValueError: The model only subtracts the mean from its images, which weights from Caffe expect.
    """
    if np.max(model.get_layer("rescaling").scale) == 1:
        raise ValueError(
            f"{model.name} normalises images for weights from Caffe, and weights from PyTorch expect another "
            'normalisation: load them into a network of the row replace(VARIANTS[...], normalisation="imagenet")'
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
