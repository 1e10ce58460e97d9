"""VGG Image Annotator, versions 1 and 2: one JSON file with an entry for each image, with regions of several shapes.

The file is a project (`_via_img_metadata`) or an export of annotations. https://www.robots.ox.ac.uk/~vgg/software/via/
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import Json, read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.layouts import json_layout
from pipelines.annotations.outlines import outline_box
from pipelines.annotations.places import PathIndex, divided_by_folder, image_index, name_below, role_of, root_of
from pipelines.annotations.values import read_flag
from pipelines.data import Data
from pipelines.sources.image_files import files_below, listed
from pipelines.sources.splits import GroupBy

__all__ = ["read"]

# Region attributes that may hold the class, in order of preference
_CLASS_KEYS = ("class", "label", "name", "type", "category", "object")
# Number of corners of the polygon that replaces a circle or an ellipse. Its error is below a hundredth of the radius.
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
    """Reads annotations of the VGG Image Annotator.

    Rectangles become boxes. Polygons, polylines (which are closed), circles and ellipses become boxes with outlines.
    Points have no area, and are listed as faults.

    Args:
        source: The JSON file, or a folder that holds some, with those of each split in a folder of its own, or with the
            split in their names.
        images: Folder that `filename` is relative to. Defaults to the folder of the data, in which
            images are found by their names.
        class_names: Names of the classes to read, in order. Defaults to all that occur, sorted by name.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.
        class_key: Region attribute that holds the class. Defaults to the first that exists of class, label, name, type,
            category and object, or else to the first attribute. Regions without attributes have the class "object".

    Returns:
        A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There is no JSON file, there are no annotated images to train on, or there is a fault and `strict`.
    """
    path = Path(source)
    log = Log(strict=strict)
    root = root_of(path)
    candidates = [Path(name) for name in files_below(root) if name.lower().endswith(".json")]
    files = [path] if path.is_file() else [file for file in candidates if json_layout(file) == "via"] or candidates
    parts: dict[str, list[tuple[Path, Json]]] = {}
    for role, chosen in divided_by_folder(files, root, log, by_name=True).items():
        for file in chosen:
            document = read_json(file, log, depth=5)
            if document is not None:
                parts.setdefault(role, []).append((file, document))
    index = image_index(Path(images) if images is not None else root)
    drafts = {
        role: [draft for file, document in found for draft in _drafts(file, document, index, class_key, log)]
        for role, found in parts.items()
    }
    return assemble(drafts, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _drafts(file: Path, document: Json, index: PathIndex, class_key: str | None, log: Log) -> Iterable[Draft]:
    keys: tuple[str, ...] = ()
    entries = document.value
    if isinstance(entries, dict) and isinstance(entries.get("_via_img_metadata"), dict):
        keys, entries = ("_via_img_metadata",), entries["_via_img_metadata"]
    if not isinstance(entries, dict):
        log.add("broken", file, 1, "expected an object with one entry for each image; the file is left out")
        return
    role = role_of(file, index.root)
    for key, entry in entries.items():
        line = document.line(*keys, key)
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            log.add("broken", file, line, f"{key!r} has no filename; the entry is left out")
            continue
        image = index.find(entry["filename"], near=file, role=role)
        regions = entry.get("regions") or []
        if not isinstance(regions, list | dict):
            log.add("broken", file, line, f"{key!r}: regions is neither a list nor an object; the entry is left out")
            continue
        # Version 1 numbers the regions ("0", "1", ...), version 2 lists them.
        numbered = list(regions.items()) if isinstance(regions, dict) else list(enumerate(regions))
        objects = []
        for number, region in numbered:
            where = document.line(*keys, key, "regions", number)
            found = _found(region, class_key, file, where, f"{entry['filename']}: region {number}", log)
            if found is not None:
                objects.append(found)
        image = image or file.parent / entry["filename"]
        base = file.parent if image.is_relative_to(file.parent) else index.root
        yield Draft(image, name_below(image, base), file, objects, line=line)


def _found(region: Any, class_key: str | None, file: Path, line: int, where: str, log: Log) -> Found | None:
    try:
        shape = region["shape_attributes"]
        attributes = region.get("region_attributes") or {}
        if not isinstance(attributes, dict):
            raise ValueError("region_attributes is not an object")
        box, outline = _geometry(shape)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = error.args[0] if isinstance(error, ValueError) else "it does not hold a shape and its numbers"
        log.add("broken", file, line, f"{where}: {reason}; the region is left out")
        return None
    if class_key is None:
        class_key = next((key for key in _CLASS_KEYS if key in attributes), next(iter(attributes), None))
    if class_key is not None and class_key not in attributes:
        log.add("unknown class", file, line, f"{where} has no attribute {class_key!r}; it is left out")
        return None
    chosen = "object" if class_key is None else attributes[class_key]
    if isinstance(chosen, Mapping):  # check boxes: {"cat": true}
        ticked = [str(name) for name, value in chosen.items() if read_flag(value, str(name), file, line, log)]
        if len(ticked) > 1:
            reason = f"{where} has the classes {listed(ticked)} ticked; it is read as {ticked[0]!r}"
            log.add("label", file, line, reason, kept=True)
        chosen = next(iter(ticked), "")
    others = {key: value for key, value in attributes.items() if key != class_key}
    difficult = read_flag(others.pop("difficult", None), "difficult", file, line, log)
    return Found(str(chosen), box, line, difficult=difficult, outline=outline, attributes=others)


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
        # Corners are also at the ends of both axes, so that the box is exact.
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        points = np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=-1)
        turn = float(shape.get("theta") or 0.0)
        points = points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        points = points + [float(shape["cx"]), float(shape["cy"])]
    else:
        raise ValueError(f"a {kind} has no area" if kind == "point" else f"the shape {kind!r} is not known")
    return outline_box([points]), (points,)
