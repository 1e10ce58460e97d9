"""CreateML JSON: a list of images, each with the boxes in it by their centres.

The format is described at https://developer.apple.com/documentation/createml/building-an-object-detector-data-source.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import read_json
from pipelines.annotations.entries import Entry, read_entries
from pipelines.annotations.faults import Log
from pipelines.data import Data
from pipelines.sources.splits import GroupBy

__all__ = ["read"]

# The parts of an annotation that have a field in Scene
_PLACED = ("label", "coordinates")


def read(
    source: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """Reads annotations of CreateML.

    An image belongs to the split of the folders of the file (`train/_annotations.createml.json`, as Roboflow exports
    it) or of the image.

    Args:
        source: The JSON file, or a folder with such files and with the images.
        class_names: Names of the classes to read, in order. Defaults to all that occur, sorted by name.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.

    Returns:
        A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no annotated images to train on, or there is a fault and `strict`.
    """
    log = Log(strict=strict)
    return read_entries(
        source,
        "createml",
        _entries,
        class_names=class_names,
        log=log,
        valid=valid,
        test=test,
        seed=seed,
        group_by=group_by,
    )


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
