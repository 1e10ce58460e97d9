"""Keras' own image layers, and those of `keras_cv`, as transforms of `pipelines.augment`.

Both libraries move boxes and masks with the images, each in a dict and a box format of its own. Some of their layers do
it wrongly and say nothing. Those combinations are refused here, each with the reason (observed in Keras 3.15 and
keras_cv 0.9).
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from pipelines.augmenting.padding import PER_BOX, is_box, keep_boxes, size_of
from pipelines.augmenting.warp import visible_boxes

__all__ = ["Adapter", "adapt"]

_MOVES_NOTHING = "leaves them where they were"
# Library, layer and what it gets wrong -> the reason, and what to use instead. Keras and keras_cv share most names.
_REFUSED = {
    ("keras", "RandomCrop", "boxes"): "moves boxes on swapped axes; use pipelines.RandomCrop",
    ("keras", "AugMix", "boxes"): f"{_MOVES_NOTHING}, though it shears and rotates; use pipelines.RandAugment",
    ("keras", "AugMix", "mask"): "blends the numbers of classes; use pipelines.RandAugment",
    ("keras", "CutMix", "boxes"): "cannot do it; use pipelines.CutMix",
    ("keras", "MixUp", "boxes"): "fails inside tf.data; use pipelines.MixUp",
    ("keras", "MixUp", "mask"): "blends the numbers of classes; mixed masks have no meaning",
    ("keras", "RandomElasticTransform", "boxes"): "cannot do it: a bent image has no matrix",
    ("keras_cv", "AugMix", "boxes"): f"{_MOVES_NOTHING}, though it shears and rotates; use pipelines.RandAugment",
    ("keras_cv", "RandomCopyPaste", "boxes"): "fails",
}
# Layers that leave every pixel where it is, so that points need not move.
_IN_PLACE = (
    *("AutoContrast", "Equalization", "Grayscale", "Posterization", "RandomBrightness", "RandomColorDegeneration"),
    *("RandomColorJitter", "RandomContrast", "RandomErasing", "RandomGaussianBlur", "RandomGrayscale", "RandomHue"),
    *("RandomInvert", "RandomPosterization", "RandomSaturation", "RandomSharpness", "Rescaling", "Solarization"),
)


def adapt(layer: Any) -> "Adapter":
    """Makes a layer of Keras or keras_cv fit for `pipelines.augment`, which does this by itself to any layer it gets.

    Args:
        layer: An image layer of `keras.layers` or `keras_cv.layers`. For samples with boxes it needs its
            `bounding_box_format`, which may be any that `keras.utils.bounding_boxes.convert_format` knows.

    Raises:
        TypeError: `layer` is not a layer.

    Example:

    >>> adapt(keras.layers.RandomFlip("horizontal")).library
    'keras'
    """
    if not callable(layer):
        raise TypeError(f"expected a Keras layer, received {layer!r}")
    return Adapter(layer)


class Adapter:
    """A layer of another library as a transform of a batch of samples. See `adapt`.

    Attributes:
        layer: The layer that is adapted.
        library: "keras" for layers that take a transformation that was drawn before, and so follow a seed; "keras_cv"
            for layers that are called with a dict; "other" for layers that only change images.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        if hasattr(layer, "get_random_transformation") and hasattr(layer, "transform_bounding_boxes"):
            self.library = "keras"
        elif type(layer).__module__.split(".")[0] == "keras_cv":
            self.library = "keras_cv"
        else:
            self.library = "keras" if hasattr(layer, "get_random_transformation") else "other"

    @property
    def is_stateless(self) -> bool:
        """Whether the seed alone decides what the layer draws."""
        return self.library == "keras" and type(self.layer).__name__ not in ("RandAugment", "AugMix")

    def transform_batch(self, sample: Mapping[str, Any], seed: tf.Tensor) -> dict[str, Any]:
        """Applies the layer to a batch of samples.

        Args:
            sample: A batch of samples; see `pipelines.augment`.
            seed: Seed `[2]` of the batch.

        Returns:
            The batch as the layer changed it.

        Raises:
            ValueError: a combination that the layer is known to get wrong, or boxes without a box format.
        """
        self._check(sample)
        images = sample["image"]
        moves = type(self.layer).__name__ not in _IN_PLACE
        if self.library == "keras":
            change = self.layer.get_random_transformation(images, training=True, seed=_Draws(seed))
            changed = {**sample, "image": self.layer.transform_images(images, change, training=True)}
            if moves and "mask" in sample:
                mask = self.layer.transform_segmentation_masks(_channel(sample["mask"]), change, training=True)
                changed["mask"] = _in_form_of(mask, sample["mask"])
            if moves and "boxes" in sample:
                boxes = self.layer.transform_bounding_boxes(self._boxes(sample, "labels"), change, training=True)
                return self._finish(changed, sample, boxes)
            return changed
        if self.library == "other" or not moves:
            return {**sample, "image": self.layer(images, training=True)}
        inputs = {"images": images}
        if "mask" in sample:
            inputs["segmentation_masks"] = _channel(sample["mask"])
        if "boxes" in sample:
            inputs["bounding_boxes"] = self._boxes(sample, "classes")
        outputs = self.layer(inputs, training=True)
        changed = {**sample, "image": outputs["images"]}
        if "mask" in sample:
            changed["mask"] = _in_form_of(outputs["segmentation_masks"], sample["mask"])
        return self._finish(changed, sample, outputs["bounding_boxes"]) if "boxes" in sample else changed

    def _check(self, sample: Mapping[str, Any]) -> None:
        name = type(self.layer).__name__
        for what in ("boxes", "mask", "points", "instances"):
            if what not in sample or name in _IN_PLACE:
                continue
            reason = _REFUSED.get((self.library, name, what))
            if what in ("points", "instances") or self.library == "other":
                reason = "does not know of them; use the layers of pipelines"
            if reason:
                raise ValueError(f"{self.library}'s {name} with `{what}`: {reason}")
            if what == "boxes" and not getattr(self.layer, "bounding_box_format", None):
                raise ValueError(
                    f"{self.library}'s {name} with `boxes`: it was made without a box format. "
                    f'Make it with {name}(..., bounding_box_format="xyxy")'
                )

    def _boxes(self, sample: Mapping[str, Any], name_of_classes: str) -> dict[str, tf.Tensor]:
        """Returns boxes as the layer expects them, with the numbers of their rows instead of classes."""
        boxes = tf.cast(sample["boxes"], tf.float32)
        converted = self._converted(boxes, sample["image"], "xyxy", self.layer.bounding_box_format)
        # By the number of its row, everything else about a box is found again afterwards.
        rows = tf.broadcast_to(tf.range(tf.shape(boxes)[1]), tf.shape(boxes)[:2])
        return {"boxes": converted, name_of_classes: tf.cast(tf.where(is_box(sample), rows, -1), tf.float32)}

    def _finish(self, changed: dict[str, Any], sample: Mapping[str, Any], boxes: Mapping[str, Any]) -> dict[str, Any]:
        images = changed["image"]
        count = tf.shape(sample["boxes"])[1]
        moved, rows = (_padded(boxes[name], count) for name in ("boxes", "labels" if "labels" in boxes else "classes"))
        moved = self._converted(moved, images, self.layer.bounding_box_format, "xyxy")
        rows = tf.cast(rows, tf.int32)
        order = tf.maximum(rows, 0)
        for name in PER_BOX:
            if name in sample:
                changed[name] = tf.gather(tf.convert_to_tensor(sample[name]), order, batch_dims=1)
        clipped, visible = visible_boxes(moved, size_of(images), min_visible=0.0)
        return keep_boxes({**changed, "boxes": clipped}, visible & (rows >= 0))

    def _converted(self, boxes: tf.Tensor, images: tf.Tensor, source: str, target: str) -> tf.Tensor:
        height, width = size_of(images)
        convert = keras.utils.bounding_boxes.convert_format
        return convert(boxes, source=source, target=target, height=height, width=width)


