"""COCO JSON: one file for each split, with lists of images, categories and annotations.

The format is described at https://cocodataset.org/#format-data. The parts of an annotation that have no field in
`Scene` (id, area, key points, score and so on) are kept in `Scene.attributes` and written back, and so are CVAT's
`attributes`. The general `info`, `licenses` and supercategories are not kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.coco_places import ImagePlaces, own_role
from pipelines.annotations.documents import Json, read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.files import Keep, note_lossy, put_images
from pipelines.annotations.layouts import is_coco
from pipelines.annotations.outlines import outline_mask, read_polygons, read_runs
from pipelines.annotations.places import divided_by_image, name_below, root_of
from pipelines.annotations.values import identifier, read_flag, stated_size
from pipelines.data import Data, Fault, Scene
from pipelines.sources.image_files import files_below
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
        source: A JSON file, or a folder with JSON files anywhere below it. With several files, the word train, val or
            test in the name of a file or of one of its folders tells the split. `pipelines.split` divides a single
            file, unless its images are in folders of splits.
        images: Folder that `file_name` is relative to. By default the images are searched beside the JSON file, in
            `images/`, and in folders with the name of the split, and then by their names anywhere in the folder.
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
    root = root_of(path)
    files = {"train": path} if path.is_file() else find_files(path, log)
    if not files:
        raise ValueError(f"{path}: expected a JSON file with images, annotations and categories, and found none")
    documents = {role: (file, read_json(file, log)) for role, file in files.items()}
    entries: list[tuple[int | str, str]] = []
    for file, document in documents.values():
        if document is not None and not _is_coco(document.value):
            log.add("broken", file, 1, "expected the lists images, annotations and categories; the file is left out")
            document.value = {}
        entries += _categories(file, document, log)
    used = {number for _, document in documents.values() for number in _used_categories(document)}
    categories = _without_unused_twins(dict(entries), used, log)
    ids: list[int | str | None] = sorted(categories, key=lambda number: (isinstance(number, str), number))
    if class_names is not None:
        by_name = {name: number for number, name in categories.items()}
        ids = [by_name.get(name) for name in class_names]
    places = ImagePlaces(Path(images) if images is not None else None, root)
    drafts = {
        role: _drafts(file, document, categories, places, log)
        for role, (file, document) in documents.items()
        if document is not None
    }
    if len(drafts) == 1 and all(own_role(file, root) is None for file in files.values()):
        drafts = divided_by_image(next(iter(drafts.values())), places.index.root, log)
    names = class_names if class_names is not None else [categories[number] for number in ids if number is not None]
    return assemble(
        drafts,
        names,
        log,
        valid=valid,
        test=test,
        seed=seed,
        group_by=group_by,
        class_ids=None if None in ids else [number for number in ids if number is not None],
    )


def find_files(folder: Path, log: Log) -> dict[str, Path]:
    """Returns the COCO file of each split anywhere below a folder.

    The word train, val or test in the name of a file, or else of one of its folders, tells the split. Files that are
    not used are listed as faults. If no word tells several files apart, the first one by name is used.

    Raises:
        ValueError: There are two files for one split.
    """
    jsons = [Path(name) for name in files_below(folder) if name.lower().endswith(".json")]
    # The archives of the COCO contest also hold key points of the same images.
    files = [file for file in jsons if is_coco(file)] or jsons
    chosen = [file for file in files if file.name.startswith("instances")] or files
    found: dict[str, Path] = {}
    for file in chosen:
        role = own_role(file, folder)
        if role is None:
            continue
        if role in found:
            raise ValueError(
                f"{folder}: expected one file for each split, and found both {found[role].name} and {file.name} for "
                f"{role}. Pass the file to read"
            )
        found[role] = file
    if "train" not in found and chosen:
        first = next((file for file in chosen if file not in found.values()), None)
        if first is not None:
            found["train"] = first
        elif len(found) == 1:
            found = {"train": next(iter(found.values()))}
    used = ", ".join(str(file.relative_to(folder)) for file in found.values())
    for file in files:
        if file not in found.values():
            why = "no word in its name or folders tells its split (train, val, test)"
            if own_role(file, folder) is not None:
                why = "the files called instances come first"
            reason = (
                f"{used} {'is' if len(found) == 1 else 'are'} read, and this file is not, since {why}; to read it "
                f"instead, pass the file itself: {file}"
            )
            log.add("not listed", file, None, reason)
            log.note(f"{file.relative_to(folder)} is not used: {reason}.")
    return found


def _is_coco(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("annotations") or [], list):
        return False
    return all(isinstance(value.get(key), list) for key in ("images", "categories"))


def _categories(file: Path, document: Json | None, log: Log) -> list[tuple[int | str, str]]:
    found = []
    for index, category in enumerate(document.value.get("categories", ()) if document is not None else ()):
        try:
            found.append((identifier(category["id"]), str(category["name"]).strip()))
        except (TypeError, KeyError, ValueError, OverflowError):
            log.add(
                "broken",
                file,
                _line(document, "categories", index),
                f"categories[{index}] has no id and name; it is left out",
            )
    return found


def _used_categories(document: Json | None) -> Iterator[int | str]:
    for annotation in (document.value.get("annotations") or ()) if document is not None else ():
        number = _key(annotation.get("category_id")) if isinstance(annotation, dict) else None
        if number is not None:
            yield number


def _without_unused_twins(categories: Mapping[int | str, str], used: set[int | str], log: Log) -> dict[int | str, str]:
    """Leaves out categories without objects that have the name of another one, as Roboflow's root category may."""
    kept = dict(categories)
    for number, name in categories.items():
        twins = [other for other in kept if kept[other] == name]
        if number not in used and len(twins) > 1:
            del kept[number]
            log.note(
                f"The category {number!r} is left out: it has no objects, and another one is called {name!r}, too."
            )
    return kept


