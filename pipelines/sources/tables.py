"""Images with labels in a table: CSV files, data frames, and dicts of columns.

What bad input gets: a row is left out and listed in `Data.faults`, with file and line, when its image is not there,
its label is empty or unknown, a target is no finite number, or its image was in an earlier row; `strict=True` raises at
the first. A table that is not UTF-8 or lacks a column is an error, since nothing in it can be trusted.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.box_columns import box_columns
from pipelines.data import Data, Fault, Samples, WrongKind
from pipelines.sources.columns import (
    ClassColumn,
    Encoder,
    LabelColumns,
    NumberColumns,
    TargetColumns,
    cell_text,
    kind_of_column,
)
from pipelines.sources.csv_rows import read_rows
from pipelines.sources.listing import Listing
from pipelines.sources.split_columns import SplitColumn, WordColumn, find_split_column
from pipelines.sources.splits import GroupBy

__all__ = ["TABLE_KINDS", "read_table"]

TABLE_KINDS = ("classes", "labels", "numbers", "several")

# Names of columns that people use, in order of preference.
_PATH_COLUMNS = ("path", "image_path", "filepath", "file_path", "filename", "file_name", "file", "image", "img", "name")
_LABEL_COLUMNS = ("label", "class", "class_name", "category", "target", "labels", "tags", "y")


def read_table(
    table: Any,
    *,
    path: str | None = None,
    targets: str | Sequence[str] = (),
    split: str | None = None,
    kind: str = "classes",
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """Reads a table with a row for each image.

    Args:
        table: A CSV file in UTF-8 with column names in its first line (separated by commas, semicolons or tabs), a data
            frame, or a dict of columns.
        path: Column of the image files. `None` takes the one with a usual name (path, filename, image, ...).
        targets: Column of the labels, or several of them: for "numbers", for labels in columns of 0 and 1, and for
            "several". By default the one with a usual name (label, class, ...), and for "several" every column but
            those of the path and the split. For "several", the kind of a target may follow its name, as in
            "age:numbers".
        split: Column that says train, val or test. `None` takes one with a usual name (split, subset, set, partition,
            fold, ...), one such as `is_valid` that holds 0 and 1, or one that holds words for splits;
            capitals do not matter. `Data.notes` says which was taken, and which likely ones were not. Without,
            the images are divided by `pipelines.split`, class by class where there are classes.
        kind: "classes", one class for each image (the default); "labels", any number of labels, in columns of 0 and 1
            or in one column with "|", ";", "," or spaces between them; "numbers" to be predicted; or "several", several
            of these from one network. The kind of each of several targets is guessed: numbers that are not all whole,
            or are of more than 20 values, are "numbers", and everything else is "classes".
        root: Folder that paths count from. `None` is the folder of the CSV file, or the working directory.
        class_names: The classes, or labels, in order; for "several" a dict of these by the names of targets. `None`
            takes all that occur, sorted (numbers as numbers).
        valid: Fraction of the training images to validate on; see `pipelines.read_data`.
        test: Fraction of the training images to test on; see `pipelines.read_data`.
        seed: Decides which images are taken.
        group_by: Keeps images together in one split; see `pipelines.read_data`.
        strict: Whether to raise an error at the first row that would be left out.

    Returns:
        A `Data` of this kind. `labels` are `int32 [n]` for "classes", else `float32 [n, k]`, and `class_names` the
        names of the labels, numbers or targets.

    Raises:
        FileNotFoundError: no such CSV file.
        WrongKind: the column holds numbers and not classes, or classes and not numbers.
        ValueError: columns that are not there, a file that is not UTF-8, no row that can be used, fewer than two
            classes, or a row that would be left out and `strict`.

    Example:

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(8):
    ...         Image.new("RGB", (4, 4)).save(f"{folder}/{i}.png")
    ...     table = {"path": [f"{i}.png" for i in range(8)], "label": ["cat", "dog"] * 4, "age": [0.5, 7] * 4}
    ...     data = read_table(table, root=folder)
    ...     both = read_table(table, root=folder, kind="several", targets=("label", "age"))
    >>> data.class_names, len(data), data.train.labels.dtype
    (('cat', 'dog'), 8, dtype('int32'))
    >>> [(target.name, target.kind) for target in both.targets], both.train.labels.shape[1]
    ([('label', 'classes'), ('age', 'numbers')], 2)
    """
    if kind not in TABLE_KINDS:
        raise ValueError(f"read_table: expected `kind` as one of {', '.join(TABLE_KINDS)}; received {kind!r}")
    source, columns, lines = _columns(table)
    path_column = _choose(path, _PATH_COLUMNS, columns, source, "path")
    chosen = [targets] if isinstance(targets, str) else list(targets)
    if not chosen and split is None:
        _refuse_boxes(columns, path_column, kind, source)
    if not chosen and kind != "several":
        chosen = [_choose(None, _LABEL_COLUMNS, columns, source, "targets")]
    notes: list[str] = []
    if split is not None:
        split_column: SplitColumn | None = WordColumn(split, columns[_choose(split, (), columns, source, "split")])
    else:
        others = {path_column, *(_name_and_kind(target, columns)[0] for target in chosen)}
        split_column, notes = find_split_column(columns, others, source)
    if not chosen:
        chosen = [
            name for name in columns if name != path_column and (not split_column or name not in split_column.names)
        ]
    rows = _Rows(source, lines, columns[path_column], split_column, _base(table, root), path_column)
    encoder = _encoder(source, columns, chosen, kind, class_names)
    given, faults = rows.read(encoder, strict=strict)
    own_targets = encoder.targets if isinstance(encoder, TargetColumns) else ()
    for target in own_targets:
        if target.kind == "classes" and len(target.class_names) < 2:
            raise ValueError(f"{source}: expected two or more classes in {target.name!r}, found {target.class_names}")
    listing = Listing(source, encoder.names, given, faults, kind, own_targets, notes=notes)
    return listing.divided(valid=valid, test=test, seed=seed, group_by=group_by)


def _refuse_boxes(columns: Mapping[str, Sequence[Any]], path_column: str, kind: str, source: str) -> None:
    """Raises an error for a table with a row for each object, which is not one with a row for each image."""
    paths = list(map(cell_text, columns[path_column]))
    if len(set(paths)) < len(paths) and box_columns([list(columns)]) is not None:
        raise WrongKind(
            f"{source}: holds boxes, several for some images, and not one row for each image. Read it with "
            f"pipelines.read_scenes({source!r})",
            expected=kind,
            actual="boxes",
        )


def _base(table: Any, root: str | os.PathLike[str] | None) -> Path:
    """Returns the folder that paths count from."""
    if root is not None:
        return Path(root)
    return Path(table).expanduser().parent if isinstance(table, str | os.PathLike) else Path()


def _encoder(
    source: str,
    columns: Mapping[str, Sequence[Any]],
    targets: Sequence[str],
    kind: str,
    class_names: Sequence[str] | Mapping[str, Sequence[str]] | None,
) -> Encoder:
    """Returns what makes the labels of rows."""
    named = dict(_name_and_kind(target, columns) for target in targets)
    for name in named:
        _choose(name, (), columns, source, "targets")
    if kind == "several":
        kinds = {name: own or kind_of_column(columns[name]) for name, own in named.items()}
        known = class_names if isinstance(class_names, Mapping) else {}
        return TargetColumns({name: columns[name] for name in named}, kinds, known)
    if isinstance(class_names, Mapping):
        raise ValueError(f"{source}: expected `class_names` as a list for the kind {kind!r}, received a dict")
    other = next((own for own in named.values() if own not in (None, kind)), None)
    if other is not None:
        raise ValueError(f"{source}: received targets of the kind {other!r} for data of the kind {kind!r}")
    values = [columns[name] for name in named]
    actual = kind_of_column(values[0])
    if kind == "classes":
        if len(values) > 1:
            raise ValueError(f'{source}: expected one column for the kind "classes", received {list(named)}')
        if class_names is None and actual == "numbers" and not _all_whole(values[0]):
            raise _wrong_kind(source, next(iter(named)), kind, actual)
        return ClassColumn(values[0], class_names)
    if kind == "labels":
        return LabelColumns(list(named), values, class_names)
    for name, column in zip(named, values, strict=True):
        if not any(_is_number(cell) for cell in column) and any(cell_text(cell) for cell in column):
            raise _wrong_kind(source, name, kind, "classes")
    return NumberColumns(list(named), values)


def _wrong_kind(source: str, column: str, expected: str, actual: str) -> WrongKind:
    return WrongKind(
        f"{source}: column {column!r} holds {actual}, and {expected} were asked for", expected=expected, actual=actual
    )


def _name_and_kind(target: str, columns: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the column and the kind of a target such as "age:numbers"; the kind is `None` where none is given."""
    name, colon, kind = target.rpartition(":")
    if target in columns or not colon or kind not in ("classes", "labels", "numbers"):
        return target, None
    return name, kind


