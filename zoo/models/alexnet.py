"""AlexNet: ReLU, dropout and five convolutions that grow deeper as the map shrinks.

Krizhevsky, Sutskever & Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", figure 2.

Deliberate deviations: one tower, where the paper splits channels 2, 4 and 5 over two GPUs; images of 227x227, which the
sizes in the figure need (the paper says 224); He initialisation with zero biases in place of a fixed deviation of 0.01.
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
    dropout: float = 0.5


VARIANTS = {"alexnet": AlexNet(image_size=227, min_size=67)}


def trunk(image, variant: AlexNet):
    """`[n, 227, 227, 3]` in 0..255 -> `[n, 6, 6, 256]`; other sizes lose a few pixels before each stride."""
    x = normalise(image, "caffe")
    x = conv_relu(x, 96, 11, strides=4, padding="valid", name="c1")
    x = LocalResponseNormalization(name="c1_lrn")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="s2")(x)
    x = conv_relu(x, 256, 5, name="c3")
    x = LocalResponseNormalization(name="c3_lrn")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="s4")(x)
    return last_convolutions(x)


def last_convolutions(x):
    """The 3x3 convolutions of 384, 384 and 256 maps and the last pooling, which ZFNet has too."""
    x = conv_relu(x, 384, 3, name="c5")
    x = conv_relu(x, 384, 3, name="c6")
    x = conv_relu(x, 256, 3, name="c7")
    return keras.layers.MaxPooling2D(3, strides=2, name="s8")(x)


def head(x, variant: AlexNet, num_classes: int, activation: str | None):
    return dense_classifier(x, num_classes, units=(4096, 4096), dropout=variant.dropout, activation=activation)
