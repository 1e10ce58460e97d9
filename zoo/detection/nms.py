"""Non-maximum suppression: of all boxes that a detector predicts for one object, only the best is kept.

`hard_nms` and `soft_nms` are for one image on the host, in NumPy, to be read and to check others against. Three
functions are for batches in a graph: `suppress` (TensorFlow's kernel, for any number of boxes), `suppress_portable`
(only operations that ONNX, OpenVINO and LiteRT also have) and `suppress_soft`. These three return what the `predict` of
a detector returns:

- `boxes`, float32 `[b, max_detections, 4]`; `classes`, int32 `[b, max_detections]`; and `scores`, float32 `[b,
  max_detections]`, falling; padded with boxes of zeros, classes of -1 and scores of 0;
- `valid`, int32 `[b]`: the number of detections of each image.

Boxes are xyxy. A box is suppressed by a better one of its class if their IoU is larger than the threshold, not if it is
equal.
"""

from typing import Any

import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection.suppression import Suppression, check_settings

__all__ = ["Suppression", "check_settings", "hard_nms", "soft_nms", "suppress", "suppress_portable", "suppress_soft"]

# Where the scores of an image add up to more than MANY on average, `suppress` first gives the kernel only TRIED times
# as many boxes as it may keep. Both numbers were measured (benchmarks/boxes.py).
MANY = 10_000.0
TRIED = 5


def hard_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_detections: int | None = None,
) -> np.ndarray:
    """Suppresses boxes greedily: keeps the best box, drops all boxes that overlap it, and repeats that with the rest.

    Args:
        boxes: Boxes `[n, 4]`, xyxy.
        scores: Scores `[n]`, in 0..1.
        classes: Classes, integers `[n]`: boxes then suppress only boxes of their own class. By default all boxes have
            one class.
        iou_threshold: Boxes with a larger IoU than this are one object, in 0..1. Defaults to 0.5.
        score_threshold: Only boxes with a larger score than this are kept, in 0..1. Defaults to 0.
        max_detections: Maximum number of kept boxes, the ones with the best scores. Defaults to no limit.

    Returns:
        Rows of the kept boxes, int64 `[k]`, by falling score. Of equal scores the earlier row comes first.

    Raises:
        ValueError: If lengths differ, if boxes or scores have NaN, if a threshold lies outside 0..1, or if
            `max_detections` is below 1.

    >>> boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]
    >>> hard_nms(boxes, [0.6, 0.9, 0.3]).tolist()
    [1, 2]
    >>> hard_nms(boxes, [0.6, 0.9, 0.3], classes=[0, 1, 1]).tolist()
    [1, 0, 2]
    """
    boxes, scores, classes = _one_image(boxes, scores, classes, iou_threshold, score_threshold, max_detections)
    waiting = np.argsort(-scores, kind="stable")
    waiting = waiting[scores[waiting] > score_threshold]
    kept: list[int] = []
    while len(waiting) and len(kept) != max_detections:
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        same_object = box_geometry.iou(boxes[best], boxes[waiting]) > iou_threshold
        waiting = waiting[~(same_object & (classes[waiting] == classes[best]))]
    return np.array(kept, np.int64)


