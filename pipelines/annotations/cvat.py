"""CVAT's "for images" XML: one file, or one for each task, with the shapes in many images.

The format is described at https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/. Boxes that are turned,
polygons, ellipses and masks become boxes with outlines. Tags, points, polylines and skeletons have no area.

An image belongs to the split that its `subset` names, or else to that of the folders of the file or of the image.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import Node, read_xml
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log
from pipelines.annotations.outlines import from_runs, outline_box, read_runs, to_runs
from pipelines.annotations.values import identifier, stated_size

__all__ = ["read"]

# Number of corners of the polygon that replaces an ellipse.
_CORNERS = 32
_AREAS = ("box", "polygon", "ellipse", "mask")
_NO_OBJECTS = ("tag",)  # Words for the whole image.


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    root = read_xml(path, log)
    for node in () if root is None else root.iterfind("image"):
        if not isinstance(node, Node) or not node.get("name"):
            log.add("broken", path, getattr(node, "line", None), "an image has no name; it is left out")
            continue
        size = stated_size(node.get("height"), node.get("width"), path, node.line, log)
        objects = [found for shape in node if (found := _found(shape, size, path, log)) is not None]
        yield Entry(
            node.get("name") or "",
            path,
            objects,
            line=node.line,
            size=size,
            part=node.get("subset"),
            number=identifier(node.get("id")) if node.get("id") else None,
        )


def _labels(root: Path, files: Sequence[Path], log: Log) -> Sequence[str] | None:
    """Returns the labels that the files define, or None if they define none."""
    names: dict[str, None] = {}
    for path in files:
        document = read_xml(path, Log())  # Its faults are listed when it is read for its images.
        for node in () if document is None else document.iterfind("meta//labels/label"):
            name = (node.findtext("name") or "").strip()
            if name and not node.findtext("parent"):
                names.setdefault(name)
    return list(names) or None


def _found(node: Any, size: tuple[int, int] | None, path: Path, log: Log) -> Found | None:
    name = (node.get("label") or "").strip()
    if node.tag in _NO_OBJECTS:
        return None
    if node.tag not in _AREAS:
        log.add("broken", path, node.line, f"{name!r}: a shape of the kind {node.tag!r} has no area; it is left out")
        return None
    try:
        box, outline = _geometry(node, size)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        reason = f"the {node.tag} does not hold the numbers of such a shape ({error})"
        log.add("broken", path, node.line, f"{name!r}: {reason}; it is left out")
        return None
    attributes: dict[str, Any] = {
        (child.get("name") or ""): (child.text or "").strip() for child in node.iterfind("attribute")
    }
    attributes |= {key: value for key in ("occluded", "group_id") if (value := node.get(key)) not in (None, "0")}
    return Found(name, box, node.line, outline=outline, attributes=attributes)


def _geometry(node: Any, size: tuple[int, int] | None) -> tuple[tuple[float, float, float, float], Any]:
    if node.tag == "box":
        x1, y1, x2, y2 = (float(node.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        turn = float(node.get("rotation") or 0)
        if not turn:
            return (x1, y1, x2, y2), None
        points = _turned(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), ((x1 + x2) / 2, (y1 + y2) / 2), turn)
    elif node.tag == "ellipse":
        cx, cy, rx, ry = (float(node.get(key)) for key in ("cx", "cy", "rx", "ry"))
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        points = np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=-1)
        points = _turned(points, (cx, cy), float(node.get("rotation") or 0))
    elif node.tag == "polygon":
        points = np.array([pair.split(",") for pair in node.get("points").split(";")], np.float64).reshape(-1, 2)
        if len(points) < 3:
            raise ValueError(f"expected three points or more, received {len(points)}")
    else:
        return _mask(node, size)
    return outline_box([points]), (points,)


def _turned(points: np.ndarray, centre: tuple[float, float], degrees: float) -> np.ndarray:
    """Turns points clockwise around a centre."""
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return (points - centre) @ matrix + centre


def _mask(node: Any, size: tuple[int, int] | None) -> tuple[tuple[float, float, float, float], Any]:
    """Reads a mask: run lengths, row by row, of a box within the image."""
    left, top, width, height = (int(node.get(key)) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in node.get("rle").split(",")]
    # Row by row is column by column of the transposed box.
    inner = from_runs(read_runs({"size": [width, height], "counts": counts})).T
    box = (float(left), float(top), float(left + width), float(top + height))
    if size is None:
        return box, None
    pixels = np.zeros(size, bool)
    if min(left, top) < 0 or pixels[top : top + height, left : left + width].shape != inner.shape:
        raise ValueError("the mask reaches out of the image")
    pixels[top : top + height, left : left + width] = inner
    return box, to_runs(pixels)


read = EntryReader("cvat", _entries, own_names=_labels).read
