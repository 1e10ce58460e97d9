"""Precision over recall: the average precision of one curve, and the curves of all classes at once."""

import numpy as np

__all__ = ["average_precision", "interpolated_precision"]


def average_precision(recall: np.ndarray, precision: np.ndarray, *, points: int | None = None) -> float:
    """Computes the average precision of a precision-recall curve.

    The curve is interpolated: the precision at a recall is the best precision at that recall or a higher one.

    Args:
        recall: Recalls `[d]` in 0..1, from the highest score to the lowest. They rise.
        precision: Precisions `[d]` in 0..1, in the same order.
        points: None for the area under the curve, or the number of evenly spaced recalls from 0 to 1 at which the
            precision is averaged. Defaults to None.

    Raises:
        ValueError: If arrays have different lengths, if the recall falls, or if there are fewer than two points.

    Example, where the first and the third detection are correct and the second is not:

    >>> average_precision([0.5, 0.5, 1.0], [1, 1 / 2, 2 / 3])  # 0.5 * 1 + 0.5 * 2/3
    0.8333333333333333
    >>> round(average_precision([0.5, 0.5, 1.0], [1, 1 / 2, 2 / 3], points=11), 4)  # (6 * 1 + 5 * 2/3) / 11
    0.8485
    """
    recall, precision = np.asarray(recall, np.float64), np.asarray(precision, np.float64)
    if recall.shape != precision.shape or recall.ndim != 1:
        raise ValueError(f"expected two arrays [d], got recall {recall.shape} and precision {precision.shape}")
    if (np.diff(recall) < 0).any():
        raise ValueError("expected a recall that does not fall: sort the detections by falling score")
    if points is not None and points < 2:
        raise ValueError(f"expected None or at least 2 points, got points={points}")
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if points is None:
        return float(np.sum(np.diff(recall, prepend=0) * best))
    # k / (points - 1) is rounded in the same way as a recall of the same value, so that a recall of 3/10 reaches the
    # level 0.3.
    at = np.searchsorted(recall, np.arange(points) / (points - 1), side="left")
    return float(np.sum(best[at[at < len(best)]]) / points)


def interpolated_precision(
    true_positive: np.ndarray,
    false_positive: np.ndarray,
    class_index: np.ndarray,
    positives: np.ndarray,
    levels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the precision at given recalls, of all classes and of several matchings of the same detections together.

    Between two true positives the precision only falls. So the best precision from a recall on is reached at a true
    positive: each writes its precision at the level that its recall reaches, and a running maximum from the end fills
    the levels below.

    Args:
        true_positive: bool `[t, d]`, the detections sorted by class, then by falling score.
        false_positive: bool `[t, d]`, in the same order.
        class_index: int `[d]`, rising.
        positives: The number of objects of each class, int `[k]`.
        levels: Recalls, float64 `[r]`, rising from 0.

    Returns:
        The precision, float64 `[t, k, r]`, 0 where a recall is not reached; and the highest recall, `[t, k]`. Both are
        NaN for classes without objects.
    """
    edges = np.searchsorted(class_index, np.arange(len(positives) + 1))
    counts = []
    for outcome in (true_positive, false_positive):
        running = np.cumsum(outcome, axis=1, dtype=np.int64)
        counts.append(np.concatenate([np.zeros((len(outcome), 1), np.int64), running], axis=1))
    row, detection = np.nonzero(true_positive)
    k = class_index[detection]
    hits, false_alarms = (count[row, detection + 1] - count[row, edges[k]] for count in counts)
    # pycocotools adds the same epsilon.
    precision = hits / (false_alarms + hits + np.spacing(1))
    level = np.searchsorted(levels, hits / positives[k], side="right") - 1
    best = np.zeros((len(true_positive), len(positives), len(levels)))
    np.maximum.at(best.reshape(-1), np.ravel_multi_index((row, k, level), best.shape), precision)
    best = np.maximum.accumulate(best[..., ::-1], axis=-1)[..., ::-1]
    none = positives == 0
    reached = (counts[0][:, edges[1:]] - counts[0][:, edges[:-1]]) / np.where(none, 1, positives)
    best[:, none], reached[:, none] = np.nan, np.nan
    return best, reached
