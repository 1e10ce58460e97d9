"""From the cells of a table to labels: classes, several labels, numbers, or several of these."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pipelines.data import Target

__all__ = [
    "ClassColumn",
    "Encoder",
    "LabelColumns",
    "NumberColumns",
    "TargetColumns",
    "cell_text",
    "kind_of_column",
    "sorted_names",
]

MANY = 20  # different whole numbers in a column, from which on they are numbers to be predicted and not classes


class Encoder(Protocol):
    """What makes the label of a row.

    Attributes:
        names: Names of the classes, labels or numbers.
    """

    names: list[str]

    def __call__(self, row: int) -> Any:
        """Returns the label of a row. Raises a ValueError for a row that has none."""


def cell_text(value: Any) -> str:
    """Returns a cell as text; it is empty for what data frames put where nothing is.

    >>> cell_text(" ant "), cell_text(3.0), cell_text(float("nan"))
    ('ant', '3', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers in a column with gaps
    return str(value).strip()


def sorted_names(names: Iterable[str]) -> list[str]:
    """Returns the different names, sorted; names that are all whole numbers are sorted as numbers."""
    names = set(names)
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def kind_of_column(values: Sequence[Any]) -> str:
    """Guesses what a column holds from what most of its cells are.

    Returns:
        "labels" for lists of names; "numbers" for numbers that are not all whole, or are of more than 20 different
        values; else "classes".

    Example:

    >>> kind_of_column(["ant", "bee"]), kind_of_column(["1", "2", "2"]), kind_of_column([1.5, 2, None])
    ('classes', 'classes', 'numbers')
    """
    if any(isinstance(value, list | tuple | set | np.ndarray) for value in values):
        return "labels"
    texts = [text for value in values if (text := cell_text(value))]
    numbers = [number for text in texts if (number := _as_number(text)) is not None]
    if 2 * len(numbers) <= len(texts):
        return "classes"
    whole = all(number.is_integer() for number in numbers)
    return "classes" if whole and len(set(numbers)) <= MANY else "numbers"


def _as_number(value: Any) -> float | None:
    """Returns a finite number, or `None`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


class ClassColumn:
    """One class for each row.

    Args:
        column: The cells.
        class_names: The classes in order. `None` takes all that occur, sorted.
    """

    def __init__(self, column: Sequence[Any], class_names: Sequence[str] | None) -> None:
        self._column = column
        found = {cell_text(value) for value in column} - {""}
        self.names = list(class_names) if class_names is not None else sorted_names(found)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __call__(self, row: int) -> int:
        name = cell_text(self._column[row])
        if not name:
            raise ValueError("has no label")
        if name not in self._numbers:
            raise ValueError(f"class {name!r} is none of {', '.join(map(repr, self.names))}")
        return self._numbers[name]


class LabelColumns:
    """Several labels for each row: in columns of 0 and 1, or in one column of text. A row may have none.

    Args:
        columns: Names of the columns.
        values: The cells of each column.
        class_names: The labels in order. `None` takes all that occur, sorted.

    Labels in one column are separated by "|", ";" or ",", whichever occurs in it, else by spaces; a cell may also be a
    list of labels.

    Raises:
        ValueError: `class_names` that are not the columns, where there are several.
    """

    def __init__(
        self,
        columns: Sequence[str],
        values: Sequence[Sequence[Any]],
        class_names: Sequence[str] | None,
    ) -> None:
        self._values = values
        self._known = set(class_names or ())
        self._in_columns = len(values) > 1
        if self._in_columns:
            self.names = list(columns)
            if class_names is not None and list(class_names) != self.names:
                raise ValueError(f"expected class_names to be the columns {self.names}, received {list(class_names)}")
            return
        texts = [cell_text(value) for value in values[0]]
        self._separator = next((mark for mark in "|;," if any(mark in text for text in texts)), " ")
        found = {name for row in range(len(values[0])) for name in self._split(row)}
        self.names = list(class_names) if class_names is not None else sorted_names(found)

    def _split(self, row: int) -> list[str]:
        cell = self._values[0][row]
        if isinstance(cell, list | tuple | set | np.ndarray):
            return [cell_text(name) for name in cell]
        text = cell_text(cell)
        if text in self._known:
            return [text]  # a label may have a space in it
        return [name.strip() for name in text.split(self._separator) if name.strip()]

    def __call__(self, row: int) -> np.ndarray:
        if self._in_columns:
            cells = [cell_text(column[row]).lower() for column in self._values]
            wrong = [cell for cell in cells if cell not in ("0", "1", "false", "true")]
            if wrong:
                raise ValueError(f"expected 0 or 1 in the columns of the labels, received {wrong[0]!r}")
            return np.array([cell in ("1", "true") for cell in cells], np.float32)
        found = self._split(row)
        unknown = [name for name in found if name not in self.names]
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(map(repr, self.names))}")
        return np.array([name in found for name in self.names], np.float32)


class NumberColumns:
    """One number or more for each row.

    Args:
        columns: Names of the columns.
        values: The cells of each column.
    """

    def __init__(self, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        self.names = list(columns)
        self._values = values

    def __call__(self, row: int) -> np.ndarray:
        numbers = []
        for name, column in zip(self.names, self._values, strict=True):
            number = _as_number(column[row])
            if number is None:
                raise ValueError(f"expected a finite number in column {name!r}, received {column[row]!r}")
            numbers.append(number)
        return np.array(numbers, np.float32)


class TargetColumns:
    """Several targets for each row, a column of the table for each.

    Args:
        columns: Name of each target, and the cells of its column.
        kinds: Kind of each target: "classes", "labels" or "numbers".
        class_names: For some of the targets the classes or labels in order; the others take all that occur.

    Attributes:
        names: Names of the targets.
        targets: The targets and their places in the labels.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]],
        kinds: Mapping[str, str],
        class_names: Mapping[str, Sequence[str]],
    ) -> None:
        self.names = list(columns)
        self._encoders: list[Encoder] = []
        targets: list[Target] = []
        for name, values in columns.items():
            encoder: Encoder
            if kinds[name] == "classes":
                encoder = ClassColumn(values, class_names.get(name))
            elif kinds[name] == "labels":
                encoder = LabelColumns([name], [values], class_names.get(name))
            else:
                encoder = NumberColumns([name], [values])
            start = targets[-1].columns.stop if targets else 0
            targets.append(Target(name, kinds[name], tuple(encoder.names), start))
            self._encoders.append(encoder)
        self.targets = tuple(targets)

    def __call__(self, row: int) -> np.ndarray:
        values = []
        for name, encoder in zip(self.names, self._encoders, strict=True):
            try:
                values.append(np.atleast_1d(np.asarray(encoder(row), np.float32)))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return np.concatenate(values)
