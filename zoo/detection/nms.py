"""Non-maximum suppression: of the boxes that a detector puts on one object, keep the best.

For one image on the host, to read and to check: `hard_nms` and `soft_nms`, NumPy. For batches in a graph: `suppress`
(TensorFlow's kernel, any number of boxes), `suppress_portable` (only operations that ONNX, OpenVINO and LiteRT have,
too) and `suppress_soft`. Those three give what a detector's `predict` gives:

- `boxes`, float32 `[b, max_detections, 4]`, `classes`, int32 `[b, max_detections]`, and `scores`, float32 of that shape
  and falling, padded with boxes of zeros, classes of -1 and scores of 0;
- `valid`, int32 `[b]`: how many are real.

Boxes are xyxy; a box is suppressed by a better one of its class if their IoU is over the threshold, not at it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array

__all__ = ["Suppression", "check_settings", "hard_nms", "soft_nms", "suppress", "suppress_portable", "suppress_soft"]

# Where the scores of an image add up to more than MANY, `suppress` first tries TRIED times as many boxes as it may
# keep. Both were measured (benchmarks/boxes.py).
MANY = 10_000.0
TRIED = 5


@dataclass(frozen=True)
class Suppression:
    """The settings with which a detector suppresses its boxes.

    Attributes:
        score_threshold: Only boxes with a larger score than this are kept, in 0..1. Defaults to 0.05.
        iou_threshold: Two boxes of one class with a larger IoU than this are one object, in 0..1. Defaults to 0.5.
        max_detections: Maximum number of detections per image, the ones with the best scores. Defaults to 100.

    Raises:
        ValueError: If a threshold lies outside 0..1, or if `max_detections` is below 1.
    """

    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        check_settings(self.iou_threshold, self.score_threshold, self.max_detections)


def hard_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    classes: np.ndarray | None = None,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
    max_detections: int | None = None,
) -> np.ndarray:
    """Greedy suppression: keep the best box, drop what overlaps it, and so on.

    Args:
        boxes: `[n, 4]`, xyxy.
        scores: `[n]`, in 0..1.
        classes: integers `[n]`; then boxes suppress only those of their class.
        iou_threshold: in 0..1; boxes with a larger IoU than this are one object.
        score_threshold: in 0..1; only boxes with a larger score than this count.
        max_detections: at most so many are kept, the best.

    Returns:
        Rows of the kept boxes, int64 `[k]`, by falling score; of equal scores the earlier row is the better.

    Raises:
        ValueError: lengths that differ, NaN in boxes or scores, thresholds outside 0..1, max_detections below 1.

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
    """Suppression that lowers the scores of overlapping boxes instead of dropping them.

    Source: Bodla et al. 2017, "Soft-NMS: Improving Object Detection With One Line of Code", section 3.

    Args:
        boxes, scores, classes, score_threshold, max_detections: as for `hard_nms`. A box is dropped once its score is
            not over the threshold.
        method: "linear" multiplies by 1 - IoU where the IoU is over `iou_threshold`; "gaussian" by
            exp(-IoU**2 / sigma) everywhere.
        sigma: of the gaussian, over 0. (`soft_nms_sigma` of tf.image is half of this.)
        iou_threshold: of "linear", in 0..1.

    Returns:
        Rows of the kept boxes, int64 `[k]`, and their scores `[k]`, which fall.

    Raises:
        ValueError: as for `hard_nms`; another method; a sigma that is not over 0.

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
    """Class-wise greedy suppression of a batch, by TensorFlow's kernel and without a limit on the number of boxes.

    The kernel's time grows with the boxes that pass the threshold, and of very many (early in training) the best
    nearly always settle the result. Then the kernel is given those, and the others only if they could change it.

    Args:
        boxes: `[b, n, 4]`, xyxy.
        scores: `[b, n, c]`, in 0..1, of each class.
        iou_threshold, score_threshold: as for `hard_nms`.
        max_detections: of all classes together, the best.

    Returns:
        A dict of tensors; see the top of this module. The order of equal scores is not defined.

    Raises:
        ValueError: shapes that do not fit, thresholds outside 0..1, max_detections below 1.
        tensorflow.errors.InvalidArgumentError: when run, on NaN or infinite scores, or when a NaN box is kept.

    >>> boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]], "float32")
    >>> scores = np.array([[[0.6, 0.0], [0.9, 0.0], [0.2, 0.3]]], "float32")
    >>> found = suppress(boxes, scores, max_detections=4)
    >>> found["classes"].numpy().tolist(), found["valid"].numpy().tolist()
    ([[0, 1, 0, -1]], [3])
    """
    import tensorflow as tf

    boxes, scores = _batch(boxes, scores, iou_threshold, score_threshold, max_detections)
    # A sum is no number, if one of its parts is none.
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
        found = kernel(tf.gather(boxes, rows, batch_dims=1), tf.gather(scores, rows, batch_dims=1))
        # Suppression looks only at better scores: full lists that end above all boxes left out are final.
        full = found.valid_detections == max_detections
        final = tf.reduce_all(full & (found.nmsed_scores[:, -1] >= limits[:, -1]))
        return tf.cond(final, lambda: found, lambda: kernel(boxes, scores))

    found = tf.cond(many, of_the_best, lambda: kernel(boxes, scores))
    real = tf.range(max_detections) < found.valid_detections[:, None]
    return {
        "boxes": tf.debugging.check_numerics(found.nmsed_boxes, "boxes to suppress must be finite"),
        "classes": tf.where(real, tf.cast(found.nmsed_classes, tf.int32), -1),
        "scores": found.nmsed_scores,
        "valid": found.valid_detections,
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
    """What `suppress` does, for models that leave TensorFlow: only matrix operations and one short loop.

    A candidate stays unless a better one that stays suppresses it. Starting from all, that is applied until nothing
    changes, after as many steps as the longest chain of boxes that free each other (few), and the result is that of the
    greedy algorithm.

    Source: Zheng et al. 2021, "Enhancing Geometric Factors in Model Learning and Inference for Object Detection and
    Instance Segmentation", section IV (Cluster-NMS).

    Args:
        boxes, scores, iou_threshold, score_threshold, max_detections: as for `suppress`.
        max_candidates: so many pairs of box and class are looked at, the best; their number squared is the memory. At
            least max_detections.

    Returns:
        A dict of tensors; see the top of this module. Of equal scores the earlier box is the better. Scores of an image
        are all NaN if one of them was: a graph that leaves TensorFlow cannot raise.

    Raises:
        ValueError: as for `suppress`; fewer candidates than detections.

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
    """Class-wise `soft_nms` of a batch, in operations that other runtimes have, too; one step for each detection.

    Args:
        boxes, scores, max_detections, max_candidates: as for `suppress_portable`.
        method, sigma, iou_threshold, score_threshold: as for `soft_nms`.

    Returns:
        A dict of tensors; see the top of this module; NaN as for `suppress_portable`.

    Raises:
        ValueError: as for `suppress_portable` and `soft_nms`.

    >>> boxes = np.array([[[0, 0, 10, 10], [0, 0, 5, 10], [20, 0, 30, 10]]], "float32")
    >>> found = suppress_soft(boxes, np.array([[[0.5], [0.75], [0.25]]]), method="linear", max_detections=4)
    >>> found["scores"].numpy()[0].tolist()
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
    """What a score is multiplied by, given the IoU with a better box."""
    if method == "linear":
        return library.where(overlap > iou_threshold, 1 - overlap, library.ones_like(overlap))
    return library.exp(-(overlap**2) / sigma)


def _candidates(
    ops: Any, boxes: Array, scores: Array, max_detections: int, max_candidates: int
) -> tuple[Array, Array, Array]:
    """The best pairs of box and class by falling score: boxes `[b, k, 4]`, scores and classes `[b, k]`, k at least
    max_detections."""
    if max_candidates < max_detections:
        raise ValueError(f"expected at least max_detections={max_detections} candidates, got {max_candidates}")
    num_boxes, num_classes = ops.shape(scores)[1], scores.shape[2]
    # Scores of 0 count for nothing, and make up for boxes that are too few.
    flat = ops.reshape(scores, (-1, num_boxes * num_classes))
    flat = ops.concatenate([flat, ops.zeros_like(flat[:, :1]) * ops.ones((1, max_detections))], axis=1)
    count = ops.shape(flat)[1]
    count = min(max_candidates, count) if isinstance(count, int) else ops.minimum(max_candidates, count)
    points, rows = ops.top_k(flat, count)
    rows = ops.cast(rows, "int32")
    box = ops.minimum(rows // num_classes, num_boxes - 1)
    return ops.take_along_axis(boxes, box[..., None], axis=1), points, rows % num_classes


def _packed(ops: Any, candidates: Array, classes: Array, rows: Array, points: Array, scores: Array) -> dict[str, Any]:
    """The chosen rows of the candidates, those with a score of 0 as padding."""
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
    for ours, other in zip(boxes.shape[:2], scores.shape[:2], strict=True):
        if ours is not None and other is not None and ours != other:
            raise ValueError(f"expected as many scores as boxes, got boxes {boxes.shape} and scores {scores.shape}")
    return boxes, scores


def check_settings(iou_threshold: float, score_threshold: float, max_detections: int | None) -> None:
    """Raises a ValueError for thresholds outside 0..1, and where there is no room for a detection."""
    for name, threshold in (("iou_threshold", iou_threshold), ("score_threshold", score_threshold)):
        if not 0 <= threshold <= 1:
            raise ValueError(f"expected a threshold in 0..1, got {name}={threshold}")
    if max_detections is not None and max_detections < 1:
        raise ValueError(f"expected room for at least 1 detection, got max_detections={max_detections}")


def _check_method(method: str, sigma: float) -> None:
    if method not in ("linear", "gaussian"):
        raise ValueError(f'expected method "linear" or "gaussian", got {method!r}')
    if not sigma > 0:
        raise ValueError(f"expected a sigma over 0, got {sigma}")
