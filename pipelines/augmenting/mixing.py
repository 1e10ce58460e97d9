"""Transforms that make one image of several images of the batch.

They mix labels as they mix images. So they need a dict with `label`: `float32 [n, classes]`; or class numbers `[n]`,
together with the argument `num_classes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.padding import PER_BOX, is_box, keep_boxes, size_of
from pipelines.augmenting.sampling import Factor, between, interval, per_image, uniform, window_masks
from pipelines.augmenting.transforms import Sample, Transform, registered_dataclass

__all__ = ["CutMix", "MixUp", "Mosaic"]


@dataclass(eq=False, repr=False)
class _Mixing(Transform):
    """The base class of transforms that make one image of several images of the batch.

    Args:
        num_classes: Number of classes. It is needed for labels that are class numbers, which then become
            `float32 [n, num_classes]`.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.
    """

    _: KW_ONLY
    num_classes: int | None = None

    def _labels(self, sample: Mapping[str, Any]) -> tf.Tensor:
        """Returns the labels of the batch as `float32 [n, classes]`."""
        labels = tf.convert_to_tensor(sample["label"])
        if labels.shape.rank == 1 and labels.dtype.is_integer and self.num_classes:
            return tf.one_hot(labels, self.num_classes)
        if labels.shape.rank == 2 and labels.dtype.is_floating:
            return tf.cast(labels, tf.float32)
        raise ValueError(
            f"{type(self).__name__} mixes labels: expected `label` as float32 [n, classes], or as class numbers with "
            f"{type(self).__name__}(..., num_classes=...); received {labels.dtype.name} {labels.shape}. The loss has "
            "to take such labels: CategoricalCrossentropy, not SparseCategoricalCrossentropy"
        )

    def _refuse(self, sample: Mapping[str, Any], names: Sequence[str], reason: str) -> None:
        for name in names:
            if name in sample:
                raise ValueError(f"{type(self).__name__} cannot transform `{name}`: {reason}")


def _partners(seed: tf.Tensor, n: Any) -> tf.Tensor:
    """Returns a permutation of the batch, `[n]`: the number of the image with which each image is mixed."""
    return tf.argsort(tf.random.stateless_uniform([n], seed + 2))


def _beta(seed: tf.Tensor, n: Any, alpha: float) -> tf.Tensor:
    """Draws `[n]` numbers from Beta(alpha, alpha): each is the share of the first of two gamma draws."""
    draws = tf.random.stateless_gamma([n, 2], seed + 3, alpha)
    # For a small alpha both draws can be so small that they are 0 in float32. Then one image takes nearly all.
    return draws[:, 0] / tf.maximum(tf.reduce_sum(draws, axis=1), 1e-30)


@registered_dataclass
class MixUp(_Mixing):
    """Blends each image with another image of the batch, and their labels in the same proportion.

    H. Zhang et al., "mixup: Beyond empirical risk minimization" (2017). The boxes of both images are kept, as in
    Z. Zhang et al., "Bag of freebies for training object detection neural networks" (2019). The new key `box_weights`
    `float32 [n, 2 m]` holds the share of each box's image in the blend.

    Args:
        alpha: Parameter of the Beta distribution from which the proportion is drawn, above 0. With a small number, one
            of the two images usually dominates.
        num_classes: Number of classes, which is needed for labels that are class numbers.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `alpha` is not above 0; or, when called, the batch has masks, instances or points, which cannot be
            blended, or labels that cannot be mixed.

    Example:

    >>> from pipelines import augment
    >>> sample = {"image": tf.zeros([4, 6, 9, 3]), "label": tf.one_hot([0, 1, 2, 1], 3)}
    >>> augment(sample, [MixUp(0.2)], 1)["label"].numpy().sum(axis=1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha > 0:
            raise ValueError(f"MixUp: expected `alpha` above 0, received {self.alpha!r}")

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        reason = "blended masks and points have no meaning. Use CutMix or Mosaic"
        self._refuse(sample, ("mask", "instances", "points"), reason)
        images = sample["image"]
        n = tf.shape(images)[0]
        partners, share = _partners(seed, n), _beta(seed, n, self.alpha)
        result = {**sample, "image": per_image(share) * images + per_image(1 - share) * tf.gather(images, partners)}
        if "label" in sample:
            labels = self._labels(sample)
            result["label"] = share[:, None] * labels + (1 - share[:, None]) * tf.gather(labels, partners)
        if "boxes" in sample:
            keep = is_box(sample)
            for name in ("boxes", *PER_BOX):
                if name in sample:
                    values = tf.convert_to_tensor(sample[name])
                    result[name] = tf.concat([values, tf.gather(values, partners)], axis=1)
            shares = tf.stack([share, 1 - share], axis=1)
            weights = tf.repeat(shares, tf.shape(keep)[1], axis=1)
            keep = tf.concat([keep, tf.gather(keep, partners)], axis=1)
            order = tf.argsort(tf.cast(~keep, tf.int32), axis=1, stable=True)  # as in keep_boxes
            result["box_weights"] = tf.gather(tf.where(keep, weights, 0.0), order, batch_dims=1)
            result = keep_boxes(result, keep)
        return result


@registered_dataclass
class CutMix(_Mixing):
    """Replaces a window of each image by the same window of another image of the batch.

    S. Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features" (2019).
    Labels are mixed by area, and masks are cut as the images are.

    Args:
        factor: Parameter alpha of the Beta distribution from which the share of the first image is drawn, above 0.
            With 1, all shares are equally likely.
        num_classes: Number of classes, which is needed for labels that are class numbers.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `factor` is not above 0; or, when called, the batch has boxes, instances or points, which cannot be
            cut, or labels that cannot be mixed.

    Example:

    >>> from pipelines import augment
    >>> sample = {"image": tf.zeros([4, 6, 9, 3]), "label": tf.constant([0, 1, 2, 1])}
    >>> augment(sample, [CutMix(num_classes=3)], 1)["label"].shape
    TensorShape([4, 3])
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factor > 0:
            raise ValueError(f"CutMix: expected `factor` above 0, received {self.factor!r}")

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        reason = "an object of which a window is replaced has no box. Use Mosaic"
        self._refuse(sample, ("boxes", "instances", "points"), reason)
        images = sample["image"]
        n = tf.shape(images)[0]
        partners, share = _partners(seed, n), _beta(seed, n, self.factor)
        full_height, full_width = (tf.cast(length, tf.float32) for length in size_of(images))
        side = tf.sqrt(1 - share)
        height, width = tf.round(side * full_height), tf.round(side * full_width)
        window = window_masks(uniform(seed, n, 2), height, width, images)
        result = {**sample, "image": tf.where(window, tf.gather(images, partners), images)}
        if "mask" in sample:
            mask = tf.convert_to_tensor(sample["mask"])
            place = window[..., 0] if mask.shape.rank == 3 else window
            result["mask"] = tf.where(place, tf.gather(mask, partners), mask)
        if "label" in sample:
            labels = self._labels(sample)
            other = (height * width / (full_height * full_width))[:, None]  # exactly the area of the window
            result["label"] = (1 - other) * labels + other * tf.gather(labels, partners)
        return result


@registered_dataclass
class Mosaic(_Mixing):
    """Makes each image of four images that meet in a point: itself at the top left, and three others of the batch.

    A. Bochkovskiy et al., "YOLOv4: Optimal speed and accuracy of object detection" (2020), section 3.3. Each of the
    four images is scaled by its own factor, and one of its corners lies at the point where they meet, so that nothing
    near that corner is cut off. Boxes, masks and instances move with the images; labels are mixed by area.

    Args:
        center: Range of the point's place, as a fraction of height and width in 0.05..0.95.
        scale: Range of the scaling factor, in 0.05..2.
        fill_value: Value of pixels that no image reaches, in 0..255. Defaults to 114.
        mask_fill_value: Value of the mask at such pixels. Defaults to 0.
        min_visible: Smallest part of its area, 0 to 1, that a box has to keep. A box that keeps less is dropped.
            Defaults to 0.25.
        num_classes: Number of classes, which is needed for labels that are class numbers.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `center` or `scale` is out of its range; or, when called, the batch has points, or labels that
            cannot be mixed.

    Example:

    >>> from pipelines import augment
    >>> sample = {"image": tf.zeros([4, 6, 9, 3]), "boxes": tf.tile([[[1.0, 1.0, 8.0, 5.0]]], [4, 1, 1])}
    >>> augment(sample, [Mosaic()], 1)["boxes"].shape  # the boxes of four images, and padding
    TensorShape([4, 4, 4])
    """

    center: Factor = (0.25, 0.75)
    scale: Factor = (0.5, 1.0)
    _: KW_ONLY
    fill_value: float = 114.0
    mask_fill_value: int = 0
    min_visible: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self.center = interval("Mosaic", "center", self.center, 0.05, 0.95)
        self.scale = interval("Mosaic", "scale", self.scale, 0.05, 2)

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        self._refuse(sample, ("points",), "the points of four images have no common order. Leave them out")
        images = sample["image"]
        n, size = tf.shape(images)[0], size_of(images)
        height, width = warp.lengths(size)
        u = uniform(seed, n, 6)
        middle_x, middle_y = (tf.round(between(u[i], self.center) * length) for i, length in ((0, width), (1, height)))
        y = tf.range(size[0], dtype=tf.float32)[None, :, None, None] < per_image(middle_y)
        x = tf.range(size[1], dtype=tf.float32)[None, None, :, None] < per_image(middle_x)
        tiles: list[Sample] = []
        for number in range(4):
            right, below = number % 2, number // 2
            others = tf.range(n) if number == 0 else _partners(seed + 10 * number, n)
            factor = between(u[2 + number], self.scale)
            # The corner that is nearest to the other three images moves to the point where they meet.
            matrices = warp.compose(
                warp.translation(0.0 if right else -width, 0.0 if below else -height),
                warp.scaling(factor, factor),
                warp.translation(middle_x, middle_y),
            )
            place = (~x if right else x) & (~y if below else y)
            box = (
                middle_x * right,
                middle_y * below,
                width - middle_x if right else middle_x,
                height - middle_y if below else middle_y,
            )
            tiles.append(self._tile(sample, others, matrices, place, box))
        return self._join(sample, tiles)

    def _tile(
        self, sample: Sample, others: tf.Tensor, matrices: tf.Tensor, place: tf.Tensor, box: Sequence[Any]
    ) -> Sample:
        """Returns one of the four images, drawn on a canvas of the whole size, and its boxes that are visible there.

        Args:
            sample: The whole batch.
            others: Numbers of the images to draw, `[n]`.
            matrices: Matrices `[n, 3, 3]` that take these images to their place.
            place: The same place as a mask, `bool [n, h, w, 1]`.
            box: The same place as left, top, width and height.
        """
        image = warp.warp_images(
            tf.gather(sample["image"], others), matrices, fill_mode="constant", fill_value=self.fill_value or 0.0
        )
        tile: Sample = {"place": place, "image": image}
        if "mask" in sample:
            mask = tf.gather(tf.convert_to_tensor(sample["mask"]), others)
            tile["mask"] = warp.warp_images(
                mask[..., None] if mask.shape.rank == 3 else mask,
                matrices,
                interpolation="nearest",
                fill_mode="constant",
                fill_value=self.mask_fill_value,
            )
        if "label" in sample:
            area = tf.reduce_mean(tf.cast(place, tf.float32), axis=[1, 2])
            tile["label"] = area * tf.gather(self._labels(sample), others)
        if "boxes" in sample:
            left, top, width, height = (tf.reshape(tf.cast(edge, tf.float32), [-1, 1]) for edge in box)
            corner = tf.stack([left, top, left, top], axis=-1)
            moved = warp.warp_boxes(tf.gather(tf.cast(sample["boxes"], tf.float32), others), matrices) - corner
            seen, visible = warp.visible_boxes(moved, (height, width), min_visible=self.min_visible)
            tile["boxes"], tile["keep"] = seen + corner, visible & tf.gather(is_box(sample), others)
            for name in PER_BOX:
                if name in sample:
                    tile[name] = tf.gather(tf.convert_to_tensor(sample[name]), others)
        if "instances" in tile:
            stacked = tf.transpose(tf.cast(tile["instances"], tf.uint8), [0, 2, 3, 1])
            warped = warp.warp_images(stacked, matrices, interpolation="nearest", fill_mode="constant")
            tile["instances"] = tf.transpose(tf.cast(warped, tf.bool) & place, [0, 3, 1, 2])
        return tile

    def _join(self, sample: Sample, tiles: Sequence[Sample]) -> Sample:
        result = dict(sample)
        for name in ("image", "mask"):
            if name in sample:
                joined = tiles[0][name]
                for tile in tiles[1:]:
                    joined = tf.where(tile["place"], tile[name], joined)
                result[name] = joined
        if "mask" in sample and tf.convert_to_tensor(sample["mask"]).shape.rank == 3:
            result["mask"] = result["mask"][..., 0]
        if "label" in sample:
            result["label"] = tf.add_n([tile["label"] for tile in tiles])
        if "boxes" in sample:
            for name in ("boxes", *PER_BOX):
                if name in sample:
                    result[name] = tf.concat([tile[name] for tile in tiles], axis=1)
            result = keep_boxes(result, tf.concat([tile["keep"] for tile in tiles], axis=1))
        return result
