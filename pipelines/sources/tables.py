"""Images with labels in a table: CSV files, data frames, and NumPy arrays.

What bad input gets: a row is left out and listed in `Data.skipped`, with file and line, when its image is not there,
its label is empty or unknown, a target is no finite number, or its image was in an earlier row; `strict=True` raises at
the first. A table that is not UTF-8 or lacks a column is an error, since nothing in it can be trusted.
"""

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Data, Fault, Samples
from pipelines.sources.splits import GroupBy, complete

__all__ = ["read_arrays", "read_table"]

TABLE_KINDS = ("classes", "labels", "numbers")

# Names of columns that people use, in order of preference.
_PATH_COLUMNS = ("path", "image_path", "filepath", "file_path", "filename", "file_name", "file", "image", "img", "name")
_LABEL_COLUMNS = ("label", "class", "class_name", "category", "target", "labels", "tags", "y")
_SPLIT_COLUMNS = ("split", "subset", "fold_name")

_ROLES = {"train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid"}
_ROLES |= {"dev": "valid", "test": "test", "testing": "test"}


def read_table(
    table: Any,
    *,
    path: str | None = None,
    label: str | Sequence[str] | None = None,
    split: str | None = None,
    kind: str = "classes",
    separator: str | None = None,
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """Read a table with a row an image.

    Args:
        table: a CSV file in UTF-8 with column names in its first line (separated by commas, semicolons or tabs), a data
            frame, or a dict of columns.
        path: the column of the image files; `None` takes the one with a usual name (path, filename, image, ...).
        label: the column of the labels, `None` for one with a usual name (label, class, ...); for several targets, or
            labels in columns of 0 and 1, a list of columns.
        split: the column that says train, val or test; `None` takes "split" or "subset" if there is one. Without, the
            images are divided by `pipelines.split`, class by class where there are classes.
        kind: "classes", one label an image; "labels", any number of labels an image; or "numbers" to be predicted.
        separator: between the labels in one column, for the kind "labels"; `None` takes "|", ";" or ",", whichever
            occurs in the column, else space.
        root: the folder that paths count from; `None` is the CSV file's, or the working directory.
        class_names: the classes, or labels, in order; `None` takes all that occur, sorted (numbers as numbers).
        valid, test, seed, group_by: as for `pipelines.read_data`.
        strict: raise at the first row that would be left out.

    Returns:
        A `Data`; `labels` are `int32 [n]` for "classes", else `float32 [n, k]`, and `class_names` the names of the `k`
        labels or targets.

    Raises:
        FileNotFoundError: no such CSV file.
        ValueError: columns that are not there, a file that is not UTF-8, no row that can be used, fewer than two
            classes, or a row that would be left out and `strict`.

    Example:

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(8):
    ...         Image.new("RGB", (4, 4)).save(f"{folder}/{i}.png")
    ...     table = {"path": [f"{i}.png" for i in range(8)], "label": ["cat", "dog"] * 4}
    ...     data = read_table(table, root=folder)
    >>> data.class_names, len(data), data.train.labels.dtype
    (('cat', 'dog'), 8, dtype('int32'))
    """
    if kind not in TABLE_KINDS:
        raise ValueError(f"read_table: expected `kind` as one of {', '.join(TABLE_KINDS)}; received {kind!r}")
    source, columns, lines = _columns(table)
    base = Path(root) if root is not None else (Path(source).parent if source.endswith(".csv") else Path())
    paths = columns[_choose(path, _PATH_COLUMNS, columns, source, "path")]
    label_columns = [label] if isinstance(label, str) else list(label or ())
    if not label_columns:
        label_columns = [_choose(None, _LABEL_COLUMNS, columns, source, "label")]
    for name in label_columns:
        _choose(name, (), columns, source, "label")
    values = [columns[name] for name in label_columns]
    if kind == "classes" and len(values) > 1:
        raise ValueError(f'{source}: expected one column of labels for the kind "classes", received {label_columns}')
    split_column = split if split is not None else next((n for n in _SPLIT_COLUMNS if n in columns), None)
    roles = columns[_choose(split_column, (), columns, source, "split")] if split_column is not None else None
    if kind == "classes":
        encoder: _Classes | _Labels | _Numbers = _Classes(values[0], class_names)
    elif kind == "labels":
        encoder = _Labels(label_columns, values, class_names, separator)
    else:
        encoder = _Numbers(label_columns, values)
    skipped: list[Fault] = []
    rows: dict[str, tuple[list[str], list[Any], list[str]]] = {}
    seen: dict[str, int] = {}
    for row, line in enumerate(lines):
        try:
            name = _text(paths[row])
            if not name:
                raise ValueError(f"no path in column {_choose(path, _PATH_COLUMNS, columns, source, 'path')!r}")
            if name in seen:
                raise ValueError(f"{name} is in line {seen[name]} already")
            image = base / name
            if not image.is_file():
                raise ValueError(f"there is no {image}")
            role = "train" if roles is None else _ROLES.get(_text(roles[row]).lower())
            if role is None:
                raise ValueError(f"split {_text(roles[row])!r} is none of train, val and test")  # type: ignore[index]
            target = encoder(row)
        except ValueError as error:
            if strict:
                raise ValueError(f"{source}:{line}: {error} (strict=True raises at the first)") from error
            skipped.append(Fault(source, f"{error}; left out", line=line))
            continue
        seen[name] = line
        images, targets, names = rows.setdefault(role, ([], [], []))
        images.append(str(image))
        targets.append(target)
        names.append(name.replace(os.sep, "/"))
    if not rows.get("train", ([],))[0]:
        first = f" First of {len(skipped)} rows left out: {skipped[0]}" if skipped else ""
        raise ValueError(f"{source}: found no row with an image to train on.{first}")
    given = {role: Samples(images, np.array(targets), names) for role, (images, targets, names) in rows.items()}
    return _divided(given, encoder.names, kind, skipped, source, valid=valid, test=test, seed=seed, group_by=group_by)


def read_arrays(
    images: Any,
    labels: Any,
    *,
    held_out: Mapping[str, tuple[Any, Any]] | None = None,
    class_names: Sequence[str] | None = None,
    kind: str = "classes",
    names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
) -> Data:
    """Take NumPy arrays as a data set.

    Args:
        images: `uint8 [n, h, w, 3]` RGB, or grey `[n, h, w]` or `[n, h, w, 1]`.
        labels: `[n]` class indices or names; for the kinds "labels" (0 or 1 each) and "numbers", `[n, k]` or `[n]`.
        held_out: `(images, labels)` of "valid" and "test", if they are divided already.
        class_names: of the classes, labels or targets; `None` takes the names that occur, or the numbers.
        kind: "classes", "labels" or "numbers", see `pipelines.Data`.
        names: of the images, for reports and for dividing; their numbers if `None`.
        valid, test, seed, group_by: as for `pipelines.read_data`.

    Raises:
        ValueError: images of another dtype or shape, labels that are no class, or as many as there are no images.

    Example:

    >>> import numpy as np
    >>> data = read_arrays(np.zeros([20, 8, 9], np.uint8), np.arange(20) % 2)
    >>> data.class_names, data.train.images.shape[1:], len(data)
    (('0', '1'), (8, 9, 3), 20)
    """
    if kind not in TABLE_KINDS:
        raise ValueError(f"read_arrays: expected `kind` as one of {', '.join(TABLE_KINDS)}; received {kind!r}")
    unknown = sorted(set(held_out or ()) - {"valid", "test"})
    if unknown:
        raise ValueError(f'read_arrays: expected `held_out` for "valid" and "test", received {unknown}')
    parts = {"train": (images, labels), **(held_out or {})}
    targets = {role: np.asarray(part[1]) for role, part in parts.items()}
    if kind == "classes":
        found, targets = _class_indices(targets, class_names)
    else:
        targets = {role: values.reshape(len(values), -1).astype(np.float32) for role, values in targets.items()}
        width = targets["train"].shape[1]
        found = list(class_names) if class_names is not None else [str(number) for number in range(width)]
        if any(values.shape[1] != len(found) for values in targets.values()):
            shapes = [list(values.shape) for values in targets.values()]
            raise ValueError(f"read_arrays: expected labels [n, {len(found)}], received {shapes}")
        for values in targets.values():
            if not np.isfinite(values).all() or (kind == "labels" and not np.isin(values, (0, 1)).all()):
                raise ValueError(
                    f"read_arrays: expected {'0 and 1' if kind == 'labels' else 'finite numbers'} as labels"
                )
    given = {}
    for role, part in parts.items():
        pixels = _rgb(np.asarray(part[0]))
        own = names if role == "train" and names is not None else [f"{role}-{i:06d}" for i in range(len(pixels))]
        given[role] = Samples(pixels, targets[role], own)
    return _divided(given, found, kind, [], "read_arrays", valid=valid, test=test, seed=seed, group_by=group_by)


def _divided(
    given: Mapping[str, Samples],
    class_names: Sequence[str],
    kind: str,
    skipped: Sequence[Fault],
    source: str,
    *,
    valid: float,
    test: float,
    seed: int,
    group_by: GroupBy,
) -> Data:
    if kind == "classes":
        counts = np.bincount(given["train"].labels, minlength=len(class_names))
        missing = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
        if len(class_names) < 2 or missing:
            found = f"{missing} without images to train on" if missing else f"{list(class_names)}"
            raise ValueError(f"{source}: expected two or more classes with images to train on, found {found}")
    by_class = class_names if kind == "classes" else None
    splits = complete(given, by_class, valid=valid, test=test, seed=seed, group_by=group_by)
    return Data(tuple(class_names), *splits, tuple(skipped), kind=kind)


# Columns


def _columns(table: Any) -> tuple[str, dict[str, Sequence[Any]], Sequence[int]]:
    """What to call the table in messages, its columns, and the line (or the number) of each row."""
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
    contents = path.read_bytes()
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: byte {contents[error.start]:#04x} is not UTF-8. Save the table as UTF-8"
        ) from error
    head = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=head.count), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        start = reader.line_num + 1
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: is not valid CSV: {error}") from error
    if len(set(header)) < len(header):
        raise ValueError(f"{path}:1: expected column names that differ, received {header}")
    # Cells that a row lacks are empty, and so reported where they are needed.
    columns = {name: [row[i] if i < len(row) else "" for row in rows] for i, name in enumerate(header)}
    return columns, lines


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


