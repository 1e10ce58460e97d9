"""Random transforms of geometry. Their arguments and ranges are those of Keras' layers of the same names.

Each class states where it differs from Keras' layer. `pipelines.augment` applies any number of these transforms with
one resampling.
"""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.sampling import Factor, between, interval, probability
from pipelines.augmenting.transforms import MatrixTransform, registered_dataclass

__all__ = [
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resampled",
    "centre",
    "check_interpolation",
]


def centre(size: warp.Size) -> tuple[Any, Any]:
    """Returns the centre (x, y) of an image of the given height and width.

    >>> centre((20, 30))
    (15.0, 10.0)
    """
    height, width = warp.lengths(size)
    return width / 2, height / 2


@registered_dataclass
class RandomFlip(MatrixTransform):
    """Mirrors half of the images, in each of the directions of `mode`.

    Args:
        mode: "horizontal", "vertical" or "horizontal_and_vertical".
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `mode` is unknown.

    Example:

    >>> layer = RandomFlip("horizontal")
    >>> layer.warp_matrices(tf.constant([[0.9, 0.0]]), (10, 20)).numpy()[0].tolist()
    [[-1.0, 0.0, 20.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    mode: str = "horizontal_and_vertical"

    num_draws = 2
    MODES = ("horizontal", "vertical", "horizontal_and_vertical")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in self.MODES:
            raise ValueError(f"RandomFlip: expected `mode` as one of {', '.join(self.MODES)}; received {self.mode!r}")

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        directions = tf.constant(["horizontal" in self.mode, "vertical" in self.mode])
        x, y = tf.unstack(tf.cast((u >= 0.5) & directions, tf.float32), axis=1)
        return warp.flip(x, y, size)


def check_interpolation(interpolation: str) -> None:
    """Raises a ValueError if a warp does not know the interpolation."""
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(f'expected `interpolation` as "bilinear" or "nearest"; received {interpolation!r}')


@dataclass(eq=False, repr=False)
class Resampled(MatrixTransform):
    """The base class of transforms of geometry after which pixels are interpolated, and filled at the edges.

    Args:
        fill_mode: What the image shows beyond its edges: "reflect" (the image mirrored), "nearest" (the pixels of the
            edge), "wrap" (the opposite side) or "constant" (`fill_value`).
        interpolation: "bilinear" or "nearest". Masks are always interpolated with "nearest".
        fill_value: Value of the new pixels for "constant", in 0..255.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `fill_mode` or `interpolation` is unknown.
    """

    _: KW_ONLY
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill_mode not in warp.FILL_MODES:
            known = ", ".join(warp.FILL_MODES)
            raise ValueError(f"expected `fill_mode` as one of {known}; received {self.fill_mode!r}")
        check_interpolation(self.interpolation)
        self.fill_value = float(self.fill_value)

    def filling(self) -> dict[str, Any]:
        return {
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
        }


@registered_dataclass
class RandomRotation(Resampled):
    """Turns images about their centre.

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        factor: Range of the angle, as a fraction of a full turn in -1..1. Angles above 0 turn anticlockwise. A number
            f stands for (-f, f).

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> images = tf.ones([2, 6, 9, 3])
    >>> RandomRotation(0.1, seed=1)(images, training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    factor: Factor

    num_draws = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomRotation", "factor", self.factor, -1, 1)

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return warp.about(warp.rotation(2 * math.pi * between(u[:, 0], self.factor)), centre(size))


@registered_dataclass
class RandomZoom(Resampled):
    """Enlarges or shrinks images about their centre.

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        height_factor: Range of the change in the height that is shown, above -1 and at most 1. With 0.2 the image
            shows 120% of the height, so that objects become smaller; with -0.2 it shows 80%, so that they become
            larger. A number f stands for (-f, f).
        width_factor: The same for the width, drawn independently. With None the width changes as the height does,
            which keeps the aspect ratio.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomZoom((1.0, 1.0)).warp_matrices(tf.zeros([1, 2]), (10, 20)).numpy()[0].tolist()
    [[0.5, 0.0, 5.0], [0.0, 0.5, 2.5], [0.0, 0.0, 1.0]]
    """

    height_factor: Factor
    width_factor: Factor | None = None

    num_draws = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        low = -0.99  # at -1, a single point would fill the image
        self.height_factor = interval("RandomZoom", "height_factor", self.height_factor, low, 1)
        if self.width_factor is not None:
            self.width_factor = interval("RandomZoom", "width_factor", self.width_factor, low, 1)

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height = 1 + between(u[:, 0], self.height_factor)
        width = height if self.width_factor is None else 1 + between(u[:, 1], self.width_factor)
        return warp.about(warp.scaling(1 / width, 1 / height), centre(size))


@registered_dataclass
class RandomTranslation(Resampled):
    """Moves images.

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        height_factor: Range of the movement down, as a fraction of the height in -1..1. A number f stands for (-f, f).
        width_factor: Range of the movement to the right, as a fraction of the width in -1..1. A number f stands for
            (-f, f).

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> layer = RandomTranslation((0.2, 0.2), (0.1, 0.1))
    >>> layer.warp_matrices(tf.zeros([1, 2]), (10, 20)).numpy()[0].tolist()
    [[1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]
    """

    height_factor: Factor
    width_factor: Factor

    num_draws = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.height_factor = interval("RandomTranslation", "height_factor", self.height_factor, -1, 1)
        self.width_factor = interval("RandomTranslation", "width_factor", self.width_factor, -1, 1)

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        return warp.translation(
            width * between(u[:, 1], self.width_factor), height * between(u[:, 0], self.height_factor)
        )


@registered_dataclass
class RandomShear(Resampled):
    """Shears images about their centre, to a random side. (Keras' layer shears about the top left corner.)

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        x_factor: Range of the number of pixels by which a row moves sideways for each pixel between it and the
            centre, in 0..1. A number f stands for (0, f). The side, left or right, is random too.
        y_factor: The same for the movement of columns up or down.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomShear((0.5, 0.5)).warp_matrices(tf.constant([[0.0, 0.0, 0.9]]), (10, 20)).numpy()[0].tolist()
    [[1.0, 0.5, -2.5], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    x_factor: Factor = 0.0
    y_factor: Factor = 0.0

    num_draws = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        x = interval("RandomShear", "x_factor", self.x_factor, 0, 1, one_sided=True)
        y = interval("RandomShear", "y_factor", self.y_factor, 0, 1, one_sided=True)
        if x[1] * y[1] >= 1:
            raise ValueError(
                f"RandomShear: x_factor={self.x_factor!r} and y_factor={self.y_factor!r} together would press the "
                "image into a line. Expected one of them below 1"
            )
        self.x_factor, self.y_factor = x, y

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        side = tf.where(u[:, 2] < 0.5, -1.0, 1.0)
        x, y = side * between(u[:, 0], self.x_factor), side * between(u[:, 1], self.y_factor)
        return warp.about(warp.shear(x, y), centre(size))


@registered_dataclass
class RandomPerspective(Resampled):
    """Moves each corner of the image independently, as if the image turned in space.

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        factor: Probability that an image is changed, 0..1. Of a pair (low, high), the probability is drawn.
        scale: Each corner moves by at most half of this fraction of the width and of the height, in any direction.
            At least 0, and below 0.5 (Keras allows 1), so that the sides of the image cannot cross.
        fill_mode: What the image shows beyond its edges. Keras' layer knows only the default, "constant".

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomPerspective(1.0, 0.2, seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    factor: Factor = 1.0
    scale: float = 0.3
    fill_mode: str = field(default="constant", kw_only=True)

    num_draws = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomPerspective", "factor", probability(self.factor), 0, 1)
        if not 0 <= self.scale < 0.5:
            raise ValueError(f"RandomPerspective: expected `scale` of 0 or more and below 0.5, received {self.scale!r}")

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        is_changed = tf.cast(u[:, 8] < between(u[:, 9], self.factor), tf.float32)
        moves = (tf.reshape(u[:, :8], [-1, 4, 2]) - 0.5) * self.scale
        return warp.perspective(moves * is_changed[:, None, None], size)
