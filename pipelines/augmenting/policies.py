"""The named policies."""

import math
from collections.abc import Mapping

import tensorflow as tf

from pipelines.augmenting import colour, warp
from pipelines.augmenting.geometric import RandomFlip, RandomRotation, RandomZoom, Resampled, centre
from pipelines.augmenting.photometric import RandomContrast
from pipelines.augmenting.sampling import interval
from pipelines.augmenting.transforms import Change, register

__all__ = ["POLICIES", "RandAugment", "TrivialAugment", "augmentation"]

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


# Policies that choose. Each number is the largest magnitude, at a factor of 1, in the units of the layers above;
# published in the papers' tables.
_RAND_AUGMENT = {"rotation": 30 / 360, "shear": 0.3, "translation": 0.45, "brightness": 0.9, "colour": 0.9}
_TRIVIAL_AUGMENT = {"rotation": 135 / 360, "shear": 0.99, "translation": 32 / 224, "brightness": 0.99, "colour": 0.99}


class _Choice(Resampled):
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
        return warp.compose(warp.about(shear @ rotation, centre(size)), moves)

    def _colours_of(self, amounts: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        *_, brightness, contrast, saturation = tf.unstack(amounts, axis=1)
        # Brightness multiplies in both papers, as Pillow's ImageEnhance does: contrast about black.
        return warp.compose(
            colour.contrast(1 + self.LARGEST["brightness"] * brightness, tf.zeros_like(means)),
            colour.contrast(1 + self.LARGEST["colour"] * contrast, means),
            colour.saturation(1 + self.LARGEST["colour"] * saturation),
        )


@register
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


@register
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