def _padded(values: Any, count: tf.Tensor) -> tf.Tensor:
    """Returns values `[n, count, ...]`, with -1 for the boxes that keras_cv has left out."""
    values = values.to_tensor(default_value=-1.0) if isinstance(values, tf.RaggedTensor) else values
    missing = count - tf.shape(values)[1]
    return tf.pad(values, [[0, 0], [0, missing]] + [[0, 0]] * (values.shape.rank - 2), constant_values=-1.0)


def _channel(mask: Any) -> tf.Tensor:
    """Returns a mask with an axis for its one channel."""
    mask = tf.convert_to_tensor(mask)
    return mask[..., None] if mask.shape.rank == 3 else mask


def _in_form_of(mask: tf.Tensor, original: Any) -> tf.Tensor:
    """Returns a mask with the rank and dtype that it had originally."""
    original = tf.convert_to_tensor(original)
    mask = mask[..., 0] if original.shape.rank == 3 else mask
    return tf.cast(mask, original.dtype)


class _Draws(keras.random.SeedGenerator):
    """Seeds for one layer and one batch, without state between batches."""

    def __init__(self, seed: tf.Tensor) -> None:
        self._seed = tf.cast(seed, tf.uint32)
        self._number = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._number += 1
        return self._seed + tf.constant([0, self._number], tf.uint32)
