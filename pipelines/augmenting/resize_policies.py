"""Resizing images of any size to one size by named policies, with boxes, points and masks; and predictions back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.padding import PER_BOX, size_of
from pipelines.prepare.crop import central_window
from pipelines.prepare.graph_resizing import resize

__all__ = ["RESIZE_POLICIES", "ResizePolicy", "restore_boxes", "restore_mask"]

RESIZE_POLICIES = ("squash", "crop", "central", "pad", "random")


@dataclass(frozen=True)
class ResizePolicy:
    """A way to resize images of any size to one size.

    | policy | part of the image that is shown | shape of objects |
    |---|---|---|
    | "squash" | all of the image | stretched |
    | "crop" | the largest window of the new shape, in the middle | kept |
    | "central" | `fraction` of that window | kept |
    | "pad" | all of the image, in the middle, with bars of `pad_value` (letterbox) | kept |
    | "random" | a window of random area (`scale`) and shape (`ratio`), anywhere; needs a seed | stretched a little |

    Windows and bars have whole pixels. Values are rounded and clipped to 0..255, so that they can be kept as `uint8`.

    Args:
        policy: "squash", "crop", "central", "pad" or "random".
        size: Height and width of the result, in pixels. Defaults to (224, 224).
        interpolation: "bilinear" (the default), "bicubic", "nearest", "area" or "lanczos3". Masks are always "nearest".
        antialias: Whether shrinking averages over all pixels that a new one covers, as Pillow does, instead of picking
            some. Defaults to True.
        fraction: Share of the largest window that "central" shows, above 0 and at most 1. Defaults to 0.875.
        pad_value: Grey level of the bars of "pad", 0..255. Defaults to 0.
        mask_pad_value: Value of a mask in the bars of "pad"; often 255, which losses and metrics ignore. Defaults to 0.
        scale: Range of the area of the window of "random", as a share of the image's. Defaults to (0.08, 1).
        ratio: Range of the width over the height of the window of "random". Defaults to (3/4, 4/3).
        min_visible: Smallest share of its area that a box has to keep; other boxes are dropped. Defaults to 0.25.

    Raises:
        ValueError: an unknown policy or interpolation, or a number out of its range.

    Example:

    >>> sample = {"image": tf.zeros([100, 200, 3], tf.uint8), "boxes": tf.constant([[20.0, 0.0, 60.0, 50.0]])}
    >>> result = ResizePolicy("pad", size=(50, 50))(sample)
    >>> result["image"].shape, result["boxes"].numpy().tolist()
    (TensorShape([50, 50, 3]), [[5.0, 12.0, 15.0, 24.5]])
    >>> restore_boxes(result["boxes"], result["matrix"], result["original_size"]).numpy().round().tolist()
    [[20.0, 0.0, 60.0, 50.0]]
    """

    policy: str
    size: tuple[int, int] = (224, 224)
    interpolation: str = "bilinear"
    antialias: bool = True
    fraction: float = 0.875
    pad_value: float = 0.0
    mask_pad_value: int = 0
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    min_visible: float = 0.25

    def __post_init__(self) -> None:
        interpolations = ("bilinear", "bicubic", "nearest", "area", "lanczos3")
        for name, word, known in (
            ("policy", self.policy, RESIZE_POLICIES),
            ("interpolation", self.interpolation, interpolations),
        ):
            if word not in known:
                raise ValueError(f"ResizePolicy: expected `{name}` as one of {', '.join(known)}; received {word!r}")
        numbers: tuple[tuple[str, Any, bool, str], ...] = (
            ("size", self.size, len(self.size) == 2 and min(self.size) >= 1, "(height, width) in pixels"),
            ("fraction", self.fraction, 0 < self.fraction <= 1, "above 0 and at most 1"),
            ("pad_value", self.pad_value, 0 <= self.pad_value <= 255, "a number in 0..255"),
            ("scale", self.scale, 0 < self.scale[0] <= self.scale[1] <= 1, "a range above 0 and at most 1"),
            ("ratio", self.ratio, 0 < self.ratio[0] <= self.ratio[1], "a range above 0"),
        )
        for name, value, is_right, expected in numbers:
            if not is_right:
                raise ValueError(f"ResizePolicy: expected `{name}` as {expected}, received {value!r}")
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    @property
    def needs(self) -> tuple[int, int]:
        """Height and width from which on an image is only shrunk: what decoding it at a smaller scale has to leave."""
        smallest = {"central": self.fraction, "random": math.sqrt(self.scale[0])}.get(self.policy, 1.0)
        return math.ceil(self.size[0] / smallest), math.ceil(self.size[1] / smallest)

    def __call__(self, sample: Any, *, seed: Any = None) -> Any:
        """Resizes one image, and its boxes, points and masks.

        Args:
            sample: An image `[h, w, 3]` of any numeric dtype with values in 0..255, or a dict of `image` and, as
                present, `boxes` `[n, 4]` (xyxy) with `classes`, `ids` and so on `[n]`, `points` `[n, 2]`, `mask`
                `[h, w]` and `instances` `[n, h, w]`. In a graph, sizes may be unknown.
            seed: Seed of the window of "random", a scalar integer.

        Returns:
            `float32 [H, W, 3]`; or the dict with such an image, with `matrix` `float32 [3, 3]` from pixels of the image
            to those of the result, and with `original_size` `int32 [2]`, for `restore_boxes` and `restore_mask`. Boxes
            that are not visible enough are left out.
        """
        image = tf.convert_to_tensor(sample["image"] if isinstance(sample, Mapping) else sample)
        box, place = self._geometry(size_of(image[None]), seed)
        shown = tf.cast(self._resize(image, box, place, self.interpolation, self.pad_value), tf.float32)
        shown = tf.clip_by_value(tf.round(shown), 0.0, 255.0)
        if not isinstance(sample, Mapping):
            return shown
        top, left, height, width = (tf.cast(edge, tf.float32) for edge in box)
        new_top, new_left, new_height, new_width = (tf.cast(edge, tf.float32) for edge in place)
        matrix = warp.compose(
            warp.translation(-left, -top),
            warp.scaling(new_width / width, new_height / height),
            warp.translation(new_left, new_top),
        )
        result = {**sample, "image": shown, "matrix": matrix[0], "original_size": tf.shape(image)[:2]}
        if "points" in sample:
            result["points"] = warp.warp_points(tf.convert_to_tensor(sample["points"])[None], matrix)[0]
        if "mask" in sample:
            mask = tf.convert_to_tensor(sample["mask"])[..., None]
            result["mask"] = self._resize(mask, box, place, "nearest", self.mask_pad_value)[..., 0]
        if "instances" in sample:
            stacked = tf.transpose(tf.cast(sample["instances"], tf.uint8), [1, 2, 0])
            resized = self._resize(stacked, box, place, "nearest", 0)
            result["instances"] = tf.cast(tf.transpose(resized, [2, 0, 1]), tf.bool)
        if "boxes" in sample:
            moved = warp.warp_boxes(tf.convert_to_tensor(sample["boxes"])[None], matrix)[0]
            boxes, visible = warp.visible_boxes(moved, self.size, min_visible=self.min_visible)
            result["boxes"] = boxes
            for name in ("boxes", *PER_BOX):
                if name in result:
                    result[name] = tf.boolean_mask(result[name], visible)
        return result

    def _geometry(self, given: warp.Size, seed: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        """Returns the window that is shown and its place, each as top, left, height and width in whole pixels."""
        h, w = given
        height, width = self.size
        whole: tuple[Any, ...] = (0, 0, height, width)
        if self.policy in ("crop", "central"):
            return central_window(h, w, self.size, self.fraction if self.policy == "central" else 1.0), whole
        if self.policy == "random":
            return self._random_window(h, w, seed), whole
        if self.policy == "pad":
            scale = tf.minimum(height / tf.cast(h, tf.float64), width / tf.cast(w, tf.float64))
            shown_h, shown_w = (
                tf.clip_by_value(tf.cast(tf.round(scale * tf.cast(length, tf.float64)), tf.int32), 1, most)
                for length, most in ((h, height), (w, width))
            )
            return (0, 0, h, w), ((height - shown_h) // 2, (width - shown_w) // 2, shown_h, shown_w)
        return (0, 0, h, w), whole

    def _random_window(self, h: Any, w: Any, seed: Any) -> Sequence[tf.Tensor]:
        if seed is None:
            raise ValueError('ResizePolicy("random") expected a `seed` for each image, received none')
        seed = tf.cast(seed, tf.int64)
        u = tf.random.stateless_uniform([4], tf.stack([seed, tf.zeros_like(seed)]))
        height, width = tf.cast(h, tf.float32), tf.cast(w, tf.float32)
        area = height * width * (self.scale[0] + u[0] * (self.scale[1] - self.scale[0]))
        low, high = (math.log(side) for side in self.ratio)
        ratio = tf.exp(low + u[1] * (high - low))
        crop_h = tf.clip_by_value(tf.round(tf.sqrt(area / ratio)), 1.0, height)
        crop_w = tf.clip_by_value(tf.round(tf.sqrt(area * ratio)), 1.0, width)
        top, left = tf.floor(u[2] * (height - crop_h + 1)), tf.floor(u[3] * (width - crop_w + 1))
        return [tf.cast(edge, tf.int32) for edge in (top, left, crop_h, crop_w)]

    def _resize(
        self, image: tf.Tensor, box: Sequence[Any], place: Sequence[Any], interpolation: str, fill: float
    ) -> tf.Tensor:
        top, left, height, width = box
        new_top, new_left, new_height, new_width = place
        whole = self.policy in ("squash", "pad")  # without a window: cutting it out would copy the image
        window = image if whole else image[top : top + height, left : left + width]
        resized = resize(window, [new_height, new_width], interpolation, antialias=self.antialias)
        if self.policy == "pad":
            below, beside = self.size[0] - new_top - new_height, self.size[1] - new_left - new_width
            bars = [[new_top, below], [new_left, beside], [0, 0]]
            resized = tf.pad(resized, bars, constant_values=tf.cast(fill, resized.dtype))
        return tf.ensure_shape(resized, [*self.size, image.shape[2]])


def restore_boxes(boxes: Any, matrix: Any, original_size: Any) -> tf.Tensor:
    """Moves boxes that were predicted on a resized image to the original.

    Args:
        boxes: Boxes `[n, 4]` of one image or `[b, n, 4]` of a batch, xyxy, in pixels of the resized image.
        matrix: The `matrix` of `ResizePolicy`, `[3, 3]` or `[b, 3, 3]`.
        original_size: Height and width of the original, `[2]` or `[b, 2]`, at which boxes are cut off.

    Returns:
        `float32`, of the shape of `boxes`.
    """
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    batched = boxes if boxes.shape.rank == 3 else boxes[None]
    back = warp.warp_boxes(batched, warp.invert(tf.reshape(tf.cast(matrix, tf.float32), [-1, 3, 3])))
    heights, widths = tf.unstack(tf.cast(tf.reshape(original_size, [-1, 1, 2]), tf.float32), axis=-1)
    limits = tf.stack([widths, heights, widths, heights], axis=-1)
    return tf.reshape(tf.clip_by_value(back, 0.0, limits), tf.shape(boxes))


def restore_mask(mask: Any, matrix: Any, original_size: Any, *, fill_value: float = 0) -> tf.Tensor:
    """Moves a mask that was predicted on a resized image to the original.

    Args:
        mask: Class numbers `[H, W]`, which are taken from the nearest pixel; or floats `[H, W, channels]`
            (probabilities), which are interpolated.
        matrix: The `matrix` of `ResizePolicy`, `[3, 3]`.
        original_size: Height and width of the original, `[2]`.
        fill_value: Value of the pixels that the policy has cut off. Defaults to 0.

    Returns:
        `[h, w]` or `[h, w, channels]`.
    """
    mask = tf.convert_to_tensor(mask)
    flat = mask.shape.rank == 2
    back = warp.warp_images(
        (mask[..., None] if flat else mask)[None],
        warp.invert(tf.reshape(tf.cast(matrix, tf.float32), [1, 3, 3])),
        size=tuple(tf.unstack(tf.cast(original_size, tf.int32))),
        interpolation="bilinear" if mask.dtype.is_floating else "nearest",
        fill_mode="constant",
        fill_value=fill_value,
    )[0]
    return back[..., 0] if flat else back
