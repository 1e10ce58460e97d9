"""Random transforms of colour. Their arguments and ranges are those of Keras' layers of the same names.

Each class states where it differs from Keras' layer. `pipelines.augment` applies any number of these transforms with
one matrix for each image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pipelines.augmenting import colour
from pipelines.augmenting.sampling import Factor, between, interval
from pipelines.augmenting.transforms import MatrixTransform, registered_dataclass

__all__ = [
    "ColourTransform",
    "RandomBrightness",
    "RandomContrast",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomSaturation",
]


@dataclass(eq=False, repr=False)
class ColourTransform(MatrixTransform):
    """The base class of Keras' layers of colour, which take a factor and the range of the images' values.

    Args:
        factor: Range of the strength of the transform.
        value_range: Range of the images' values, which is (0, 255) everywhere in this project.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `factor` or `value_range` is out of its range.
    """

    factor: Factor
    value_range: Sequence[float] = (0, 255)

    num_draws = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if tuple(self.value_range) != (0, 255):
            raise ValueError(
                f"{type(self).__name__}: expected images with values in 0..255, and so a `value_range` of (0, 255); "
                f"received {self.value_range!r}"
            )
        self.value_range = (0, 255)


@registered_dataclass
class RandomBrightness(ColourTransform):
    """Adds the same number to all values of an image.

    `pipelines.augmenting.photometric.ColourTransform` describes the arguments that are not listed here.

    Args:
        factor: Range of the number, as a fraction of 255 in -1..1. A number f stands for (-f, f).

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomBrightness((0.2, 0.2))(tf.fill([1, 1, 1, 3], 100.0), training=True).numpy().tolist()
    [[[[151.0, 151.0, 151.0]]]]
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomBrightness", "factor", self.factor, -1, 1)

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.brightness(255 * between(u[:, 0], self.factor))


@registered_dataclass
class RandomContrast(ColourTransform):
    """Multiplies the distance of each value from the mean of its channel.

    `pipelines.augmenting.photometric.ColourTransform` describes the arguments that are not listed here.

    Args:
        factor: A number f in 0..1 for a multiplier in 1 - f..1 + f, or a pair (a, b) for a multiplier in
            1 - a..1 + b.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> image = tf.constant([[[[10.0, 20.0, 30.0]], [[30.0, 20.0, 10.0]]]])
    >>> half = RandomContrast((0.5, -0.5), seed=0)
    >>> half(image, training=True).numpy().tolist()
    [[[[15.0, 20.0, 25.0]], [[25.0, 20.0, 15.0]]]]
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        lower, upper = (self.factor, self.factor) if isinstance(self.factor, int | float) else self.factor
        interval("RandomContrast", "factor", (-lower, upper), -1, 1)
        self.factor = (float(lower), float(upper))
        self.multipliers = (1 - lower, 1 + upper)

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.contrast(between(u[:, 0], self.multipliers), means)


@registered_dataclass
class RandomSaturation(ColourTransform):
    """Makes colours paler or stronger, at the same brightness. (Keras' layer keeps the largest channel instead.)

    `pipelines.augmenting.photometric.ColourTransform` describes the arguments that are not listed here.

    Args:
        factor: Range of the saturation in 0..1. The distance of a colour from grey is multiplied by
            factor / (1 - factor): 0 makes images grey, 0.5 changes nothing, and 1 makes colours as strong as
            possible. A number f stands for (0, f).

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> grey = RandomSaturation((0.0, 0.0))(tf.constant([[[[10.0, 20.0, 90.0]]]]), training=True)
    >>> bool(tf.reduce_max(grey) - tf.reduce_min(grey) < 0.001)
    True
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomSaturation", "factor", self.factor, 0, 1, one_sided=True)

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        factor = tf.minimum(between(u[:, 0], self.factor), 0.999)  # all values are clipped long before that
        return colour.saturation(factor / (1 - factor))


@registered_dataclass
class RandomHue(ColourTransform):
    """Turns colours about the axis of greys, at the same brightness. (Keras' layer keeps the largest channel instead.)

    `pipelines.augmenting.photometric.ColourTransform` describes the arguments that are not listed here.

    Args:
        factor: Range of the angle to either side, as a fraction of half a turn in 0..1. A number f stands for (0, f).

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomHue(0.5, seed=1)(tf.fill([1, 1, 1, 3], 70.0), training=True).numpy().round(3).tolist()  # grey stays
    [[[[70.0, 70.0, 70.0]]]]
    """

    num_draws = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomHue", "factor", self.factor, 0, 1, one_sided=True)

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        side = tf.where(u[:, 1] < 0.5, -1.0, 1.0)
        return colour.hue(math.pi * side * between(u[:, 0], self.factor))


@registered_dataclass
class RandomGrayscale(MatrixTransform):
    """Turns some images grey.

    Args:
        factor: Probability that an image turns grey, 0..1.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `factor` is not in 0..1.

    Example:

    >>> grey = RandomGrayscale(1.0)(tf.constant([[[[10.0, 20.0, 90.0]]]]), training=True)
    >>> bool(tf.reduce_max(grey) - tf.reduce_min(grey) < 0.001)
    True
    """

    factor: float = 0.5

    num_draws = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomGrayscale", "factor", self.factor, 0, 1, one_sided=True)[1]

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.saturation(tf.where(u[:, 0] < self.factor, 0.0, 1.0))


@registered_dataclass
class RandomInvert(ColourTransform):
    """Makes negatives of some images.

    `pipelines.augmenting.photometric.ColourTransform` describes the arguments that are not listed here.

    Args:
        factor: Probability that an image is inverted, 0..1. (Keras' layer draws the probability from 0 to this.)

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomInvert(1.0)(tf.constant([[[[10.0, 20.0, 90.0]]]]), training=True).numpy().tolist()
    [[[[245.0, 235.0, 165.0]]]]
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomInvert", "factor", self.factor, 0, 1, one_sided=True)[1]

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.inversion(tf.where(u[:, 0] < self.factor, 1.0, 0.0))
