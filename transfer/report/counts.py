"""What a data set holds, split by split, for data of any kind."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines import Data
from transfer.measuring.table import Table, as_number
from transfer.report.rendering import SPLITS

__all__ = ["count_table"]

Rows = list[tuple[str, ...]]


def count_table(data: Data) -> Table:
    """Returns how often each class or label occurs in each split, the range of each number, and how many images there
    are."""
    rows = COUNTS[data.kind](data) if data.kind in COUNTS else []
    images = ("(images)", *(f"{len(part):,}" for part in data.splits.values()))
    return Table(("", *SPLITS.values()), (*rows, images))


def _of_classes(names: Sequence[str], labels: Sequence[np.ndarray]) -> Rows:
    counts = [np.bincount(own.astype(int), minlength=len(names)) for own in labels]
    return [(name, *(f"{own[i]:,}" for own in counts)) for i, name in enumerate(names)]


def _of_labels(names: Sequence[str], labels: Sequence[np.ndarray]) -> Rows:
    return [(name, *(f"{int(own[:, i].sum()):,}" for own in labels)) for i, name in enumerate(names)]


def _of_numbers(names: Sequence[str], labels: Sequence[np.ndarray]) -> Rows:
    return [(f"{name}: mean, and range", *(_range(own[:, i]) for own in labels)) for i, name in enumerate(names)]


def _range(values: np.ndarray) -> str:
    return as_number(values.mean(), (values.min(), values.max())) if len(values) else "–"


def _labels(data: Data) -> list[np.ndarray]:
    """Returns the labels of each split; those of an empty one have no rows."""
    return [part.labels for part in data.splits.values()]


def _several(data: Data) -> Rows:
    rows: Rows = []
    for target in data.targets:
        own = [labels[:, target.columns] for labels in _labels(data)]
        if target.kind == "classes":
            counted = _of_classes(target.class_names, [labels[:, 0] for labels in own])
        else:
            counted = (_of_labels if target.kind == "labels" else _of_numbers)(target.class_names, own)
        rows += [(f"{target.name}: {name}", *cells) for name, *cells in counted]
    return rows


def _boxes(data: Data) -> Rows:
    classes = [np.concatenate([np.zeros(0, int), *(scene.classes for scene in part)]) for part in data.splits.values()]
    empty = [sum(not len(scene) for scene in part) for part in data.splits.values()]
    return [*_of_classes(data.class_names, classes), ("(images without an object)", *(f"{n:,}" for n in empty))]


COUNTS: dict[str, Callable[[Any], Rows]] = {
    "classes": lambda data: _of_classes(data.class_names, _labels(data)),
    "labels": lambda data: _of_labels(data.class_names, _labels(data)),
    "numbers": lambda data: _of_numbers(data.class_names, _labels(data)),
    "several": _several,
    "boxes": _boxes,
}
