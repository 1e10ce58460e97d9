"""Rules that assign objects to the points of a network: which point must predict which object.

Every rule looks at all pairs of objects and points of a batch at once. It returns for each point the row of its object,
or -1 for background. `real` tells which rows are objects (`zoo.detection.targets.real_objects`).

Two rules are for detectors without anchors: `by_centre` and `task_aligned`. Their points are those of
`zoo.detection.targets.grid_points`. An object that is smaller than the grid may have no point inside; it then gets the
point that is nearest to its centre. The third rule, `by_overlap`, is for detectors with anchors, whose points are
boxes.
"""

from typing import Any

import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array

__all__ = ["IGNORED", "by_centre", "by_overlap", "matched", "outside_crowds", "points_inside", "task_aligned"]

# This number in place of a row marks an anchor that is not in the loss, since it is neither on an object nor clear of
# all of them.
IGNORED = -2


def points_inside(points: Array, boxes: Array) -> Any:
    """Tells which points lie within which boxes. Points on an edge are not inside.

    Args:
        points: Points (x, y), `[n, 2]`.
        boxes: Boxes `[b, m, 4]`, xyxy.

    Returns:
        bool `[b, m, n]`.

    >>> points_inside(np.float32([[2, 3], [8, 1]]), np.float32([[[0, 0, 4, 4]]])).numpy().tolist()
    [[[True, False]]]
    """
    from keras import ops

    return ops.all(_distances(points, ops.convert_to_tensor(boxes)) > 0, axis=-1)


def by_centre(points: Array, strides: Array, boxes: Array, real: Array, *, radius: float = 1.5) -> Any:
    """Assigns an object to the points near its centre, on the map whose stride suits its size.

    A point near the centres of several objects gets the smallest of them. The rule needs no predictions, so that
    targets can be computed once, in tf.data.

    Source: Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection", section 3.2: a map of stride s has
    the objects whose farthest side is 4 s to 8 s from the point, the first map also all smaller ones, the last also all
    larger ones. The centre sampling is that of the journal version, "FCOS: A Simple and Strong Anchor-Free Object
    Detector" 2020, section 3.1.

    Args:
        points: Points (x, y), `[n, 2]`, as `grid_points` returns them.
        strides: The stride of each point, `[n]`, as `grid_points` returns them.
        boxes: Boxes `[b, m, 4]`, xyxy, absolute pixels.
        real: bool `[b, m]`, the rows that are objects.
        radius: The largest distance of a point from the centre, in strides, across and down. Defaults to 1.5.

    Returns:
        Rows of the objects, int32 `[b, n]`, -1 for background.

    Raises:
        ValueError: If the radius is not over 0.

    Example, with four points at stride 16, a small object around the first and a large one around all of them:

    >>> points, strides = np.float32([[8, 8], [24, 8], [8, 24], [24, 24]]), np.float32([16, 16, 16, 16])
    >>> by_centre(points, strides, np.float32([[[0, 0, 32, 32], [2, 2, 12, 12]]]), np.array([[True, True]])).numpy()
    array([[1, 0, 0, 0]], dtype=int32)
    """
    from keras import ops

    if not radius > 0:
        raise ValueError(f"expected a radius over 0 strides, got {radius}")
    boxes, real = _with_a_row(boxes, real)
    strides = ops.convert_to_tensor(strides)
    distances = _distances(points, boxes)
    farthest = ops.max(distances, axis=-1)
    least = ops.where(strides == ops.min(strides), 0.0, 4 * strides)
    most = ops.where(strides == ops.max(strides), np.inf, 8 * strides)
    offsets = ops.max(ops.abs(_offsets(points, boxes)), axis=-1)
    inside = ops.min(distances, axis=-1) > 0
    candidates = inside & (offsets < radius * strides) & (farthest > least) & (farthest <= most)
    candidates = _with_nearest(candidates, inside, points, boxes) & real[..., None]
    size = ops.where(candidates, box_geometry.area(boxes)[..., None], np.inf)
    return _rows(-size, candidates)


