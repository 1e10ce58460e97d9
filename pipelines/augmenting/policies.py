"""The named policies of augmentation, and the two that choose transforms at random for each image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from pipelines.augmenting import colour, warp
from pipelines.augmenting.geometric import RandomFlip, RandomRotation, RandomZoom, Resampled, centre
from pipelines.augmenting.photometric import RandomContrast
from pipelines.augmenting.sampling import interval
from pipelines.augmenting.transforms import MatrixTransform, registered_dataclass

__all__ = ["POLICIES", "RandAugment", "TrivialAugment", "augmentation"]

# Columns: rotation as a fraction of a full turn, zoom as a fraction of the size, contrast as a fraction of itself.
# Each is drawn evenly from minus this number to plus this number.
POLICIES: dict[str, tuple[float, float, float] | None] = {
    "none": None,
    "light": (0.03, 0.10, 0.10),
    "strong": (0.08, 0.25, 0.30),
    "textbook": (0.05, 0.0, 0.20),
    "randaugment": None,
    "trivialaugment": None,
}


def augmentation(policy: str, *, seed: int = 0, fill_mode: str = "reflect") -> list[MatrixTransform]:
    """Returns the layers of a named policy.

    | policy | flip | rotation | zoom | contrast |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | half of the images | ±11° | ±10% | ±10% |
    | strong | half of the images | ±29° | ±25% | ±30% |
    | textbook | half of the images | ±18° | - | ±20% |
    | randaugment | half of the images | then two transforms of `RandAugment` | | |
    | trivialaugment | half of the images | then one transform of `TrivialAugment` | | |

    The policy "textbook" is from Géron 2022, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow",
    chapter 14.

    Do not flip images that have a reading direction (digits, letters, traffic signs): leave out the first layer.

    Args:
        policy: "none", "light", "strong", "textbook", "randaugment" or "trivialaugment".
        seed: Integer that initialises the state that the layers use when they are called. (`pipelines.batches` and
            `pipelines.augment` have seeds of their own.)
        fill_mode: What the image shows beyond its edges: "reflect" (the image mirrored), "nearest", "wrap" or
            "constant" (black). Use "constant" for images with boxes, because mirrored objects would have no boxes.

    Returns:
        Keras layers for images `float32 [n, h, w, 3]` with values in 0..255, which `pipelines.augment`,
        `pipelines.batches` and `pipelines.Augmentation` take. The list for "none" is empty.

    Raises:
        ValueError: The policy is unknown.

    Example:

    >>> [layer.__class__.__name__ for layer in augmentation("light")]
    ['RandomFlip', 'RandomRotation', 'RandomZoom', 'RandomContrast']
    """
    if policy not in POLICIES:
        raise ValueError(f"expected an augmentation policy of {', '.join(POLICIES)}; received {policy!r}")
    if policy == "none":
        return []
    flip = RandomFlip("horizontal", seed=seed)
    ranges = POLICIES[policy]
    if ranges is None:
        choice = RandAugment if policy == "randaugment" else TrivialAugment
        return [flip, choice(fill_mode=fill_mode, seed=seed + 1)]
    rotation, zoom, contrast = ranges
    zooms = [RandomZoom((-zoom, zoom), fill_mode=fill_mode, seed=seed + 2)] if zoom else []
    return [
        flip,
        RandomRotation(rotation, fill_mode=fill_mode, seed=seed + 1),
        *zooms,
        RandomContrast(contrast, seed=seed + 3),
    ]


@dataclass(eq=False, repr=False)
class _Choice(Resampled):
    """The base class of policies that choose among nine transforms for each image.

    The nine are: nothing, shear in x and y, translation in x and y, rotation, brightness, contrast, saturation.
    """

    # The magnitude of each transform at a factor of 1, in the units of the layers of the same names
    LARGEST: ClassVar[Mapping[str, float]] = {}
    NUM_TRANSFORMS = 9

    def _choose(self, u: tf.Tensor, magnitude: tf.Tensor) -> tf.Tensor:
        """Returns `[n, 9]`: the magnitude, with a random sign, for the transform that `u[:, 0]` chooses, and else 0."""
        chosen = tf.cast(u[:, 0] * self.NUM_TRANSFORMS, tf.int32)
        signed = magnitude * tf.where(u[:, 1] < 0.5, -1.0, 1.0)
        return signed[:, None] * tf.one_hot(chosen, self.NUM_TRANSFORMS)

    def _warps_of(self, magnitudes: tf.Tensor, size: warp.Size) -> tf.Tensor:
        _, shear_x, shear_y, move_x, move_y, turn, *_ = tf.unstack(magnitudes, axis=1)
        height, width = warp.lengths(size)
        largest = self.LARGEST
        shear = warp.shear(largest["shear"] * shear_x, largest["shear"] * shear_y)
        rotation = warp.rotation(2 * math.pi * largest["rotation"] * turn)
        moves = warp.translation(largest["translation"] * width * move_x, largest["translation"] * height * move_y)
        return warp.compose(warp.about(shear @ rotation, centre(size)), moves)

    def _colours_of(self, magnitudes: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        *_, brightness, contrast, saturation = tf.unstack(magnitudes, axis=1)
        # Both papers multiply by the brightness, as Pillow's ImageEnhance does: it is contrast about black.
        return warp.compose(
            colour.contrast(1 + self.LARGEST["brightness"] * brightness, tf.zeros_like(means)),
            colour.contrast(1 + self.LARGEST["colour"] * contrast, means),
            colour.saturation(1 + self.LARGEST["colour"] * saturation),
        )


@registered_dataclass
class RandAugment(_Choice):
    """Applies several of nine transforms to each image, all at the same magnitude.

    E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (2020). The
    nine are the ones of its fourteen that are a matrix: nothing, shear and translation in both directions, rotation,
    brightness, contrast, colour. (Posterize, solarize, equalize, auto-contrast and sharpness are left out.) Each image
    draws its own transforms, while Keras' layer draws one choice for a whole batch.

    `pipelines.augmenting.geometric.Resampled` describes the arguments that are not listed here.

    Args:
        num_ops: Number of transforms that follow each other, at least 1.
        factor: Magnitude of the transforms, 0..1, as a fraction of the largest ones: 30°, shear 0.3, translation 45%,
            colours ±90%. (The paper's M is 10 times, later 30 times this number.)

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandAugment(2, 0.3, seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    num_ops: int = 2
    factor: float = 0.5

    LARGEST: ClassVar = {"rotation": 30 / 360, "shear": 0.3, "translation": 0.45, "brightness": 0.9, "colour": 0.9}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_ops < 1:
            raise ValueError(f"RandAugment: expected `num_ops` of 1 or more, received {self.num_ops!r}")
        self.num_draws = 2 * self.num_ops
        self.factor = interval("RandAugment", "factor", self.factor, 0, 1, one_sided=True)[1]

    def _rounds(self, u: tf.Tensor) -> list[tf.Tensor]:
        magnitude = tf.fill([tf.shape(u)[0]], self.factor)
        return [self._choose(u[:, 2 * i : 2 * i + 2], magnitude) for i in range(self.num_ops)]

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return warp.compose(*(self._warps_of(magnitudes, size) for magnitudes in self._rounds(u)))

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return warp.compose(*(self._colours_of(magnitudes, means) for magnitudes in self._rounds(u)))


@registered_dataclass
class TrivialAugment(_Choice):
    """Applies one of nine transforms to each image, at a random magnitude.

    S. Müller and F. Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation" (2021), wide search
    space: up to 135°, shear 0.99, translation 32 of 224 pixels, colours ±99%. The transforms are those of
    `RandAugment`. `pipelines.augmenting.geometric.Resampled` describes the arguments.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> TrivialAugment(seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    num_draws = 3
    LARGEST: ClassVar = {
        "rotation": 135 / 360,
        "shear": 0.99,
        "translation": 32 / 224,
        "brightness": 0.99,
        "colour": 0.99,
    }

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return self._warps_of(self._choose(u, u[:, 2]), size)

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
        return self._colours_of(self._choose(u, u[:, 2]), means)
