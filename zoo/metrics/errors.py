"""Why the average precision of a detector is not higher: the kind of each mistake, and how much each kind costs.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2. If a mistake
fits several kinds, the first one counts in the order of the authors' code: location, class, duplicate, background,
both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.metrics import matching
from zoo.metrics.detection import COCO_RECALLS
from zoo.metrics.precision import interpolated_precision

__all__ = ["KINDS", "ErrorBreakdown", "detection_errors"]

Sample = Mapping[str, Any]

# A dict from each kind of mistake to its definition. The first five are kinds of false positives, the last is a kind of
# object. t is the threshold of IoU, b that of background.
KINDS = {
    "class": "The IoU with an object of another class is at least t.",
    "location": "The IoU with an object of its class is between b and t.",
    "both": "The IoU with an object of another class is between b and t.",
    "duplicate": "The IoU with an object of its class is at least t, but a better detection has taken that object.",
    "background": "The IoU with every object is at most b.",
    "missed": "No detection found the object, and none would if its class or location were correct.",
}


@dataclass(frozen=True)
class ErrorBreakdown:
    """The result of `errors`.

    Attributes:
        map: The average precision of the detections.
        counts: A dict from each of `KINDS` to the number of mistakes of that kind.
        gains: A dict from each of `KINDS` to the rise of `map` if all mistakes of that kind, and no others, were
            corrected.
        kinds: For each image the kind of each detection, in the order in which they were given: one of `KINDS`, or
            "correct", "ignored" (in a crowd) or "uncounted" (beyond the maximum number).
        missed: For each image which objects were missed, bool.
    """

    map: float
    counts: dict[str, int]
    gains: dict[str, float]
    kinds: tuple[np.ndarray, ...]
    missed: tuple[np.ndarray, ...]


def detection_errors(
    truths: Sequence[Sample],
    detections: Sequence[Sample],
    *,
    num_classes: int | None = None,
    threshold: float = 0.5,
    background_threshold: float = 0.1,
    max_detections: int = 100,
    box_format: str = "xyxy",
    of: str = "boxes",
) -> ErrorBreakdown:
    """Sorts every mistake of a detector into the kinds of `KINDS`, and computes what each kind costs.

    Mistakes are corrected as follows. For class and location, the best detection of each object that had none becomes
    correct, and the others are removed. For both, duplicate and background, the detections are removed. For missed, the
    objects do not count.

    Args:
        truths: One dict per image; see the top of `zoo.metrics.detection`.
        detections: One dict per image, in the same order.
        num_classes: Number of classes. Classes are then 0..num_classes-1, and others are an error. By default the
            classes are those that occur.
        threshold: The IoU with an object from which a detection is correct, in (0, 1]. Defaults to 0.5.
        background_threshold: The IoU with all objects up to which a detection is background, in (0, threshold).
            Defaults to 0.1.
        max_detections: Maximum number of detections of a class in an image that count. Defaults to 100.
        box_format: "xyxy", "yxyx", "xywh" or "cxcywh", in absolute pixels. Defaults to "xyxy".
        of: What is compared, "boxes" or "masks". Defaults to "boxes".

    Raises:
        ValueError: If `zoo.metrics.detection.coco` would refuse the arguments, or if the thresholds are not in order.

    Example, where a cat is detected twice, a dog is taken for a cat, and a bird is missed:

    >>> truths = [{"boxes": [[0, 0, 40, 40], [50, 0, 90, 40], [0, 50, 40, 90]], "classes": [0, 1, 2]}]
    >>> boxes = [[0, 0, 40, 36], [0, 0, 36, 40], [50, 0, 90, 38]]
    >>> result = detection_errors(truths, [{"boxes": boxes, "classes": [0, 0, 0], "scores": [0.9, 0.6, 0.8]}])
    >>> result.kinds[0].tolist()
    ['correct', 'duplicate', 'class']
    >>> result.missed[0].tolist()
    [False, False, True]
    >>> {kind: round(gain, 2) for kind, gain in result.gains.items() if gain}
    {'class': 0.33, 'missed': 0.17}
    """
    if not 0 < background_threshold < threshold <= 1:
        raise ValueError(
            f"expected 0 < background_threshold < threshold <= 1, got {background_threshold} and {threshold}"
        )
    classes, truth, detected = matching.tables(
        truths, detections, num_classes=num_classes, max_detections=max_detections, box_format=box_format, of=of
    )
    matches = matching.coco_matches(
        truth, detected, num_classes=len(classes), thresholds=np.array([threshold]), areas=[(0.0, np.inf)]
    )
    correct, wrong = matches.true_positive[0, 0], matches.false_positive[0, 0]
    positives = matches.positives[0]
    taken = np.zeros(len(truth.image), bool)
    taken[matches.truth[0, 0][correct]] = True

    rows = np.flatnonzero(wrong)
    same, same_truth, other, other_truth = _nearest(truth, detected, rows)
    mistake = np.select(
        [
            (same >= background_threshold) & (same < threshold),
            other >= threshold,
            same >= threshold,
            np.maximum(same, other) <= background_threshold,
        ],
        ["location", "class", "duplicate", "background"],
        "both",
    )
    kind = np.full(len(detected.image), "ignored", dtype="<U10")
    kind[correct], kind[rows] = "correct", mistake

    # The object that a mistake would have detected; -1 if that object is detected anyway.
    would_find = np.full(len(detected.image), -1)
    would_find[rows] = np.select([mistake == "location", mistake == "class"], [same_truth, other_truth], -1)
    some = np.flatnonzero(would_find >= 0)
    would_find[some[taken[would_find[some]]]] = -1
    missed = ~taken & ~truth.crowd
    missed[would_find[would_find >= 0]] = False

    counted = correct | wrong
    before = _average_precision(detected, detected.class_index, correct, counted, positives)
    gains = {}
    for name in KINDS:
        class_index, right, kept, to_find = detected.class_index.copy(), correct.copy(), counted.copy(), positives
        if name == "missed":
            to_find = positives - np.bincount(truth.class_index[missed], minlength=len(classes))
        else:
            kept[kind == name] = False
            remedies = np.flatnonzero((kind == name) & (would_find >= 0))
            remedies = remedies[np.argsort(-detected.score[remedies], kind="stable")]
            best = remedies[np.unique(would_find[remedies], return_index=True)[1]]
            kept[best] = right[best] = True
            class_index[best] = truth.class_index[would_find[best]]
        gains[name] = _average_precision(detected, class_index, right, kept, to_find) - before

    in_order = np.full(sum(len(np.asarray(sample["classes"])) for sample in detections), "uncounted", dtype="<U10")
    in_order[detected.place] = kind
    counts = {name: int((kind == name).sum()) for name in KINDS} | {"missed": int(missed.sum())}
    return ErrorBreakdown(before, counts, gains, _per_image(in_order, detections), _per_image(missed, truths))


def _nearest(
    truth: matching.Truths, detected: matching.Detections, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds for some detections the object of their class, and the object of another class, that they overlap most.

    Returns:
        The highest IoU with an object of the detection's class in its image (-1 if there is none) and the row of that
        object; and the same two for objects of other classes. Crowds are no objects here.
    """
    objects = np.flatnonzero(~truth.crowd)
    row, at = matching.pairs(detected.image[rows], truth.image[objects])
    at = objects[at]
    overlap = matching.overlap_of_pairs(detected, truth, rows[row], at, crowds=False)
    same_class = detected.class_index[rows][row] == truth.class_index[at]
    results = []
    for wanted in (same_class, ~same_class):
        order = np.flatnonzero(wanted)
        order = order[np.lexsort((-at[order], overlap[order], row[order]))]
        highest, which = np.full(len(rows), -1.0), np.full(len(rows), -1)
        # Pairs are sorted by rising IoU within each detection, so that the last assignment stays.
        highest[row[order]], which[row[order]] = overlap[order], at[order]
        results += [highest, which]
    return results[0], results[1], results[2], results[3]


def _average_precision(
    detected: matching.Detections, class_index: np.ndarray, right: np.ndarray, counted: np.ndarray, to_find: np.ndarray
) -> float:
    """Computes COCO's mean average precision of the detections that count, some of which are correct."""
    rows = np.flatnonzero(counted)
    rows = rows[np.lexsort((-detected.score[rows], class_index[rows]))]
    curves, _ = interpolated_precision(
        right[None, rows], ~right[None, rows], class_index[rows], to_find, np.asarray(COCO_RECALLS)
    )
    return float(curves[0, to_find > 0].mean()) if (to_find > 0).any() else float("nan")


def _per_image(values: np.ndarray, samples: Sequence[Sample]) -> tuple[np.ndarray, ...]:
    ends = np.cumsum([len(np.asarray(sample["classes"])) for sample in samples])
    return tuple(np.split(values, ends[:-1])) if len(ends) else ()
