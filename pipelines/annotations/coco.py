"""COCO JSON: one file for each split, with lists of images, categories and annotations.

The format is described at https://cocodataset.org/#format-data. The parts of an annotation that have no field in
`Scene` (id, area, key points, score and so on) are kept in `Scene.attributes` and written back, and so are CVAT's
`attributes`. The general `info`, `licenses` and supercategories are not kept.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import Json, read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.files import Keep, note_lossy, put_images
from pipelines.annotations.layouts import looks_like_coco
from pipelines.annotations.outlines import outline_mask, read_polygons, read_runs
from pipelines.data import Data, Fault, Scene
from pipelines.sources.split_names import split_in
from pipelines.sources.splits import GroupBy

__all__ = ["find_files", "read", "write"]

# The parts of an annotation that have a field in Scene
_PLACED = ("bbox", "category_id", "image_id", "segmentation", "iscrowd", "attributes")
# The attributes that are written beside CVAT's `attributes`, and not inside of them
_TOP_LEVEL = ("id", "area", "score", "keypoints", "num_keypoints", "caption")


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
) -> Data:
    """Reads COCO annotations.

    Args:
        source: A JSON file, or a folder with JSON files in `annotations/`, in itself, or in one folder for each split
            (`train/`, `valid/`, `test/`, as Roboflow exports them). With several files, the word train, val or test in
            the name of the file or of its folder tells the split. `pipelines.split` divides a single file.
        images: Folder that `file_name` is relative to. By default the images are searched beside the JSON file, in
            `images/`, and in folders with the name of the split.
        class_names: Names of the categories to read, in order. Defaults to all, in the order of their ids.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.

    Returns:
        A `Data` of scenes. Polygons and run lengths are in `Scene.outlines`, and category ids in `class_ids`.
        `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no annotated images to train on, there are several files for one split, or there is a
            fault and `strict`.
    """
    path = Path(source)
    log = Log(strict=strict)
    files = {"train": path} if path.is_file() else find_files(path)
    root = path.parent if path.is_file() else path
    if not files:
        raise ValueError(f"{path}: expected a JSON file with images, annotations and categories, and found none")
    documents = {role: (file, read_json(file, log)) for role, file in files.items()}
    categories: dict[int, str] = {}
    for file, document in documents.values():
        if document is not None and not _is_coco(document.value):
            log.add("broken", file, 1, "expected the lists images, annotations and categories; the file is left out")
            document.value = {}
        categories |= _categories(file, document, log)
    ids = sorted(categories)
    if class_names is not None:
        by_name = {name: number for number, name in categories.items()}
        ids = [by_name.get(name, -1) for name in class_names]
    drafts = {
        role: _drafts(file, document, categories, Path(images) if images is not None else None, root, role, log)
        for role, (file, document) in documents.items()
        if document is not None
    }
    names = class_names if class_names is not None else [categories[number] for number in ids]
    return assemble(
        drafts,
        names,
        log,
        valid=valid,
        test=test,
        seed=seed,
        group_by=group_by,
        class_ids=ids if -1 not in ids else None,
    )


def find_files(folder: Path) -> dict[str, Path]:
    """Returns the COCO file of each split in a folder. With several files, those without a split's name are left out.

    Raises:
        ValueError: There are two files for one split.
    """
    found: dict[str, Path] = {}
    files = [
        file
        for file in sorted([*folder.glob("annotations/*.json"), *folder.glob("*.json"), *folder.glob("*/*.json")])
        if looks_like_coco(file)
    ]
    files = list(dict.fromkeys(files))
    # The archives of the COCO contest also hold key points of the same images.
    files = [file for file in files if file.name.startswith("instances")] or files
    if len(files) == 1:
        return {"train": files[0]}
    for file in files:
        role = split_in(file.stem) or split_in(file.parent.name)
        if role is None:
            continue
        if role in found:
            raise ValueError(
                f"{folder}: expected one file for each split, and found both {found[role].name} and {file.name} for "
                f"{role}. Pass the file to read"
            )
        found[role] = file
    return found


def _is_coco(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("annotations") or [], list):
        return False
    return all(isinstance(value.get(key), list) for key in ("images", "categories"))


def _categories(file: Path, document: Json | None, log: Log) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, category in enumerate(document.value.get("categories", ()) if document is not None else ()):
        try:
            found[int(category["id"])] = str(category["name"])
        except (TypeError, KeyError, ValueError, OverflowError):
            log.add(
                "broken",
                file,
                _line(document, "categories", index),
                f"categories[{index}] has no id and name; it is left out",
            )
    return found


def _drafts(
    file: Path, document: Json, categories: Mapping[int, str], images: Path | None, root: Path, role: str, log: Log
) -> list[Draft]:
    found: dict[Any, list[Found]] = {}
    entries: dict[Any, tuple[int, Mapping[str, Any]]] = {}
    for index, entry in enumerate(document.value.get("images", ())):
        if not (isinstance(entry, dict) and isinstance(entry.get("file_name"), str) and _is_key(entry.get("id"))):
            reason = f"images[{index}] has no id and file_name; it is left out"
            log.add("broken", file, document.line("images", index), reason)
            continue
        if entry["id"] in entries:
            log.add(
                "duplicate",
                file,
                document.line("images", index),
                f"images[{index}] has the id {entry['id']!r} of an earlier image; it is left out",
            )
            continue
        entries[entry["id"]] = (index, entry)
        found[entry["id"]] = []
    for index, annotation in enumerate(document.value.get("annotations") or ()):
        line = document.line("annotations", index)
        where = f"annotations[{index}]"
        if not isinstance(annotation, dict):
            log.add("broken", file, line, f"{where} is not an object; it is left out")
            continue
        image_id = annotation.get("image_id")
        if not _is_key(image_id) or image_id not in found:
            log.add("missing image", file, line, f"{where}: no image has the id {image_id!r}; it is left out")
            continue
        made = _found(annotation, categories, file, line, where, log)
        if made is not None:
            found[image_id].append(made)
    places = [images] if images is not None else _image_folders(file, root, role)
    drafts = []
    for number, (index, entry) in entries.items():
        name = entry["file_name"].replace("\\", "/")
        image = next((place / name for place in places if (place / name).is_file()), places[0] / name)
        size = (entry.get("height"), entry.get("width"))
        drafts.append(
            Draft(
                image,
                name,
                file,
                found[number],
                line=document.line("images", index),
                size=size if all(isinstance(side, int) and side > 0 for side in size) else None,  # type: ignore[arg-type]
                number=number,
            )
        )
    return drafts


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _image_folders(file: Path, root: Path, role: str) -> list[Path]:
    """Returns the folders in which images may be: first those with the name of the split, then the usual ones."""
    words = [file.stem.removeprefix("instances_"), *({"valid": ("val", "valid")}.get(role, (role,)))]
    usual = [base / "images" / word for base in (root, file.parent.parent) for word in words]
    usual += [base / word for base in (root, file.parent.parent) for word in words]
    usual += [file.parent / "images", root / "images", file.parent.parent / "images", file.parent, root]
    return [place for place in dict.fromkeys(usual) if place.is_dir()]


def _found(
    annotation: Mapping[str, Any], categories: Mapping[int, str], file: Path, line: int, where: str, log: Log
) -> Found | None:
    try:
        x, y, width, height = (float(number) for number in annotation["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        log.add("broken", file, line, f"{where}: bbox is not four numbers; the annotation is left out")
        return None
    number = annotation.get("category_id")
    known = _is_key(number) and number in categories
    extra = annotation.get("attributes")
    attributes = {key: value for key, value in annotation.items() if key not in _PLACED}
    attributes |= extra if isinstance(extra, dict) else {}
    try:
        outline = _outline(annotation.get("segmentation"))
    except (TypeError, ValueError, KeyError, OverflowError):
        reason = f"{where}: segmentation is neither polygons nor run lengths; the object is kept as a box"
        log.add("broken", file, line, reason, kept=True)
        outline = None
    return Found(
        categories[number] if known else f"category {number!r}",  # type: ignore[index]
        (x, y, x + width, y + height),
        line,
        difficult=bool(attributes.pop("difficult", False)),
        crowd=bool(annotation.get("iscrowd", 0)),
        outline=outline,
        attributes=attributes,
    )


def _outline(segmentation: Any) -> Any:
    if not segmentation:
        return None
    return read_runs(segmentation) if isinstance(segmentation, dict) else read_polygons(segmentation)


def write(data: Data, folder: str | Path, *, images: Keep = "copy", strict: bool = False) -> tuple[Fault, ...]:
    """Writes a data set as COCO: `images/NAME.jpg` and `annotations/instances_{train,val,test}.json`.

    `read` returns the same scenes. Category ids are `data.class_ids`, or count from 1. Ids of images and of annotations
    are kept if the data has them and all are different; otherwise they count from 1. `area` is the area of the outline,
    or of the box. Attributes that COCO has no field for are written to `attributes`, as CVAT does.

    Args:
        data: Data set with boxes.
        folder: A folder that is new or empty.
        images: "copy" copies the files, "link" links to them, and "leave" writes the annotations alone.
        strict: Whether to raise a ValueError, before anything is written, if information would be lost.

    Returns:
        A fault for each kind of information that COCO has no place for: masks of classes, identities, time stamps.

    Raises:
        ValueError: The folder is not empty, two images have the same name, or information would be lost and `strict`.
    """
    scenes = [scene for part in data.splits.values() for scene in part]
    if len({scene.name for scene in scenes}) < len(scenes):
        raise ValueError("two images have the same name. Expected different names, to write the images into one folder")
    lossy = note_lossy(data, folder, holds={"outlines", "crowd", "difficult", "attributes"}, strict=strict)
    root = put_images(scenes, folder, ["images/" + scene.name for scene in scenes], images)
    (root / "annotations").mkdir()
    class_ids = data.class_ids or range(1, len(data.class_names) + 1)
    categories = [{"id": number, "name": name} for number, name in zip(class_ids, data.class_names, strict=True)]
    image_ids = _ids([scene.number for scene in scenes])
    own_ids = _ids([entry.get("id") for scene in scenes for entry in scene.attributes or ()])
    first_image = first_object = 0
    for role, part in data.splits.items():
        if not part:
            continue
        numbers = image_ids[first_image : first_image + len(part)]
        annotations = []
        for scene, number in zip(part, numbers, strict=True):
            for index in range(len(scene)):
                annotations.append(_annotation(scene, index, number, own_ids[first_object + index], class_ids))
            first_object += len(scene)
        first_image += len(part)
        content = {
            "images": [
                {"id": number, "file_name": scene.name, "height": scene.size[0], "width": scene.size[1]}
                for scene, number in zip(part, numbers, strict=True)
            ],
            "annotations": annotations,
            "categories": categories,
        }
        path = root / "annotations" / f"instances_{'val' if role == 'valid' else role}.json"
        path.write_text(_one_entry_a_line(content), "utf-8")
    return lossy


def _ids(wanted: Sequence[Any]) -> list[Any]:
    """Returns the ids that the data has, if all are there and different, and otherwise 1, 2, 3 and so on."""
    if None not in wanted and len(set(wanted)) == len(wanted):
        return list(wanted)
    return list(range(1, len(wanted) + 1))


def _annotation(scene: Scene, index: int, image_id: Any, number: Any, class_ids: Sequence[int]) -> dict[str, Any]:
    x1, y1, x2, y2 = scene.boxes[index].tolist()
    outline = (scene.outlines or ())[index]
    attributes = dict((scene.attributes or ())[index])
    if scene.difficult[index]:
        attributes["difficult"] = True
    annotation = {
        "id": number,
        "image_id": image_id,
        "category_id": class_ids[scene.classes[index]],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": attributes.get("area", (x2 - x1) * (y2 - y1)),
        "iscrowd": int(scene.crowd[index]),
    }
    if isinstance(outline, Mapping):
        annotation["segmentation"] = dict(outline)
    elif outline is not None:
        annotation["segmentation"] = [np.asarray(points).reshape(-1).tolist() for points in outline]
    if outline is not None and "area" not in attributes and not isinstance(outline, Mapping):
        annotation["area"] = float(outline_mask(outline, scene.size).sum())
    annotation |= {key: attributes.pop(key) for key in _TOP_LEVEL if key in attributes and key not in ("id", "area")}
    attributes.pop("id", None)
    attributes.pop("area", None)
    if attributes:
        annotation["attributes"] = attributes
    return annotation


def _one_entry_a_line(content: Mapping[str, Sequence[Any]]) -> str:
    """Returns JSON with one line for each entry, so that the line of a fault identifies the entry."""
    parts = [
        f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]"
        for key, entries in content.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(document: Json | None, *keys: str | int) -> int | None:
    return None if document is None else document.line(*keys)
