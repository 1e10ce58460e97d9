"""CreateML JSON: a list of images, each with the boxes in it by their centres.

The format is described at https://developer.apple.com/documentation/createml/building-an-object-detector-data-source.

An image belongs to the split of the folders of the file (`train/_annotations.createml.json`, as Roboflow exports
it) or of the image.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import read_json
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log

__all__ = ["read"]

# The parts of an annotation that have a field in Scene
_PLACED = ("label", "coordinates")


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    document = read_json(path, log, depth=4)
    if document is None:
        return
    if not isinstance(document.value, list):
        log.add("broken", path, 1, "expected a list of images; the file is left out")
        return
    for index, content in enumerate(document.value):
        line = document.line(index)
        name = content.get("image") or content.get("imagefilename") if isinstance(content, dict) else None
        if not isinstance(name, str):
            log.add("broken", path, line, f"entry {index} has no image; it is left out")
            continue
        key = "annotations" if "annotations" in content else "annotation"
        annotations = content.get(key) or []
        if not isinstance(annotations, list):
            log.add("broken", path, line, f"{name}: the annotations are no list; the image is left out")
            continue
        objects = []
        for number, annotation in enumerate(annotations):
            where = f"{name}: annotation {number}"
            found = _found(annotation, where, path, document.line(index, key, number), log)
            if found is not None:
                objects.append(found)
        yield Entry(name, path, objects, line=line)


def _found(annotation: Any, where: str, path: Path, line: int, log: Log) -> Found | None:
    name = annotation.get("label") if isinstance(annotation, Mapping) else None
    if not isinstance(name, str | int) or isinstance(name, bool):
        log.add("broken", path, line, f"{where} has no label; it is left out")
        return None
    try:
        x, y, width, height = (float(annotation["coordinates"][key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError, OverflowError):
        log.add("broken", path, line, f"{where}: the coordinates are not x, y, width and height; it is left out")
        return None
    attributes = {key: value for key, value in annotation.items() if key not in _PLACED}
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Found(str(name).strip(), box, line, attributes=attributes)


read = EntryReader("createml", _entries).read
