"""Average precision of detectors, by the rules of COCO and of Pascal VOC.

Truths and detections are lists with one dict per image, of NumPy arrays (or what becomes one):

- truths: `boxes [n, 4]`, `classes [n]`, and optionally `crowd [n]` (bool, COCO's iscrowd), `areas [n]` (square pixels,
  if the area of an object is not that of its box) and `difficult [n]` (bool, Pascal's).
- detections: `boxes [m, 4]`, `classes [m]`, `scores [m]`, in any order.

With `of="masks"`, masks are compared instead of boxes. Both lists then have `masks` in the place of `boxes`: COCO's run
lengths (a list of dicts), `zoo.masks.RunLengths`, or bool `[n, h, w]`. The area of an object is then that of its mask.

Boxes are in absolute pixels, and `xyxy` unless `box_format` names another format. Coordinates are continuous: the
inclusive pixels of Pascal (xmin, xmax) become (xmin - 1, xmax). An image without objects has empty arrays. `unbatch`
makes such lists of padded batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.metrics import matching
from zoo.metrics.precision import average_precision, interpolated_precision

__all__ = [
    "COCO_AREAS",
    "COCO_RECALLS",
    "COCO_THRESHOLDS",
    "CocoResult",
    "Curve",
    "PascalResult",
    "average_precision",
    "coco",
    "interpolated_precision",
    "pascal_voc",
    "unbatch",
]

Sample = Mapping[str, Any]

# Thresholds of IoU, levels of recall, and ranges of area in square pixels: the parameters of pycocotools.
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_RECALLS = tuple(np.linspace(0.0, 1.0, 101).tolist())
COCO_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class CocoResult:
    """The result of `coco`.

    Attributes:
        precision: float64 `[thresholds, recalls, classes, areas, max_detections]`: the precision-recall curve of each
            setting, interpolated at the levels `COCO_RECALLS`. NaN where a class has no object.
        recall: float64 `[thresholds, classes, areas, max_detections]`: the highest recall that was reached. NaN where a
            class has no object.
        classes: The classes.
        thresholds: The thresholds of IoU.
        areas: The names of the ranges of area.
        max_detections: The numbers of detections of a class per image.
    """

    precision: np.ndarray
    recall: np.ndarray
    classes: tuple[int, ...]
    thresholds: tuple[float, ...]
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]

    def average_precision(
        self, *, threshold: float | None = None, area: str = "all", max_detections: int | None = None
    ) -> float:
        """Computes the mean of the precision over recalls, classes and thresholds.

        Args:
            threshold: One threshold of IoU. Defaults to the mean over all of them.
            area: Name of a range of area. Defaults to "all".
            max_detections: One of the numbers of detections. Defaults to the largest.

        Returns:
            A number in 0..1, or NaN if there are no objects.

        Raises:
            ValueError: If a setting was not measured.
        """
        chosen = self._select(self.precision, threshold, area, max_detections)
        return _mean(chosen)

    def average_recall(
        self, *, threshold: float | None = None, area: str = "all", max_detections: int | None = None
    ) -> float:
        """Computes the mean of the highest recall over classes and thresholds.

        Args:
            threshold: One threshold of IoU. Defaults to the mean over all of them.
            area: Name of a range of area. Defaults to "all".
            max_detections: One of the numbers of detections. Defaults to the largest.

        Returns:
            A number in 0..1, or NaN if there are no objects.

        Raises:
            ValueError: If a setting was not measured.
        """
        return _mean(self._select(self.recall, threshold, area, max_detections))

    def per_class(self, *, threshold: float | None = None, area: str = "all") -> dict[int, float]:
        """Returns a dict from each class to its average precision; NaN for a class without objects.

        Args:
            threshold: One threshold of IoU. Defaults to the mean over all of them.
            area: Name of a range of area. Defaults to "all".

        Raises:
            ValueError: If a setting was not measured.
        """
        chosen = self._select(self.precision, threshold, area, None)
        return {name: _mean(chosen[:, :, k]) for k, name in enumerate(self.classes)}

    def summary(self) -> dict[str, float]:
        """Returns COCO's twelve numbers, as far as they were measured.

        `map`, `map50` and `map75` are the average precision over all thresholds, at 0.5 and at 0.75. `map_small`,
        `map_medium` and `map_large` are those of the ranges of area. `mar1`, `mar10` and `mar100` are the average
        recall by the number of detections. `mar_small`, `mar_medium` and `mar_large` are those of the ranges of area.
        """
        numbers = {"map": self.average_precision()}
        for level in (0.5, 0.75):
            if np.isclose(self.thresholds, level).any():
                numbers[f"map{level * 100:.0f}"] = self.average_precision(threshold=level)
        ranges = [area for area in self.areas if area != "all"]
        numbers |= {f"map_{area}": self.average_precision(area=area) for area in ranges}
        numbers |= {f"mar{most}": self.average_recall(max_detections=most) for most in self.max_detections}
        return numbers | {f"mar_{area}": self.average_recall(area=area) for area in ranges}

    def table(self) -> str:
        """Returns the lines that COCO's evaluation prints."""
        settings: list[tuple[str, float | None, str, int]] = []
        most = self.max_detections[-1]
        ranges = [area for area in self.areas if area != "all"]
        levels = [level for level in (0.5, 0.75) if np.isclose(self.thresholds, level).any()]
        settings += [("Precision", level, "all", most) for level in (None, *levels)]
        settings += [("Precision", None, area, most) for area in ranges]
        settings += [("Recall", None, "all", count) for count in self.max_detections]
        settings += [("Recall", None, area, most) for area in ranges]
        lines = []
        for kind, level, area, count in settings:
            measure = self.average_precision if kind == "Precision" else self.average_recall
            value = measure(threshold=level, area=area, max_detections=count)
            span = f"{self.thresholds[0]:.2f}:{self.thresholds[-1]:.2f}" if level is None else f"{level:.2f}"
            lines.append(
                f" Average {kind:<10} ({'AP' if kind == 'Precision' else 'AR'}) @[ IoU={span:<9} | area={area:>6} "
                f"| maxDets={count:>3} ] = {value:.3f}"
            )
        return "\n".join(lines)

    def _select(self, values: np.ndarray, threshold: float | None, area: str, max_detections: int | None) -> np.ndarray:
        """Returns the values at one range of area and one number of detections, `[thresholds, ..., classes]`."""
        if area not in self.areas:
            raise ValueError(f"no range of area {area!r} was measured; there are {', '.join(self.areas)}")
        most = self.max_detections[-1] if max_detections is None else max_detections
        if most not in self.max_detections:
            raise ValueError(f"max_detections={most} was not measured; there are {self.max_detections}")
        values = values[..., self.areas.index(area), self.max_detections.index(most)]
        if threshold is None:
            return values
        at = np.isclose(self.thresholds, threshold)
        if not at.any():
            raise ValueError(f"no threshold {threshold} was measured; there are {self.thresholds}")
        return values[at]


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class as the score threshold falls, with one point per detection.

    Attributes:
        recall: float64 `[d]`; NaN if there are no objects.
        precision: float64 `[d]`.
        scores: The scores of the detections, float64 `[d]`.
        positives: Number of objects to detect.
    """

    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray
    positives: int


@dataclass(frozen=True)
class PascalResult:
    """The result of `pascal_voc`.

    Attributes:
        per_class: A dict from each class to its average precision; NaN for a class without objects.
        curves: A dict from each class to its curve.
    """

    per_class: dict[int, float]
    curves: dict[int, Curve]

    @property
    def map(self) -> float:
        """Mean average precision over the classes that have objects; NaN if there are no objects."""
        return _mean(np.array(list(self.per_class.values()), np.float64))


def coco(
    truths: Sequence[Sample],
    detections: Sequence[Sample],
    *,
    num_classes: int | None = None,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    areas: Mapping[str, tuple[float, float]] = COCO_AREAS,
    max_detections: Sequence[int] = (1, 10, 100),
    box_format: str = "xyxy",
    of: str = "boxes",
) -> CocoResult:
    """Computes COCO's average precision and recall, the same numbers as pycocotools.

    Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and its evaluation code.

    Args:
        truths: One dict per image; see the top of `zoo.metrics.detection`.
        detections: One dict per image, in the same order.
        num_classes: Number of classes. Classes are then 0..num_classes-1, and others are an error. By default the
            classes are those that occur. Classes without objects do not count in means.
        thresholds: Thresholds of IoU, in (0, 1]. Defaults to 0.5, 0.55, ..., 0.95.
        areas: A dict from names to (smallest, largest) in square pixels, which contains "all". Defaults to COCO's
            ranges.
        max_detections: How many detections of a class in an image count: rising numbers. Defaults to 1, 10 and 100.
        box_format: "xyxy", "yxyx", "xywh" (the format of COCO's files) or "cxcywh", in absolute pixels. Defaults to
            "xyxy".
        of: What is compared, "boxes" or "masks". Defaults to "boxes".

    Returns:
        The curves of all settings, with methods for the usual numbers.

    Raises:
        ValueError: If the numbers of truths and detections differ, if arrays are missing or have different lengths, if
            scores or boxes are NaN, if boxes are relative, if a class is below 0 or not below `num_classes`, or if a
            threshold lies outside (0, 1].

    Example, where one of two objects is detected, after a false detection with a higher score:

    >>> truths = [{"boxes": [[0, 0, 40, 40], [50, 50, 90, 90]], "classes": [0, 0]}]
    >>> detections = [{"boxes": [[40, 0, 50, 10], [0, 0, 40, 36]], "classes": [0, 0], "scores": [0.9, 0.6]}]
    >>> result = coco(truths, detections)
    >>> {name: round(value, 3) for name, value in result.summary().items() if "50" in name or "10" in name}
    {'map50': 0.252, 'mar10': 0.45, 'mar100': 0.45}
    """
    levels = np.asarray(thresholds, np.float64).reshape(-1)
    _check_thresholds(levels)
    if "all" not in areas:
        raise ValueError(f'expected a range of area named "all", got {", ".join(areas) or "none"}')
    counts = tuple(int(count) for count in max_detections)
    if not counts or counts[0] < 1 or list(counts) != sorted(set(counts)):
        raise ValueError(f"expected rising numbers of detections, from 1, got max_detections={tuple(max_detections)}")
    classes, truth_table, detection_table = matching.tables(
        truths, detections, num_classes=num_classes, max_detections=counts[-1], box_format=box_format, of=of
    )
    matches = matching.coco_matches(
        truth_table, detection_table, num_classes=len(classes), thresholds=levels, areas=list(areas.values())
    )
    by_score = np.lexsort((-detection_table.score, detection_table.class_index))
    rank, class_index = detection_table.rank[by_score], detection_table.class_index[by_score]
    precision = np.empty((len(levels), len(COCO_RECALLS), len(classes), len(areas), len(counts)))
    recall = np.empty((len(levels), len(classes), len(areas), len(counts)))
    for j, count in enumerate(counts):
        rows = by_score[rank < count]
        for i, positives in enumerate(matches.positives):
            curves, reached = interpolated_precision(
                matches.true_positive[i][:, rows],
                matches.false_positive[i][:, rows],
                class_index[rank < count],
                positives,
                np.asarray(COCO_RECALLS),
            )
            precision[..., i, j] = curves.transpose(0, 2, 1)
            recall[..., i, j] = reached
    return CocoResult(precision, recall, tuple(classes.tolist()), tuple(levels.tolist()), tuple(areas), counts)


def pascal_voc(
    truths: Sequence[Sample],
    detections: Sequence[Sample],
    *,
    num_classes: int | None = None,
    threshold: float = 0.5,
    points: int | None = None,
    box_format: str = "xyxy",
    of: str = "boxes",
) -> PascalResult:
    """Computes the average precision by Pascal VOC's rules. Difficult objects count neither as hits nor as misses.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.2; the development kits of
    2007 (11 points) and from 2010 (all points).

    Args:
        truths: One dict per image; see the top of `zoo.metrics.detection`. Crowds are objects like others here.
        detections: One dict per image, in the same order.
        num_classes: Number of classes. Classes are then 0..num_classes-1, and others are an error. By default the
            classes are those that occur.
        threshold: Threshold of IoU, in (0, 1]. Defaults to 0.5.
        points: None for the area under the interpolated curve, or 11 for the mean at recalls 0, 0.1, ..., 1. Defaults
            to None.
        box_format: "xyxy", "yxyx", "xywh" or "cxcywh", in absolute pixels. Defaults to "xyxy".
        of: What is compared, "boxes" or "masks". Defaults to "boxes".

    Returns:
        The average precision and the curve of each class.

    Raises:
        ValueError: If `coco` would refuse the arguments.

    Example, with the same images as for `coco`: half of the objects are detected, at a precision of one half.

    >>> truths = [{"boxes": [[0, 0, 40, 40], [50, 50, 90, 90]], "classes": [0, 0]}]
    >>> detections = [{"boxes": [[40, 0, 50, 10], [0, 0, 40, 36]], "classes": [0, 0], "scores": [0.9, 0.6]}]
    >>> pascal_voc(truths, detections).per_class, round(pascal_voc(truths, detections, points=11).map, 4)
    ({0: 0.25}, 0.2727)
    >>> pascal_voc(truths, detections).curves[0].precision.tolist()
    [0.0, 0.5]
    """
    _check_thresholds(np.array([threshold]))
    classes, truth_table, detection_table = matching.tables(
        truths, detections, num_classes=num_classes, max_detections=None, box_format=box_format, of=of
    )
    matches = matching.pascal_matches(truth_table, detection_table, num_classes=len(classes), threshold=threshold)
    true_positive, false_positive = matches.true_positive[0, 0], matches.false_positive[0, 0]
    counted = np.flatnonzero(true_positive | false_positive)
    order = counted[np.lexsort((-detection_table.score[counted], detection_table.class_index[counted]))]
    edges = np.searchsorted(detection_table.class_index[order], np.arange(len(classes) + 1))
    curves = {}
    for k, name in enumerate(classes.tolist()):
        rows = order[edges[k] : edges[k + 1]]
        hits, positives = np.cumsum(true_positive[rows]), int(matches.positives[0, k])
        recall = hits / positives if positives else np.full(len(rows), np.nan)
        curves[name] = Curve(recall, hits / np.arange(1, len(rows) + 1), detection_table.score[rows], positives)
    per_class = {
        name: average_precision(curve.recall, curve.precision, points=points) if curve.positives else float("nan")
        for name, curve in curves.items()
    }
    return PascalResult(per_class, curves)


def unbatch(batch: Sample) -> list[dict[str, np.ndarray]]:
    """Splits a padded batch into one dict per image, without the padding.

    Args:
        batch: A dict of arrays or tensors `[b, n, ...]`: `boxes [b, n, 4]`, `classes [b, n]` and others. Objects with a
            class below 0 are padding. If there is a `valid [b]`, the objects after the first `valid` ones of an image
            are padding, too.

    Raises:
        ValueError: If there are no classes, or if `valid` is not one number per image.

    >>> unbatch({"boxes": np.ones((2, 3, 4)), "classes": [[4, 5, -1], [6, 0, 0]], "valid": [2, 1]})[1]["classes"]
    array([6])
    """
    arrays = {name: np.asarray(values) for name, values in batch.items()}
    if "classes" not in arrays or arrays["classes"].ndim != 2:
        shapes = {name: values.shape for name, values in arrays.items()}
        raise ValueError(f"expected a batch with classes [b, n], got {shapes}")
    real = arrays["classes"] >= 0
    if "valid" in arrays:
        valid = arrays.pop("valid")
        if valid.shape != real.shape[:1]:
            raise ValueError(f"expected valid [{len(real)}], the number of objects of each image, got {valid.shape}")
        real &= np.arange(real.shape[1]) < valid[:, None]
    return [{name: values[i][real[i]] for name, values in arrays.items()} for i in range(len(real))]


def _mean(values: np.ndarray) -> float:
    """Returns the mean of all values that are not NaN; NaN if there are none."""
    present = values[~np.isnan(values)]
    return float(np.mean(present)) if present.size else float("nan")


def _check_thresholds(thresholds: np.ndarray) -> None:
    if not thresholds.size or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise ValueError(f"expected IoU thresholds in (0, 1], got {thresholds.tolist()}")
