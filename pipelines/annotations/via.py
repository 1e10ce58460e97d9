"""VGG Image Annotator, versions 1 and 2: one JSON file, an entry an image, with regions of several shapes.

https://www.robots.ox.ac.uk/~vgg/software/via/ ; a project file (`_via_img_metadata`) or an export of annotations.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import Json, read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.files import ImageIndex
from pipelines.annotations.outlines import outline_box
from pipelines.data import Data
from pipelines.sources.split_names import split_in
from pipelines.sources.splits import GroupBy

__all__ = ["read"]

# Region attributes under which people keep the class, in order of preference.
_CLASS_KEYS = ("class", "label", "name", "type", "category", "object")
# Corners of the polygon that stands for a circle or an ellipse: within a hundredth of its radius.
_CORNERS = 32


def read(
    source: str | Path,
    *,
    images: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
    class_key: str | None = None,
) -> Data:
    """Read annotations of the VGG Image Annotator.

    Rectangles become boxes; polygons, polylines (closed), circles and ellipses become boxes with outlines; points are
    listed as faults, since they have no area.

    Args:
        source: the JSON file, or a folder with one (or with `train/` and `val/` that hold one each).
        images: the folder that `filename` counts from; `None` is the JSON file's, or `images/` in it.
        class_names: the classes to read, in order; `None` takes all that occur, sorted by name.
        valid, test, seed, group_by: as for `pipelines.read_scenes`.
        strict: raise at the first fault instead of listing it.
        class_key: the region attribute that holds the class; `None` takes the first there is of class, label, name,
            type, category, object, else the only one. Regions without attributes are all of a class "object".

    Returns:
        A `Data`. What becomes of faults is listed in `pipelines.annotations`.

    Raises:
        ValueError: no JSON file, no annotated images to train on, or a fault and `strict`.
    """
    path = Path(source)
    log = Log(strict=strict)
    files = [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("*/*.json")])
    parts: dict[str, list[tuple[Path, Json]]] = {}
    for file in files:
        document = read_json(file, log, depth=5)
        if document is not None:
            role = (split_in(file.parent.name) or split_in(file.stem) or "train") if len(files) > 1 else "train"
            parts.setdefault(role, []).append((file, document))
    drafts = {
        role: [draft for file, document in found for draft in _drafts(file, document, images, class_key, log)]
        for role, found in parts.items()
    }
    return assemble(drafts, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _drafts(file: Path, document: Json, images: str | Path | None, class_key: str | None, log: Log) -> Iterable[Draft]:
    keys: tuple[str, ...] = ()
    entries = document.value
    if isinstance(entries, dict) and isinstance(entries.get("_via_img_metadata"), dict):
        keys, entries = ("_via_img_metadata",), entries["_via_img_metadata"]
    if not isinstance(entries, dict):
        log.add("broken", file, 1, "expected one entry an image; the file is left out")
        return
    folder = Path(images) if images is not None else file.parent
    index = ImageIndex(folder)
    for key, entry in entries.items():
        line = document.line(*keys, key)
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            log.add("broken", file, line, f"{key!r} has no filename; left out")
            continue
        image = index.find(entry["filename"])
        regions = entry.get("regions") or []
        if not isinstance(regions, list | dict):
            log.add("broken", file, line, f"{key!r}: regions is neither a list nor an object; left out")
            continue
        # Version 1 numbers the regions ("0", "1", ...), version 2 lists them.
        numbered = list(regions.items()) if isinstance(regions, dict) else list(enumerate(regions))
        objects = []
        for number, region in numbered:
            where = document.line(*keys, key, "regions", number)
            found = _found(region, class_key, file, where, f"{entry['filename']}: region {number}", log)
            if found is not None:
                objects.append(found)
        name = image.relative_to(folder).as_posix() if image is not None else entry["filename"]
        yield Draft(image or folder / entry["filename"], name, file, objects, line=line)


def _found(region: Any, class_key: str | None, file: Path, line: int, where: str, log: Log) -> Found | None:
    try:
        shape = region["shape_attributes"]
        attributes = region.get("region_attributes") or {}
        if not isinstance(attributes, dict):
            raise ValueError("region_attributes is no object")
        box, outline = _geometry(shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = error.args[0] if isinstance(error, ValueError) else "does not hold a shape and its numbers"
        log.add("broken", file, line, f"{where}: {reason}; left out")
        return None
    if class_key is None:
        class_key = next((key for key in _CLASS_KEYS if key in attributes), next(iter(attributes), None))
    if class_key is not None and class_key not in attributes:
        log.add("unknown class", file, line, f"{where}: has no attribute {class_key!r}; left out")
        return None
    chosen = "object" if class_key is None else attributes[class_key]
    if isinstance(chosen, Mapping):  # check boxes: {"cat": true}
        chosen = next((name for name, ticked in chosen.items() if ticked), "")
    others = {key: value for key, value in attributes.items() if key != class_key}
    return Found(str(chosen).strip(), box, line, outline=outline, attributes=others)


def _geometry(shape: Mapping[str, Any]) -> tuple[tuple[float, float, float, float], Any]:
    kind = shape["name"]
    if kind == "rect":
        x, y = float(shape["x"]), float(shape["y"])
        return (x, y, x + float(shape["width"]), y + float(shape["height"])), None
    if kind in ("polygon", "polyline"):
        points = np.array([shape["all_points_x"], shape["all_points_y"]], np.float64).T
        if len(points) < 3:
            raise ValueError(f"expected a {kind} of three points or more, received {len(points)}")
    elif kind in ("circle", "ellipse"):
        rx, ry = (float(shape[key]) for key in (("r", "r") if kind == "circle" else ("rx", "ry")))
        # At every 22.5 degrees twice: corners lie at the four ends, so that the box is exact.
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        points = np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=-1)
        turn = float(shape.get("theta") or 0.0)
        points = points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        points = points + [float(shape["cx"]), float(shape["cy"])]
    else:
        raise ValueError(f"a {kind} has no area")
    return outline_box([points]), (points,)
