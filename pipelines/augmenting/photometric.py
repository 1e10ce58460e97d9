"""Random changes of colour."""

import math
from collections.abc import Sequence

import tensorflow as tf

from pipelines.augmenting import colour
from pipelines.augmenting.sampling import Factor, between, interval
from pipelines.augmenting.transforms import Change, register

__all__ = [
    "RandomBrightness",
    "RandomContrast",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomSaturation",
]


class _Colour(Change):
    """A change of colour.

    Args:
        value_range: of the images: (0, 255), as everywhere in this project.
    """

    draws = 1

    def __init__(self, value_range: Sequence[float], *, seed: int | None, name: str | None) -> None:
        super().__init__(seed=seed, name=name)
        if tuple(value_range) != (0, 255):
            raise ValueError(f"expected images in 0..255, so a `value_range` of (0, 255); received {value_range!r}")
        self.value_range = (0, 255)


@register
class RandomBrightness(_Colour):
    """Adds the same to all values.

    Args:
        factor: what is added, as a fraction of 255, -1..1; a number f stands for (-f, f).
    """

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value_range, seed=seed, name=name)
        self.factor = interval("RandomBrightness", "factor", factor, -1, 1)

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.brightness(255 * between(u[:, 0], self.factor))


@register
class RandomContrast(_Colour):
    """Multiplies the distance of values from the mean of their channel.

    Args:
        factor: f, 0..1, for a multiplier in 1 - f..1 + f; a pair (a, b) for one in 1 - a..1 + b.

    Example:

    >>> image = tf.constant([[[[10.0, 20.0, 30.0]], [[30.0, 20.0, 10.0]]]])
    >>> half = RandomContrast((0.5, -0.5), seed=0)
    >>> half(image, training=True).numpy().tolist()
    [[[[15.0, 20.0, 25.0]], [[25.0, 20.0, 15.0]]]]
    """

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value_range, seed=seed, name=name)
        lower, upper = (factor, factor) if isinstance(factor, int | float) else factor
        self.factor = (float(lower), float(upper))
        interval("RandomContrast", "factor", (-lower, upper), -1, 1)

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.contrast(between(u[:, 0], [1 - self.factor[0], 1 + self.factor[1]]), means)


@register
class RandomSaturation(_Colour):
    """Makes colours paler or stronger, at the same brightness (Keras: at the same largest channel).

    Args:
        factor: 0..1. 0 makes images grey, 0.5 leaves them as they are, 1 makes colours as strong as they can be; the
            distance from grey is multiplied by factor / (1 - factor). A number f stands for (0, f).
    """

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value_range, seed=seed, name=name)
        self.factor = interval("RandomSaturation", "factor", factor, 0, 1, one_sided=True)

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        factor = tf.minimum(between(u[:, 0], self.factor), 0.999)  # the values are clipped long before
        return colour.saturation(factor / (1 - factor))


@register
class RandomHue(_Colour):
    """Turns colours about the axis of greys, at the same brightness (Keras: at the same largest channel).

    Args:
        factor: fraction of half a turn, 0..1, to either side; a number f stands for (0, f).
    """

    draws = 2

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value_range, seed=seed, name=name)
        self.factor = interval("RandomHue", "factor", factor, 0, 1, one_sided=True)

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        side = tf.where(u[:, 1] < 0.5, -1.0, 1.0)
        return colour.hue(math.pi * side * between(u[:, 0], self.factor))


@register
class RandomGrayscale(_Colour):
    """Takes the colour out of some images.

    Args:
        factor: how likely, 0..1.
    """

    def __init__(self, factor: float = 0.5, *, seed: int | None = None, name: str | None = None) -> None:
        super().__init__((0, 255), seed=seed, name=name)
        self.factor = interval("RandomGrayscale", "factor", factor, 0, 1, one_sided=True)[1]

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.saturation(tf.where(u[:, 0] < self.factor, 0.0, 1.0))


@register
class RandomInvert(_Colour):
    """Makes negatives of some images.

    Args:
        factor: how likely, 0..1. (Keras draws the likelihood itself from 0 to this.)
    """

    def __init__(
        self,
        factor: float = 1.0,
        value_range: Sequence[float] = (0, 255),
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(value_range, seed=seed, name=name)
        self.factor = interval("RandomInvert", "factor", factor, 0, 1, one_sided=True)[1]

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return colour.inversion(tf.where(u[:, 0] < self.factor, 1.0, 0.0))
