"""The column of a table that says which split each row belongs to, found by its name and its values."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from pipelines.sources.columns import cell_text
from pipelines.sources.image_files import listed
from pipelines.sources.split_names import split_in, split_of

__all__ = ["FlagColumns", "SplitColumn", "WordColumn", "find_split_column"]

# Names of columns that people use, in order of preference. A column of the first names is the split whatever it holds;
# one of the others if some of its values are words for splits.
_SURE = ("split", "subset", "fold_name")
_USUAL = ("set", "partition", "fold", "kfold", "usage", "data_split")
_FLAG = re.compile(r"is_(?=[a-z])")  # as in is_valid
_YES, _NO = ("1", "true", "yes", "y", "t"), ("0", "false", "no", "n", "f")
MOST_WORDS = 6  # A column with more different values than this is none of splits, unless its name says so.


class SplitColumn(Protocol):
    """What says which split each row belongs to.

    Attributes:
        names: Names of the columns that it reads.
    """

    names: tuple[str, ...]

    def __call__(self, row: int) -> str:
        """Returns the split of a row. Raises a ValueError for a row that has none."""


class WordColumn:
    """A column of words such as "train" or "Test set".

    Args:
        name: Name of the column.
        cells: Its cells.
    """

    def __init__(self, name: str, cells: Sequence[Any]) -> None:
        self.names: tuple[str, ...] = (name,)
        self._cells = cells

    def __call__(self, row: int) -> str:
        text = cell_text(self._cells[row])
        split = _split_of_cell(text)
        if split is None:
            raise ValueError(f"split {text!r} is none of train, val and test")
        return split


class FlagColumns:
    """Columns of yes and no, such as `is_valid`. Rows with yes nowhere are for training; with `is_train`, for testing.

    Args:
        splits: The split that each column marks.
        columns: The cells of each column.
    """

    def __init__(self, splits: Mapping[str, str], columns: Mapping[str, Sequence[Any]]) -> None:
        self.names: tuple[str, ...] = tuple(splits)
        self._splits = splits
        self._columns = columns

    def __call__(self, row: int) -> str:
        cells = {name: cell_text(self._columns[name][row]).lower() for name in self.names}
        wrong = [name for name, cell in cells.items() if cell not in _YES + _NO]
        if wrong:
            raise ValueError(f"expected 0 or 1 in column {wrong[0]!r}, received {cells[wrong[0]]!r}")
        marked = {self._splits[name] for name, cell in cells.items() if cell in _YES}
        if len(marked) > 1:
            raise ValueError(f"the columns {listed(self.names)} put it into {listed(sorted(marked))}")
        return next(iter(marked), "test" if "train" in self._splits.values() else "train")


def find_split_column(
    columns: Mapping[str, Sequence[Any]], others: Collection[str], source: str
) -> tuple[SplitColumn | None, list[str]]:
    """Finds the column of the splits, whatever the case of its name and of its values.

    It has a usual name; or else names such as `is_valid` and values such as 0 and 1; or else few values, among them
    words for training and for another split.

    Args:
        columns: The cells of each column by its name.
        others: Columns that hold something else: paths and labels.
        source: What the table is called in messages.

    Returns:
        The column, or None; and notes about a column whose name does not say "split", and about likely ones that are
        not used.
    """
    names = {_plain(name): name for name in reversed(list(columns)) if name not in others}
    sure = [names[word] for word in _SURE if word in names]
    usual = [names[word] for word in _USUAL if word in names]
    flags = {name: split for plain, name in names.items() if (split := _flag(plain, columns[name]))}
    of_values = [name for name in names.values() if _holds_splits(columns[name])]
    worded = [*sure, *(name for name in usual if _splits(columns[name])), *of_values]
    candidates = list(dict.fromkeys([*worded, *flags]))
    if not candidates:
        return None, [_unused(name, columns[name], source) for name in usual]
    found: SplitColumn = WordColumn(worded[0], columns[worded[0]]) if worded else FlagColumns(flags, columns)
    notes = [_unused(name, columns[name], source, found.names) for name in candidates if name not in found.names]
    if found.names[0] not in sure:
        shown = _shown(columns[found.names[0]])
        notes.insert(0, f"{source}: the split of each row is taken from {listed(found.names)}; {shown}")
    return found, notes


def _plain(name: str) -> str:
    return re.sub(r"[ -]", "_", name.strip().lower())


def _texts(cells: Sequence[Any]) -> set[str]:
    return {text for cell in cells if (text := cell_text(cell))}


def _split_of_cell(text: str) -> str | None:
    return split_of(text) or split_in(text)


def _splits(cells: Sequence[Any]) -> set[str]:
    """Returns the splits that some of the cells stand for."""
    return {split for text in _texts(cells) if (split := _split_of_cell(text))}


def _holds_splits(cells: Sequence[Any]) -> bool:
    return len(_texts(cells)) <= MOST_WORDS and {"train"} < _splits(cells)


def _flag(plain: str, cells: Sequence[Any]) -> str | None:
    """Returns the split that a column such as `is_valid` marks with yes, or None."""
    match = _FLAG.match(plain)
    values = {text.lower() for text in _texts(cells)}
    return split_in(plain[match.end() :]) if match and values and values <= {*_YES, *_NO} else None


def _unused(name: str, cells: Sequence[Any], source: str, instead: Sequence[str] = ()) -> str:
    reason = f"{source}: column {name!r} may say which rows are held out, and is not used: "
    if instead:
        return f"{reason}{listed(instead)} says it, too. Name the one to use with split="
    return f"{reason}{_shown(cells)} are not train, val and test. The rows are divided without regard to it"


def _shown(cells: Sequence[Any]) -> str:
    return f"its values {listed(sorted(_texts(cells)))}"
