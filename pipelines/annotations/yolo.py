"""YOLO text: one file for each image, with one line for each object.

A line is `class cx cy w h` (a box) or `class x1 y1 x2 y2 x3 y3 ...` (a polygon). Classes count from 0, and coordinates
are fractions of the image's width and height. The layout is described at
https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import read_text
from pipelines.annotations.faults import Log
from pipelines.annotations.files import Keep, note_lossy, put_images, stems
from pipelines.annotations.layouts import find_description, read_description
from pipelines.annotations.outlines import outline_box
from pipelines.data import Data, Fault, Scene
from pipelines.sources.image_files import images_below
from pipelines.sources.split_names import split_of, splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["read", "write"]

# Files with one class name on each line, as LabelImg, Darknet and Roboflow write them
_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels/classes.txt", "train/_darknet.labels")
_OTHER_TEXTS = ("classes.txt", "train.txt", "val.txt", "test.txt")


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
    """Reads a folder of YOLO annotations.

    Images are in a folder `images`, and their text files are at the same place in a folder `labels` beside it; or
    images and text files are in the same folder. Splits are those of `data.yaml` (folders, or text files with one path
    on each line), or else folders (`images/train` or `train/images`). Without either, `pipelines.split` divides the
    images. An image without a text file, or with an empty one, is an image without objects.

    Args:
        folder: Folder of the data, or its YAML description.
        class_names: Names of the classes. Defaults to the names in the YAML description or in `classes.txt`, or else
            to the numbers themselves.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.

    Returns:
        A `Data` of scenes. An object that is a polygon has it in `outlines`, and its box is the box around the polygon.
        `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no images to train on, the description is broken, or there is a fault and `strict`.
    """
    root = Path(folder)
    log = Log(strict=strict)
    description = root if root.is_file() else find_description(root)
    root = description.parent if description is not None else root
    settings = {} if description is None else read_description(description)
    names = list(class_names) if class_names is not None else _class_names(settings, description, root, log)
    parts = _split_images(root, settings, description)
    drafts: dict[str, list[Draft]] = {}
    for role, places in parts.items():
        drafts[role] = []
        for base, image, source, line in places:
            label = _label_path(image)
            text = read_text(label, log) if label.is_file() else ""
            if text is None:
                continue
            name = image.relative_to(base).as_posix() if image.is_relative_to(base) else image.name
            objects = list(_read_objects(label, text, names, log))
            drafts[role].append(Draft(image, name, source or label, objects, line=line, relative=True))
    _report_lone_labels({place[1] for places in parts.values() for place in places}, log)
    if names is None:
        highest = max((int(f.class_name) for p in drafts.values() for d in p for f in d.objects), default=-1)
        names = [str(number) for number in range(highest + 1)]
    return assemble(drafts, names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _class_names(settings: dict[str, Any], description: Path | None, root: Path, log: Log) -> list[str] | None:
    names = settings.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{description}: expected the keys of `names` to be 0, 1, 2 ..., received {sorted(names)}")
        return [str(names[number]) for number in range(len(names))]
    if isinstance(names, list):
        return [str(name) for name in names]
    if names is not None:
        raise ValueError(f"{description}: expected `names` as a list, or as numbers with names; received {names!r}")
    for place in (*_NAME_LISTS, *(path.name for path in sorted(root.glob("*.names")))):
        if (root / place).is_file():
            text = read_text(root / place, log) or ""
            return [line.strip() for line in text.splitlines() if line.strip()]
    return None


# An image: the folder that its name is relative to, its path, and the list and the line that name it, if there are any.
_Place = tuple[Path, Path, Path | None, int | None]


def _split_images(root: Path, settings: dict[str, Any], description: Path | None) -> dict[str, list[_Place]]:
    parts: dict[str, list[_Place]] = {}
    for split, key in splits_among(str(key) for key, entries in settings.items() if entries).items():
        entries = settings[key]
        for entry in entries if isinstance(entries, list) else [entries]:
            parts.setdefault(split, []).extend(_listed_images(str(entry), root, settings, description))
    if parts:
        return parts
    for folder in sorted(path for path in (*root.glob("*"), *root.glob("images/*")) if path.is_dir()):
        role = split_of(folder.name)
        images = folder / "images" if (folder / "images").is_dir() else folder
        if role is not None and "labels" not in folder.parts[len(root.parts) :]:
            parts.setdefault(role, []).extend((images, path, None, None) for path in images_below(images))
    if "train" in parts:
        return parts
    images = root / "images" if (root / "images").is_dir() else root
    return {"train": [(images, path, None, None) for path in images_below(images)]}


def _listed_images(entry: str, root: Path, settings: dict[str, Any], description: Path | None) -> Iterator[_Place]:
    """Yields the images of one entry of the description: a folder, or a text file with one path on each line."""
    base = root / str(settings.get("path") or "")
    # Roboflow writes ../train/images into a file that is beside train. Descriptions are also moved to other machines.
    candidates = [base / entry, root / entry, root / re.sub(r"^(\.\./)+", "", entry)]
    place = next((path for path in candidates if path.exists()), None)
    if place is None:
        raise ValueError(
            f"{description}: the file names {entry!r}, but there is no {' nor '.join(map(str, candidates))}"
        )
    if place.is_dir():
        yield from ((place, path, None, None) for path in images_below(place))
        return
    for number, line in enumerate(place.read_text("utf-8-sig").splitlines(), start=1):
        if line.strip():
            candidates = [base / line.strip(), place.parent / line.strip()]
            image = next((path for path in candidates if path.is_file()), candidates[0])
            yield image.parent, image, place, number


def _label_path(image: Path) -> Path:
    """Returns the path of an image's text file: in `labels` instead of the last `images`, or else beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            swapped = Path(*parts[:index], "labels", *parts[index + 1 :])
            return swapped if swapped.parents[len(parts) - index - 2].is_dir() else image.with_suffix(".txt")
    return image.with_suffix(".txt")


def _read_objects(path: Path, text: str, names: Sequence[str] | None, log: Log) -> Iterator[Found]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
            class_index = int(values[0])
            is_polygon = len(values) >= 7 and len(values) % 2 == 1
            if class_index != values[0] or class_index < 0 or not (len(values) == 5 or is_polygon):
                raise ValueError
        except (ValueError, OverflowError):
            log.add(
                "broken",
                path,
                number,
                "expected a class number and then x, y, width, height or the corners of a polygon, "
                f"received {line.strip()[:60]!r}; the line is left out",
            )
            continue
        if names is not None and class_index >= len(names):
            class_name = f"class {class_index}"
        else:
            class_name = str(class_index) if names is None else names[class_index]
        if is_polygon:
            points = np.array(values[1:]).reshape(-1, 2)
            yield Found(class_name, outline_box([points]), number, outline=(points,))
        else:
            cx, cy, width, height = values[1:]
            yield Found(class_name, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), number)


def _report_lone_labels(images: set[Path], log: Log) -> None:
    labels = {_label_path(image) for image in images}
    for folder in sorted({label.parent for label in labels}):
        for path in sorted(folder.glob("*.txt")):
            if path not in labels and path.name not in _OTHER_TEXTS and "readme" not in path.name.lower():
                log.add("missing image", path, None, "there is no image of that name; the text file is left out")


def write(data: Data, folder: str | Path, *, images: Keep = "copy", strict: bool = False) -> tuple[Fault, ...]:
    """Writes a data set in YOLO's layout: `images/SPLIT/NAME.jpg`, `labels/SPLIT/NAME.txt` and `data.yaml`.

    `read` returns the same boxes, to the last bit of `float32`. An object with one polygon is written as that polygon,
    if its box is the box around the polygon. All other objects are written as boxes.

    Args:
        data: Data set with boxes.
        folder: A folder that is new or empty.
        images: "copy" copies the files, "link" links to them, and "leave" writes the annotations alone.
        strict: Whether to raise a ValueError, before anything is written, if information would be lost.

    Returns:
        A fault for each kind of information that YOLO's text has no place for, such as outlines of several polygons,
        `difficult` and `crowd`.

    Raises:
        ValueError: The folder is not empty, two images of a split differ in their suffix alone, or information would
            be lost and `strict`.
    """
    lossy = note_lossy(data, folder, holds=set(), strict=strict, fits=_fits)
    parts = {"val" if role == "valid" else role: part for role, part in data.splits.items() if part}
    named = [(role, scene, stem) for role, part in parts.items() for scene, stem in zip(part, stems(part), strict=True)]
    places = [f"images/{role}/{scene.name}" for role, scene, _ in named]
    root = put_images([scene for _, scene, _ in named], folder, places, images)
    for role, scene, stem in named:
        path = root / "labels" / role / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(_line(scene, index) for index in range(len(scene))), "utf-8")
    settings: dict[str, Any] = {role: f"images/{role}" for role in parts}
    settings["names"] = dict(enumerate(data.class_names))
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    (root / "data.yaml").write_text(text, "utf-8")
    return lossy


def _fits(scene: Scene, index: int) -> bool:
    """Tells whether the object is one polygon with three or more corners, and its box is the box around it."""
    outline = (scene.outlines or ())[index]
    if outline is None or isinstance(outline, dict) or len(outline) != 1 or len(outline[0]) < 3:
        return False
    height, width = scene.size
    box = np.clip(outline_box(outline), 0, [width, height, width, height])
    return bool(np.allclose(box, scene.boxes[index], atol=1e-3))


def _line(scene: Scene, index: int) -> str:
    height, width = scene.size
    if _fits(scene, index):
        numbers = ((scene.outlines or ())[index][0] / [width, height]).reshape(-1).tolist()
    else:
        x1, y1, x2, y2 = scene.boxes[index].tolist()
        numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    return " ".join([str(scene.classes[index]), *(repr(number) for number in numbers)]) + "\n"
