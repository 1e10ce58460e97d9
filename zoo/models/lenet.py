"""LeNet-5: convolution and subsampling in turns, which all later networks took over.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B and
figure 2. The images are grey, have 32x32 pixels, and show light ink (255) on a dark background. The 28x28 images of
MNIST need two pixels of background on each side.

Deliberate deviations:

* Each map of C3 takes all maps of S2. Table I leaves some out to save work.
* The subsampling layers average without a weight and a bias.
* The tanh is not scaled by 1.7159.
* The output is a dense softmax. The row `lenet5_rbf` has the output of the paper: distances to drawings of the digits.
"""

from dataclasses import dataclass

import keras
import numpy as np

from zoo.heads import dense_classifier, hidden_layers
from zoo.layers import RadialBasis
from zoo.models.variants import Variant

__all__ = ["DRAWINGS", "VARIANTS", "LeNet", "codes", "head", "trunk"]

# Section II.B: the codes of the classes are 7x12 pictures of the digits, so that similar digits have similar codes.
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
    """A row of the table of LeNets.

    Attributes:
        rbf: Whether the output is that of the paper, by radial basis functions. Defaults to False.
    """

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
    """Builds the network up to the last feature map: `[n, 32, 32, 1]` in 0..255 -> `[n, 1, 1, 120]`."""
    # Section III.A: the background is -0.1 and the ink 1.175, so that the mean is about 0 and the variance about 1.
    x = keras.layers.Rescaling(1.275 / 255, offset=-0.1, name="rescaling")(image)
    x = keras.layers.Conv2D(6, 5, activation="tanh", name="c1")(x)
    x = keras.layers.AveragePooling2D(2, name="s2")(x)
    x = keras.layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = keras.layers.AveragePooling2D(2, name="s4")(x)
    return keras.layers.Conv2D(120, 5, activation="tanh", name="c5")(x)


def head(x, variant: LeNet, num_classes: int, activation: str | None):
    """Builds the layers up to the probabilities of the classes, or up to the logits without an activation.

    The logits of the radial basis output are the negative distances.
    """
    if not variant.rbf:
        return dense_classifier(x, num_classes, units=(84,), hidden="tanh", dropout=0, activation=activation)
    x = hidden_layers(x, units=(84,), activation="tanh")
    x = RadialBasis(codes(num_classes), name="distances")(x)
    x = keras.layers.Rescaling(-1.0, dtype="float32", name="logits")(x)
    return keras.layers.Activation(activation or "linear", dtype="float32", name="predictions")(x)


def codes(num_classes: int = 10) -> np.ndarray:
    """Returns the drawings of the digits, row by row: float32 `[num_classes, 84]` of -1 (paper) and 1 (ink).

    Raises:
        ValueError: There are more classes than digits.

    >>> codes()[7].reshape(12, 7)[0].tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    rows = [line.split() for line in DRAWINGS.split("\n") if line]
    drawings = ["".join(lines) for lines in zip(*rows, strict=True)]
    if num_classes > len(drawings):
        raise ValueError(
            f"the radial basis output has drawings of {len(drawings)} digits, got num_classes={num_classes}: "
            'take "lenet5", whose output is dense'
        )
    return np.array([[1.0 if pixel == "#" else -1.0 for pixel in code] for code in drawings[:num_classes]], "float32")
