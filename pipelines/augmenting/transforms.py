"""Random transforms of images, and how any number of them becomes one warp and one colour matrix.

A transform of geometry draws one 3x3 matrix for each image, and a transform of colour draws one affine matrix of
colours. `augment` multiplies all matrices that follow each other, resamples the images once
(`pipelines.augmenting.warp`), recolours them once (`pipelines.augmenting.colour`), and moves boxes, points and masks
with the same geometry. The transforms themselves are in the modules `geometric`, `cropping`, `photometric`, `noise`,
`mixing` and `policies` of this package.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeVar, dataclass_transform

import keras
import tensorflow as tf

from pipelines.augmenting import colour, warp
from pipelines.augmenting.padding import is_box, keep_boxes, size_of
from pipelines.loading.adapters import adapt

__all__ = ["Augmentation", "MatrixTransform", "Sample", "Transform", "augment", "register", "registered_dataclass"]

Sample = dict[str, tf.Tensor]
Class = TypeVar("Class", bound=type)

register = keras.saving.register_keras_serializable(package="pipelines")

# What a warp does where no transform says otherwise.
_FILLING: dict[str, Any] = {"interpolation": "bilinear", "fill_mode": "reflect", "fill_value": 0.0}


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
def registered_dataclass(cls: Class) -> Class:
    """Makes a dataclass of a transform, so that its fields are its arguments, and registers it with Keras."""
    return register(dataclass(eq=False, repr=False)(cls))


def augment(
    batch: Any, layers: Sequence[keras.Layer], seed: Any, *, min_visible: float = 0.25, mask_fill_value: int = 0
) -> Any:
    """Applies random layers to a batch of images, with a given seed instead of the state that each layer keeps.

    With a state, a batch would depend on the number of batches that were drawn before it, and on the order in which
    threads drew them.

    `MatrixTransform`s that follow each other become one warp and one colour matrix: first all geometry in its order,
    then all colour in its order, clipped to 0..255 once. Contrast refers to the mean colour before the warp. All
    other layers (such as `MixUp`, and Keras' own layers through `pipelines.adapt`) run between these groups.

    Args:
        batch: Images `[n, h, w, 3]` with values in 0..255; or a dict with the key `image` and any of these keys:

            - `boxes`: `float32 [n, m, 4]`, xyxy in pixels, with `classes`: `int32 [n, m]`, which is -1 where a row is
              padding (without classes, a box without area is padding);
            - `points`: `float32 [n, m, 2]`, (x, y) in pixels;
            - `mask`: whole numbers `[n, h, w]` or `[n, h, w, 1]`, and `instances`: `bool [n, m, h, w]`;
            - any other key, whose value is returned unchanged.
        layers: `Transform`s, and image layers of `keras.layers` or `keras_cv.layers`.
        seed: Scalar integer, which may be a tensor. The same seed and images give the same result.
        min_visible: Smallest part of its area, 0 to 1, that a box has to keep inside of the image. A box that keeps
            less is dropped. Defaults to 0.25.
        mask_fill_value: Value of a mask where `fill_mode="constant"` has filled the image. Defaults to 0.

    Returns:
        `float32 [n, H, W, 3]`, or a dict with such images as `image`. A box becomes the upright box around its moved
        corners, clipped to the image. The boxes that remain come first, and padding follows: boxes of zeros with the
        class -1. The new key `num_boxes` `int32 [n]` counts the boxes that remain. Points may lie outside of the
        image.

    Raises:
        ValueError: Layers that follow each other fill differently, or a layer cannot transform boxes or masks.
        TypeError: A layer is not callable.

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
    for position, group in enumerate(_groups(layers)):
        group_seed = tf.random.experimental.stateless_fold_in(seed, position)
        if isinstance(group[0], MatrixTransform):
            sample = _fuse(
                sample, group, group_seed, training, min_visible=min_visible, mask_fill_value=mask_fill_value
            )
        elif training:
            sample = group[0].transform_batch(sample, group_seed)
    return sample if isinstance(batch, Mapping) else sample["image"]


def _groups(layers: Sequence[keras.Layer]) -> list[list[Any]]:
    """Returns the layers in groups: matrix transforms that follow each other share one, any other layer has its own."""
    groups: list[list[Any]] = []
    for layer in layers:
        transform = layer if isinstance(layer, Transform) else adapt(layer)
        if groups and isinstance(transform, MatrixTransform) and isinstance(groups[-1][0], MatrixTransform):
            groups[-1].append(transform)
        else:
            groups.append([transform])
    return groups


def _fuse(
    sample: Sample,
    layers: Sequence["MatrixTransform"],
    seed: tf.Tensor,
    training: bool,
    *,
    min_visible: float,
    mask_fill_value: int,
) -> Sample:
    """Applies all layers with one warp and one recolouring."""
    images = sample["image"]
    n, size = tf.shape(images)[0], size_of(images)
    counts = [layer.num_draws for layer in layers]
    draws = tf.split(tf.random.stateless_uniform([n, sum(counts)], seed), counts, axis=1)
    geometry, recolouring = [], []
    means = colour.mean_colours(images)
    for layer, u in zip(layers, draws, strict=True):
        matrices = layer.warp_matrices(u, size) if training else layer.inference_warp_matrices(size)
        if matrices is not None:
            geometry.append(matrices)
            size = layer.output_size(size)
        matrices = layer.colour_matrices(u, means) if training else None
        if matrices is not None:
            recolouring.append(matrices)
            means = tf.linalg.matvec(matrices[:, :3, :3], means) + matrices[:, :3, 3]
    sample = dict(sample)
    if geometry:
        matrices = warp.compose(warp.identity(n), *geometry)
        filling = _common_filling(layers)
        sample["image"] = warp.warp_images(images, matrices, size=size, **filling)
        _warp_annotations(sample, matrices, size, filling["fill_mode"], min_visible, mask_fill_value)
    if recolouring:
        sample["image"] = colour.recolour(sample["image"], warp.compose(colour.identity(n), *recolouring))
    return sample


def _common_filling(layers: Sequence["MatrixTransform"]) -> dict[str, Any]:
    """Returns how the one warp interpolates and fills, on which all layers have to agree."""
    filling = {}
    for name, default in _FILLING.items():
        values = {layer.filling()[name] for layer in layers if name in layer.filling()}
        if len(values) > 1:
            raise ValueError(
                f"layers that follow each other are resampled together and need the same {name}; received "
                f"{', '.join(sorted(map(repr, values)))}. Give them all the same"
            )
        filling[name] = next(iter(values), default)
    return filling


def _warp_annotations(
    sample: Sample, matrices: tf.Tensor, size: warp.Size, fill_mode: str, min_visible: float, mask_fill_value: int
) -> None:
    """Warps the mask, instances, points and boxes of `sample` in place. (It is a copy that `_fuse` has made.)"""
    if "mask" in sample:
        mask = tf.convert_to_tensor(sample["mask"])
        flat = mask.shape.rank == 3
        warped = warp.warp_images(
            mask[..., None] if flat else mask,
            matrices,
            size=size,
            interpolation="nearest",
            fill_mode=fill_mode,
            fill_value=mask_fill_value,
        )
        sample["mask"] = warped[..., 0] if flat else warped
    if "instances" in sample:
        stacked = tf.transpose(tf.cast(sample["instances"], tf.uint8), [0, 2, 3, 1])  # [n, h, w, m]
        warped = warp.warp_images(stacked, matrices, size=size, interpolation="nearest", fill_mode=fill_mode)
        sample["instances"] = tf.cast(tf.transpose(warped, [0, 3, 1, 2]), tf.bool)
    if "points" in sample:
        sample["points"] = warp.warp_points(sample["points"], matrices)
    if "boxes" in sample:
        boxes = tf.convert_to_tensor(sample["boxes"], tf.float32)
        moved, visible = warp.visible_boxes(warp.warp_boxes(boxes, matrices), size, min_visible=min_visible)
        sample.update(keep_boxes({**sample, "boxes": moved}, visible & is_box(sample)))


@dataclass(eq=False, repr=False)
class Transform(keras.layers.Layer):
    """The base class of all random transforms of images.

    A subclass overrides `transform_batch`; one that can be written as matrices derives from `MatrixTransform`
    instead. Fields that a subclass declares as a dataclass are its arguments, and Keras saves them.

    As a layer of a model, or when it is called, a transform changes its images (or a dict, as `augment` takes it) if
    `training=True`, and draws from a state of its own, which `seed` initialises. Otherwise it returns them unchanged.
    It computes in float32 under any policy of Keras, since float16 would round colours.

    Args:
        seed: Integer that initialises the state, or None for a new state each time.
        name: Name of the layer, or None for one that Keras makes.

    Example:

    >>> class Posterize(Transform):
    ...     def transform_batch(self, sample, seed):
    ...         return {**sample, "image": sample["image"] // 64 * 64}
    >>> augment(tf.constant([[[[10.0, 100.0, 200.0]]]]), [Posterize()], 0).numpy().tolist()
    [[[[0.0, 64.0, 192.0]]]]
    """

    _: KW_ONLY
    seed: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        super().__init__(name=self.name, dtype="float32")
        self.generator = keras.random.SeedGenerator(self.seed)
        self.built = True  # nothing depends on the shape of the images

    def call(self, batch: Any, training: bool = False) -> Any:
        # `training` has to default to False: Keras would pass a default of True on to the layers that follow.
        seed = tf.cast(self.generator.next(), tf.int64)
        return _apply(batch, [self], seed, training, min_visible=0.25, mask_fill_value=0)

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        """Returns a transformed copy of a batch.

        Args:
            sample: Dict of `image` `float32 [n, h, w, 3]` and, if present, `boxes`, `mask` and so on.
            seed: Tensor `int64 [2]`, which alone decides the random numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define transform_batch(sample, seed)")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, each of which is also an attribute."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class MatrixTransform(Transform):
    """The base class of transforms that are one matrix for each image: of its geometry, of its colours, or of both.

    A subclass overrides `warp_matrices`, `colour_matrices` or both. They are functions of `num_draws` random numbers
    for each image, so that all randomness is drawn in one place.
    """

    num_draws = 0  # random numbers that the transform needs for each image

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor | None:
        """Returns matrices of geometry `[n, 3, 3]` (`pipelines.augmenting.warp`), or None for no change.

        Args:
            u: Random numbers `float32 [n, num_draws]`, at least 0 and below 1.
            size: Height and width of the images.
        """
        return None

    def colour_matrices(self, u: tf.Tensor, means: tf.Tensor) -> tf.Tensor | None:
        """Returns matrices of colours `[n, 4, 4]` (`pipelines.augmenting.colour`), or None for no change.

        Args:
            u: Random numbers `float32 [n, num_draws]`, at least 0 and below 1.
            means: Mean colours of the images `float32 [n, 3]`.
        """
        return None

    def inference_warp_matrices(self, size: warp.Size) -> tf.Tensor | None:
        """Returns the matrices of geometry that apply when not training, which only transforms of the size have."""
        return None

    def output_size(self, size: warp.Size) -> warp.Size:
        """Returns the height and width of the images after the transform."""
        return size

    def filling(self) -> dict[str, Any]:
        """Returns how a transform of geometry fills pixels: any of `interpolation`, `fill_mode` and `fill_value`.

        The transforms that are fused into one warp have to agree in these.
        """
        return {}


@register
class Augmentation(Transform):
    """Several transforms as one layer, for a model or for `dataset.map`.

    Args:
        layers: `Transform`s, and image layers of `keras.layers` or `keras_cv.layers`.
        min_visible: Smallest part of its area, 0 to 1, that a box has to keep inside of the image. Defaults to 0.25.
        mask_fill_value: Value of a mask where `fill_mode="constant"` has filled the image. Defaults to 0.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer, or None for one that Keras makes.

    Example:

    >>> from pipelines import RandomBrightness, RandomFlip, RandomRotation
    >>> layer = Augmentation([RandomFlip("horizontal"), RandomRotation(0.1), RandomBrightness(0.2)], seed=3)
    >>> layer(tf.zeros([2, 8, 6, 3]), training=True).shape
    TensorShape([2, 8, 6, 3])
    """

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
        return self._apply_layers(batch, tf.cast(self.generator.next(), tf.int64), training)

    def build(self, input_shape: Any) -> None:
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        return self._apply_layers(sample, seed, True)

    def _apply_layers(self, batch: Any, seed: tf.Tensor, training: bool) -> Any:
        return _apply(
            batch, self.layers, seed, training, min_visible=self.min_visible, mask_fill_value=self.mask_fill_value
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layers": [keras.saving.serialize_keras_object(layer) for layer in self.layers]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Augmentation":
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})
