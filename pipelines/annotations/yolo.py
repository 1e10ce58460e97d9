"""YOLO text: one file for each image, with one line for each object.

A line is `class cx cy w h` (a box) or `class x1 y1 x2 y2 x3 y3 ...` (a polygon). Classes count from 0, and coordinates
are fractions of the image's width and height. The layout is described at
https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.annotations.assembling import assemble
from pipelines.annotations.bounds import ADVICE, is_outside
from pipelines.annotations.documents import read_text
from pipelines.annotations.drafts import Draft
from pipelines.annotations.faults import Log
from pipelines.annotations.files import Keep, note_lossy, put_images, stems
from pipelines.annotations.layouts import find_description, read_description
from pipelines.annotations.outlines import outline_box
from pipelines.annotations.places import PathIndex, divided_by_folder, image_index, role_of
from pipelines.annotations.values import whole_number
from pipelines.annotations.yolo_lines import columns_of, read_objects
from pipelines.data import Data, Fault, Scene
from pipelines.sources.image_files import files_below, images_below, is_image
from pipelines.sources.split_names import split_of, splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["read", "write"]

# Files with one class name on each line, as LabelImg, Darknet and Roboflow write them
_NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels/classes.txt", "train/_darknet.labels")
_NOTHING = ("", "~", "null", "Null", "NULL")  # of YAML, where no value is given
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
    outside: bool = False,
) -> Data:
    """Reads a folder of YOLO annotations.

    Images are in a folder `images`, and their text files are at the same place in a folder `labels` beside it; or
    images and text files are in the same folder. Splits are those of `data.yaml` or of Darknet's `obj.data` (folders,
    or text files with one path on each line), or those of lists `train.txt`, `val.txt` and `test.txt` beside the
    images, or else folders (`images/train` or `train/images`). Without any of these, `pipelines.split` divides the
    images. An image without a text file, or with an empty one, is an image without objects.

    Columns behind a box (key points by `kpt_shape` in the description, confidences, numbers of tracks) are not read.

    Args:
        folder: Folder of the data, or its YAML description.
        class_names: Names of the classes. Defaults to the names in the YAML description or in `classes.txt`, or else
            to the numbers themselves.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.
        outside: Whether the description may name folders and lists outside of its own folder.

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
    parts = _split_images(root, settings, description, log, outside)
    index = PathIndex([Path(path) for path in files_below(root) if path.lower().endswith(".txt")], root)
    labels = {place.image: _label_path(place.image, index) for places in parts.values() for place in places}
    texts = {label: read_text(label, log) if label.is_file() else "" for label in dict.fromkeys(labels.values())}
    shape = settings.get("kpt_shape")
    columns = columns_of((text for text in texts.values() if text), shape, description or root, log)
    drafts: dict[str, list[Draft]] = {}
    for role, places in parts.items():
        drafts[role] = []
        for place in places:
            label = labels[place.image]
            text = texts[label]
            if text is None:
                continue
            objects = list(read_objects(label, text, names, columns, log))
            source = place.source or label
            drafts[role].append(Draft(place.image, place.name, source, objects, line=place.line, relative=True))
        _report_missing_labels(role, [labels[place.image] for place in places], log)
    _report_lone_labels(set(labels.values()), index, log)
    if names is None:
        highest = max((int(f.class_name) for p in drafts.values() for d in p for f in d.objects), default=-1)
        names = [str(number) for number in range(highest + 1)]
    return assemble(drafts, names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _class_names(settings: dict[str, Any], description: Path | None, root: Path, log: Log) -> list[str] | None:
    names = settings.get("names") or None
    if isinstance(names, dict):
        try:
            numbered = {whole_number(key): str(name) for key, name in names.items()}
        except ValueError:
            numbered = {}
        if sorted(numbered) != list(range(len(names))):
            raise ValueError(f"{description}: expected the keys of `names` to be 0, 1, 2 ..., received {sorted(names)}")
        return [numbered[number].strip() for number in range(len(names))]
    if isinstance(names, list):
        return [str(name).strip() for name in names]
    if names is not None:
        raise ValueError(f"{description}: expected `names` as a list, or as numbers with names; received {names!r}")
    for place in (*_NAME_LISTS, *(path.name for path in sorted(root.glob("*.names")))):
        if (root / place).is_file():
            text = read_text(root / place, log) or ""
            return [line.strip() for line in text.split("\n") if line.strip()]
    return None


@dataclass(frozen=True)
class _Place:
    """An image: its path, its name in reports, and the list and the line that name it, if there are any."""

    image: Path
    name: str
    source: Path | None = None
    line: int | None = None


def _split_images(
    root: Path, settings: dict[str, Any], description: Path | None, log: Log, outside: bool
) -> dict[str, list[_Place]]:
    """Returns the images of each split: by the description, by Darknet's `obj.data`, by lists, or by folders."""
    entries = {key: entry for key, entry in settings.items() if entry and entry not in _NOTHING}
    by_split = {split: entries[key] for split, key in splits_among(entries).items()}
    places = {split: _entry_places(entry, root, settings, description) for split, entry in by_split.items()}
    if not places:
        description, places = _darknet_lists(root)
    if places:
        for place in () if outside else itertools.chain.from_iterable(places.values()):
            if is_outside(place, root):
                raise ValueError(
                    f"{description or root} names {place}, which lies outside of {root}, so it was not read; {ADVICE}"
                )
        index = image_index(root)
        own = _without_copies_of_training(places, description or root, log)
        base = _base(root, settings)
        return {
            role: [image for place in part for image in _images_of(place, base, index)] for role, part in own.items()
        }
    images = [Path(path) for path in files_below(root) if is_image(path)]
    usual = next((child for child in root.iterdir() if child.is_dir() and child.name.lower() == "images"), None)
    if usual is not None:
        images = [path for path in images if path.is_relative_to(usual) or role_of(path, root)]
    parts = divided_by_folder(images, root, log)
    return {role: [_Place(path, _own_name(path, root)) for path in part] for role, part in parts.items()}


def _own_name(image: Path, root: Path) -> str:
    """Returns the path of an image below the folders that are called images or after a split."""
    *folders, own = image.relative_to(root).parts
    rest = itertools.dropwhile(lambda part: part.lower() == "images" or split_of(part) is not None, folders)
    return "/".join([*rest, own])


def _base(root: Path, settings: dict[str, Any]) -> Path:
    """Returns the folder from which the paths of the description count."""
    path = str(settings.get("path") or "")
    return root / ("" if path in _NOTHING else path)


def _entry_places(entry: Any, root: Path, settings: dict[str, Any], description: Path | None) -> list[Path]:
    """Returns the folders, or the text files with one path on each line, that an entry of the description names."""
    base = _base(root, settings)
    found = []
    for name in map(str, entry if isinstance(entry, list) else [entry]):
        # Roboflow writes ../train/images into a file that is beside train. Descriptions are also moved elsewhere.
        candidates = [base / name, root / name, root / re.sub(r"^(\.\./)+", "", name)]
        present = [path for path in candidates if path.exists()]
        place = next((path for path in present if not is_outside(path, root)), next(iter(present), None))
        if place is None:
            raise ValueError(
                f"{description}: the file names {name!r}, but there is no {' nor '.join(map(str, candidates))}"
            )
        found.append(place)
    return found


def _darknet_lists(root: Path) -> tuple[Path | None, dict[str, list[Path]]]:
    """Returns Darknet's `obj.data`, and the lists of images that it names, or else those in the folder itself."""
    for data in sorted([*root.glob("*.data"), *root.glob("*/*.data")]):
        lines = (line.partition("=") for line in data.read_text("utf-8-sig", errors="replace").split("\n"))
        entries = {key.strip(): value.strip() for key, _, value in lines if value.strip()}
        places = {}
        for split, key in splits_among(entries).items():
            name = entries[key]
            # The paths count from the folder of Darknet's program, of which nothing is known here.
            candidates = (root / name, data.parent / name, data.parent / Path(name).name)
            place = next((path for path in candidates if path.is_file()), None)
            if place is not None:
                places[split] = [place]
        if "train" in places:
            return data, places
    lists = {path.stem: path for path in sorted(root.glob("*.txt")) if _names_images(path)}
    places = {split: [lists[name]] for split, name in splits_among(lists).items()}
    return None, places if "train" in places else {}


def _names_images(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return is_image(next((line.strip() for line in file if line.strip()), ""))


def _without_copies_of_training(places: dict[str, list[Path]], description: Path, log: Log) -> dict[str, list[Path]]:
    """Leaves out splits that are the very folders (or lists) of the training images, which measure nothing."""
    own = dict(places)
    train = {place.resolve() for place in places.get("train", ())}
    for split in ("valid", "test"):
        if split in own and {place.resolve() for place in own[split]} <= train:
            sentence = (
                f"{own[split][0]} is named for training and as {split}: they are the same folder. What is measured on "
                f"images of the training says nothing, so that it counts for training alone; name another folder as "
                f"{split}, or have a share of the images taken apart (valid=0.15, --valid 0.15)"
            )
            log.add("duplicate", description, None, sentence, kept=True)
            log.note(sentence + ".")
            del own[split]
    return own


def _images_of(place: Path, base: Path, index: PathIndex) -> Iterator[_Place]:
    """Yields the images in a folder, or those that a list names."""
    if place.is_dir():
        for path in images_below(place):
            yield _Place(path, path.relative_to(place).as_posix())
        return
    for number, line in enumerate(place.read_text("utf-8-sig").split("\n"), start=1):
        entry = line.strip()
        if entry:
            candidates = [base / entry, place.parent / entry]
            image = next((path for path in candidates if path.is_file()), None) or index.find(entry) or candidates[0]
            yield _Place(image, image.name, place, number)


def _label_path(image: Path, index: PathIndex) -> Path:
    """Returns the path of an image's text file: in `labels` instead of the last `images`, or beside the image.

    If neither is there, it is the text file of that name at the same place of the data, however its folder is called;
    and if there is none, the path at which it was expected.
    """
    beside = image.with_suffix(".txt")
    swapped, folder = _swapped(image)
    swapped = swapped if folder.is_dir() else beside
    for path in (swapped, beside):
        if path.is_file():
            return path
    return index.find(image.stem, near=image, role=role_of(image, index.root)) or swapped


def _swapped(image: Path) -> tuple[Path, Path]:
    """Returns the path of an image's text file in `labels` instead of the last `images`, and that folder `labels`.

    They are the text file and the folder beside the image, if it is in no folder called `images`. All tools look there.
    """
    path = image.with_suffix(".txt")
    parts = path.parts
    position = next((at for at in range(len(parts) - 2, -1, -1) if parts[at] == "images"), None)
    if position is None:
        return path, path.parent
    folder = Path(*parts[:position], "labels")
    return folder.joinpath(*parts[position + 1 :]), folder


def _report_missing_labels(role: str, labels: Sequence[Path], log: Log) -> None:
    missing = [label for label in labels if not label.is_file()]
    if not missing:
        return
    if len(missing) < len(labels):
        log.note(
            f"{len(missing)} of the {len(labels)} images for {role} have no text file, and count as images without "
            f"objects; the first one that is missing is {missing[0]}."
        )
        return
    reason = f"none of the {len(labels)} images for {role} has a text file; they count as images without objects"
    log.add("no annotation", missing[0], None, reason, kept=True)


def _report_lone_labels(labels: set[Path], index: PathIndex, log: Log) -> None:
    folders = {label.parent for label in labels}
    for path in index.paths:
        is_other = path.name in _OTHER_TEXTS or "readme" in path.name.lower()
        if path.parent in folders and path not in labels and not is_other:
            log.add("missing image", path, None, "there is no image of that name; the text file is left out")


def write(data: Data, folder: str | Path, *, images: Keep = "copy", strict: bool = False) -> tuple[Fault, ...]:
    """Writes a data set in YOLO's layout: `images/SPLIT/NAME.jpg`, `labels/SPLIT/NAME.txt` and `data.yaml`.

    Of an image whose name has a folder called `images` in it, the text file is where readers look: in `labels` instead
    of that folder.

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
    for part in parts.values():
        stems(part)  # Two images of one stem have one text file.
    places = {f"images/{role}/{scene.name}": scene for role, part in parts.items() for scene in part}
    root = put_images(list(places.values()), folder, list(places), images)
    for place, scene in places.items():
        path = root / _swapped(Path(place))[0]
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
