"""Matching of detections with objects: the part that all detection metrics share.

The objects of all images are put into one table for truths and one for detections. What is compared is a list of pairs
(detection, truth of the same image and class). All images, classes, thresholds and ranges of area are then matched
together: the only loop is over the rank of a detection within its image and class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo import boxes
from zoo.masks import RunLengths, as_run_lengths

__all__ = ["Detections", "Matches", "Truths", "coco_matches", "overlap_of_pairs", "pairs", "pascal_matches", "tables"]

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Truths:
    """Every annotated object, in the order of the images and of the arrays of each image.

    Attributes:
        image: Number of the image, int `[g]`.
        class_index: Index of the class, int `[g]`.
        group: Number of the pair of image and class, int `[g]`.
        xywh: Boxes, float64 `[g, 4]`.
        area: Areas, float64 `[g]`.
        crowd: bool `[g]`.
        difficult: bool `[g]`.
        masks: Masks, if these are compared and not the boxes.
    """

    image: np.ndarray
    class_index: np.ndarray
    group: np.ndarray
    xywh: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    masks: RunLengths | None = None


@dataclass(frozen=True)
class Detections:
    """The detections that count, sorted by class, then image, then falling score (of equal scores, in the given order).

    Attributes:
        image: Number of the image, int `[d]`.
        class_index: Index of the class, int `[d]`.
        group: Number of the pair of image and class, int `[d]`.
        rank: Place of the detection within its group, int `[d]`.
        place: Row of the detection in the order of the images and of the arrays of each image, int `[d]`.
        xywh: Boxes, float64 `[d, 4]`.
        area: Areas, float64 `[d]`.
        score: Scores, float64 `[d]`.
        masks: Masks in the order in which they were given, if these are compared and not the boxes.
    """

    image: np.ndarray
    class_index: np.ndarray
    group: np.ndarray
    rank: np.ndarray
    place: np.ndarray
    xywh: np.ndarray
    area: np.ndarray
    score: np.ndarray
    masks: RunLengths | None = None


@dataclass(frozen=True)
class Matches:
    """The match of each detection at each range of area and each threshold.

    A detection that is neither a true nor a false positive is ignored.

    Attributes:
        truth: Row of the matched truth or -1, int `[areas, thresholds, d]`.
        true_positive: bool `[areas, thresholds, d]`.
        false_positive: bool `[areas, thresholds, d]`.
        positives: Number of truths that must be detected, int `[areas, classes]`.
    """

    truth: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    positives: np.ndarray


def tables(
    truths: Sequence[Sample],
    detections: Sequence[Sample],
    *,
    num_classes: int | None,
    max_detections: int | None,
    box_format: str,
    of: str = "boxes",
) -> tuple[np.ndarray, Truths, Detections]:
    """Checks the samples of all images and puts them into one table each.

    Args:
        truths: One dict per image, as for `zoo.metrics.detection.coco`.
        detections: One dict per image, as for `zoo.metrics.detection.coco`.
        num_classes: Number of classes, which are then 0..num_classes-1; None for the classes that occur.
        max_detections: How many detections of each class in each image are kept, the best ones; None for all.
        box_format: "xyxy" or another absolute one of `zoo.boxes.FORMATS`.
        of: What is compared, "boxes" or "masks". Defaults to "boxes".

    Returns:
        The classes (int `[k]`), to which `class_index` refers; the truths; the detections.

    Raises:
        ValueError: If `zoo.metrics.detection.coco` has to refuse them.
    """
    if box_format not in boxes.ABSOLUTE:
        raise ValueError(
            f"expected boxes in absolute pixels, {', '.join(boxes.ABSOLUTE)}, got the format {box_format!r}; "
            "areas and IoU of relative boxes are not those of the image"
        )
    if of not in ("boxes", "masks"):
        raise ValueError(f'expected to compare of="boxes" or of="masks", got of={of!r}')
    if len(truths) != len(detections):
        raise ValueError(
            f"expected truths and detections of the same images, got {len(truths)} and {len(detections)} of them; "
            "an image without objects, or without detections, has empty arrays"
        )
    masks = _masks(truths, "truths") if of == "masks" else None
    found_masks = _masks(detections, "detections") if of == "masks" else None
    image, classes, xywh = _objects(truths, "truths", box_format, masks)
    found_image, found_classes, found_xywh = _objects(detections, "detections", box_format, found_masks)
    scores = _column(detections, "scores", found_image, "detections", np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"detections of image {found_image[np.isnan(scores)][0]} have NaN scores: the model that gave them has "
            "diverged, or its input was broken"
        )
    known = np.unique(np.concatenate([classes, found_classes])) if num_classes is None else np.arange(num_classes)
    if num_classes is not None:
        for name, used, where in (("truths", classes, image), ("detections", found_classes, found_image)):
            if used.size and used.max() >= num_classes:
                raise ValueError(
                    f"{name} of image {where[used.argmax()]} have the class {used.max()}, "
                    f"but num_classes={num_classes} allows 0..{num_classes - 1}"
                )

    class_index = np.searchsorted(known, classes)
    truth_table = Truths(
        image=image,
        class_index=class_index,
        group=class_index * len(truths) + image,
        xywh=xywh,
        area=_column(truths, "areas", image, "truths", np.float64, default=_areas(xywh, masks)),
        crowd=_column(truths, "crowd", image, "truths", bool, default=np.zeros(len(image), bool)),
        difficult=_column(truths, "difficult", image, "truths", bool, default=np.zeros(len(image), bool)),
        masks=masks,
    )

    class_index = np.searchsorted(known, found_classes)
    group = class_index * len(truths) + found_image
    order = np.lexsort((-scores, group))
    sorted_group = group[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_group, sorted_group)
    if max_detections is not None:
        order, rank = order[rank < max_detections], rank[rank < max_detections]
    return (
        known,
        truth_table,
        Detections(
            image=found_image[order],
            class_index=class_index[order],
            group=group[order],
            rank=rank,
            place=order,
            xywh=found_xywh[order],
            area=_areas(found_xywh, found_masks)[order],
            score=scores[order],
            masks=found_masks,
        ),
    )


def pairs(groups: np.ndarray, truth_groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs every detection with every truth of its group: rows of detections (rising) and rows of truths.

    >>> pairs(np.array([7, 3, 7]), np.array([3, 7, 7]))
    (array([0, 0, 1, 2, 2]), array([1, 2, 0, 1, 2]))
    """
    by_group = np.argsort(truth_groups, kind="stable")
    sorted_groups = truth_groups[by_group]
    first = np.searchsorted(sorted_groups, groups, side="left")
    count = np.searchsorted(sorted_groups, groups, side="right") - first
    detection = np.repeat(np.arange(len(groups)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, by_group[first[detection] + within]


def overlap_of_pairs(
    detections: Detections, truths: Truths, rows: np.ndarray, truth_rows: np.ndarray, *, crowds: bool = True
) -> np.ndarray:
    """Computes the IoU of pairs of a detection and a truth, of their masks if the tables have any, else of their boxes.

    Args:
        detections: The detections of all images.
        truths: The truths of all images.
        rows: Row of the detection of each pair, int `[p]`.
        truth_rows: Row of the truth of each pair, int `[p]`.
        crowds: Whether, against a crowd, the fraction of the detection that lies inside of the crowd is computed
            instead. Defaults to True.

    Returns:
        float64 `[p]`.
    """
    crowd = truths.crowd[truth_rows] & crowds
    if detections.masks is not None and truths.masks is not None:
        return detections.masks.overlap_of_pairs(truths.masks, detections.place[rows], truth_rows, crowd)
    return _overlap_of_boxes(detections.xywh[rows], truths.xywh[truth_rows], crowd)


def _overlap_of_boxes(a: np.ndarray, b: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Computes the IoU of pairs of boxes xywh, float64 `[p, 4]` each; against a crowd the fraction of `a` inside of it.

    It is computed from sizes and not from corners, as in pycocotools, because rounding decides on which side of a
    threshold an IoU is.
    """
    width = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    area = a[:, 2] * a[:, 3]
    whole = np.where(crowd, area, area + b[:, 2] * b[:, 3] - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def coco_matches(
    truths: Truths,
    detections: Detections,
    *,
    num_classes: int,
    thresholds: np.ndarray,
    areas: Sequence[tuple[float, float]],
) -> Matches:
    """Matches by COCO's rules: by falling score, a detection takes the free truth of its group that it overlaps most.

    Truths outside of the range of area are ignored. So are crowds, which any number of detections may match. A
    detection takes an ignored truth only when no other is left, and is then ignored itself. Unmatched detections
    outside of the range of area are ignored, too. Between truths of equal IoU the later one is taken.

    Args:
        truths: The truths of all images.
        detections: The detections of all images.
        num_classes: Number of classes.
        thresholds: Thresholds of IoU, float64 `[t]`.
        areas: Ranges (smallest, largest) in square pixels, both included.
    """
    ranges = np.asarray(areas, np.float64).reshape(-1, 2)
    ignored = ~_within(truths.area, ranges) | truths.crowd
    # As in pycocotools, an IoU that rounding left just under 1 counts at a threshold of 1.
    floors = np.minimum(thresholds, 1 - 1e-10)

    detection, truth = pairs(detections.group, truths.group)
    overlap = overlap_of_pairs(detections, truths, detection, truth)
    close = overlap >= floors.min()
    detection, truth, overlap = detection[close], truth[close], overlap[close]

    # Step n matches the n-th detection of every group that has a candidate. Pairs are sorted by rising IoU, so that a
    # detection takes the last of its available pairs.
    step = _rank_in_group(detections.group, detection)
    order = np.lexsort((truth, overlap, detection, step))
    detection, truth, overlap, step = detection[order], truth[order], overlap[order], step[order]
    ends = np.searchsorted(step, np.arange(step.max(initial=-1) + 1), side="right")

    shape = (len(ranges), len(floors))
    taken = np.zeros((*shape, len(truths.group)), bool)
    matched = np.full((*shape, len(detections.group)), -1, np.int32)
    start = 0
    for end in ends.tolist():
        candidate, candidate_of = truth[start:end], detection[start:end]
        available = (overlap[start:end] >= floors[:, None]) & (~taken[:, :, candidate] | truths.crowd[candidate])
        size = end - start
        preference = np.arange(1, size + 1) + size * ~ignored[:, None, candidate]
        first_of_detection = np.flatnonzero(np.diff(candidate_of, prepend=-1))
        best = np.maximum.reduceat(np.where(available, preference, 0), first_of_detection, axis=-1)
        at_area, at_threshold, at_detection = np.nonzero(best)
        chosen = candidate[(best[at_area, at_threshold, at_detection] - 1) % size]
        taken[at_area, at_threshold, chosen] = True
        matched[at_area, at_threshold, candidate_of[first_of_detection][at_detection]] = chosen
        start = end

    has_match = matched >= 0
    outside = ~_within(detections.area, ranges)
    true_positive = has_match.copy()
    for area in range(len(ranges)):
        true_positive[area][has_match[area]] = ~ignored[area][matched[area][has_match[area]]]
    positives = np.stack([np.bincount(truths.class_index[~skip], minlength=num_classes) for skip in ignored])
    return Matches(matched, true_positive, ~has_match & ~outside[:, None], positives)


def pascal_matches(truths: Truths, detections: Detections, *, num_classes: int, threshold: float) -> Matches:
    """Matches by Pascal VOC's rules: each detection goes to the truth of its group that it overlaps most.

    If that IoU is at least the threshold, the first detection of a truth (by falling score) is a true positive and
    later ones are false positives; those of a difficult truth are ignored. Below the threshold a detection is a false
    positive. Between truths of equal IoU the earlier one counts.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.2; VOCevaldet of its
    development kit.

    Args:
        truths: The truths of all images.
        detections: The detections of all images.
        num_classes: Number of classes.
        threshold: Threshold of IoU.
    """
    detection, truth = pairs(detections.group, truths.group)
    overlap = overlap_of_pairs(detections, truths, detection, truth, crowds=False)
    order = np.lexsort((truth, -overlap, detection))
    detection, truth, overlap = detection[order], truth[order], overlap[order]
    best = np.flatnonzero(np.diff(detection, prepend=-1))
    best = best[overlap[best] >= threshold]
    matched = np.full(len(detections.group), -1, np.int32)
    matched[detection[best]] = truth[best]

    has_match = matched >= 0
    ignored = np.zeros(len(matched), bool)
    ignored[has_match] = truths.difficult[matched[has_match]]
    true_positive = np.zeros(len(matched), bool)
    # Detections are sorted by falling score within a group, so that the first row of a truth is its best detection.
    rows = np.flatnonzero(has_match)
    true_positive[rows[np.unique(matched[rows], return_index=True)[1]]] = True
    true_positive &= ~ignored
    positives = np.bincount(truths.class_index[~truths.difficult], minlength=num_classes)
    return Matches(
        matched[None, None],
        true_positive[None, None],
        (~true_positive & ~ignored)[None, None],
        positives[None],
    )


def _masks(samples: Sequence[Sample], name: str) -> RunLengths:
    """Returns the masks of all objects."""
    for number, sample in enumerate(samples):
        if "masks" not in sample:
            raise ValueError(f"{name} of image {number} have no masks; they have {sorted(sample)}")
    try:
        return as_run_lengths([sample["masks"] for sample in samples])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _areas(xywh: np.ndarray, masks: RunLengths | None) -> np.ndarray:
    return xywh[:, 2] * xywh[:, 3] if masks is None else masks.areas().astype(np.float64)


def _objects(
    samples: Sequence[Sample], name: str, box_format: str, masks: RunLengths | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the image (int `[n]`), class (int `[n]`) and box (xywh, float64 `[n, 4]`) of all objects.

    Where masks are compared, their boxes take the place of those of the samples.
    """
    for number, sample in enumerate(samples):
        missing = [key for key in ("boxes", "classes") if key not in sample and (masks is None or key == "classes")]
        if missing:
            raise ValueError(f"{name} of image {number} have no {' and no '.join(missing)}; they have {sorted(sample)}")
    if masks is not None:
        corners = masks.boxes()
        ends = np.cumsum([len(sample["masks"]) for sample in samples])
        all_boxes = np.split(boxes.convert(corners, "xyxy", box_format), ends[:-1]) if len(ends) else []
    else:
        all_boxes = [np.asarray(sample["boxes"], np.float64).reshape(-1, 4) for sample in samples]
    image = np.repeat(np.arange(len(samples)), [len(some) for some in all_boxes])
    classes = _column(samples, "classes", image, name, np.int64)
    if classes.size and classes.min() < 0:
        raise ValueError(
            f"{name} of image {image[classes.argmin()]} have the class {classes.min()}; classes count from 0. "
            "If it marks the padding of a batch, use zoo.metrics.detection.unbatch"
        )
    joined = np.concatenate(all_boxes) if all_boxes else np.zeros((0, 4))
    if not np.isfinite(joined).all():
        bad = np.flatnonzero(~np.isfinite(joined).all(axis=1))[0]
        raise ValueError(f"{name} of image {image[bad]} have a box that is not finite: {joined[bad].tolist()}")
    try:
        boxes.check(joined, box_format)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return image, classes, boxes.convert(joined, box_format, "xywh")


def _column(
    samples: Sequence[Sample], key: str, image: np.ndarray, name: str, dtype: Any, *, default: np.ndarray | None = None
) -> np.ndarray:
    """Joins one entry of all samples: one number per object."""
    if default is not None and not any(key in sample for sample in samples):
        return default
    lengths = np.bincount(image, minlength=len(samples))
    parts = []
    end = 0
    for i, (sample, length) in enumerate(zip(samples, lengths.tolist(), strict=True)):
        start, end = end, end + length
        if key in sample:
            part = np.asarray(sample[key])
        elif default is not None:
            part = default[start:end]
        else:
            raise ValueError(f"{name} of image {i} have no {key}; they have {sorted(sample)}")
        if part.size != length:
            raise ValueError(f"{name} of image {i} have {length} objects, but {part.size} {key}")
        parts.append(part.reshape(-1))
    if not parts:
        return np.zeros(0, dtype)
    values = np.concatenate(parts)
    converted = values.astype(dtype)
    if np.issubdtype(dtype, np.integer) and (converted != values).any():
        wrong = values[converted != values][0]
        raise ValueError(f"{name} of image {image[converted != values][0]} have {key} that are not whole: {wrong}")
    return converted


def _within(area: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Tells which areas are in which ranges, bool `[ranges, n]`."""
    return (area >= ranges[:, :1]) & (area <= ranges[:, 1:])


def _rank_in_group(group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the place of each of some rising rows among the different rows of its group."""
    different, back = np.unique(rows, return_inverse=True)
    groups = group[different]
    return (np.arange(len(different)) - np.searchsorted(groups, groups))[back]
