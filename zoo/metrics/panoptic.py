"""Panoptic quality: how good maps of (class, instance) are.

Source: Kirillov et al. 2019, "Panoptic Segmentation", section 4. All pixels of one class and one instance form a
segment. A predicted segment matches a true one of its class if their IoU is over 0.5; no segment then has two matches.
For each class, with the matches TP, the other predicted segments FP and the other true segments FN,

    PQ = sum of the IoU of the matches / (TP + FP / 2 + FN / 2) = SQ x RQ,
    SQ = sum of the IoU of the matches / TP,    RQ = TP / (TP + FP / 2 + FN / 2).

Void pixels, whose true class is `ignore`, do not count in the IoU, and a predicted segment without a match is no FP if
more than half of it is void. Crowds, whose number of objects is unknown, have no matches and are no FN; a predicted
segment without a match is no FP if more than half of it is void or a crowd of its class.

A class map and an instance map stand for each side. Instances count from 1 within the image; 0 is for stuff, of which
each class has one segment, and -1 marks crowds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.metrics.segmentation import IGNORE

__all__ = ["CROWD", "PanopticScores", "panoptic_scores"]

# The instance number of the pixels of crowds.
CROWD = -1


@dataclass(frozen=True, eq=False)
class PanopticScores:
    """Scores of the segments of one image or of several. Those of different images are added with `+`.

    Attributes:
        iou_sums: For each class the sum of the IoU of the matches, float64 `[k]`.
        true_positives: For each class the number of matches, int64 `[k]`.
        false_positives: For each class the number of predicted segments without a match, int64 `[k]`.
        false_negatives: For each class the number of true segments without a match, int64 `[k]`.
    """

    iou_sums: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray

    @classmethod
    def none(cls, num_classes: int) -> "PanopticScores":
        """Returns the scores of no image, to which others are added."""
        return cls(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))

    def __add__(self, other: "PanopticScores") -> "PanopticScores":
        """Returns the scores of the images of both.

        Raises:
            ValueError: If the numbers of classes differ.
        """
        if len(self.iou_sums) != len(other.iou_sums):
            raise ValueError(
                f"expected scores of the same classes, got {len(self.iou_sums)} and {len(other.iou_sums)} classes"
            )
        return PanopticScores(
            self.iou_sums + other.iou_sums,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def pq(self) -> np.ndarray:
        """Panoptic quality of each class, float64 `[k]`; NaN for a class that has no segment on either side."""
        return _ratio(self.iou_sums, self._weight)

    @property
    def sq(self) -> np.ndarray:
        """Segmentation quality of each class, float64 `[k]`: 0 without matches, NaN without segments."""
        return np.where(self._weight > 0, self.iou_sums / np.maximum(self.true_positives, 1), np.nan)

    @property
    def rq(self) -> np.ndarray:
        """Recognition quality (F1 of the segments) of each class, float64 `[k]`; NaN without segments."""
        return _ratio(self.true_positives, self._weight)

    def means(self, classes: Sequence[int] | np.ndarray | None = None) -> dict[str, float]:
        """Returns the means of `pq`, `sq` and `rq` over the classes that have segments; NaN if none has.

        Args:
            classes: Numbers of the classes that count: the things, for example, or the stuff. Defaults to all.
        """
        rows = np.arange(len(self.iou_sums)) if classes is None else np.asarray(classes, int).reshape(-1)
        rows = rows[self._weight[rows] > 0]
        values = {"pq": self.pq, "sq": self.sq, "rq": self.rq}
        return {name: float(value[rows].mean()) if len(rows) else float("nan") for name, value in values.items()}

    @property
    def _weight(self) -> np.ndarray:
        return self.true_positives + (self.false_positives + self.false_negatives) / 2


def panoptic_scores(
    truth: tuple[np.ndarray, np.ndarray],
    prediction: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
    ignore: int = IGNORE,
) -> PanopticScores:
    """Measures the segments of one image.

    Args:
        truth: Class map and instance map, integers `[h, w]` each. Pixels of the class `ignore` are void; those of the
            instance -1 are crowds.
        prediction: Class map and instance map, integers `[h, w]` each. Pixels of the class `ignore` have no segment.
        num_classes: Number of classes, which are 0..num_classes-1.
        ignore: Class number of void pixels. Defaults to 255.

    Returns:
        The scores, which can be added to those of other images.

    Raises:
        ValueError: If shapes differ, or if a class is out of range.

    Example. Of two objects of class 1, one is found with an IoU of 3/4 and the other is missed; class 0 is stuff, of
    which 4 of 6 pixels agree:

    >>> truth = np.array([[0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]), np.array([[0, 1, 1, 1, 1], [0, 0, 0, 2, 2]])
    >>> prediction = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]), np.array([[0, 0, 5, 5, 5], [0, 0, 0, 0, 0]])
    >>> scores = panoptic_scores(truth, prediction, num_classes=2)
    >>> scores.pq.round(3).tolist(), scores.sq.round(3).tolist(), scores.rq.round(3).tolist()
    ([0.571, 0.5], [0.571, 0.75], [1.0, 0.667])
    """
    (classes, instances), (found_classes, found_instances) = (
        [np.asarray(part) for part in side] for side in (truth, prediction)
    )
    shapes = {part.shape for part in (classes, instances, found_classes, found_instances)}
    if len(shapes) > 1 or classes.ndim != 2:
        raise ValueError(f"expected two class maps and two instance maps [h, w] of one shape, got {sorted(shapes)}")
    class_of, crowd, index = _segments(classes, instances, "truth", num_classes, ignore)
    found_class_of, _, found_index = _segments(found_classes, found_instances, "prediction", num_classes, ignore)
    # Row and column 0 are the pixels without a segment: void, and not predicted.
    shared = np.bincount(
        index.reshape(-1) * len(found_class_of) + found_index.reshape(-1),
        minlength=len(class_of) * len(found_class_of),
    ).reshape(len(class_of), len(found_class_of))
    area, found_area, void = shared.sum(axis=1), shared.sum(axis=0), shared[0]

    union = area[:, None] + (found_area - void) - shared
    iou = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    can_match = (class_of[:, None] == found_class_of) & ~crowd[:, None]
    can_match[0], can_match[:, 0] = False, False
    rows, columns = np.nonzero(can_match & (iou > 0.5))

    same_crowd = (class_of[:, None] == found_class_of) & crowd[:, None]
    excused = void + np.where(same_crowd, shared, 0).sum(axis=0) > found_area / 2
    is_missed, is_false = ~crowd, ~excused
    is_missed[0] = is_false[0] = False
    is_missed[rows] = is_false[columns] = False

    def per_class(segments: np.ndarray) -> np.ndarray:
        return np.bincount(segments, minlength=num_classes).astype(np.int64)

    return PanopticScores(
        np.bincount(class_of[rows], iou[rows, columns], minlength=num_classes),
        per_class(class_of[rows]),
        per_class(found_class_of[is_false]),
        per_class(class_of[is_missed]),
    )


def _segments(
    classes: np.ndarray, instances: np.ndarray, name: str, num_classes: int, ignore: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the class of each segment, whether it is a crowd, and the number of the segment of each pixel.

    Segment 0 holds the pixels of the class `ignore`; its class is -1.
    """
    has_class = classes != ignore
    wrong = has_class & ((classes < 0) | (classes >= num_classes))
    if wrong.any():
        number = int(classes[wrong][0])
        raise ValueError(
            f"expected classes in 0..{num_classes - 1} or {ignore}, got {number} in {int((classes == number).sum())} "
            f"pixels of the {name}"
        )
    ids = classes[has_class].astype(np.int64), instances[has_class].astype(np.int64)
    pairs, place = np.unique(ids[0] << 40 | ids[1] - CROWD, return_inverse=True)
    index = np.zeros(classes.shape, np.int64)
    index[has_class] = place.reshape(-1) + 1
    class_of = np.concatenate([[-1], pairs >> 40])
    return class_of, np.concatenate([[False], pairs & (1 << 40) - 1 == 0]), index


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