def _text(value: Any) -> str:
    """A cell as text; empty for what data frames put where nothing is."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers in a column with gaps
    return str(value).strip()


def _sorted(names: Iterator[str] | set[str]) -> list[str]:
    names = set(names)
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


class _Classes:
    """One label a row."""

    def __init__(self, column: Sequence[Any], class_names: Sequence[str] | None) -> None:
        self._column = column
        found = {_text(value) for value in column} - {""}
        self.names = list(class_names) if class_names is not None else _sorted(found)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def __call__(self, row: int) -> int:
        name = _text(self._column[row])
        if not name:
            raise ValueError("has no label")
        if name not in self._numbers:
            raise ValueError(f"class {name!r} is none of {', '.join(map(repr, self.names))}")
        return self._numbers[name]


class _Labels:
    """Several labels a row: in columns of 0 and 1, or in one column of text. A row may have none."""

    def __init__(
        self,
        columns: Sequence[str],
        values: Sequence[Sequence[Any]],
        class_names: Sequence[str] | None,
        separator: str | None,
    ) -> None:
        self._values = values
        self._in_columns = len(values) > 1
        if self._in_columns:
            self.names = list(columns)
            if class_names is not None and list(class_names) != self.names:
                raise ValueError(f"expected class_names to be the columns {self.names}, received {list(class_names)}")
            return
        if separator is None:
            texts = [_text(value) for value in values[0]]
            separator = next((mark for mark in "|;," if any(mark in text for text in texts)), " ")
        self._separator = separator
        found = {name for row in range(len(values[0])) for name in self._split(row)}
        self.names = list(class_names) if class_names is not None else _sorted(found)

    def _split(self, row: int) -> list[str]:
        cell = self._values[0][row]
        if isinstance(cell, list | tuple | set | np.ndarray):
            return [_text(name) for name in cell]
        return [name.strip() for name in _text(cell).split(self._separator) if name.strip()]

    def __call__(self, row: int) -> np.ndarray:
        if self._in_columns:
            cells = [_text(column[row]).lower() for column in self._values]
            wrong = [cell for cell in cells if cell not in ("0", "1", "false", "true")]
            if wrong:
                raise ValueError(f"expected 0 or 1 in the columns of the labels, received {wrong[0]!r}")
            return np.array([cell in ("1", "true") for cell in cells], np.float32)
        found = self._split(row)
        unknown = [name for name in found if name not in self.names]
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(map(repr, self.names))}")
        return np.array([name in found for name in self.names], np.float32)


class _Numbers:
    """One number or more a row."""

    def __init__(self, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        self.names = list(columns)
        self._values = values

    def __call__(self, row: int) -> np.ndarray:
        numbers = []
        for name, column in zip(self.names, self._values, strict=True):
            try:
                numbers.append(float(column[row]))
            except (TypeError, ValueError):
                numbers.append(math.nan)
            if not math.isfinite(numbers[-1]):
                raise ValueError(f"expected a finite number in column {name!r}, received {column[row]!r}")
        return np.array(numbers, np.float32)


# Arrays


def _class_indices(
    labels: Mapping[str, np.ndarray], class_names: Sequence[str] | None
) -> tuple[list[str], dict[str, np.ndarray]]:
    flat = {role: values.reshape(-1) for role, values in labels.items()}  # Keras hands out [n, 1] for CIFAR
    train = flat["train"]
    if train.dtype.kind in "iub":
        count = len(class_names) if class_names is not None else int(train.max(initial=-1)) + 1
        names = list(class_names) if class_names is not None else [str(number) for number in range(count)]
        for role, values in flat.items():
            if values.dtype.kind not in "iub" or values.min(initial=0) < 0 or values.max(initial=0) >= count:
                raise ValueError(
                    f"read_arrays: expected class indices 0 to {count - 1} in {role}, received "
                    f"{values.dtype} from {values.min(initial=0)} to {values.max(initial=0)}"
                )
        return names, {role: values.astype(np.int32) for role, values in flat.items()}
    if train.dtype.kind in "USO":
        names = list(class_names) if class_names is not None else _sorted({str(value) for value in train})
        numbers = {name: number for number, name in enumerate(names)}
        unknown = sorted({str(v) for values in flat.values() for v in values} - set(numbers))
        if unknown:
            raise ValueError(f"read_arrays: expected labels among {names}, received {unknown}")
        return names, {r: np.array([numbers[str(v)] for v in values], np.int32) for r, values in flat.items()}
    raise ValueError(
        f"read_arrays: expected class indices or names, received {train.dtype}. For numbers to be predicted, "
        'pass kind="numbers"'
    )


def _rgb(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"read_arrays: expected images as uint8 [n, h, w, 3], [n, h, w, 1] or [n, h, w], received {images.dtype} "
            f"{list(images.shape)}. Images of floats in 0..1: (images * 255).round().astype('uint8')"
        )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
