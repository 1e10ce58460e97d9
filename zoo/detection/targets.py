"""Detection without anchors: every pixel of every feature map is a point of the image, from which a box is measured.

A point predicts four numbers: its distances to the sides of the box, as logarithms and in strides. So all maps have the
same task, each for boxes of its own size.

Source: Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection", section 3.1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array

__all__ = ["check_truths", "decode_distances", "encode_distances", "grid_points", "real_objects"]

# A side is at most this many strides from its point, so that an untrained network cannot overflow `exp`.
FARTHEST = box_geometry.MAX_GROWTH


def grid_points(image_size: Sequence[Any], strides: Sequence[int] = (8, 16, 32)) -> tuple[Array, Array]:
    """Returns the points of the image that the pixels of the maps stand for: the centre of the area of each pixel.

    Args:
        image_size: Height and width of the image in pixels, multiples of the largest stride: two numbers, or (in a
            graph that takes all sizes) two scalar tensors, which are not checked. With tensors the results are tensors,
            too.
        strides: The stride of each map, in the order in which their pixels are joined. Defaults to 8, 16 and 32.

    Returns:
        Points (x, y), float32 `[n, 2]` in pixels, row by row; and the stride of each point, float32 `[n]`.

    Raises:
        ValueError: If the image size is not a multiple of the largest stride.

    >>> points, strides = grid_points((32, 64), (16, 32))
    >>> points[:5].tolist(), len(points), strides[-1].item()
    ([[8.0, 8.0], [24.0, 8.0], [40.0, 8.0], [56.0, 8.0], [8.0, 24.0]], 10, 32.0)
    """
    library = np if all(isinstance(side, int | np.integer) for side in image_size) else _graph_library()
    if library is np and not all(side > 0 and side % max(strides) == 0 for side in image_size):
        raise ValueError(
            f"expected an image size (height, width) of multiples of {max(strides)} pixels, the largest stride, got "
            f"{tuple(image_size)}; resize or pad the images together with their boxes"
        )
    points, own_strides = [], []
    for stride in strides:
        rows, columns = (library.arange(side // stride, dtype="float32") * stride + stride / 2 for side in image_size)
        points.append(library.reshape(library.stack(library.meshgrid(columns, rows), axis=-1), (-1, 2)))
        own_strides.append(library.full_like(points[-1][:, 0], stride))
    return library.concatenate(points), library.concatenate(own_strides)


def decode_distances(codes: Array, points: Array, strides: Array) -> Array:
    """Decodes the boxes from the numbers that a network predicts.

    Args:
        codes: `[..., n, 4]`: logarithms of the distances to the left, upper, right and lower side, in strides.
        points: Points (x, y), `[n, 2]`, as `grid_points` returns them.
        strides: The stride of each point, `[n]`, as `grid_points` returns them.

    Returns:
        Boxes `[..., n, 4]`, xyxy, absolute pixels. Each contains its point. They are not clipped to the image.

    >>> decode_distances(np.zeros((1, 4), "float32"), np.float32([[20, 12]]), np.float32([8])).tolist()
    [[12.0, 4.0, 28.0, 20.0]]
    """
    library = _library(codes)
    distances = library.exp(library.minimum(codes, float(np.log(FARTHEST)))) * strides[:, None]
    return library.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


def encode_distances(boxes: Array, points: Array, strides: Array) -> Array:
    """Encodes boxes as the numbers that `decode_distances` decodes.

    Args:
        boxes: Boxes `[..., n, 4]`, xyxy, absolute pixels; one for each point.
        points: Points (x, y), `[n, 2]`, as `grid_points` returns them.
        strides: The stride of each point, `[n]`, as `grid_points` returns them.

    Returns:
        Codes `[..., n, 4]`. A point outside of its box counts as a thousandth of a stride inside.

    >>> encode_distances(np.float32([[12, 4, 28, 20]]), np.float32([[20, 12]]), np.float32([8])).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """
    library = _library(boxes)
    distances = library.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], axis=-1) / strides[:, None]
    return library.log(library.maximum(distances, 1e-3))


def real_objects(truths: dict[str, Any]) -> Any:
    """Tells which rows of a padded batch are objects to detect: not padding, not crowds, and not boxes without area.

    Args:
        truths: A dict as `pipelines.padded_batches` makes it: `boxes [b, m, 4]`, `classes [b, m]`, and optionally
            `num_boxes [b]` or `valid [b]`, and `crowd [b, m]`. Padding has a class of -1, or comes after the number of
            boxes of the image.

    Returns:
        bool `[b, m]`.

    >>> truths = {"boxes": np.float32([[[0, 0, 9, 9], [1, 1, 1, 5], [0, 0, 0, 0]]]), "classes": np.int32([[0, 2, -1]])}
    >>> real_objects(truths).numpy().tolist()
    [[True, False, False]]
    """
    from keras import ops

    boxes, classes = ops.convert_to_tensor(truths["boxes"]), ops.convert_to_tensor(truths["classes"])
    real = (classes >= 0) & (box_geometry.area(boxes) > 0)
    for name in ("num_boxes", "valid"):
        if name in truths:
            real = real & (ops.arange(ops.shape(classes)[1]) < ops.cast(truths[name], "int32")[:, None])
    if "crowd" in truths:
        real = real & ops.logical_not(truths["crowd"])
    return real


def check_truths(truths: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Checks the truths of a batch before a detector learns from them.

    Args:
        truths: A dict, as for `real_objects`.
        num_classes: Number of classes. Classes are 0..num_classes-1.

    Returns:
        The same dict, with boxes as a float32 tensor and classes as an int32 tensor.

    Raises:
        ValueError: If there are no boxes or classes, or if shapes do not fit. Where the values can be seen (outside of
            a graph) also if boxes have NaN, if boxes are relative where absolute pixels are expected, or if a class is
            unknown.
        tensorflow.errors.InvalidArgumentError: For the same values, while a graph runs.

    >>> check_truths({"boxes": [[[0.1, 0.2, 0.5, 0.9]]], "classes": [[0]]}, 3)
    Traceback (most recent call last):
    ...
    ValueError: expected xyxy boxes in absolute pixels, got relative ones: no coordinate is over 0.9; convert them with
    zoo.boxes.convert(boxes, "rel_xyxy", "xyxy", image_size=(height, width))
    """
    import tensorflow as tf

    if not isinstance(truths, dict) or not {"boxes", "classes"} <= set(truths):
        got = ", ".join(truths) if isinstance(truths, dict) else type(truths).__name__
        raise ValueError(f"expected truths as a dict with boxes [b, m, 4] and classes [b, m], got {got or 'nothing'}")
    boxes, classes = tf.cast(truths["boxes"], tf.float32), tf.cast(truths["classes"], tf.int32)
    if boxes.shape.rank != 3 or boxes.shape[-1] != 4 or classes.shape.rank != 2:
        raise ValueError(f"expected boxes [b, m, 4] and classes [b, m], got {boxes.shape} and {classes.shape}")
    unknown = f"expected classes of 0..{num_classes - 1}, and -1 for padding"
    if tf.executing_eagerly():
        box_geometry.check(boxes.numpy(), "xyxy")
        if not bool(tf.reduce_all(classes < num_classes)):
            raise ValueError(f"{unknown}, got {int(tf.reduce_max(classes))}")
        return truths | {"boxes": boxes, "classes": classes}
    reach = tf.reduce_max(tf.concat([tf.abs(tf.reshape(boxes, [-1])), [0.0]], 0))
    checks = [
        tf.debugging.assert_all_finite(boxes, "expected finite box coordinates"),
        tf.debugging.Assert(
            (reach == 0) | (reach > box_geometry.RELATIVE_REACH),
            ["expected xyxy boxes in absolute pixels, got relative ones: no coordinate is over", reach],
        ),
        tf.debugging.Assert(tf.reduce_all(classes < num_classes), [unknown, "got", tf.reduce_max(classes)]),
    ]
    with tf.control_dependencies(checks):
        return truths | {"boxes": tf.identity(boxes), "classes": tf.identity(classes)}


def _library(array: Array) -> Any:
    return np if isinstance(array, np.ndarray) else _graph_library()


def _graph_library() -> Any:
    from keras import ops

    return ops
