"""dlib's ImgLab XML: one file with the boxes in many images.

The format is described at http://dlib.net/dlib/data_io/image_dataset_metadata.h.html. Boxes that are marked with
`ignore`, which dlib neither rewards nor punishes, are read as `Scene.difficult`. Parts (landmarks) are kept as
attributes.

Boxes without a label have the class "object". An image belongs to the split that the name of the file names, if
there are several, or else to that of the folders of the file or of the image.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import Node, read_xml
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log
from pipelines.annotations.values import read_flag

__all__ = ["read"]

# What a box without a label is called, as in data of a single class
_UNNAMED = "object"
# The attributes of a box that have a field in Scene, or that say nothing
_PLACED = ("left", "top", "width", "height", "ignore")


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    root = read_xml(path, log)
    for node in () if root is None else root.iterfind("images/image"):
        if not isinstance(node, Node) or not node.get("file"):
            log.add("broken", path, getattr(node, "line", None), "an image has no file; it is left out")
            continue
        objects = [found for box in node.iterfind("box") if (found := _found(box, path, log)) is not None]
        yield Entry(node.get("file") or "", path, objects, line=node.line)


def _found(node: Any, path: Path, log: Log) -> Found | None:
    name = (node.findtext("label") or "").strip() or _UNNAMED
    try:
        left, top, width, height = (float(node.get(key)) for key in ("left", "top", "width", "height"))
    except (TypeError, ValueError):
        reason = f"{name!r}: the box does not hold left, top, width and height; it is left out"
        log.add("broken", path, node.line, reason)
        return None
    attributes: dict[str, Any] = {key: value for key, value in node.attrib.items() if key not in _PLACED}
    parts = {part.get("name") or "": [part.get("x"), part.get("y")] for part in node.iterfind("part")}
    if parts:
        attributes["parts"] = parts
    ignored = read_flag(node.get("ignore"), "ignore", path, node.line, log)
    box = (left, top, left + width, top + height)
    return Found(name, box, node.line, difficult=ignored, attributes=attributes)


read = EntryReader("imglab", _entries).read