def soft_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    max_detections: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Suppresses boxes by lowering the scores of those that overlap a better one, instead of dropping them.

    Source: Bodla et al. 2017, "Soft-NMS: Improving Object Detection With One Line of Code", section 3.

    Args:
        boxes: Boxes `[n, 4]`, xyxy.
        scores: Scores `[n]`, in 0..1.
        classes: Classes, integers `[n]`: boxes then suppress only boxes of their own class. By default all boxes have
            one class.
        method: "linear" multiplies a score by 1 - IoU where the IoU is over `iou_threshold`. "gaussian" multiplies it
            by exp(-IoU**2 / sigma) everywhere. Defaults to "gaussian".
        sigma: Width of the Gaussian, over 0. (`soft_nms_sigma` of tf.image is half of this.) Defaults to 0.5.
        iou_threshold: The IoU over which "linear" lowers a score, in 0..1. Defaults to 0.3.
        score_threshold: A box is dropped once its score is not over this, in 0..1. Defaults to 0.001.
        max_detections: Maximum number of kept boxes, the ones with the best scores. Defaults to no limit.

    Returns:
        Rows of the kept boxes, int64 `[k]`, and their lowered scores `[k]`, which fall.

    Raises:
        ValueError: If `hard_nms` would refuse the arguments, if the method is unknown, or if sigma is not over 0.

    >>> rows, scores = soft_nms([[0, 0, 10, 10], [0, 0, 5, 10], [20, 0, 30, 10]], [0.8, 0.9, 0.3], method="linear")
    >>> rows.tolist(), scores.round(2).tolist()
    ([1, 0, 2], [0.9, 0.4, 0.3])
    """
    boxes, scores, classes = _one_image(boxes, scores, classes, iou_threshold, score_threshold, max_detections)
    _check_method(method, sigma)
    waiting = np.flatnonzero(scores > score_threshold)
    scores = scores.copy()
    kept: list[int] = []
    while len(waiting) and len(kept) != max_detections:
        at = np.argmax(scores[waiting])
        best, waiting = waiting[at], np.delete(waiting, at)
        kept.append(best)
        weight = _decay(np, box_geometry.iou(boxes[best], boxes[waiting]), method, sigma, iou_threshold)
        scores[waiting] *= np.where(classes[waiting] == classes[best], weight, 1)
        waiting = waiting[scores[waiting] > score_threshold]
    return np.array(kept, np.int64), scores[kept]


def suppress(
    boxes: Array,
    scores: Array,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.05,
    max_detections: int = 100,
) -> dict[str, Any]:
    """Suppresses the boxes of a batch greedily, class by class, with TensorFlow's kernel and for any number of boxes.

    The time of the kernel grows with the number of boxes over the threshold. Of very many boxes (early in training) the
    best ones nearly always determine the result. The kernel is then given those, and the others only if they could
    change the result.

    Args:
        boxes: Boxes `[b, n, 4]`, xyxy.
        scores: Scores of each class `[b, n, c]`, in 0..1.
        iou_threshold: Boxes of one class with a larger IoU than this are one object, in 0..1. Defaults to 0.5.
        score_threshold: Only boxes with a larger score than this are kept, in 0..1. Defaults to 0.05.
        max_detections: Maximum number of detections per image, of all classes together. Defaults to 100.

    Returns:
        A dict of tensors; see the top of this module. The order of equal scores is not defined.

    Raises:
        ValueError: If shapes do not fit, if a threshold lies outside 0..1, or if `max_detections` is below 1.
        tensorflow.errors.InvalidArgumentError: When run, if a score is not finite, or if a box with NaN is kept.

    >>> boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]], "float32")
    >>> scores = np.array([[[0.6, 0.0], [0.9, 0.0], [0.2, 0.3]]], "float32")
    >>> detections = suppress(boxes, scores, max_detections=4)
    >>> detections["classes"].numpy().tolist(), detections["valid"].numpy().tolist()
    ([[0, 1, 0, -1]], [3])
    """
    import tensorflow as tf

    boxes, scores = _batch(boxes, scores, iou_threshold, score_threshold, max_detections)
    # A sum is NaN if one of its terms is.
    total = tf.debugging.check_numerics(tf.reduce_sum(scores), "scores of boxes to suppress must be finite")
    many = total > MANY * tf.cast(tf.shape(scores)[0], tf.float32)

    def kernel(boxes, scores):
        return tf.image.combined_non_max_suppression(
            boxes[:, :, None],
            scores,
            max_output_size_per_class=max_detections,
            max_total_size=max_detections,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            clip_boxes=False,
        )

    def of_the_best():
        best = tf.reduce_max(scores, axis=-1)
        limits, rows = tf.math.top_k(best, tf.minimum(TRIED * max_detections, tf.shape(best)[1]))
        result = kernel(tf.gather(boxes, rows, batch_dims=1), tf.gather(scores, rows, batch_dims=1))
        # Only better boxes suppress a box. So full lists that end above all boxes that were left out are final.
        full = result.valid_detections == max_detections
        final = tf.reduce_all(full & (result.nmsed_scores[:, -1] >= limits[:, -1]))
        return tf.cond(final, lambda: result, lambda: kernel(boxes, scores))

    result = tf.cond(many, of_the_best, lambda: kernel(boxes, scores))
    real = tf.range(max_detections) < result.valid_detections[:, None]
    return {
        "boxes": tf.debugging.check_numerics(result.nmsed_boxes, "boxes to suppress must be finite"),
        "classes": tf.where(real, tf.cast(result.nmsed_classes, tf.int32), -1),
        "scores": result.nmsed_scores,
        "valid": result.valid_detections,
    }


def suppress_portable(
    boxes: Array,
    scores: Array,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.05,
    max_detections: int = 100,
    max_candidates: int = 1000,
) -> dict[str, Any]:
    """Does the same as `suppress`, for models that leave TensorFlow: with only matrix operations and one short loop.

    A candidate is kept unless a better one that is kept suppresses it. That rule is applied to all candidates until
    nothing changes. The number of steps is the length of the longest chain of boxes that free each other, which is
    short, and the result is that of the greedy algorithm.

    Source: Zheng et al. 2021, "Enhancing Geometric Factors in Model Learning and Inference for Object Detection and
    Instance Segmentation", section IV (Cluster-NMS).

    Args:
        boxes: Boxes `[b, n, 4]`, xyxy.
        scores: Scores of each class `[b, n, c]`, in 0..1.
        iou_threshold: Boxes of one class with a larger IoU than this are one object, in 0..1. Defaults to 0.5.
        score_threshold: Only boxes with a larger score than this are kept, in 0..1. Defaults to 0.05.
        max_detections: Maximum number of detections per image, of all classes together. Defaults to 100.
        max_candidates: Maximum number of pairs of a box and a class that are looked at, the best ones. The memory grows
            with its square. It must be at least `max_detections`. Defaults to 1000.

    Returns:
        A dict of tensors; see the top of this module. Of equal scores the earlier box comes first. If one score of an
        image is NaN, all its scores are NaN: a graph that leaves TensorFlow cannot raise an error.

    Raises:
        ValueError: If shapes do not fit, if a threshold lies outside 0..1, if `max_detections` is below 1, or if there
            are fewer candidates than detections.

    >>> boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]], "float32")
    >>> scores = np.array([[[0.6, 0.0], [0.9, 0.0], [0.2, 0.3]]], "float32")
    >>> suppress_portable(boxes, scores, max_detections=4)["boxes"].numpy()[0, :, 0].tolist()
    [1.0, 20.0, 20.0, 0.0]
    """
    from keras import ops

    boxes, scores = _batch(boxes, scores, iou_threshold, score_threshold, max_detections)
    candidates, points, classes = _candidates(ops, boxes, scores, max_detections, max_candidates)
    place = ops.arange(ops.shape(points)[1])
    suppresses = ops.cast(
        (box_geometry.overlap_matrix(candidates, candidates) > iou_threshold)
        & (classes[:, :, None] == classes[:, None, :])
        & (place[:, None] < place),
        points.dtype,
    )
    passing = ops.cast(points > score_threshold, points.dtype)

    def settle(kept, _):
        now = passing * ops.cast(ops.matmul(kept[:, None, :], suppresses)[:, 0] < 0.5, points.dtype)
        return now, ops.any(now != kept)

    kept, _ = ops.while_loop(lambda _, changed: changed, settle, (passing, ops.convert_to_tensor(True)))
    points, rows = ops.top_k(points * kept, max_detections)
    return _packed(ops, candidates, classes, rows, points, scores)


def suppress_soft(
    boxes: Array,
    scores: Array,
    *,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    max_detections: int = 100,
    max_candidates: int = 1000,
) -> dict[str, Any]:
    """Applies `soft_nms` to a batch, class by class, with operations that other runtimes also have.

    The loop has one step per detection.

    Args:
        boxes: Boxes `[b, n, 4]`, xyxy.
        scores: Scores of each class `[b, n, c]`, in 0..1.
        method: "linear" or "gaussian", as for `soft_nms`. Defaults to "gaussian".
        sigma: Width of the Gaussian, over 0, as for `soft_nms`. Defaults to 0.5.
        iou_threshold: The IoU over which "linear" lowers a score, in 0..1. Defaults to 0.3.
        score_threshold: A box is dropped once its score is not over this, in 0..1. Defaults to 0.001.
        max_detections: Maximum number of detections per image, of all classes together. Defaults to 100.
        max_candidates: Maximum number of pairs of a box and a class that are looked at, the best ones. It must be at
            least `max_detections`. Defaults to 1000.

    Returns:
        A dict of tensors; see the top of this module. If one score of an image is NaN, all its scores are NaN.

    Raises:
        ValueError: If `suppress_portable` or `soft_nms` would refuse the arguments.

    >>> boxes = np.array([[[0, 0, 10, 10], [0, 0, 5, 10], [20, 0, 30, 10]]], "float32")
    >>> detections = suppress_soft(boxes, np.array([[[0.5], [0.75], [0.25]]]), method="linear", max_detections=4)
    >>> detections["scores"].numpy()[0].tolist()
    [0.75, 0.25, 0.25, 0.0]
    """
    from keras import ops

    boxes, scores = _batch(boxes, scores, iou_threshold, score_threshold, max_detections)
    _check_method(method, sigma)
    candidates, points, classes = _candidates(ops, boxes, scores, max_detections, max_candidates)
    place = ops.arange(ops.shape(points)[1])
    step = ops.arange(max_detections)

    def unfinished(t, points, _rows, _kept):
        return (t < max_detections) & ops.any(points > score_threshold)

    def pick(t, points, rows, kept):
        score, best = ops.top_k(points, 1)
        best = ops.cast(best, "int32")
        rows = ops.where(step == t, best, rows)
        kept = ops.where(step == t, score, kept)
        overlap = box_geometry.iou(ops.take_along_axis(candidates, best[..., None], axis=1), candidates)
        weight = _decay(ops, overlap, method, sigma, iou_threshold)
        weight = ops.where(classes == ops.take_along_axis(classes, best, axis=1), weight, 1.0)
        return t + 1, ops.where(place == best, 0.0, points * weight), rows, kept

    nothing = ops.zeros_like(points[:, :max_detections])
    _, _, rows, points = ops.while_loop(
        unfinished, pick, (ops.convert_to_tensor(0), points, ops.cast(nothing, "int32"), nothing)
    )
    return _packed(ops, candidates, classes, rows, ops.where(points > score_threshold, points, 0.0), scores)


def _decay(library: Any, overlap: Array, method: str, sigma: float, iou_threshold: float) -> Array:
    """Computes the factor of a score from the IoU with a better box."""
    if method == "linear":
        return library.where(overlap > iou_threshold, 1 - overlap, library.ones_like(overlap))
    return library.exp(-(overlap**2) / sigma)


def _candidates(
    ops: Any, boxes: Array, scores: Array, max_detections: int, max_candidates: int
) -> tuple[Array, Array, Array]:
    """Selects the best pairs of a box and a class, by falling score.

    Returns:
        Boxes `[b, k, 4]`, scores `[b, k]` and classes `[b, k]`, where k is at least `max_detections`.
    """
    if max_candidates < max_detections:
        raise ValueError(f"expected at least max_detections={max_detections} candidates, got {max_candidates}")
    num_boxes, num_classes = ops.shape(scores)[1], scores.shape[2]
    # Scores of 0 are padding, which is needed where there are too few boxes.
    flat = ops.reshape(scores, (-1, num_boxes * num_classes))
    flat = ops.concatenate([flat, ops.zeros_like(flat[:, :1]) * ops.ones((1, max_detections))], axis=1)
    count = ops.shape(flat)[1]
    count = min(max_candidates, count) if isinstance(count, int) else ops.minimum(max_candidates, count)
    points, rows = ops.top_k(flat, count)
    rows = ops.cast(rows, "int32")
    box = ops.minimum(rows // num_classes, num_boxes - 1)
    return ops.take_along_axis(boxes, box[..., None], axis=1), points, rows % num_classes


def _packed(ops: Any, candidates: Array, classes: Array, rows: Array, points: Array, scores: Array) -> dict[str, Any]:
    """Returns the chosen rows of the candidates as a dict. Those with a score of 0 are padding."""
    real = points > 0
    broken = ops.any(ops.isnan(scores), axis=(1, 2))[:, None]
    rows = ops.cast(rows, "int32")
    return {
        "boxes": ops.where(real[..., None], ops.take_along_axis(candidates, rows[..., None], axis=1), 0.0),
        "classes": ops.where(real, ops.take_along_axis(classes, rows, axis=1), -1),
        "scores": ops.where(broken, float("nan"), points),
        "valid": ops.sum(ops.cast(real, "int32"), axis=1),
    }


def _one_image(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray | None,
    iou_threshold: float,
    score_threshold: float,
    max_detections: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check_settings(iou_threshold, score_threshold, max_detections)
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float32)
    boxes = boxes.reshape(-1, 4) if not boxes.size else boxes
    classes = np.zeros(len(boxes), np.int64) if classes is None else np.asarray(classes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == scores.size == classes.size:
        raise ValueError(
            f"expected boxes [n, 4], scores [n] and classes [n], got {boxes.shape}, {scores.shape} and {classes.shape}"
        )
    for name, values in (("boxes", boxes), ("scores", scores)):
        if np.isnan(values).any():
            raise ValueError(f"expected {name} without NaN, got one in row {np.argwhere(np.isnan(values))[0][0]}")
    return boxes, scores.reshape(-1), classes.reshape(-1)


def _batch(
    boxes: Array, scores: Array, iou_threshold: float, score_threshold: float, max_detections: int
) -> tuple[Array, Array]:
    from keras import ops

    check_settings(iou_threshold, score_threshold, max_detections)
    boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
    if len(boxes.shape) != 3 or boxes.shape[2] != 4 or len(scores.shape) != 3 or scores.shape[2] is None:
        raise ValueError(f"expected boxes [b, n, 4] and scores [b, n, classes], got {boxes.shape} and {scores.shape}")
    for count, other_count in zip(boxes.shape[:2], scores.shape[:2], strict=True):
        if count is not None and other_count is not None and count != other_count:
            raise ValueError(f"expected as many scores as boxes, got boxes {boxes.shape} and scores {scores.shape}")
    return boxes, scores


def _check_method(method: str, sigma: float) -> None:
    if method not in ("linear", "gaussian"):
        raise ValueError(f'expected method "linear" or "gaussian", got {method!r}')
    if not sigma > 0:
        raise ValueError(f"expected a sigma over 0, got {sigma}")
