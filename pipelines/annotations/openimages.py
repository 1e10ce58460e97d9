"""Open Images CSV: one file for each split, with a row for each box in fractions of the image.

The format is described at https://storage.googleapis.com/openimages/web/download_v7.html. Boxes of groups
(`IsGroupOf`) are read as `Scene.crowd`. Names of classes are those of a table of labels and names beside
(`class-descriptions-boxable.csv`, or `classes.csv`), or else the labels themselves.

An image has the name that is its `ImageID`. It belongs to the split that the name of the file names
(`validation-annotations-bbox.csv`), if there are several, or else to that of the folders of the file or of the
image.
"""

from collections.abc import Iterator
from pathlib import Path

from pipelines.annotations.assembling import Found
from pipelines.annotations.box_columns import plain
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log
from pipelines.annotations.values import read_flag
from pipelines.sources.csv_rows import first_rows, read_rows
from pipelines.sources.image_files import files_below

__all__ = ["read"]

_BOX = ("xmin", "ymin", "xmax", "ymax")
_PLACED = ("imageid", "labelname", *_BOX, "isgroupof")


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    names = _class_names(path)
    objects: dict[str, list[Found]] = {}
    lines: dict[str, int] = {}
    header: list[str] = []
    try:
        for line, cells in read_rows(path):
            if not header:
                header = [plain(cell) for cell in cells]
                continue
            row = dict(zip(header, cells, strict=False))
            image = row.get("imageid", "")
            if not image:
                log.add("broken", path, line, "the row has no ImageID; it is left out")
                continue
            lines.setdefault(image, line)
            found = _found(row, names, path, line, log)
            objects.setdefault(image, []).extend([] if found is None else [found])
    except ValueError as error:
        log.add("broken", path, None, f"{error}; what comes after is left out")
    for image, own in objects.items():
        yield Entry(image, path, own, line=lines[image], relative=True)


def _found(row: dict[str, str], names: dict[str, str], path: Path, line: int, log: Log) -> Found | None:
    label = row.get("labelname", "")
    try:
        x1, y1, x2, y2 = (float(row[key]) for key in _BOX)
    except (KeyError, ValueError):
        log.add("broken", path, line, f"{label!r}: XMin, YMin, XMax and YMax are not four numbers; it is left out")
        return None
    attributes = {key: value for key, value in row.items() if key not in _PLACED and value not in ("", "0", "-1")}
    is_group = row.get("isgroupof") != "-1" and read_flag(row.get("isgroupof"), "IsGroupOf", path, line, log)
    return Found(names.get(label, label), (x1, y1, x2, y2), line, crowd=is_group, attributes=attributes)


def _class_names(path: Path) -> dict[str, str]:
    """Returns the name of each label, from a table of two columns beside the file, or in a folder beside."""
    for place in (path.parent, path.parent.parent):
        for name in sorted(files_below(place)):
            table = Path(name)
            if table.suffix.lower() != ".csv" or "class" not in table.stem.lower():
                continue
            rows = first_rows(table)
            if rows and all(len(row) == 2 for row in rows) and any(row[0].startswith("/") for row in rows):
                return {cells[0]: cells[1] for _, cells in read_rows(table) if len(cells) == 2}
    return {}


read = EntryReader("openimages", _entries).read
