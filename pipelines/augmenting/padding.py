"""Boxes in batches: as many rows for each image, those that are boxes first, then padding of zeros and of class -1."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

__all__ = ["PER_BOX", "is_box", "keep_boxes", "size_of"]

# What a sample may say of each of its boxes, besides where it is: a number, or `instances`, its pixels.
PER_BOX = ("classes", "ids", "crowd", "difficult", "instances")
_PADDING = {"classes": -1, "ids": -1}


def is_box(sample: Mapping[str, Any]) -> tf.Tensor:
    """Which rows of `boxes` `[n, m, 4]` are boxes and which only padding: `bool [n, m]`.

    Padding has the class -1; without classes, it has no area.
    """
    if "classes" in sample:
        return tf.convert_to_tensor(sample["classes"]) >= 0
    x1, y1, x2, y2 = tf.unstack(tf.cast(sample["boxes"], tf.float32), axis=-1)
    return (x2 > x1) & (y2 > y1)


def keep_boxes(sample: Mapping[str, Any], keep: tf.Tensor) -> dict[str, Any]:
    """The sample with the boxes where `keep` `[n, m]` is true first, in their order, and padding after them.

    `num_boxes` `int32 [n]` counts the former.

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
    """Height and width of `[n, h, w, channels]`, as numbers if they are known."""
    height, width = images.shape[1:3]
    if height is None or width is None:
        shape = tf.shape(images)
        return shape[1], shape[2]
    return height, width
