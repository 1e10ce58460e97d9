"""LeNet-5: convolution, subsampling, convolution: the pattern of all that follow.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B and
figure 2. Grey images of 32x32 with the ink light (255); MNIST's 28x28 get two pixels of background on each side.

Deliberate deviations: each map of C3 sees all maps of S2 (table I drops some, to save work); the subsampling layers
average without a weight and a bias of their own; tanh is not scaled by 1.7159; the output is a dense softmax. The
paper's output, distances to drawings of the digits, is the row `lenet5_rbf`.
"""

from dataclasses import dataclass

import keras
import numpy as np

from zoo.heads import dense_classifier, hidden_layers
from zoo.layers import RadialBasis
from zoo.models.variants import Variant

__all__ = ["DRAWINGS", "VARIANTS", "LeNet", "codes", "head", "trunk"]

# Section II.B: the class codes are 7x12 pictures of the digits, so that digits that look alike have codes alike.
DRAWINGS = """
..###.. ...#... ..###.. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..##... .##.##. ##...## ...###. ##..... .##..## ##...## ##...## ##...##
##...## .###... ##...## ##...## ..#.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ##..##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ##.###. ....##. .#####. .######
##...## ...##.. ...##.. ..####. ####### .....## ###..## ...##.. .#####. .....##
##...## ...##.. ..##... .....## ....##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## .#..##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. ..###..
"""


@dataclass(frozen=True)
class LeNet(Variant):
    rbf: bool = False
    image_size: int = 32
    min_size: int = 32
    channels: int = 1
    num_classes: int = 10


VARIANTS = {
    "lenet5": LeNet(),
    "lenet5_rbf": LeNet(rbf=True),
}


def trunk(image, variant: LeNet):
    """`[n, 32, 32, 1]` in 0..255 -> `[n, 1, 1, 120]`."""
    # Section III.A: background -0.1 and ink 1.175, which makes the mean about 0 and the variance about 1
    x = keras.layers.Rescaling(1.275 / 255, offset=-0.1, name="rescaling")(image)
    x = keras.layers.Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = keras.layers.AveragePooling2D(2, name="s2")(x)
    x = keras.layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = keras.layers.AveragePooling2D(2, name="s4")(x)
    return keras.layers.Conv2D(120, 5, activation="tanh", name="c5")(x)


def head(x, variant: LeNet, num_classes: int, activation: str | None):
    """Without an activation, the logits; for the radial basis output they are the negative distances."""
    if not variant.rbf:
        return dense_classifier(x, num_classes, units=(84,), hidden="tanh", dropout=0, activation=activation)
    x = hidden_layers(x, units=(84,), activation="tanh")
    x = RadialBasis(codes(num_classes), name="distances")(x)
    x = keras.layers.Rescaling(-1.0, dtype="float32", name="logits")(x)
    return keras.layers.Activation(activation or "linear", dtype="float32", name="predictions")(x)


def codes(num_classes: int = 10) -> np.ndarray:
    """float32 `[num_classes, 84]` of -1 (paper) and 1 (ink): the drawings of the digits, row by row.

    Raises:
        ValueError: more classes than digits.

    >>> codes()[7].reshape(12, 7)[0].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    rows = [line.split() for line in DRAWINGS.split("\n") if line]
    drawings = ["".join(parts) for parts in zip(*rows, strict=True)]
    if num_classes > len(drawings):
        raise ValueError(
            f"the radial basis output has drawings of {len(drawings)} digits, got num_classes={num_classes}: "
            'use "lenet5", whose output is dense'
        )
    return np.array([[1.0 if pixel == "#" else -1.0 for pixel in code] for code in drawings[:num_classes]], "float32")