def _drafts(
    file: Path, document: Json, categories: Mapping[int | str, str], places: ImagePlaces, log: Log
) -> list[Draft]:
    entries = _images(file, document, log)
    found: dict[int | str, list[Found]] = {number: [] for number in entries}
    key_points = 0
    for index, annotation in enumerate(document.value.get("annotations") or ()):
        line = document.line("annotations", index)
        where = f"annotations[{index}]"
        if not isinstance(annotation, dict):
            log.add("broken", file, line, f"{where} is not an object; it is left out")
            continue
        image_id = _key(annotation.get("image_id"))
        if image_id is None or image_id not in found:
            shown = annotation.get("image_id")
            log.add("missing image", file, line, f"{where}: no image has the id {shown!r}; it is left out")
            continue
        key_points += bool(annotation.get("keypoints"))
        made = _found(annotation, categories, file, line, where, log)
        if made is not None:
            found[image_id].append(made)
    if key_points:
        log.note(f"The boxes of {file.name} are read; the key points of {key_points} objects are not learned from.")
    drafts = []
    elsewhere: list[tuple[str, Path]] = []
    for number, (index, entry) in entries.items():
        name = entry["file_name"].replace("\\", "/")
        line = document.line("images", index)
        image, is_stated = places.find(name, file)
        if image is None:
            several = places.candidates(name, file)
            if several:
                reason = f"images[{index}]: {name!r} may be any of {len(several)} images, such as {several[0]} and "
                log.add("missing image", file, line, f"{reason}{several[1]}; it is left out")
                continue
            image = places.expected(name, file)
        elif not is_stated:
            elsewhere.append((name, image))
            name = name_below(image, places.index.root)
        size = stated_size(entry.get("height"), entry.get("width"), file, line, log)
        drafts.append(Draft(image, name, file, found[number], line=line, size=size, number=number))
    if elsewhere:
        log.note(
            f"{len(elsewhere)} of {len(entries)} images of {file.name} do not lie where it says, and were found by "
            f"their names; the first is {elsewhere[0][1]} for {elsewhere[0][0]}."
        )
    return drafts


def _images(file: Path, document: Json, log: Log) -> dict[int | str, tuple[int, Mapping[str, Any]]]:
    """Returns the entries of images by their ids. Images that share an id are left out, unless they are the same."""
    entries: dict[int | str, tuple[int, Mapping[str, Any]]] = {}
    ambiguous: set[int | str] = set()
    for index, entry in enumerate(document.value.get("images", ())):
        number = _key(entry.get("id")) if isinstance(entry, dict) else None
        line = document.line("images", index)
        if number is None or not isinstance(entry.get("file_name"), str):
            log.add("broken", file, line, f"images[{index}] has no id and file_name; it is left out")
        elif number not in entries:
            entries[number] = (index, entry)
        else:
            first, other = entries[number]
            if entry["file_name"] == other["file_name"]:
                reason = f"images[{index}] is images[{first}] once more (id {number!r}); it is left out"
            else:
                ambiguous.add(number)
                reason = (
                    f"images[{index}] ({entry['file_name']}) and images[{first}] ({other['file_name']}) have the same "
                    f"id {number!r}, so that nothing tells whose the annotations with this id are; both images are "
                    "left out with these. Files that were put together need new ids"
                )
            log.add("duplicate", file, line, reason)
    return {number: entry for number, entry in entries.items() if number not in ambiguous}


def _key(value: Any) -> int | str | None:
    """Returns an id in one spelling, or None for what is none."""
    try:
        return identifier(value)
    except (ValueError, OverflowError):
        return None


def _found(
    annotation: Mapping[str, Any], categories: Mapping[int | str, str], file: Path, line: int, where: str, log: Log
) -> Found | None:
    try:
        x, y, width, height = (float(number) for number in annotation["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        log.add("broken", file, line, f"{where}: bbox is not four numbers; the annotation is left out")
        return None
    number = _key(annotation.get("category_id"))
    known = number is not None and number in categories
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
        categories[number] if known else f"category {annotation.get('category_id')!r}",  # type: ignore[index]
        (x, y, x + width, y + height),
        line,
        difficult=read_flag(attributes.pop("difficult", False), f"{where}: difficult", file, line, log),
        crowd=read_flag(annotation.get("iscrowd"), f"{where}: iscrowd", file, line, log),
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


def _annotation(scene: Scene, index: int, image_id: Any, number: Any, class_ids: Sequence[int | str]) -> dict[str, Any]:
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