def _is_number(cell: Any) -> bool:
    try:
        float(cell_text(cell))
    except ValueError:
        return False
    return True


def _all_whole(column: Sequence[Any]) -> bool:
    return all(float(cell_text(cell)).is_integer() for cell in column if _is_number(cell))


@dataclass(frozen=True)
class _Rows:
    """The rows of a table: image files, and possibly splits.

    Attributes:
        source: What the table is called in messages.
        lines: Line of each row in the file, or its number.
        paths: Paths of the images.
        split_of: The split of each row, or `None`.
        base: Folder that paths count from.
        path_column: Name of the column of the paths.
    """

    source: str
    lines: Sequence[int]
    paths: Sequence[Any]
    split_of: SplitColumn | None
    base: Path
    path_column: str

    def read(self, encoder: Encoder, *, strict: bool) -> tuple[dict[str, Samples], list[Fault]]:
        """Returns the samples of each split, and the rows that were left out."""
        faults: list[Fault] = []
        rows: dict[str, tuple[list[str], list[Any], list[str]]] = {}
        seen: dict[str, int] = {}
        for row, line in enumerate(self.lines):
            try:
                name, image, split = self._image(row, seen)
                target = encoder(row)
            except ValueError as error:
                if strict:
                    raise ValueError(f"{self.source}:{line}: {error} (strict=True raises at the first)") from error
                faults.append(Fault(self.source, f"{error}; left out", line=line))
                continue
            seen[name] = line
            images, targets, names = rows.setdefault(split, ([], [], []))
            images.append(str(image))
            targets.append(target)
            names.append(name.replace(os.sep, "/"))
        if not rows.get("train", ([],))[0]:
            first = f" First of {len(faults)} rows left out: {faults[0]}" if faults else ""
            raise ValueError(f"{self.source}: found no row with an image to train on.{first}")
        return {split: Samples(images, np.array(y), names) for split, (images, y, names) in rows.items()}, faults

    def _image(self, row: int, seen: Mapping[str, int]) -> tuple[str, Path, str]:
        """Returns the name of a row's image, its file, and its split."""
        name = cell_text(self.paths[row])
        if not name:
            raise ValueError(f"no path in column {self.path_column!r}")
        if name in seen:
            raise ValueError(f"{name} is in line {seen[name]} already")
        image = self.base / name
        if not image.is_file():
            raise ValueError(f"there is no {image}")
        return name, image, "train" if self.split_of is None else self.split_of(row)


