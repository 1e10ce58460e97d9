"""Networks from textbooks: small enough for the grey 28x28 images of MNIST and Fashion-MNIST.

* `fashion_cnn` is from Géron 2022, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", chapter 14. It
  has a large first kernel, and then pairs of 3x3 convolutions, whose number of filters doubles after each pooling.
* `mnist_convnet` is from Chollet, "Deep Learning with Python", first edition, section 5.1.
* `fashion_dense` and `mnist_dense` are the networks without convolutions that these books begin with, in chapter 10 and
  section 2.1.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import DefaultConv2D, normalise
from zoo.heads import dense_classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "Textbook", "head", "trunk"]

POOL = "pool"


@dataclass(frozen=True)
class Textbook(Variant):
    """A row of the table of networks from textbooks.

    Attributes:
        layers: The layers in their order: (filters, kernel size) for a convolution, and `POOL` for 2x2 max pooling.
            Defaults to none.
        padding: Padding of the convolutions. Defaults to "same".
        dense: Widths of the hidden dense layers. Defaults to none.
        dropout: Rate of the dropout after each hidden dense layer. Defaults to 0.
    """

    layers: tuple = ()
    padding: str = "same"
    dense: tuple[int, ...] = ()
    dropout: float = 0.0
    image_size: int = 28
    min_size: int = 1
    channels: int = 1
    num_classes: int = 10


VARIANTS = {
    "fashion_cnn": Textbook(
        layers=((64, 7), POOL, (128, 3), (128, 3), POOL, (256, 3), (256, 3), POOL),
        dense=(128, 64),
        dropout=0.5,
        min_size=8,
    ),
    "fashion_dense": Textbook(dense=(300, 100)),
    "mnist_convnet": Textbook(
        layers=((32, 3), POOL, (64, 3), POOL, (64, 3)),
        padding="valid",
        dense=(64,),
        min_size=18,
    ),
    "mnist_dense": Textbook(dense=(512,)),
}


def trunk(image, variant: Textbook):
    """Builds the network from `[n, h, w, 1]` in 0..255 up to the last feature map.

    The height and the width are halved and rounded down at each pooling.
    """
    x = normalise(image, "unit")
    for i, layer in enumerate(variant.layers, 1):
        if layer == POOL:
            x = keras.layers.MaxPooling2D(name=f"pool{i}")(x)
        else:
            filters, kernel_size = layer
            x = DefaultConv2D(filters, kernel_size=kernel_size, padding=variant.padding, name=f"conv{i}")(x)
    return x


def head(x, variant: Textbook, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return dense_classifier(x, num_classes, units=variant.dense, dropout=variant.dropout, activation=activation)
