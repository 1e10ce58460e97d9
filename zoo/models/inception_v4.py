"""Inception-v4: the same module several times for each size of the feature map.

Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", figures 3 to
9, with k = 192, l = 224, m = 256, n = 384 of table 1.
"""

from dataclasses import dataclass

from zoo.blocks import conv_bn, normalise, parallel
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "InceptionV4", "head", "trunk"]


@dataclass(frozen=True)
class InceptionV4(Variant):
    """A row of the table of Inception-v4.

    Attributes:
        repeats: Numbers of the modules A, B and C of figures 4 to 6.
        dropout: Rate of the dropout before the classifier. Defaults to 0.2.
    """

    repeats: tuple[int, int, int] = (4, 7, 3)
    dropout: float = 0.2
    image_size: int = 299
    min_size: int = 75


VARIANTS = {"inception_v4": InceptionV4()}

STEM = (
    [[("max", 3, 2)], [(96, 3, 2)]],
    [[(64, 1), (96, 3, 1, "valid")], [(64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1, "valid")]],
    [[(192, 3, 2)], [("max", 3, 2)]],
)
A = [[(96, 1)], [(64, 1), (96, 3)], [(64, 1), (96, 3), (96, 3)], [("average", 3), (96, 1)]]
REDUCTION_A = [[(384, 3, 2)], [(192, 1), (224, 3), (256, 3, 2)], [("max", 3, 2)]]
B = [
    [(384, 1)],
    [(192, 1), (224, (1, 7)), (256, (7, 1))],
    [(192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))],
    [("average", 3), (128, 1)],
]
REDUCTION_B = [
    [(192, 1), (192, 3, 2)],
    [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)],
    [("max", 3, 2)],
]
ROW_AND_COLUMN = ("fork", [[(256, (1, 3))], [(256, (3, 1))]])
C = [
    [(256, 1)],
    [(384, 1), ROW_AND_COLUMN],
    [(384, 1), (448, (3, 1)), (512, (1, 3)), ROW_AND_COLUMN],
    [("average", 3), (256, 1)],
]


def trunk(image, variant: InceptionV4):
    """Builds the network up to the last feature map: `[n, 299, 299, 3]` in 0..255 -> `[n, 8, 8, 1536]`.

    Pixels at the border are lost before each stride.
    """
    x = normalise(image, "symmetric")
    x = conv_bn(x, 32, 3, strides=2, padding="valid", name="stem1")
    x = conv_bn(x, 32, 3, padding="valid", name="stem2")
    x = conv_bn(x, 64, 3, name="stem3")
    for i, branches in enumerate(STEM, 4):
        x = parallel(x, *branches, name=f"stem{i}")
    stages = (("a", A, REDUCTION_A), ("b", B, REDUCTION_B), ("c", C, None))
    for (letter, module, reduction), repeats in zip(stages, variant.repeats, strict=True):
        for i in range(1, repeats + 1):
            x = parallel(x, *module, name=f"inception_{letter}{i}")
        if reduction:
            x = parallel(x, *reduction, name=f"reduction_{letter}")
    return x


def head(x, variant: InceptionV4, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)