def task_aligned(
    scores: Array,
    predicted: Array,
    points: Array,
    boxes: Array,
    classes: Array,
    real: Array,
    *,
    top: int = 10,
    alpha: float = 0.5,
    beta: float = 6.0,
) -> tuple[Any, Any]:
    """Assigns an object to the points inside of it that already predict it best, in class and place together.

    So the targets of a network depend on its predictions. Points whose class and box are both good become better at
    both, and the best box gets the best score, which suppression relies on.

    Source: Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection", section 3.2, equation 5: alignment t =
    score**alpha * IoU**beta. Deviation: alpha is 0.5 where the paper has 1, as in later YOLOs.

    Args:
        scores: Probability of each class at each point, `[b, n, c]`.
        predicted: The boxes predicted at the points, `[b, n, 4]`, xyxy.
        points: Points (x, y), `[n, 2]`.
        boxes: The true boxes, `[b, m, 4]`, xyxy.
        classes: The true classes, int `[b, m]`, in 0..c-1 where `real` is True.
        real: bool `[b, m]`, the rows that are objects.
        top: Maximum number of points per object; there are more only if they tie. Defaults to 10.
        alpha: Exponent of the score. Defaults to 0.5.
        beta: Exponent of the IoU. Defaults to 6.

    Returns:
        Rows of the objects, int32 `[b, n]`, -1 for background; and the score that each point should have for the class
        of its object, float `[b, n]`: its alignment, scaled so that the best point of an object has the IoU of the
        object's best box. A point that is chosen for several objects takes the one that it overlaps most.

    Raises:
        ValueError: If `top` is below 1, or if alpha or beta is negative.

    Example, where the two best of three points inside the object are chosen:

    >>> points = np.float32([[2, 2], [4, 2], [6, 2]])
    >>> predicted = np.float32([[[0, 0, 8, 4], [0, 0, 8, 2], [0, 0, 2, 2]]])
    >>> rows, weights = task_aligned(
    ...     np.full((1, 3, 1), 0.25, "float32"), predicted, points, np.float32([[[0, 0, 8, 4]]]), np.int32([[0]]),
    ...     np.array([[True]]), top=2, beta=1.0,
    ... )
    >>> rows.numpy().tolist(), weights.numpy().tolist()
    ([[0, 0, -1]], [[1.0, 0.5, 0.0]])
    """
    from keras import ops

    if top < 1 or alpha < 0 or beta < 0:
        raise ValueError(f"expected top of 1 or more, alpha and beta of 0 or more, got {top}, {alpha} and {beta}")
    boxes, real = _with_a_row(boxes, real)
    classes = ops.pad(ops.convert_to_tensor(classes), ((0, 0), (0, 1)), constant_values=-1)
    inside = points_inside(points, boxes)
    candidates = _with_nearest(inside, inside, points, boxes) & real[..., None]
    overlap = box_geometry.overlap_matrix(boxes, predicted)
    # A class of -1 (padding) gives a row of zeros.
    of_class = ops.matmul(ops.one_hot(classes, scores.shape[-1], dtype=scores.dtype), ops.transpose(scores, (0, 2, 1)))
    # It is never 0, so that a candidate differs from the other points however little it overlaps.
    alignment = ops.maximum(of_class, 1e-6) ** alpha * ops.maximum(overlap, 1e-3) ** beta
    alignment = ops.where(candidates, alignment, 0.0)
    count = ops.shape(points)[0]
    count = min(top, count) if isinstance(count, int) else ops.minimum(top, count)
    limit = ops.top_k(alignment, count)[0][..., -1:]
    rows = _rows(overlap, candidates & (alignment >= limit))
    # [b, m, n]: the points that each object keeps.
    kept = ops.cast(ops.arange(ops.shape(boxes)[1])[:, None] == rows[:, None, :], alignment.dtype)
    best_alignment = ops.max(alignment * kept, axis=-1, keepdims=True)
    best_overlap = ops.max(overlap * kept, axis=-1, keepdims=True)
    share = alignment * kept * best_overlap / ops.where(best_alignment > 0, best_alignment, 1.0)
    return rows, ops.sum(share, axis=1)


