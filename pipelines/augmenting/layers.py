"""Random changes of geometry and colour, and the named policies that they make up.

They are Keras layers whose arguments and ranges are those of Keras' layers of the same names; where they differ, they
say so. `pipelines.augment` does any number of them in one resampling.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipelines.augmenting import colour, warp
from pipelines.augmenting.changes import Change

__all__ = [
    "POLICIES",
    "RandAugment",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Resizing",
    "TrivialAugment",
    "augmentation",
    "between",
    "interval",
    "probability",
]

Factor = float | Sequence[float]

# Columns: rotation as a fraction of a full turn, zoom as a fraction of the size, contrast as a fraction of itself; each
# drawn evenly from minus to plus this.
POLICIES: dict[str, tuple[float, float, float] | None] = {
    "none": None,
    "light": (0.03, 0.10, 0.10),
    "strong": (0.08, 0.25, 0.30),
    "randaugment": None,
    "trivialaugment": None,
}


def augmentation(policy: str, *, seed: int = 0, fill_mode: str = "reflect") -> list["Change"]:
    """The layers of a named policy.

    | policy | flip | rotation | zoom | contrast |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | half of the images | ±11° | ±10% | ±10% |
    | strong | half of the images | ±29° | ±25% | ±30% |
    | randaugment | half of the images | then two of the changes of `RandAugment` | | |
    | trivialaugment | half of the images | then one of the changes of `TrivialAugment` | | |

    Do not flip what has a reading direction (digits, letters, traffic signs): leave out the first layer.

    Args:
        policy: `"none"`, `"light"`, `"strong"`, `"randaugment"` or `"trivialaugment"`.
        seed: of the layers when they are called as such. (`batches` gives them seeds of its own.)
        fill_mode: what comes into view at the edges: the image mirrored ("reflect"), or 0 ("constant"), which is
            right with boxes, as mirrored objects would have none.

    Returns:
        Keras layers on `float32 [n, h, w, 3]` in 0..255, for `augment`, `batches` or `Augmentation`; none for `"none"`.

    Raises:
        ValueError: unknown policy.

    Example:

    >>> [layer.__class__.__name__ for layer in augmentation("light")]
    ['RandomFlip', 'RandomRotation', 'RandomZoom', 'RandomContrast']
    """
    if policy not in POLICIES:
        raise ValueError(f"expected an augmentation policy of {', '.join(POLICIES)}; received {policy!r}")
    if policy == "none":
        return []
    mirror = RandomFlip("horizontal", seed=seed)
    ranges = POLICIES[policy]
    if ranges is None:
        choice = RandAugment if policy == "randaugment" else TrivialAugment
        return [mirror, choice(fill_mode=fill_mode, seed=seed + 1)]
    rotation, zoom, contrast = ranges
    return [
        mirror,
        RandomRotation(rotation, fill_mode=fill_mode, seed=seed + 1),
        RandomZoom((-zoom, zoom), fill_mode=fill_mode, seed=seed + 2),
        RandomContrast(contrast, seed=seed + 3),
    ]


def interval(
    layer: str, name: str, factor: Factor, low: float, high: float, *, one_sided: bool = False
) -> tuple[float, float]:
    """The range that a number or a pair of numbers stands for, as Keras reads it."""
    try:
        lower, upper = (0.0 if one_sided else -factor, factor) if isinstance(factor, int | float) else sorted(factor)
    except (TypeError, ValueError):
        lower, upper = math.nan, math.nan
    if not low <= lower <= upper <= high:
        raise ValueError(
            f"{layer}: expected `{name}` as a number or a pair of numbers in {low:g}..{high:g}, received {factor!r}"
        )
    return float(lower), float(upper)


def between(u: tf.Tensor, limits: Sequence[float]) -> tf.Tensor:
    """Numbers in [0, 1) as numbers between the limits."""
    return limits[0] + u * (limits[1] - limits[0])


def _centre(size: warp.Size) -> tuple[Any, Any]:
    height, width = warp.lengths(size)
    return width / 2, height / 2


_serializable = keras.saving.register_keras_serializable(package="pipelines")


@_serializable
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


class _Resampled(Change):
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


@_serializable
class RandomRotation(_Resampled):
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
        return warp.about(warp.rotation(2 * math.pi * between(u[:, 0], self.factor)), _centre(size))


@_serializable
class RandomZoom(_Resampled):
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
        return warp.about(warp.scaling(1 / width, 1 / height), _centre(size))


@_serializable
class RandomTranslation(_Resampled):
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


@_serializable
class RandomShear(_Resampled):
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
        return warp.about(warp.shear(x, y), _centre(size))


@_serializable
class RandomPerspective(_Resampled):
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


def probability(factor: Factor) -> Factor:
    """A probability as the range that holds nothing else."""
    return (factor, factor) if isinstance(factor, int | float) else factor


@_serializable
class Resizing(_Resampled):
    """Stretches images to a size, in the same resampling as the changes before and after it.

    Without antialiasing: for sizes down to about half of the given ones.

    Args:
        height, width: of the result, in pixels.

    Example:

    >>> Resizing(4, 8)(tf.ones([2, 6, 9, 3])).shape
    TensorShape([2, 4, 8, 3])
    """

    def __init__(self, height: int, width: int, *, interpolation: str = "bilinear", name: str | None = None) -> None:
        super().__init__("nearest", interpolation, 0.0, seed=0, name=name)
        self.fill_mode = self.fill_value = None  # nothing beyond the edges is shown
        self.height, self.width = _positive(type(self).__name__, height, width)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return self.still(size)

    def still(self, size: warp.Size) -> tf.Tensor:
        return warp.resizing(size, (self.height, self.width))

    def output_size(self, size: warp.Size) -> warp.Size:
        return self.height, self.width


def _positive(layer: str, height: int, width: int) -> tuple[int, int]:
    if not (int(height) == height >= 1 and int(width) == width >= 1):
        raise ValueError(f"{layer}: expected `height` and `width` in pixels, received {height!r} and {width!r}")
    return int(height), int(width)


@_serializable
class RandomCrop(Change):
    """A window of a given size, anywhere in the image; of smaller images, the largest of that shape, enlarged.

    When not training, the largest window of that shape in the middle, resized: as Keras' layer does.

    Args:
        height, width: of the window and the result, in pixels.
    """

    draws = 2

    def __init__(self, height: int, width: int, *, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(seed=seed, name=name)
        self.height, self.width = _positive("RandomCrop", height, width)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        shrink = tf.minimum(1.0, tf.minimum(height / self.height, width / self.width))
        crop_height, crop_width = shrink * self.height, shrink * self.width
        # Whole pixels, so that a window that need not be enlarged is the image's own pixels.
        top, left = tf.floor(u[:, 0] * (height - crop_height + 1)), tf.floor(u[:, 1] * (width - crop_width + 1))
        top, left = tf.minimum(top, height - crop_height), tf.minimum(left, width - crop_width)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def still(self, size: warp.Size) -> tf.Tensor:
        return _middle(size, (self.height, self.width))

    def output_size(self, size: warp.Size) -> warp.Size:
        return self.height, self.width


def _middle(size: warp.Size, wanted: warp.Size) -> tf.Tensor:
    """The largest window of the wanted shape, in the middle, stretched to the wanted size."""
    height, width = warp.lengths(size)
    scale = tf.minimum(height / wanted[0], width / wanted[1])
    crop_height, crop_width = scale * wanted[0], scale * wanted[1]
    top, left = (height - crop_height) / 2, (width - crop_width) / 2
    return warp.window((left, top, left + crop_width, top + crop_height), wanted)


@_serializable
class RandomResizedCrop(Resizing):
    """A window of random area and shape, anywhere in the image, stretched to one size.

    As Inception was trained (C. Szegedy et al., "Going deeper with convolutions", 2015, section 6). When not
    training, the largest window of the result's shape in the middle.

    Args:
        height, width: of the result, in pixels.
        scale: range of the window's area, as a fraction of the image's.
        ratio: range of its width over its height, evenly drawn in the logarithm. A window that would not fit is as
            high, or as wide, as the image.
        interpolation: "bilinear" or "nearest"; there is no antialiasing.
    """

    draws = 4

    def __init__(
        self,
        height: int,
        width: int,
        *,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(height, width, interpolation=interpolation, name=name)
        self.seed, self.generator = seed, keras.random.SeedGenerator(seed)
        self.scale = interval("RandomResizedCrop", "scale", scale, 1e-4, 1)
        self.ratio = interval("RandomResizedCrop", "ratio", ratio, 0.01, 100)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        area = height * width * between(u[:, 0], self.scale)
        ratio = tf.exp(between(u[:, 1], [math.log(side) for side in self.ratio]))
        crop_width, crop_height = tf.minimum(tf.sqrt(area * ratio), width), tf.minimum(tf.sqrt(area / ratio), height)
        left, top = u[:, 2] * (width - crop_width), u[:, 3] * (height - crop_height)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def still(self, size: warp.Size) -> tf.Tensor:
        return _middle(size, (self.height, self.width))


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


@_serializable
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


@_serializable
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


@_serializable
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


@_serializable
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


@_serializable
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


@_serializable
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


# Policies that choose. Each number is the largest magnitude, at a factor of 1, in the units of the layers above;
# published in the papers' tables.
_RAND_AUGMENT = {"rotation": 30 / 360, "shear": 0.3, "translation": 0.45, "brightness": 0.9, "colour": 0.9}
_TRIVIAL_AUGMENT = {"rotation": 135 / 360, "shear": 0.99, "translation": 32 / 224, "brightness": 0.99, "colour": 0.99}


class _Choice(_Resampled):
    """Some of nine changes for each image, at a magnitude."""

    LARGEST: Mapping[str, float]
    NUM_CHANGES = 9  # nothing, four that shear and translate, rotation; brightness, contrast, saturation

    def _choose(self, u: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
        """The magnitude, to either side, of the change that `u[:, 0]` chooses, and 0 for the others: `[n, 9]`."""
        chosen = tf.cast(u[:, 0] * self.NUM_CHANGES, tf.int32)
        signed = magnitude * tf.where(u[:, 1] < 0.5, -1.0, 1.0)
        return signed[:, None] * tf.one_hot(chosen, self.NUM_CHANGES)

    def _warps_of(self, amounts: tf.Tensor, size: warp.Size) -> tf.Tensor:
        _, shear_x, shear_y, move_x, move_y, turn, *_ = tf.unstack(amounts, axis=1)
        height, width = warp.lengths(size)
        largest = self.LARGEST
        shear = warp.shear(largest["shear"] * shear_x, largest["shear"] * shear_y)
        rotation = warp.rotation(2 * math.pi * largest["rotation"] * turn)
        moves = warp.translation(largest["translation"] * width * move_x, largest["translation"] * height * move_y)
        return warp.compose(warp.about(shear @ rotation, _centre(size)), moves)

    def _colours_of(self, amounts: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        *_, brightness, contrast, saturation = tf.unstack(amounts, axis=1)
        # Brightness multiplies in both papers, as Pillow's ImageEnhance does: contrast about black.
        return warp.compose(
            colour.contrast(1 + self.LARGEST["brightness"] * brightness, tf.zeros_like(means)),
            colour.contrast(1 + self.LARGEST["colour"] * contrast, means),
            colour.saturation(1 + self.LARGEST["colour"] * saturation),
        )


@_serializable
class RandAugment(_Choice):
    """Several of nine changes for each image, all at the same magnitude.

    E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2020). The
    nine are those of its fourteen that are a matrix: nothing, shear and translation in both directions, rotation,
    brightness, contrast, colour. (Left out: posterize, solarize, equalize, auto-contrast, sharpness.) Each image
    draws its own; Keras' layer draws one choice for a whole batch, and computes every change to keep two.

    Args:
        num_ops: how many changes follow each other.
        factor: their magnitude, 0..1, of the largest ones: 30°, shear 0.3, translation 45%, colours ±90%. (The
            paper's M is 10 times, later 30 times this.)
    """

    LARGEST = _RAND_AUGMENT

    def __init__(
        self,
        num_ops: int = 2,
        factor: float = 0.5,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)
        if num_ops < 1:
            raise ValueError(f"RandAugment: expected `num_ops` of 1 or more, received {num_ops!r}")
        self.num_ops, self.draws = num_ops, 2 * num_ops
        self.factor = interval("RandAugment", "factor", factor, 0, 1, one_sided=True)[1]

    def _rounds(self, u: tf.Tensor) -> list[tf.Tensor]:
        magnitude = tf.fill([tf.shape(u)[0]], self.factor)
        return [self._choose(u[:, 2 * i : 2 * i + 2], magnitude) for i in range(self.num_ops)]

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return warp.compose(*(self._warps_of(amounts, size) for amounts in self._rounds(u)))

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return warp.compose(*(self._colours_of(amounts, means) for amounts in self._rounds(u)))


@_serializable
class TrivialAugment(_Choice):
    """One of nine changes for each image, at a magnitude of its own.

    S. Müller and F. Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation" (2021), wide search
    space: up to 135°, shear 0.99, translation 32 of 224 pixels, colours ±99%. The changes are those of `RandAugment`.
    """

    draws = 3
    LARGEST = _TRIVIAL_AUGMENT

    def __init__(
        self,
        *,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fill_mode, interpolation, fill_value, seed=seed, name=name)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return self._warps_of(self._choose(u, u[:, 2]), size)

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return self._colours_of(self._choose(u, u[:, 2]), means)
