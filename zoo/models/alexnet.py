"""AlexNet: five convolutions whose number of maps grows as their size shrinks, with ReLU and dropout.

Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", figure 2.

Deliberate deviations:

* There is one tower. The paper splits the channels of layers 2, 4 and 5 over two GPUs.
* Images have 227x227 pixels, which the sizes in the figure need. The paper says 224.
* The kernels have He initialisation and the biases start at zero. The paper draws with a fixed deviation of 0.01.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import conv_relu, normalise
from zoo.heads import dense_classifier
from zoo.layers import LocalResponseNormalization
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "AlexNet", "head", "trunk"]


@dataclass(frozen=True)
class AlexNet(Variant):
    """A row of the table of AlexNets.

    Attributes:
        dropout: Rate of the dropout after each hidden layer. Defaults to 0.5.
    """

    dropout: float = 0.5


VARIANTS = {"alexnet": AlexNet(image_size=227, min_size=67)}


def trunk(image, variant: AlexNet):
    """Builds the network up to the last feature map: `[n, 227, 227, 3]` in 0..255 -> `[n, 6, 6, 256]`.

    With images of other sizes, a few pixels at the border are lost before each stride.
    """
    x = normalise(image, "caffe")
    x = conv_relu(x, 96, 11, strides=4, padding="valid", name="c1")
    x = LocalResponseNormalization(name="c1_lrn")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="s2")(x)
    x = conv_relu(x, 256, 5, name="c3")
    x = LocalResponseNormalization(name="c3_lrn")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="s4")(x)
    return last_convolutions(x)


def last_convolutions(x):
    """Applies the 3x3 convolutions of 384, 384 and 256 maps and the last pooling, which ZFNet has as well."""
    x = conv_relu(x, 384, 3, name="c5")
    x = conv_relu(x, 384, 3, name="c6")
    x = conv_relu(x, 256, 3, name="c7")
    return keras.layers.MaxPooling2D(3, strides=2, name="s8")(x)


def head(x, variant: AlexNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return dense_classifier(x, num_classes, units=(4096, 4096), dropout=variant.dropout, activation=activation)
