"""LabelMe: one JSON file with shapes for each image. https://github.com/wkentaro/labelme"""

import math
from collections.abc import Mapping, Sequence
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

_CORNERS = 32


def read(
    folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """Reads a folder of LabelMe annotations.

    Rectangles become boxes. Polygons and circles become boxes with outlines. Lines and points have no area, and are
    listed as faults. Shapes with the same label and the same `group_id` are parts of one object, as in LabelMe.

    Args:
        folder: Folder with JSON files, which may be in folders with the names of splits; or one JSON file.
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
    path = Path(folder)
    log = Log(strict=strict)
    root = path.parent if path.is_file() else path
    index = ImageIndex(root)
    drafts: dict[str, list[Draft]] = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        document = read_json(file, log, depth=2)
        if document is None:
            continue
        parts = file.relative_to(root).parts[:-1]
        role = (split_in(parts[0]) if parts else None) or "train"
        draft = _draft(file, document, root, index, log)
        if draft is not None:
            drafts.setdefault(role, []).append(draft)
    if "train" not in drafts:  # a folder may be called "test" without being a split
        drafts = {"train": [draft for part in drafts.values() for draft in part]}
    return assemble(drafts, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _draft(file: Path, document: Json, root: Path, index: ImageIndex, log: Log) -> Draft | None:
    content = document.value
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        log.add("broken", file, 1, "expected an object with a list of shapes; the file is left out")
        return None
    claimed = str(content.get("imagePath") or file.with_suffix(".jpg").name).replace("\\", "/")
    image = file.parent / claimed
    if not image.is_file():
        found = index.find(file.relative_to(root).with_suffix("").as_posix()) or index.find(claimed)
        image = found or image
    groups: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for number, shape in enumerate(content["shapes"]):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            log.add("broken", file, document.line("shapes", number), f"shapes[{number}] has no label; it is left out")
            continue
        group = shape.get("group_id")
        key = number if group is None else (shape["label"], str(group))
        groups.setdefault(key, []).append((number, shape))
    objects = []
    for shapes in groups.values():
        made = _found(shapes, document, file, log)
        if made is not None:
            objects.append(made)
    size = content.get("imageHeight"), content.get("imageWidth")
    known = all(isinstance(side, int) and side > 0 for side in size)
    inside = image.resolve().is_relative_to(root.resolve())
    name = image.resolve().relative_to(root.resolve()).as_posix() if inside else image.name
    return Draft(image, name, file, objects, line=None, size=size if known else None)  # type: ignore[arg-type]


def _found(shapes: Sequence[tuple[int, Mapping[str, Any]]], document: Json, file: Path, log: Log) -> Found | None:
    """Makes one object of one shape, or of the shapes of a group."""
    outlines: list[np.ndarray] = []
    is_box = len(shapes) == 1 and shapes[0][1].get("shape_type") == "rectangle"
    for number, shape in shapes:
        try:
            outlines.append(_outline(shape))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            reason = error.args[0] if type(error) is ValueError and error.args else "it does not hold points"
            log.add("broken", file, document.line("shapes", number), f"shapes[{number}]: {reason}; it is left out")
    if not outlines:
        return None
    number, shape = shapes[0]
    attributes = {key: shape[key] for key in ("group_id", "description", "flags") if shape.get(key)}
    return Found(
        shape["label"],
        outline_box(outlines),
        document.line("shapes", number),
        outline=None if is_box else tuple(outlines),
        attributes=attributes,
    )


def _outline(shape: Mapping[str, Any]) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if kind == "circle":  # the points are the centre and a point on the circle
        radius = math.dist(points[0], points[1])
        if not radius < 1e9:
            raise ValueError(f"the circle has a radius of {radius:.3g} pixels")
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    if kind != "polygon":
        raise ValueError(f"a {kind} has no area")
    if len(points) < 3:
        raise ValueError(f"expected a polygon of three points or more, received {len(points)}")
    return points