def by_overlap(
    anchors: Array,
    boxes: Array,
    real: Array,
    *,
    positive: float = 0.5,
    negative: float = 0.4,
    rescue: str = "none",
) -> Any:
    """Assigns an object to the anchors that overlap it enough. Anchors that overlap all objects little are background.

    Source: Ren et al. 2015, "Faster R-CNN", section 3.1.2 (0.7 and 0.3; best); Liu et al. 2016, "SSD", section 2.2 (0.5
    and 0.5; bipartite); Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4 (0.5 and 0.4).

    Args:
        anchors: Anchors `[n, 4]`, or a set for each image `[b, n, 4]`; xyxy.
        boxes: Boxes `[b, m, 4]`, xyxy.
        real: bool `[b, m]`, the rows that are objects.
        positive: An anchor gets the object that it overlaps most if their IoU is at least this. Defaults to 0.5.
        negative: An anchor is background if its largest IoU is below this; between the two it is ignored. Defaults to
            0.4.
        rescue: What happens to objects that no anchor overlaps enough. With "none", no anchor gets them. With "best",
            the anchor (or anchors) that overlap an object most get it, whatever else they overlap. With "bipartite",
            each object gets one anchor of its own: first the pair with the largest IoU of all, then the best of the
            remaining pairs, and so on. Defaults to "none".

    Returns:
        Rows of the objects, int32 `[b, n]`, -1 for background, -2 (`IGNORED`) for neither.

    Raises:
        ValueError: If not 0 < negative <= positive <= 1, or if the rescue is unknown.

    Example, with IoUs of 0.8, 0.45 and 0.2:

    >>> anchors = np.float32([[0, 0, 10, 8], [0, 0, 10, 4.5], [0, 0, 10, 2]])
    >>> by_overlap(anchors, np.float32([[[0, 0, 10, 10]]]), np.array([[True]])).numpy()
    array([[ 0, -2, -1]], dtype=int32)
    >>> by_overlap(anchors[1:], np.float32([[[0, 0, 10, 10]]]), np.array([[True]]), rescue="best").numpy()
    array([[ 0, -1]], dtype=int32)
    """
    from keras import ops

    if not 0 < negative <= positive <= 1:
        raise ValueError(f"expected 0 < negative <= positive <= 1, got negative={negative} and positive={positive}")
    if rescue not in ("none", "best", "bipartite"):
        raise ValueError(f'expected a rescue of "none", "best" or "bipartite", got {rescue!r}')
    boxes, real = _with_a_row(boxes, real)
    overlap = box_geometry.overlap_matrix(boxes, ops.convert_to_tensor(anchors))
    overlap = ops.where(real[..., None], overlap, 0.0)
    largest = ops.max(overlap, axis=1)
    rows = ops.cast(ops.argmax(overlap, axis=1), "int32")
    rows = ops.where(largest >= positive, rows, ops.where(largest < negative, -1, IGNORED))
    if rescue == "none":
        return rows
    if rescue == "best":
        chosen = (overlap == ops.max(overlap, axis=2, keepdims=True)) & (overlap > 0)
    else:
        chosen = _one_each(overlap)
    rescued = _rows(overlap, chosen)
    return ops.where(rescued >= 0, rescued, rows)


def matched(truths: dict[str, Any], rows: Array) -> tuple[Any, Any]:
    """Looks up the object of each point.

    Args:
        truths: A dict of `boxes [b, m, 4]` and `classes [b, m]`.
        rows: Rows of the objects, int `[b, n]`, as the rules of this module return them.

    Returns:
        Boxes `[b, n, 4]` and classes `[b, n]`; zeros and -1 where a point has no object.

    >>> truths = {"boxes": np.float32([[[0, 0, 4, 2], [1, 1, 9, 5]]]), "classes": np.int32([[7, 3]])}
    >>> boxes, classes = matched(truths, np.int32([[1, -1]]))
    >>> boxes.numpy().tolist(), classes.numpy().tolist()
    ([[[1.0, 1.0, 9.0, 5.0], [0.0, 0.0, 0.0, 0.0]]], [[3, -1]])
    """
    from keras import ops

    # Background points read an additional row of zeros.
    boxes = ops.pad(ops.convert_to_tensor(truths["boxes"]), ((0, 0), (0, 1), (0, 0)))
    classes = ops.pad(ops.convert_to_tensor(truths["classes"]), ((0, 0), (0, 1)), constant_values=-1)
    rows = ops.where(rows >= 0, rows, ops.shape(boxes)[1] - 1)
    return ops.take_along_axis(boxes, rows[..., None], axis=1), ops.take_along_axis(classes, rows, axis=1)


