"""LabelMe: one JSON file with shapes for each image. https://github.com/wkentaro/labelme"""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import Json, read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.outlines import outline_box, to_runs
from pipelines.annotations.places import PathIndex, divided_by_folder, divided_by_image, image_index, role_of, root_of
from pipelines.annotations.values import read_flag, stated_size, whole_number
from pipelines.data import Data
from pipelines.sources.image_files import files_below
from pipelines.sources.splits import GroupBy

__all__ = ["read"]

_CORNERS = 32
# Shapes whose points are the corners of a polygon; a rotation is a rectangle that is turned.
_POLYGONS = ("polygon", "quadrilateral", "rotation")
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


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

    Rectangles become boxes. Polygons, turned rectangles, quadrilaterals and circles become boxes with outlines, masks
    boxes with run lengths. Lines and points have no area, and are listed as faults. Shapes with the same label and the
    same `group_id` are parts of one object, as in LabelMe.

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
    root = root_of(path)
    images = image_index(root)
    files = [path] if path.is_file() else [Path(name) for name in files_below(root) if name.lower().endswith(".json")]
    drafts: dict[str, list[Draft]] = {}
    for role, part in divided_by_folder(files, root, log).items():
        documents = ((file, read_json(file, log, depth=2)) for file in part)
        read = [_draft(file, document, images, log) for file, document in documents if document is not None]
        drafts[role] = [draft for draft in read if draft is not None]
    if set(drafts) == {"train"}:
        drafts = divided_by_image(drafts["train"], root, log)
    return assemble(drafts, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _draft(file: Path, document: Json, images: PathIndex, log: Log) -> Draft | None:
    content = document.value
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        log.add("broken", file, 1, "expected an object with a list of shapes; the file is left out")
        return None
    root = images.root
    claimed = str(content.get("imagePath") or file.with_suffix(".jpg").name).replace("\\", "/")
    image = file.parent / claimed
    if not image.is_file():
        role = role_of(file, root)
        names = (file.stem, claimed)
        image = next((found for name in names if (found := images.find(name, near=file, role=role))), image)
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
    size = stated_size(content.get("imageHeight"), content.get("imageWidth"), file, None, log)
    inside = image.resolve().is_relative_to(root.resolve())
    name = image.resolve().relative_to(root.resolve()).as_posix() if inside else image.name
    return Draft(image, name, file, objects, line=None, size=size)


def _found(shapes: Sequence[tuple[int, Mapping[str, Any]]], document: Json, file: Path, log: Log) -> Found | None:
    """Makes one object of one shape, or of the shapes of a group."""
    outlines: list[np.ndarray] = []
    runs: dict[str, Any] | None = None
    number, shape = shapes[0]
    kind = shape.get("shape_type")
    line = document.line("shapes", number)
    for index, part in shapes:
        try:
            outlines.append(_outline(part))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            reason = error.args[0] if type(error) is ValueError and error.args else "it does not hold its points"
            log.add("broken", file, document.line("shapes", index), f"shapes[{index}]: {reason}; it is left out")
    if kind == "mask" and len(shapes) == 1 and outlines:
        try:
            runs = _runs(shape, document.value)
        except ValueError as error:
            log.add("broken", file, line, f"shapes[{number}]: {error}; the object is kept as a box", kept=True)
    if not outlines:
        return None
    flags = shape.get("flags")
    attributes = {key: shape[key] for key in ("group_id", "description", "flags") if shape.get(key)}
    difficult = shape.get("difficult", flags.get("difficult") if isinstance(flags, Mapping) else None)
    return Found(
        shape["label"],
        outline_box(outlines),
        line,
        difficult=read_flag(difficult, "difficult", file, line, log),
        outline=runs or (None if kind in ("rectangle", "mask") and len(shapes) == 1 else tuple(outlines)),
        attributes=attributes,
    )


def _outline(shape: Mapping[str, Any]) -> np.ndarray:
    """Returns the polygon of a shape; of a mask, the corners of its box."""
    kind = shape.get("shape_type") or "polygon"
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if kind in ("rectangle", "mask"):
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        if kind == "mask":  # its last row and column belong to it
            x1, y1, x2, y2 = math.floor(x1), math.floor(y1), math.floor(x2) + 1, math.floor(y2) + 1
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if kind == "circle":  # the points are the centre and a point on the circle
        radius = math.dist(points[0], points[1])
        if not radius < 1e9:
            raise ValueError(f"the circle has a radius of {radius:.3g} pixels")
        angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
        return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    if kind in _WITHOUT_AREA:
        raise ValueError(f"a {kind} has no area")
    if kind not in _POLYGONS:
        raise ValueError(f"the shape_type {kind!r} is not known")
    if len(points) < 3:
        raise ValueError(f"expected a {kind} of three points or more, received {len(points)}")
    return points


def _runs(shape: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the run lengths of a mask, which is a PNG of the pixels in its box; None if the image's size is unknown.

    Raises:
        ValueError: The mask is no PNG in base64, has another size than its box, or is empty.
    """
    try:
        size = whole_number(content.get("imageHeight")), whole_number(content.get("imageWidth"))
    except ValueError:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True))) as image:
            pixels = np.asarray(image.convert("L")) > 0
    except (TypeError, KeyError, binascii.Error, OSError) as error:
        raise ValueError("its mask is not a PNG in base64") from error
    (x1, y1), (x2, y2) = _outline(shape)[[0, 2]].astype(int)
    if pixels.shape != (y2 - y1, x2 - x1):
        shown = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise ValueError(f"its mask has {shown} pixels (width x height), and its box {x2 - x1}x{y2 - y1}")
    if not pixels.any():
        raise ValueError("its mask is empty")
    whole = np.zeros(size, bool)
    inside = whole[max(y1, 0) : y2, max(x1, 0) : x2]
    inside[:] = pixels[max(-y1, 0) :, max(-x1, 0) :][: inside.shape[0], : inside.shape[1]]
    return to_runs(whole)
