"""Changes that make one image of several.

They work with `pipelines.augment` and as layers. What mixes images mixes
their labels, too, so it needs a dict with `label`: `float32 [n, classes]`, or class numbers `[n]` and the argument
`num_classes`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.noise import Pixels
from pipelines.augmenting.padding import PER_BOX, is_box, keep_boxes, size_of
from pipelines.augmenting.sampling import Factor, between, interval, per_image, uniform, window_masks
from pipelines.augmenting.transforms import Sample, register

__all__ = ["CutMix", "MixUp", "Mosaic"]


class _Mixing(Pixels):
    """What makes one image of several of the batch.

    Args:
        num_classes: for labels that are class numbers: they become `float32 [n, num_classes]`.
    """

    def __init__(self, num_classes: int | None, *, seed: int | None, name: str | None) -> None:
        super().__init__(seed=seed, name=name)
        self.num_classes = num_classes

    def _labels(self, sample: Mapping[str, Any]) -> tf.Tensor:
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

    def _refuse(self, sample: Mapping[str, Any], names: Sequence[str], why: str) -> None:
        for name in names:
            if name in sample:
                raise ValueError(f"{type(self).__name__} with `{name}`: {why}")


def _partners(seed: tf.Tensor, n: Any) -> tf.Tensor:
    """A permutation of the batch, `[n]`: with whom each image is mixed."""
    return tf.argsort(tf.random.stateless_uniform([n], seed + 2))


def _beta(seed: tf.Tensor, n: Any, alpha: float) -> tf.Tensor:
    """`[n]` draws from Beta(alpha, alpha): of two gamma draws, the share of the first."""
    draws = tf.random.stateless_gamma([n, 2], seed + 3, alpha)
    # Both can be too small to be told from 0 for a small alpha, where one of them wins nearly all.
    return draws[:, 0] / tf.maximum(tf.reduce_sum(draws, axis=1), 1e-30)


@register
class MixUp(_Mixing):
    """Blends each image with another of the batch, and their labels in the same proportion.

    H. Zhang et al., "mixup: Beyond empirical risk minimization" (2017). With boxes, those of both images are kept, as
    in Z. Zhang et al., "Bag of freebies for training object detection neural networks" (2019), and `box_weights`
    `float32 [n, 2 m]` says how strongly each one's image is seen. Masks have no blend.

    Args:
        alpha: of the Beta distribution that the proportion is drawn from: small for one image to dominate.
        num_classes: for labels that are class numbers.

    Example:

    >>> from pipelines import augment
    >>> sample = {"image": tf.zeros([4, 6, 9, 3]), "label": tf.one_hot([0, 1, 2, 1], 3)}
    >>> augment(sample, [MixUp(0.2)], 1)["label"].numpy().sum(axis=1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        alpha: float = 0.2,
        *,
        num_classes: int | None = None,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, seed=seed, name=name)
        if not alpha > 0:
            raise ValueError(f"MixUp: expected `alpha` above 0, received {alpha!r}")
        self.alpha = alpha

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        why = "what is blended has no single value; take CutMix or Mosaic"
        self._refuse(sample, ("mask", "instances", "points"), why)
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


@register
class CutMix(_Mixing):
    """Puts a window of another image of the batch into each; labels are mixed by area, masks are cut likewise.

    S. Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features" (2019).

    Args:
        factor: alpha of the Beta distribution that the share of the first image is drawn from; 1 draws it evenly.
        num_classes: for labels that are class numbers.
    """

    def __init__(
        self,
        factor: float = 1.0,
        *,
        num_classes: int | None = None,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, seed=seed, name=name)
        if not factor > 0:
            raise ValueError(f"CutMix: expected `factor` above 0, received {factor!r}")
        self.factor = factor

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        why = "an object with a window cut out of it has no box; take Mosaic"
        self._refuse(sample, ("boxes", "instances", "points"), why)
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
            other = (height * width / (full_height * full_width))[:, None]  # exactly what is seen
            result["label"] = (1 - other) * labels + other * tf.gather(labels, partners)
        return result


@register
class Mosaic(_Mixing):
    """Makes each image of four: itself top left, and three others of the batch, that meet in a point.

    A. Bochkovskiy et al., "YOLOv4: Optimal speed and accuracy of object detection" (2020), section 3.3. Each of the
    four is shrunk by its own factor and has its corner where they meet, so that nothing near that corner is cut.
    Boxes, masks and instances follow; labels are mixed by area.

    Args:
        center: range of the point, as a fraction of height and width.
        scale: range of the factor.
        fill_value: where an image does not reach the edge.
        mask_fill_value: what a mask holds there.
        min_visible: a box that keeps less of its area is dropped.
        num_classes: for labels that are class numbers.
    """

    def __init__(
        self,
        center: Factor = (0.25, 0.75),
        scale: Factor = (0.5, 1.0),
        *,
        fill_value: float = 114.0,
        mask_fill_value: int = 0,
        min_visible: float = 0.25,
        num_classes: int | None = None,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, seed=seed, name=name)
        self.center = interval("Mosaic", "center", center, 0.05, 0.95)
        self.scale = interval("Mosaic", "scale", scale, 0.05, 2)
        self.fill_value, self.mask_fill_value, self.min_visible = fill_value, mask_fill_value, min_visible

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        self._refuse(sample, ("points",), "they have no order among four images")
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
            # The corner of the image that is nearest to the other three goes to the point.
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
        """One of the four, on an image of the whole size, and what of its boxes is seen in its place.

        The place is `bool [n, h, w, 1]`, and the same as left, top, width and height.
        """
        image = warp.warp(
            tf.gather(sample["image"], others), matrices, fill_mode="constant", fill_value=self.fill_value or 0.0
        )
        tile: Sample = {"place": place, "image": image}
        if "mask" in sample:
            mask = tf.gather(tf.convert_to_tensor(sample["mask"]), others)
            tile["mask"] = warp.warp(
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
            warped = warp.warp(stacked, matrices, interpolation="nearest", fill_mode="constant")
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
