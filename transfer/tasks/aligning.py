"""Bringing data into the order of a model's classes, matched by name."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipelines import Data, Samples

__all__ = ["class_order", "label_columns", "with_class_order"]


def class_order(names: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Returns for each class of some data its number in a model: int32 `[classes]`.

    Raises:
        ValueError: The data have a class that the model does not know.

    >>> class_order(("bee", "ant"), ("ant", "bee", "fly")).tolist()
    [1, 0]
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"the data have the classes {', '.join(unknown)}, which the model does not know; it knows "
            f"{', '.join(known[:20])}. Rename these classes, or leave them out"
        )
    return np.array([list(known).index(name) for name in names], "int32")


def label_columns(labels: np.ndarray, names: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Returns columns of 0 and 1 in the order of a model; a label that the data lack is 0 everywhere.

    Raises:
        ValueError: The data have a label that the model does not know.

    >>> label_columns(np.array([[1, 0]]), ("bee", "ant"), ("ant", "bee", "fly")).tolist()
    [[0.0, 1.0, 0.0]]
    """
    columns = np.zeros((len(labels), len(known)), "float32")
    columns[:, class_order(names, known)] = labels
    return columns


def with_class_order(data: Data, known: Sequence[str], convert: Callable[[np.ndarray], np.ndarray]) -> Data:
    """Returns the data with a model's names, and with labels that are converted split by split."""
    splits = {
        name: Samples(part.images, convert(part.labels), part.names) if len(part) else part
        for name, part in data.splits.items()
    }
    return replace(data, class_names=tuple(known), **splits)
