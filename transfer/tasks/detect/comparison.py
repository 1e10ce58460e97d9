"""Comparing what two detectors find, as far as it can reach a user.

Two things are compared. Of the candidates before suppression, those count that could be shown at any threshold which
the contract allows: a score below `score_threshold` in both detectors never reaches anybody, and neither does its box.
A box counts as much as its score: a coordinate of a box with the score 0.1 may be off by ten times as
much as that of a box with the score 1.

And of the detections that are left after suppression, each must be found by both. That is a matter of yes and no: where
a score lies at the threshold, or an overlap at the one of suppression, the last bit of a number decides. So a detection
that only one of the two has is excused where it depends on such a last bit, and nowhere else.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transfer.tasks.task import Arrays, Difference
from zoo import boxes as box_geometry
from zoo.detection.nms import hard_nms

__all__ = ["MAX_CANDIDATES", "agreement", "compare", "limited"]

# Artifacts for runtimes other than TensorFlow look at the best pairs of a box and a class only, at most at so many.
MAX_CANDIDATES = 1000


def compare(expected: Arrays, actual: Arrays, size: tuple[int, int], contract: Any, tolerance: float) -> Difference:
    """Compares what two detectors say about one photo.

    Args:
        expected: The outputs of the trained detector: boxes, classes, scores and valid, and the candidates.
        actual: The outputs of the other one; the candidates may be missing.
        size: Height and width of the image that boxes are in pixels of.
        contract: A `DetectContract`.
        tolerance: The largest difference of a score that is allowed, and of a coordinate as a share of the longer side
            times the score of its box.
    """
    longer = float(max(size))
    worst = Difference(0.0)
    if "candidate_boxes" in actual:
        worst = _compare_candidates(expected, actual, longer, contract, tolerance)
        if worst.value > tolerance:
            return worst
    ours, theirs = _real(expected), _real(actual)
    pairs = _pairs(ours, theirs, longer, tolerance)
    value = worst.value
    for first, second in pairs:
        score = abs(ours["scores"][first] - theirs["scores"][second])
        corners = np.abs(ours["boxes"][first] - theirs["boxes"][second]).max() / longer * ours["scores"][first]
        value = max(value, float(score), float(corners))
    alone = (_without(ours, [pair[0] for pair in pairs]), _without(theirs, [pair[1] for pair in pairs]))
    for side, row in _not_excused(ours, theirs, alone, contract, longer, tolerance):
        finder, other = ("trained detector", "artifact") if side == 0 else ("artifact", "trained detector")
        detections = (ours, theirs)[side]
        name = contract.class_names[int(detections["classes"][row])]
        place = ", ".join(f"{edge:.1f}" for edge in detections["boxes"][row])
        return Difference(
            float("inf"),
            f"the {finder} finds {name!r}, score {detections['scores'][row]:.4f}, at ({place}), and the {other} does "
            "not",
        )
    return Difference(value)


def _compare_candidates(expected: Arrays, actual: Arrays, longer: float, contract: Any, tolerance: float) -> Difference:
    scores = expected["candidate_scores"], actual["candidate_scores"]
    highest = np.fmax(*scores)  # A score that is not a number counts as much as the other one.
    reach = highest >= contract.score_threshold
    broken = ~np.isfinite(scores[1]) | ~np.isfinite(scores[0])
    difference = np.where(broken, np.inf, np.where(reach, np.abs(scores[0] - scores[1]), 0.0))
    weight = np.where(reach, highest, 0.0).max(axis=1, initial=0.0)
    corners = np.abs(expected["candidate_boxes"] - actual["candidate_boxes"]) / longer
    corners = np.where(np.isfinite(corners), corners, np.inf)
    corners = np.where(weight[:, None] > 0, corners * np.maximum(weight, 1e-12)[:, None], 0.0)
    worst = Difference(0.0)
    for name, values in (("candidate_scores", difference), ("candidate_boxes", corners)):
        value = float(values.max(initial=0.0))
        if value <= max(worst.value, tolerance):
            worst = Difference(max(value, worst.value))
            continue
        point, column = np.unravel_index(values.argmax(), values.shape)
        return Difference(
            value,
            f"it got {actual[name][point, column]:.6g} for the {name} of point {point}, and the trained detector says "
            f"{expected[name][point, column]:.6g}: a difference of {value:.3g}",
        )
    return worst


def _real(outputs: Arrays) -> Arrays:
    count = int(outputs["valid"])
    return {name: np.asarray(outputs[name][:count]) for name in ("boxes", "classes", "scores")}


def _without(detections: Arrays, rows: Sequence[int]) -> np.ndarray:
    return np.setdiff1d(np.arange(len(detections["scores"])), rows).astype(int)


def _allowed(scores: np.ndarray, longer: float, tolerance: float) -> np.ndarray:
    """Returns by how many pixels the coordinates of boxes with these scores may differ."""
    return tolerance * longer / np.clip(scores, 1e-6, 1.0)


def _pairs(ours: Arrays, theirs: Arrays, longer: float, tolerance: float) -> list[tuple[int, int]]:
    """Returns the detections that both have, to the tolerance; each is in one pair at most."""
    pairs: list[tuple[int, int]] = []
    free = np.ones(len(theirs["scores"]), bool)
    for row in range(len(ours["scores"])):
        same = free & (theirs["classes"] == ours["classes"][row])
        same &= np.abs(theirs["scores"] - ours["scores"][row]) <= tolerance
        distance = np.abs(theirs["boxes"] - ours["boxes"][row]).max(axis=1, initial=0.0)
        same &= distance <= _allowed(ours["scores"][row], longer, tolerance)
        if same.any():
            pairs.append((row, int(same.argmax())))
            free[pairs[-1][1]] = False
    return pairs


def _not_excused(
    ours: Arrays, theirs: Arrays, alone: Sequence[np.ndarray], contract: Any, longer: float, tolerance: float
) -> list[tuple[int, int]]:
    """Returns the detections of only one side that depend on no last bit: (0 for ours or 1 for theirs, row) each."""
    boxes, classes, scores = (np.concatenate([ours[name], theirs[name]]) for name in ("boxes", "classes", "scores"))
    first = len(ours["scores"])
    rows = np.concatenate([alone[0], alone[1] + first]).astype(int).tolist()
    if not rows:
        return []
    # The score below which nothing is kept is the threshold, or the last score where the list is full.
    least = contract.score_threshold
    for side in (ours, theirs):
        if len(side["scores"]) == contract.max_detections:
            least = max(least, float(side["scores"].min()))
    excused = {row for row in rows if scores[row] <= least + tolerance}
    # A coordinate that is off by what is allowed moves the overlap of small boxes by more.
    shorter = np.maximum(np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]), 1e-6)
    slack = np.minimum(0.05, tolerance + 4 * _allowed(scores, longer, tolerance) / shorter)
    overlap = box_geometry.overlap_matrix(boxes, boxes)
    rivals = (classes[:, None] == classes) & ~np.eye(len(boxes), dtype=bool)
    at_the_limit = rivals & (np.abs(overlap - contract.iou_threshold) <= slack[:, None])
    excused |= {row for row in rows if (at_the_limit[row] & (scores >= scores[row] - tolerance)).any()}
    # What an excused detection suppresses, or sets free, is excused, too.
    suppresses = rivals & (overlap > contract.iou_threshold - slack[:, None])
    while True:
        more = {row for row in rows if row not in excused and suppresses[row, sorted(excused)].any()}
        if not more:
            break
        excused |= more
    return [(0, row) if row < first else (1, row - first) for row in rows if row not in excused]


def limited(outputs: Arrays, contract: Any) -> Arrays:
    """Returns what a detector finds where it looks at `MAX_CANDIDATES` pairs of a box and a class only."""
    if "candidate_scores" not in outputs:
        return outputs
    most = max(MAX_CANDIDATES, contract.max_detections)
    passing = (outputs["candidate_scores"] > contract.score_threshold).sum(axis=(1, 2))
    changed = {name: values.copy() for name, values in outputs.items()}
    for index in np.flatnonzero(passing > most):
        scores = outputs["candidate_scores"][index].reshape(-1)
        best = np.argsort(-scores, kind="stable")[:most]
        point, label = np.divmod(best, len(contract.class_names))
        boxes = outputs["candidate_boxes"][index][point]
        kept = hard_nms(
            boxes,
            scores[best],
            classes=label,
            iou_threshold=contract.iou_threshold,
            score_threshold=contract.score_threshold,
            max_detections=contract.max_detections,
        )
        changed["valid"][index] = len(kept)
        for name, values in (("boxes", boxes), ("classes", label), ("scores", scores[best])):
            changed[name][index, : len(kept)] = values[kept]
    return changed


def agreement(expected: Arrays, actual: Arrays, contract: Any) -> float:
    """Returns the share of the shown detections that both detectors have: twice the matched ones over all of them.

    Args:
        expected: Outputs for several photos, with the axis of the images.
        actual: The other detector's outputs for the same photos.
        contract: A `DetectContract`; the thresholds of its classes decide what is shown.
    """
    least = np.array([contract.thresholds.get(name, contract.score_threshold) for name in contract.class_names])
    matched = total = 0
    for index in range(len(expected["valid"])):
        ours, theirs = (
            _shown({name: values[index] for name, values in side.items()}, least) for side in (expected, actual)
        )
        total += len(ours["scores"]) + len(theirs["scores"])
        if not len(ours["scores"]) or not len(theirs["scores"]):
            continue
        overlap = np.asarray(box_geometry.overlap_matrix(ours["boxes"], theirs["boxes"]))
        overlap = np.where(ours["classes"][:, None] == theirs["classes"], overlap, 0.0)
        for row in range(len(overlap)):
            column = int(overlap[row].argmax())
            if overlap[row, column] >= 0.5:
                matched += 1
                overlap[:, column] = 0.0
    return 2 * matched / total if total else 1.0


def _shown(outputs: Arrays, least: np.ndarray) -> Arrays:
    real = _real(outputs)
    shown = np.isfinite(real["scores"]) & (real["scores"] >= least[real["classes"].astype(int)])
    return {name: values[shown] for name, values in real.items()}
