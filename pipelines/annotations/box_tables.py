"""A table of boxes: a CSV file with a row for each object, with or without names of columns.

Columns are found by their usual names: those of the image, of the class, and of `xmin, ymin, xmax, ymax`, of
`x, y, width, height`, or of `bbox` with these last four in one cell; and, if there, of the size of the image and of its
split. Tables without names have `image, xmin, ymin, xmax, ymax, class`, or one of the other orders of
`pipelines.annotations.box_columns`. Images without objects have a row of their own in which the box is empty.

An image belongs to the split that its row names, or else to that of the name of the file, if there are several
(`train.csv`, `test.csv`), or of the folders of the file or of the image.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.annotations.assembling import Found
from pipelines.annotations.box_columns import BoxColumns, box_columns
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log
from pipelines.annotations.values import stated_size
from pipelines.sources.csv_rows import read_rows
from pipelines.sources.split_columns import SplitColumn, find_split_column

__all__ = ["read"]

# What an object is called in a table without a column of classes
_UNNAMED = "object"
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    try:
        rows = list(read_rows(path))
    except (OSError, ValueError) as error:
        log.add("broken", path, None, f"{error}; the file is left out")
        return
    columns = box_columns([cells for _, cells in rows[:50]])
    if columns is None:
        log.add("broken", path, 1, "expected columns of images and boxes; the file is left out")
        return
    rows = rows[1:] if columns.names else rows
    split = _split_column(columns, [cells for _, cells in rows], path)
    entries: dict[str, Entry] = {}
    objects: dict[str, list[Found]] = {}
    for number, (line, cells) in enumerate(rows):
        image = _cell(cells, columns, "image")
        try:
            part = None if split is None else split(number)
            if not image:
                raise ValueError("no image is named")
            if image in entries and entries[image].part != part:
                raise ValueError(f"{image} is in {entries[image].part} by its line {entries[image].line}")
            found = _found(cells, columns, line)
        except ValueError as error:
            log.add("broken", path, line, f"{error}; the row is left out")
            continue
        objects.setdefault(image, []).extend([] if found is None else [found])
        if image not in entries:
            height, width = (_cell(cells, columns, part) for part in ("height", "width"))
            size = stated_size(height, width, path, line, log)
            entries[image] = Entry(image, path, objects[image], line=line, size=size, part=part)
    yield from entries.values()


def _split_column(columns: BoxColumns, rows: Sequence[Sequence[str]], path: Path) -> SplitColumn | None:
    cells = {
        name: [row[index] if index < len(row) else "" for row in rows]
        for index, name in enumerate(columns.names)
        if index not in columns.places.values()
    }
    return find_split_column(cells, (), str(path))[0]


def _cell(cells: Sequence[str], columns: BoxColumns, part: str) -> str:
    index = columns.places.get(part, len(cells))
    return cells[index] if index < len(cells) else ""


def _found(cells: Sequence[str], columns: BoxColumns, line: int) -> Found | None:
    """Returns the object of a row, or None if it has none.

    Raises:
        ValueError: The box is not four numbers, or there is no class.
    """
    parts = next(names for names in (_CORNERS, _SIDES, ("box",)) if names[0] in columns.places)
    texts = [_cell(cells, columns, part) for part in parts]
    if parts == ("box",):
        texts = re.split(r"[,;\s]+", texts[0].strip("[]() \t")) if texts[0] else []
    name = _cell(cells, columns, "class") if "class" in columns.places else _UNNAMED
    if not any(texts):
        return None
    try:
        a, b, c, d = map(float, texts)
    except ValueError as error:
        raise ValueError(f"{name!r}: the box {texts} is not four numbers") from error
    if not name:
        raise ValueError(f"the box {texts} has no class")
    others = {
        column: cells[index]
        for index, column in enumerate(columns.names)
        if index not in columns.places.values() and index < len(cells) and cells[index]
    }
    return Found(name, (a, b, c, d) if parts == _CORNERS else (a, b, a + c, b + d), line, attributes=others)


read = EntryReader("csv", _entries).read