def _columns(table: Any) -> tuple[str, dict[str, Sequence[Any]], Sequence[int]]:
    """Returns what the table is called in messages, its columns, and the line (or the number) of each row."""
    if isinstance(table, str | os.PathLike):
        source = os.fspath(table)
        cells, lines = _read_csv(Path(source).expanduser())
        return source, dict(cells), lines
    if hasattr(table, "columns") and hasattr(table, "index"):  # a data frame, of whichever library
        columns: dict[str, Sequence[Any]] = {str(name): list(table[name]) for name in table.columns}
        source = "data frame"
    elif isinstance(table, Mapping):
        columns = {str(name): list(values) for name, values in table.items()}
        source = "table"
    else:
        raise ValueError(
            f"read_table: expected a CSV file, a data frame or a dict of columns, received {type(table).__name__}"
        )
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"{source}: expected columns of one length, received {sorted(lengths)}")
    return source, columns, range(1, next(iter(lengths), 0) + 1)


def _read_csv(path: Path) -> tuple[dict[str, list[str]], list[int]]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected a CSV file with column names in its first line")
    rows = list(read_rows(path))
    header = rows[0][1] if rows else []
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: expected column names that differ, received {header}")
    # Cells that a row lacks are empty, and so reported where they are needed.
    columns = {name: [row[i] if i < len(row) else "" for _, row in rows[1:]] for i, name in enumerate(header)}
    return columns, [line for line, _ in rows[1:]]


def _choose(name: str | None, usual: Sequence[str], columns: Mapping[str, Any], source: str, what: str) -> str:
    if name is not None and name in columns:
        return name
    lowered = {column.lower(): column for column in reversed(list(columns))}
    found = next((lowered[n] for n in usual if n in lowered), None) if name is None else None
    if found is None:
        expected = repr(name) if name is not None else f"one of {', '.join(usual)}"
        raise ValueError(
            f"{source}: expected a column {expected}, found {', '.join(map(repr, columns)) or 'none'}. "
            f"Name it with {what}="
        )
    return found
