"""Random changes of geometry."""

import math
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.sampling import Factor, between, interval, probability
from pipelines.augmenting.transforms import Change, register

__all__ = [
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resampled",
    "centre",
]


def centre(size: warp.Size) -> tuple[Any, Any]:
    height, width = warp.lengths(size)
    return width / 2, height / 2


@register
class RandomFlip(Change):
    """Mirrors half of the images, in each of the directions of `mode`.

    Args:
        mode: "horizontal", "vertical" or "horizontal_and_vertical".

    Example:

    >>> layer = RandomFlip("horizontal")
    >>> layer.warps(tf.constant([[0.9, 0.0]]), (10, 20)).numpy()[0].tolist()
    [[-1.0, 0.0, 20.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    draws = 2
    MODES = ("horizontal", "vertical", "horizontal_and_vertical")

    def __init__(
        self, mode: str = "horizontal_and_vertical", *, seed: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(seed=seed, name=name)
        if mode not in self.MODES:
            raise ValueError(f"RandomFlip: expected `mode` as one of {', '.join(self.MODES)}; received {mode!r}")
        self.mode = mode

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        sides = tf.constant(["horizontal" in self.mode, "vertical" in self.mode])
        x, y = tf.unstack(tf.cast((u >= 0.5) & sides, tf.float32), axis=1)
        return warp.flip(x, y, size)


class Resampled(Change):
    """A change of geometry after which pixels have to be interpolated, and made up at the edges.

    Args:
        fill_mode: what comes into view at the edges: "reflect", "nearest", "wrap" or "constant".
        interpolation: "bilinear" or "nearest". Masks are always "nearest".
        fill_value: for "constant".
    """

    def __init__(
        self, fill_mode: str, interpolation: str, fill_value: float, *, seed: int | None, name: str | None
    ) -> None:
        super().__init__(seed=seed, name=name)
        if fill_mode not in warp.FILL_MODES:
            raise ValueError(f"expected `fill_mode` as one of {', '.join(warp.FILL_MODES)}; received {fill_mode!r}")
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f'expected `interpolation` as "bilinear" or "nearest"; received {interpolation!r}')
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, float(fill_value)


@register
class RandomRotation(Resampled):
    """Turns images about their middle.

    Args:
        factor: fraction of a full turn, anticlockwise if above 0; a number f stands for (-f, f).

    Example:

    >>> images = tf.ones([2, 6, 9, 3])
    >>> RandomRotation(0.1, seed=1)(images, training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    draws = 1

    def __init__(
        self,
        factor: Factor,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        self.factor = interval("RandomRotation", "factor", factor, -1, 1)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return warp.about(warp.rotation(2 * math.pi * between(u[:, 0], self.factor)), centre(size))


@register
class RandomZoom(Resampled):
    """Enlarges or shrinks images about their middle.

    Args:
        height_factor: by which fraction more of the height is shown: 0.2 shows 120% of it, so that things become
            smaller, -0.2 shows 80%, and they become larger; a number f stands for (-f, f). Above -1.
        width_factor: likewise, drawn for itself; as the height's when None, which keeps the aspect ratio.
    """

    draws = 2

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor | None = None,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        low = -0.99  # at -1, a single point would fill the image
        self.height_factor = interval("RandomZoom", "height_factor", height_factor, low, 1)
        self.width_factor: tuple[float, float] | None = None
        if width_factor is not None:
            self.width_factor = interval("RandomZoom", "width_factor", width_factor, low, 1)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height = 1 + between(u[:, 0], self.height_factor)
        width = height if self.width_factor is None else 1 + between(u[:, 1], self.width_factor)
        return warp.about(warp.scaling(1 / width, 1 / height), centre(size))


@register
class RandomTranslation(Resampled):
    """Moves images.

    Args:
        height_factor: down, as a fraction of the height; a number f stands for (-f, f).
        width_factor: to the right, as a fraction of the width, likewise.
    """

    draws = 2

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        self.height_factor = interval("RandomTranslation", "height_factor", height_factor, -1, 1)
        self.width_factor = interval("RandomTranslation", "width_factor", width_factor, -1, 1)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        return warp.translation(
            width * between(u[:, 1], self.width_factor), height * between(u[:, 0], self.height_factor)
        )


@register
class RandomShear(Resampled):
    """Leans images over, to either side, about their middle (Keras: about the top left corner).

    Args:
        x_factor: by how many pixels a row moves to the side for each pixel that it is away from the middle, 0..1; a
            number f stands for (0, f). Whether to the left or to the right is drawn, too.
        y_factor: likewise for columns, up and down.
    """

    draws = 3

    def __init__(
        self,
        x_factor: Factor = 0.0,
        y_factor: Factor = 0.0,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        self.x_factor = interval("RandomShear", "x_factor", x_factor, 0, 1, one_sided=True)
        self.y_factor = interval("RandomShear", "y_factor", y_factor, 0, 1, one_sided=True)
        if self.x_factor[1] * self.y_factor[1] >= 1:
            raise ValueError("RandomShear: x_factor and y_factor of 1 together would press the image into a line")

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        side = tf.where(u[:, 2] < 0.5, -1.0, 1.0)
        x, y = side * between(u[:, 0], self.x_factor), side * between(u[:, 1], self.y_factor)
        return warp.about(warp.shear(x, y), centre(size))


@register
class RandomPerspective(Resampled):
    """Moves each corner of the image for itself, as if its plane were turned in space.

    Args:
        factor: how likely an image is to be changed, 0..1. A pair is the range that this is drawn from.
        scale: each corner moves by up to half of this times the width and the height, to either side. Below 0.5
            (Keras: 1), where the sides of the image cannot cross.
        fill_mode: as of the other changes (Keras: only "constant").
    """

    draws = 10

    def __init__(
        self,
        factor: Factor = 1.0,
        scale: float = 0.3,
        *,
        fill_mode: str = "constant",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        self.factor = interval("RandomPerspective", "factor", probability(factor), 0, 1)
        if not 0 <= scale < 0.5:
            raise ValueError(f"RandomPerspective: expected `scale` of 0 or more and below 0.5, received {scale!r}")
        self.scale = scale

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        changed = tf.cast(u[:, 8] < between(u[:, 9], self.factor), tf.float32)
        moves = (tf.reshape(u[:, :8], [-1, 4, 2]) - 0.5) * self.scale
        return warp.perspective(moves * changed[:, None, None], size)