def outside_crowds(points: Array, truths: dict[str, Any]) -> Any:
    """Tells which points are outside of all crowds.

    A point in a crowd is neither on an object nor on background, since nobody has annotated the single objects there.

    Args:
        points: Points (x, y), `[n, 2]`, or points for each image, `[b, 1, n, 2]`.
        truths: A dict of `boxes [b, m, 4]`, and optionally `crowd`, bool `[b, m]`.

    Returns:
        float32 `[b, n]`, 1 for points outside of crowds and 0 for points inside.

    >>> outside_crowds(np.float32([[2, 3], [8, 1]]), {"boxes": np.float32([[[0, 0, 4, 4]]]), "crowd": [[True]]}).numpy()
    array([[0., 1.]], dtype=float32)
    """
    from keras import ops

    if "crowd" not in truths:
        return ops.ones((ops.shape(truths["boxes"])[0], ops.shape(points)[-2]))
    inside = points_inside(points, truths["boxes"]) & ops.cast(truths["crowd"], "bool")[..., None]
    return ops.cast(~ops.any(inside, axis=1), "float32")


def _with_a_row(boxes: Array, real: Array) -> tuple[Any, Any]:
    """Appends one row that is no object: a batch may have no rows, and a maximum over no rows is not defined."""
    from keras import ops

    boxes, real = ops.convert_to_tensor(boxes), ops.convert_to_tensor(real)
    return ops.pad(boxes, ((0, 0), (0, 1), (0, 0))), ops.pad(real, ((0, 0), (0, 1)), constant_values=False)


def _one_each(overlap: Any) -> Any:
    """Pairs objects with anchors, each in one pair at most, greedily by falling IoU: bool `[b, m, n]`."""
    from keras import ops

    objects, anchors = ops.shape(overlap)[1:]

    def take_the_best(_, state):
        left, chosen = state
        of_objects = ops.max(left, axis=2)
        row = ops.argmax(of_objects, axis=1)
        here = ops.arange(objects) == row[:, None]
        column = ops.argmax(ops.take_along_axis(left, row[:, None, None], axis=1)[:, 0], axis=1)
        there = ops.arange(anchors) == column[:, None]
        pair = here[:, :, None] & there[:, None, :] & (left > 0)
        return ops.where(here[:, :, None] | there[:, None, :], 0.0, left), chosen | pair

    state = overlap, ops.zeros_like(overlap, dtype="bool")
    return ops.fori_loop(0, objects, take_the_best, state)[1]


def _distances(points: Array, boxes: Array) -> Any:
    """Returns the distances of each point to the left, upper, right and lower side of each box, `[b, m, n, 4]`.

    They are negative for points that are outside.
    """
    from keras import ops

    boxes = boxes[:, :, None, :]
    return ops.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], axis=-1)


def _offsets(points: Array, boxes: Array) -> Any:
    """Returns the vectors from the centre of each box to each point, `[b, m, n, 2]`."""
    return points - box_geometry.centres(boxes)[:, :, None, :]


def _with_nearest(candidates: Any, inside: Any, points: Array, boxes: Array) -> Any:
    """Adds to the candidates the nearest point of each object that has no point inside."""
    from keras import ops

    squared = ops.sum(_offsets(points, boxes) ** 2, axis=-1)
    nearest = ops.arange(ops.shape(points)[0]) == ops.argmin(squared, axis=-1)[..., None]
    return candidates | (nearest & ~ops.any(inside, axis=-1, keepdims=True))


def _rows(preference: Any, chosen: Any) -> Any:
    """Returns for each point the chosen object with the largest preference, or -1: `[b, m, n]` to int32 `[b, n]`."""
    from keras import ops

    best = ops.argmax(ops.where(chosen, preference, -np.inf), axis=1)
    return ops.where(ops.any(chosen, axis=1), ops.cast(best, "int32"), -1)
