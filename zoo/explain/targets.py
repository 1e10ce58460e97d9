"""What is explained: functions from the outputs of a model to one score for each image.

A target is called with the outputs of a batch, in the structure that the model gives them (a tensor, a list, or a dict
by name), and returns float `[n]`. Softmax and sigmoid at the end of the model are left out, so that the outputs are the
scores before them (Selvaraju et al. 2017, section 3): the probability of one class also rises where another one falls.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = [
    "Target",
    "box_score",
    "class_score",
    "class_share",
    "cross_entropy",
    "filter_score",
    "mask_pixels",
    "number",
    "predicted_classes",
]

# The outputs of a batch -> a score for each image, float `[n]`.
Target = Callable[[Any], Any]
Head = str | int | None


def class_score(class_index: int | Sequence[int] | np.ndarray | None = None, *, head: Head = None) -> Target:
    """Returns the target "the score of a class", for an output `[n, num_classes]`.

    An output `[n, 1]` is the score of class 1 against class 0, as a sigmoid of one unit has it.

    Args:
        class_index: Index of the class, one for all images or one for each. Defaults to the class that the model
            predicts for the image.
        head: Name or number of the output, for a model with several.

    Raises:
        ValueError: When it is called, the outputs have no such head, another shape, or fewer classes.

    Example:

    >>> class_score(1)(np.array([[0.5, 2.0], [1.0, 3.0]])).numpy().tolist()
    [2.0, 3.0]
    >>> class_score()(np.array([[0.5, 2.0], [4.0, 3.0]])).numpy().tolist()
    [2.0, 4.0]
    """

    def target(outputs: Any) -> Any:
        scores = _of_two(_output(outputs, head, 2, "[n, num_classes]", "class_score"))
        chosen = tf.argmax(scores, axis=1) if class_index is None else _indices(class_index, scores, "class_index")
        return tf.gather(scores, chosen, axis=1, batch_dims=1)

    return target


def class_share(class_index: int | Sequence[int] | np.ndarray, *, head: Head = None) -> Target:
    """Returns the target "the probability of a class", for outputs behind their softmax or sigmoid.

    Args:
        class_index: Index of the class, one for all images or one for each.
        head: Name or number of the output, for a model with several.

    Raises:
        ValueError: When it is called, the outputs have no such head, another shape, or fewer classes.

    Example:

    >>> class_share([0, 1])(np.array([[0.25], [0.25]])).numpy().tolist()
    [0.75, 0.25]
    """

    def target(outputs: Any) -> Any:
        shares = _output(outputs, head, 2, "[n, num_classes]", "class_share")
        shares = tf.concat([1 - shares, shares], axis=-1) if shares.shape[-1] == 1 else shares
        return tf.gather(shares, _indices(class_index, shares, "class_index"), axis=1, batch_dims=1)

    return target


def cross_entropy(labels: Sequence[int] | np.ndarray, *, head: Head = None) -> Target:
    """Returns the target "how wrong the model is": the cross-entropy of its scores and the true classes.

    Args:
        labels: The true class of each image, int `[n]`.
        head: Name or number of the output, for a model with several.

    Raises:
        ValueError: When it is called, the outputs have no such head, another shape, or fewer classes.

    Example:

    >>> cross_entropy([1])(np.array([[0.0, 0.0]])).numpy().round(4).tolist()
    [0.6931]
    """

    def target(outputs: Any) -> Any:
        scores = _of_two(_output(outputs, head, 2, "[n, num_classes]", "cross_entropy"))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(_indices(labels, scores, "labels"), scores)

    return target


def predicted_classes(outputs: Any) -> Any:
    """Returns the class with the highest score for each image, int `[n]`, as `class_score` takes it by default."""
    return tf.argmax(_of_two(_output(outputs, None, 2, "[n, num_classes]", "class_score")), axis=1)


def number(index: int = 0, *, head: Head = None) -> Target:
    """Returns the target "one of the numbers that the model gives": of a regressor, or a side of a localiser's box.

    Args:
        index: Place of the number in the output `[n, numbers]`. Defaults to 0.
        head: Name or number of the output, for a model with several.

    Raises:
        ValueError: When it is called, the outputs have no such head, another shape, or fewer numbers.

    Example:

    >>> number(2, head="box")({"box": np.array([[0.1, 0.2, 0.3, 0.4]])}).numpy().tolist()
    [0.3]
    """

    def target(outputs: Any) -> Any:
        values = _output(outputs, head, 2, "[n, numbers]", "number")
        return tf.gather(values, _indices(index, values, "index"), axis=1, batch_dims=1)

    return target


def mask_pixels(class_index: int, mask: np.ndarray | None = None, *, head: Head = None) -> Target:
    """Returns the target "the score of a class, summed over pixels", for an output `[n, height, width, num_classes]`.

    Source: Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
    Mapping", section 2.

    Args:
        class_index: Index of the class. Of an output with one channel, it is 0 for the background or 1.
        mask: The pixels, bool `[height, width]` or `[n, height, width]` at the size of the output. Defaults to those
            that the model predicts to be of the class.
        head: Name or number of the output, for a model with several.

    Raises:
        ValueError: When it is called, the outputs have no such head or class, or another shape than the mask.

    Example:

    >>> scores = np.array([[[[1.0, 3.0], [5.0, 4.0]]]])  # one image of 1x2 pixels
    >>> mask_pixels(1)(scores).numpy().tolist(), mask_pixels(1, np.ones((1, 2), bool))(scores).numpy().tolist()
    ([3.0], [7.0])
    """

    def target(outputs: Any) -> Any:
        scores = _of_two(_output(outputs, head, 4, "[n, height, width, num_classes]", "mask_pixels"))
        chosen = int(_indices(class_index, scores, "class_index")[0]) if len(scores) else 0
        own = scores[..., chosen]
        if mask is None:
            pixels = tf.equal(tf.argmax(scores, axis=-1), chosen)
        else:
            if np.shape(mask)[-2:] != tuple(own.shape[1:]):
                raise ValueError(
                    f"expected a mask at the size of the output, {tuple(own.shape[1:])}, got {np.shape(mask)}: "
                    "shrink the mask to it"
                )
            pixels = np.broadcast_to(np.asarray(mask, bool), own.shape)
        return tf.reduce_sum(own * tf.cast(pixels, own.dtype), axis=(1, 2))

    return target


def box_score(
    decode: Callable[[Any, Any], tuple[Any, Any]],
    image_size: tuple[int, int],
    class_index: int | None = None,
    *,
    near: Sequence[float] | None = None,
) -> Target:
    """Returns the target "the score of one box of a detector".

    Args:
        decode: The detector's `decode`: from its outputs and the size of the images to boxes `[n, points, 4]`, xyxy in
            pixels, and scores `[n, points, num_classes]`.
        image_size: Height and width of the images, in pixels.
        class_index: Index of the class. Defaults to the class with the highest score.
        near: A box, xyxy in pixels: that prediction is explained that overlaps it most. Defaults to the box with the
            highest score.

    Raises:
        ValueError: When it is called, the detector has no such class.

    Example:

    >>> def decode(outputs, size):
    ...     return outputs["boxes"], outputs["scores"]
    >>> outputs = {
    ...     "boxes": np.array([[[0, 0, 4, 4], [4, 4, 8, 8.0]]]),
    ...     "scores": np.array([[[0.1, 0.9], [0.8, 0.2]]]),
    ... }
    >>> box_score(decode, (8, 8))(outputs).numpy().tolist()
    [0.9]
    >>> box_score(decode, (8, 8), near=(5, 5, 8, 8))(outputs).numpy().tolist()
    [0.8]
    """

    def target(outputs: Any) -> Any:
        boxes, scores = decode(outputs, image_size)
        boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)  # [n, points, 4], [n, points, k]
        if class_index is None:
            own = tf.reduce_max(scores, axis=-1)
        else:
            _indices(class_index, scores, "class_index")
            own = scores[..., class_index]
        chosen = tf.argmax(own if near is None else _overlap(boxes, near), axis=1)
        return tf.gather(own, chosen, axis=1, batch_dims=1)

    return target


def filter_score(index: int, *, place: tuple[int, int] | None = None) -> Target:
    """Returns the target "the excitation of a filter", for a model that ends with a layer `[n, height, width, c]`.

    Args:
        index: Number of the filter: of a channel of the output.
        place: Row and column in the map. Defaults to the place where the filter is excited most.

    Raises:
        ValueError: When it is called, the output has no such channel.

    Example:

    >>> filter_score(0)(np.array([[[[1.0], [4.0]]]])).numpy().tolist()
    [4.0]
    """

    def target(outputs: Any) -> Any:
        maps = _output(outputs, None, 4, "[n, height, width, filters]", "filter_score")
        _indices(index, maps, "index")
        own = maps[..., index]
        return tf.reduce_max(own, axis=(1, 2)) if place is None else own[:, place[0], place[1]]

    return target


def _output(outputs: Any, head: Head, rank: int, shape: str, name: str) -> Any:
    """Returns the output that a head names, or the only one."""
    heads = (
        outputs if isinstance(outputs, dict) else dict(enumerate(outputs)) if isinstance(outputs, list | tuple) else {}
    )
    if head is not None and head not in heads:
        known = ", ".join(map(repr, heads)) or "one output without a name"
        raise ValueError(f"expected a head of the model ({known}), got head={head!r}")
    if heads and head is None and len(heads) > 1:
        names = ", ".join(map(repr, heads))
        raise ValueError(
            f"the model has several outputs ({names}): say which one is explained, as with target={name}(head=...)"
        )
    values = next(iter(heads.values())) if heads and head is None else heads[head] if heads else outputs
    values = tf.convert_to_tensor(values)
    if len(values.shape) != rank:
        raise ValueError(
            f"{name} explains one output {shape}, got an output of the shape {tuple(values.shape)}: give another "
            "target of zoo.explain.targets, or a function of your own from the outputs to a score for each image"
        )
    return values


def _of_two(scores: Any) -> Any:
    """Returns scores of two classes for one score, which is that of class 1 against class 0."""
    return tf.concat([-scores, scores], axis=-1) if scores.shape[-1] == 1 else scores


def _indices(index: Any, scores: Any, name: str) -> np.ndarray:
    """Returns one index into the last axis for each image."""
    indices, most, images = np.asarray(index), scores.shape[-1], scores.shape[0]
    if indices.dtype.kind not in "iu":
        raise ValueError(f"expected {name} to be whole numbers, got {index!r}")
    wrong = indices[(indices < 0) | (indices >= most)]
    if wrong.size:
        raise ValueError(f"{name} is in 0..{most - 1}, got {wrong.flat[0]}")
    return np.broadcast_to(indices, images)


def _overlap(boxes: Any, near: Sequence[float]) -> Any:
    """Returns the IoU of boxes `[n, points, 4]` with one box."""
    box = tf.constant(near, boxes.dtype)
    sides = tf.minimum(boxes[..., 2:], box[2:]) - tf.maximum(boxes[..., :2], box[:2])
    shared = tf.reduce_prod(tf.maximum(sides, 0), axis=-1)
    areas = tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1) + tf.reduce_prod(box[2:] - box[:2])
    return tf.math.divide_no_nan(shared, areas - shared)
