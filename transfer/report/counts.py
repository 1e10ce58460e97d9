"""What a data set holds, split by split, for data of any kind."""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines import Data
from transfer.measuring.table import Table, as_number
from transfer.report.rendering import SPLITS

__all__ = ["count_table"]

Rows = list[tuple[str, ...]]


def count_table(data: Data) -> Table:
    """Returns how often each class or label occurs in each split, the range of each number, and how many images there
    are."""
    if data.kind in OWN:
        rows = OWN[data.kind](data.class_names, _labels(data))
    else:
        rows = COUNTS[data.kind](data) if data.kind in COUNTS else []
    images = ("(images)", *(f"{len(part):,}" for part in data.splits.values()))
    return Table((COUNTED.get(data.kind, "counted"), *SPLITS.values()), (*rows, images))


COUNTED = {"classes": "class", "labels": "label", "numbers": "number", "several": "target", "boxes": "objects"}


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
        own = [data.unpack(labels)[target.name] for labels in _labels(data)]
        rows += [(f"{target.name}: {name}", *cells) for name, *cells in OWN[target.kind](target.class_names, own)]
    return rows


def _boxes(data: Data) -> Rows:
    classes = [np.concatenate([np.zeros(0, int), *(scene.classes for scene in part)]) for part in data.splits.values()]
    empty = [sum(not len(scene) for scene in part) for part in data.splits.values()]
    return [*_of_classes(data.class_names, classes), ("(images without an object)", *(f"{n:,}" for n in empty))]


# By the kind of the labels, and by the kind of the data.
OWN: dict[str, Callable[[Sequence[str], Sequence[np.ndarray]], Rows]] = {
    "classes": _of_classes,
    "labels": _of_labels,
    "numbers": _of_numbers,
}
COUNTS: dict[str, Callable[[Data], Rows]] = {"several": _several, "boxes": _boxes}
