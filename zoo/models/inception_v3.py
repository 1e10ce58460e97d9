"""Inception-v3: two small kernels, or a row and a column, take the place of a large kernel.

Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", table 1 and figures 5 to 7. The
numbers of filters are those of the authors' code, because the paper does not list them.

Deliberate deviation: there is no auxiliary classifier.
"""

from dataclasses import dataclass
from functools import partial

import keras

from zoo.blocks import conv_bn, normalise, parallel
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "InceptionV3", "head", "stem", "trunk"]

# A ReLU follows each batch norm, so the next convolution can do the scaling, as in the authors' code.
conv = partial(conv_bn, scale=False)
inception = partial(parallel, conv=conv)


@dataclass(frozen=True)
class InceptionV3(Variant):
    """A row of the table of Inception-v3.

    Attributes:
        dropout: Rate of the dropout before the classifier. Defaults to 0.2.
    """

    dropout: float = 0.2
    image_size: int = 299
    min_size: int = 75


VARIANTS = {"inception_v3": InceptionV3()}


def trunk(image, variant: InceptionV3):
    """Builds the network up to the last feature map: `[n, 299, 299, 3]` in 0..255 -> `[n, 8, 8, 2048]`.

    Pixels at the border are lost before each stride.
    """
    x = stem(normalise(image, "symmetric"))

    # 35x35: figure 5
    for i, projection in enumerate((32, 64, 64)):
        x = inception(
            x,
            [(64, 1)],
            [(48, 1), (64, 5)],
            [(64, 1), (96, 3), (96, 3)],
            [("average", 3), (projection, 1)],
            name=f"mixed{i}",
        )
    x = inception(x, [(384, 3, 2)], [(64, 1), (96, 3), (96, 3, 2)], [("max", 3, 2)], name="mixed3")

    # 17x17: figure 6, n = 7
    for i, c in enumerate((128, 160, 160, 192), 4):
        x = inception(
            x,
            [(192, 1)],
            [(c, 1), (c, (1, 7)), (192, (7, 1))],
            [(c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))],
            [("average", 3), (192, 1)],
            name=f"mixed{i}",
        )
    x = inception(
        x,
        [(192, 1), (320, 3, 2)],
        [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)],
        [("max", 3, 2)],
        name="mixed8",
    )

    # 8x8: figure 7
    row_and_column = ("fork", [[(384, (1, 3))], [(384, (3, 1))]])
    for i in (9, 10):
        x = inception(
            x,
            [(320, 1)],
            [(384, 1), row_and_column],
            [(448, 1), (384, 3), row_and_column],
            [("average", 3), (192, 1)],
            name=f"mixed{i}",
        )
    return x


def stem(x):
    """Applies the first layers, which Inception-ResNet-v2 has as well: `[n, 299, 299, 3]` -> `[n, 35, 35, 192]`."""
    x = conv(x, 32, 3, strides=2, padding="valid", name="stem1")
    x = conv(x, 32, 3, padding="valid", name="stem2")
    x = conv(x, 64, 3, name="stem3")
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool1")(x)
    x = conv(x, 80, 1, padding="valid", name="stem4")
    x = conv(x, 192, 3, padding="valid", name="stem5")
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool2")(x)


def head(x, variant: InceptionV3, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)
