"""Any number of random changes of images for the price of one warp and one colour matrix.

A change of geometry draws one 3x3 matrix for each image, a change of colour one affine matrix of colours. `augment`
multiplies all the matrices that follow each other and resamples once (`pipelines.augmenting.warp`), recolours once
(`pipelines.augmenting.colour`), and takes boxes, points and masks through the same geometry. The changes themselves
are in
`pipelines.augmenting.geometric`, `cropping`, `photometric`, `noise`, `mixing` and `policies`.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipelines.augmenting import colour, warp
from pipelines.augmenting.padding import is_box, keep_boxes, size_of
from pipelines.loading.adapters import adapt

__all__ = ["Augmentation", "Change", "Sample", "augment", "register"]

Sample = dict[str, tf.Tensor]

register = keras.saving.register_keras_serializable(package="pipelines")


def augment(
    batch: Any, layers: Sequence[keras.Layer], seed: Any, *, min_visible: float = 0.25, mask_fill_value: int = 0
) -> Any:
    """Apply random layers with a given seed instead of the state that each layer keeps.

    State would make a batch depend on how many were drawn before it, in whatever order threads drew them.

    Layers of this module that follow each other are one warp and one colour matrix: first all geometry in their
    order, then all colour in theirs, clipped to 0..255 once. Contrast refers to the mean colour before the warp.
    Other changes (`pipelines.augmenting.mixing`, Keras' own layers through `pipelines.loading.adapters`) are done
    between such runs.

    Args:
        batch: images `[n, h, w, 3]` in 0..255, or a dict of `image` and, as present,

            - `boxes` `float32 [n, m, 4]`, xyxy in pixels, with `classes` `int32 [n, m]`, -1 where a row is padding
              (without classes, a box without area is padding);
            - `points` `float32 [n, m, 2]`, (x, y) in pixels;
            - `mask` `[n, h, w]` or `[n, h, w, 1]` of whole numbers, and `instances` `bool [n, m, h, w]`;
            - anything else, which is returned as it is.
        layers: of this module or of `pipelines.augmenting.mixing`, Keras' `Random*` image layers, or adapters.
        seed: scalar integer, possibly a tensor. The same seed and images give the same result.
        min_visible: a box that keeps less of its area inside the image is dropped.
        mask_fill_value: what a mask holds where `fill_mode="constant"` has filled the image.

    Returns:
        `float32 [n, H, W, 3]`, or a dict with that as its `image`. Boxes are those around the moved corners, clipped;
        those that are left come first, then padding: boxes of zeros, of class -1. `num_boxes` `int32 [n]` counts
        the former. Points may lie outside.

    Raises:
        ValueError: layers that follow each other fill differently, or a layer that cannot do this with boxes or masks.

    Example:

    >>> import numpy as np
    >>> from pipelines import augmentation
    >>> images = np.random.default_rng(0).uniform(0, 255, [2, 8, 6, 3])
    >>> layers = augmentation("strong")
    >>> bool(tf.reduce_all(augment(images, layers, 5) == augment(images, layers, 5)))
    True
    """
    seed = tf.cast(seed, tf.int64)
    seed = tf.stack([seed, tf.zeros_like(seed)]) if seed.shape.rank == 0 else seed
    return _apply(batch, layers, seed, True, min_visible=min_visible, mask_fill_value=mask_fill_value)


def _apply(
    batch: Any,
    layers: Sequence[keras.Layer],
    seed: tf.Tensor,
    training: bool,
    *,
    min_visible: float,
    mask_fill_value: int,
) -> Any:
    sample = dict(batch) if isinstance(batch, Mapping) else {"image": batch}
    sample["image"] = tf.cast(sample["image"], tf.float32)
    for position, run in enumerate(_runs(layers)):
        run_seed = tf.random.experimental.stateless_fold_in(seed, position)
        if run[0].is_matrix:
            sample = _fuse(sample, run, run_seed, training, min_visible=min_visible, mask_fill_value=mask_fill_value)
        elif training:
            sample = run[0].change(sample, run_seed)
    return sample if isinstance(batch, Mapping) else sample["image"]


def _runs(layers: Sequence[keras.Layer]) -> list[list[Any]]:
    """The layers, with those that are matrices and follow each other together, and Keras' own in adapters."""
    runs: list[list[Any]] = []
    for layer in layers:
        change = layer if isinstance(layer, Change) else adapt(layer)
        if runs and change.is_matrix and runs[-1][0].is_matrix:
            runs[-1].append(change)
        else:
            runs.append([change])
    return runs


def _fuse(
    sample: Sample,
    layers: Sequence["Change"],
    seed: tf.Tensor,
    training: bool,
    *,
    min_visible: float,
    mask_fill_value: int,
) -> Sample:
    """One warp and one recolouring for all the layers."""
    images = sample["image"]
    n, given = tf.shape(images)[0], size_of(images)
    draws = [layer.draws for layer in layers]
    numbers = tf.split(tf.random.stateless_uniform([n, sum(draws)], seed), draws, axis=1)
    size, geometry, recolouring = given, [], []
    means = colour.mean_colours(images)
    for layer, u in zip(layers, numbers, strict=True):
        matrices = layer.warps(u, size) if training else layer.still(size)
        if matrices is not None:
            geometry.append(matrices)
            size = layer.output_size(size)
        matrices = layer.colours(u, means) if training else None
        if matrices is not None:
            recolouring.append(matrices)
            means = tf.linalg.matvec(matrices[:, :3, :3], means) + matrices[:, :3, 3]
    sample = dict(sample)
    if geometry:
        matrices = warp.compose(warp.identity(n), *geometry)
        filling = _filling(layers)
        sample["image"] = warp.warp(images, matrices, size=size, **filling)
        _take_along(sample, matrices, size, filling["fill_mode"], min_visible, mask_fill_value)
    if recolouring:
        sample["image"] = colour.recolour(sample["image"], warp.compose(colour.identity(n), *recolouring))
    return sample


def _filling(layers: Sequence["Change"]) -> dict[str, Any]:
    """How the one warp interpolates and fills: what all its layers say that say anything."""
    said = {name: {getattr(layer, name) for layer in layers} - {None} for name in Change.FILLING}
    for name, values in said.items():
        if len(values) > 1:
            raise ValueError(
                f"layers that follow each other are resampled together and need one {name}; received "
                f"{', '.join(sorted(map(repr, values)))}. Give them all the same"
            )
    defaults = {"interpolation": "bilinear", "fill_mode": "reflect", "fill_value": 0.0}
    return {name: next(iter(said[name]), default) for name, default in defaults.items()}


def _take_along(
    sample: Sample, matrices: tf.Tensor, size: warp.Size, fill_mode: str, min_visible: float, mask_fill_value: int
) -> None:
    """Warp what else the sample (a copy) has: mask, points and boxes."""
    if "mask" in sample:
        mask = tf.convert_to_tensor(sample["mask"])
        flat = mask.shape.rank == 3
        warped = warp.warp(
            mask[..., None] if flat else mask,
            matrices,
            size=size,
            interpolation="nearest",
            fill_mode=fill_mode,
            fill_value=mask_fill_value,
        )
        sample["mask"] = warped[..., 0] if flat else warped
    if "instances" in sample:
        stacked = tf.transpose(tf.cast(sample["instances"], tf.uint8), [0, 2, 3, 1])
        warped = warp.warp(stacked, matrices, size=size, interpolation="nearest", fill_mode=fill_mode)
        sample["instances"] = tf.cast(tf.transpose(warped, [0, 3, 1, 2]), tf.bool)
    if "points" in sample:
        sample["points"] = warp.warp_points(sample["points"], matrices)
    if "boxes" in sample:
        boxes = tf.convert_to_tensor(sample["boxes"], tf.float32)
        moved, visible = warp.visible_boxes(warp.warp_boxes(boxes, matrices), size, min_visible=min_visible)
        sample.update(keep_boxes({**sample, "boxes": moved}, visible & is_box(sample)))


class Change(keras.layers.Layer):
    """What all random changes have in common.

    A subclass that is a matrix overrides `warps`, `colours` or both, functions of `draws` numbers in [0, 1) for each
    image: all randomness is drawn in one place. One that is not overrides `change`.

    As a layer of a model, or called as such, it changes images (or a dict, see `augment`) when `training=True` and
    draws from the state of its own that `seed` started. Otherwise it returns them as they are.

    Args:
        seed: integer, or None for a new one each time.
        name: of the layer.
        dtype: of its computations; not the policy's, since float16 would round colours.
    """

    FILLING = ("interpolation", "fill_mode", "fill_value")

    draws = 0  # numbers in [0, 1) for each image
    is_matrix = True
    # What a change of geometry says of the pixels that it has to make up; None where it makes up none.
    interpolation: str | None = None
    fill_mode: str | None = None
    fill_value: float | None = None

    def __init__(self, *, seed: int | None = None, name: str | None = None, dtype: str = "float32") -> None:
        super().__init__(name=name, dtype=dtype)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True  # nothing depends on the shape of what comes

    def call(self, batch: Any, training: bool = False) -> Any:
        # `training` has to default to False: Keras would hand a default of True on to the layers that follow.
        seed = tf.cast(self.generator.next(), tf.int64)
        return _apply(batch, [self], seed, training, min_visible=0.25, mask_fill_value=0)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor | None:
        """Matrices `[n, 3, 3]` (see `pipelines.augmenting.warp`) from numbers `[n, draws]` and the size of the
        images.
        """
        return None

    def colours(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor | None:
        """Matrices `[n, 4, 4]` (see `pipelines.augmenting.colour`) from numbers `[n, draws]` and mean colours `[n,
        3]`.
        """
        return None

    def still(self, size: warp.Size) -> tf.Tensor | None:
        """The geometry when nothing is to be random: only that of layers that change the size."""
        return None

    def output_size(self, size: warp.Size) -> warp.Size:
        """Height and width after the change."""
        return size

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, each of which is an attribute."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        """The change of a whole batch, for one that is not a matrix."""
        raise TypeError(f"{type(self).__name__} is a matrix: `augment` composes it with others")


@register
class Augmentation(Change):
    """Several changes as one layer: for a model, or for `dataset.map`.

    Args:
        layers: of this module or of `pipelines.augmenting.mixing`, Keras' `Random*` layers, or adapters.
        min_visible, mask_fill_value: as of `augment`.
        seed: of the state that it draws from.

    Example:

    >>> from pipelines import RandomBrightness, RandomFlip, RandomRotation
    >>> layer = Augmentation([RandomFlip("horizontal"), RandomRotation(0.1), RandomBrightness(0.2)], seed=3)
    >>> layer(tf.zeros([2, 8, 6, 3]), training=True).shape
    TensorShape([2, 8, 6, 3])
    """

    is_matrix = False

    def __init__(
        self,
        layers: Sequence[keras.Layer],
        *,
        min_visible: float = 0.25,
        mask_fill_value: int = 0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(seed=seed, name=name)
        self.layers = list(layers)
        self.built = all(layer.built for layer in self.layers)
        self.min_visible, self.mask_fill_value = min_visible, mask_fill_value

    def call(self, batch: Any, training: bool = False) -> Any:
        return self._with(batch, tf.cast(self.generator.next(), tf.int64), training)

    def build(self, input_shape: Any) -> None:
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        return self._with(sample, seed, True)

    def _with(self, batch: Any, seed: tf.Tensor, training: bool) -> Any:
        return _apply(
            batch, self.layers, seed, training, min_visible=self.min_visible, mask_fill_value=self.mask_fill_value
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers],
            "min_visible": self.min_visible,
            "mask_fill_value": self.mask_fill_value,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Augmentation":
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})
