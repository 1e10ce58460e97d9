"""Boxes in batches: every image has the same number of rows, the boxes first, then padding: zeros with the class -1."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

__all__ = ["PER_BOX", "is_box", "keep_boxes", "size_of"]

# The keys of a sample that hold one entry for each box: numbers, or `instances`, the pixels of the object.
PER_BOX = ("classes", "ids", "crowd", "difficult", "instances")
_PADDING = {"classes": -1, "ids": -1}


def is_box(sample: Mapping[str, Any]) -> tf.Tensor:
    """Returns `bool [n, m]`, true for the rows of `boxes` `[n, m, 4]` that are boxes and not padding.

    Padding has the class -1 or, in a sample without classes, no area.

    >>> is_box({"boxes": tf.constant([[[1.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]]])}).numpy().tolist()
    [[True, False]]
    """
    if "classes" in sample:
        return tf.convert_to_tensor(sample["classes"]) >= 0
    x1, y1, x2, y2 = tf.unstack(tf.cast(sample["boxes"], tf.float32), axis=-1)
    return (x2 > x1) & (y2 > y1)


def keep_boxes(sample: Mapping[str, Any], keep: tf.Tensor) -> dict[str, Any]:
    """Returns the sample with only some of its boxes: they come first, in their order, and padding follows.

    Args:
        sample: Dict of `boxes` `[n, m, 4]` and, if present, other keys with one entry for each box (`PER_BOX`).
        keep: `bool [n, m]`, true for the boxes to keep.

    Returns:
        A new dict, with the new key `num_boxes` `int32 [n]`, which counts the boxes that were kept.

    Example:

    >>> sample = {"boxes": tf.ones([1, 3, 4]), "classes": tf.constant([[5, 6, 7]])}
    >>> kept = keep_boxes(sample, tf.constant([[False, True, True]]))
    >>> kept["classes"].numpy().tolist(), kept["num_boxes"].numpy().tolist()
    ([[6, 7, -1]], [2])
    """
    order = tf.argsort(tf.cast(~keep, tf.int32), axis=1, stable=True)
    kept = tf.gather(keep, order, batch_dims=1)
    result = dict(sample)
    result["boxes"] = tf.where(kept[..., None], tf.gather(sample["boxes"], order, batch_dims=1), 0.0)
    for name in PER_BOX:
        if name in sample:
            values = tf.gather(tf.convert_to_tensor(sample[name]), order, batch_dims=1)
            is_kept = tf.reshape(kept, tf.concat([tf.shape(kept), tf.ones([values.shape.rank - 2], tf.int32)], 0))
            result[name] = tf.where(is_kept, values, tf.cast(_PADDING.get(name, 0), values.dtype))
    result["num_boxes"] = tf.reduce_sum(tf.cast(keep, tf.int32), axis=1)
    return result


def size_of(images: tf.Tensor) -> tuple[Any, Any]:
    """Returns height and width of images `[n, h, w, channels]`: numbers if they are known, else scalar tensors."""
    height, width = images.shape[1:3]
    if height is None or width is None:
        shape = tf.shape(images)
        return shape[1], shape[2]
    return height, width
