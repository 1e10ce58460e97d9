"""Pascal VOC: one XML file for each image.

The format is described at http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 8. The flag
`difficult` of an object is read into `Scene.difficult`; `pose`, `truncated`, `occluded` and CVAT's `attributes` are
read into `Scene.attributes`. Parts of persons (`<part>`) are not read.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.documents import Node, read_text, read_xml
from pipelines.annotations.faults import Log
from pipelines.annotations.files import Keep, note_lossy, put_images, stems
from pipelines.annotations.outlines import read_polygons, read_runs
from pipelines.annotations.places import (
    PathIndex,
    divided_by_folder,
    divided_by_image,
    image_index,
    name_below,
    role_of,
)
from pipelines.annotations.values import read_flag, stated_size
from pipelines.data import Data, Fault, Scene
from pipelines.sources.image_files import files_below
from pipelines.sources.split_names import splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["read", "write"]

# The parts of an <object> that have a field in Scene. The others are kept as attributes.
_PLACED = ("name", "bndbox", "difficult", "iscrowd", "polygon", "attributes", "part", "rle")
# Values of an <object> that say nothing, and are not kept
_DEFAULTS = {"pose": "Unspecified", "truncated": "0", "occluded": "0"}


def read(
    folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
    origin: int | None = None,
) -> Data:
    """Reads a folder of Pascal VOC annotations.

    Images and XML files may lie anywhere below the folder: in `JPEGImages/` and `Annotations/`, in `images/` and
    `annotations/`, or together, as LabelImg writes them. The splits are lists with one name on each line:
    `ImageSets/Main/train.txt` (or `trainval.txt`), `val.txt` and `test.txt`; or else folders, as in `images/train` and
    `annotations/train`, `train/images` and `train/annotations`, or `train` with both. Without either, `pipelines.split`
    divides the images. An image belongs to the XML file of its name, or else to the XML file that names it in
    `<filename>`.

    Args:
        folder: Folder of the data.
        class_names: Names of the classes to read, in order. Defaults to all that occur, sorted by name.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.
        origin: Coordinate of the upper left corner of the first pixel. Today's tools count from 0. The data of the VOC
            contests counts pixels from 1, with both ends included, so 1 is subtracted from its `xmin` and `ymin`.
            Defaults to 1 for files whose `<database>` begins with "The VOC", and to 0 for others.

    Returns:
        A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no annotated images to train on, or there is a fault and `strict`.
    """
    root = Path(folder)
    log = Log(strict=strict)
    images = image_index(root)
    xmls = [Path(path) for path in files_below(root) if path.lower().endswith(".xml")]
    lists = _listed(xmls, root, log)
    files = lists or divided_by_folder(xmls, root, log)
    used: set[Path] = set()
    drafts: dict[str, list[Draft]] = {}
    for role, chosen in files.items():
        drafts[role] = []
        for path in chosen:
            draft = _read_file(path, images, origin, log)
            if draft is not None:
                drafts[role].append(draft)
                used.add(draft.image)
    if not lists and set(drafts) == {"train"}:
        drafts = divided_by_image(drafts["train"], root, log)
    # An image whose XML file is not listed, or cannot be parsed, does have an XML file.
    named = {images.find(path.stem, near=path, role=role_of(path, root)) for path in xmls}
    for image in images.paths:
        if image not in used and image not in named:
            log.add("no annotation", image, None, "the image has no XML file; it is left out")
    return assemble(drafts, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _listed(xmls: Sequence[Path], root: Path, log: Log) -> dict[str, list[Path]]:
    """Returns the XML files of each split by the lists in `ImageSets`, or in the root; none without such lists."""
    lists: dict[str, list[Path]] = {}
    for folders in (root.rglob("ImageSets/Main"), root.rglob("ImageSets"), [root]):
        for folder in sorted(folders):
            texts = splits_among(path.stem for path in folder.glob("*.txt"))
            base = next((place.parent for place in (folder, folder.parent) if place.name == "ImageSets"), folder)
            index = PathIndex([path for path in xmls if path.is_relative_to(base)], base)
            for split, name in texts.items() if "train" in texts else ():
                lists.setdefault(split, []).extend(_names_in(folder / f"{name}.txt", index, log))
        if lists:
            break
    else:
        return {}
    named = {path for part in lists.values() for path in part}
    for path in xmls:
        if path not in named:
            log.add("not listed", path, None, "no list of a split names the annotation; it is left out")
    return lists


def _names_in(path: Path, index: PathIndex, log: Log) -> list[Path]:
    """Returns the XML files that a list names, which may hold paths, or an image and an annotation on each line."""
    chosen = []
    for number, line in enumerate((read_text(path, log) or "").split("\n"), start=1):
        entry = line.strip()
        if not entry:
            continue
        found = next(
            (f for e in (line.rstrip("\r"), entry, entry.split()[0]) if (f := index.find(e)) is not None), None
        )
        if found is None:
            log.add("no annotation", path, number, f"there is no XML file for {entry!r}; it is left out")
        else:
            chosen.append(found)
    return chosen


def _read_file(path: Path, images: PathIndex, origin: int | None, log: Log) -> Draft | None:
    root = read_xml(path, log)
    if root is None:
        return None
    if root.tag != "annotation":
        log.add("broken", path, root.line, f"expected the root <annotation>, received <{root.tag}>; it is left out")
        return None
    own = role_of(path, images.root)
    claimed = root.words("filename")
    image = images.find(path.stem, near=path, role=own) or images.find(claimed, near=path, role=own)
    if image is None:
        filename = root.find("filename")
        line = filename.line if isinstance(filename, Node) else None
        names = f"{path.stem}.*" + (f" or {claimed}" if claimed else "")
        reason = f"there is no image {names} in {images.root}, or several; the annotation is left out"
        log.add("missing image", path, line, reason)
        return None
    if origin is None:
        origin = int(root.words("source/database").startswith("The VOC"))
    objects = [found for node in _nodes(root, "object") if (found := _read_object(node, path, origin, log)) is not None]
    size = stated_size(root.words("size/height"), root.words("size/width"), path, root.line, log)
    return Draft(image, name_below(image, images.root), path, objects, size=size)


def _read_object(node: Node, path: Path, origin: int, log: Log) -> Found | None:
    class_name = node.words("name")
    if not class_name:
        log.add("broken", path, node.line, "an object has no <name>; it is left out")
        return None
    box = node.find("bndbox")
    try:
        corners = [float(box.words(key)) for key in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        log.add("broken", path, node.line, f"{class_name!r}: <bndbox> does not hold four numbers; it is left out")
        return None
    attributes: dict[str, Any] = {
        child.tag: (child.text or "").strip() for child in node if child.tag not in _PLACED and not len(child)
    }
    attributes = {key: value for key, value in attributes.items() if value != _DEFAULTS.get(key)}
    for item in node.iterfind("attributes/attribute"):
        value = item.findtext("value") or ""
        is_json = item.find("value[@type='json']") is not None
        attributes[(item.findtext("name") or "").strip()] = _parse(value) if is_json else value
    return Found(
        class_name,
        (corners[0] - origin, corners[1] - origin, corners[2], corners[3]),
        box.line if isinstance(box, Node) else node.line,
        difficult=read_flag(node.words("difficult"), "difficult", path, node.line, log),
        crowd=read_flag(node.words("iscrowd"), "iscrowd", path, node.line, log),
        outline=_read_outline(node, path, log),
        attributes=attributes,
    )


def _read_outline(node: Node, path: Path, log: Log) -> Any:
    """Reads the outline that `write` adds to VOC, or returns None if there is none or if it is broken."""
    try:
        runs = node.findtext("rle")
        if runs is not None:
            return read_runs(json.loads(runs))
        polygons = [
            [[float(point.findtext(key) or "nan") for key in "xy"] for point in polygon.iterfind("pt")]
            for polygon in node.iterfind("polygon")
        ]
        return read_polygons(polygons) if polygons else None
    except (KeyError, TypeError, ValueError, OverflowError):
        log.add("broken", path, node.line, "the outline is broken; the object is kept as a box", kept=True)
        return None


def _parse(text: str) -> Any:
    """Parses JSON, or returns the text itself if it is not JSON, because another tool wrote it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nodes(root: Node, tag: str) -> Iterator[Node]:
    return (node for node in root.iterfind(tag) if isinstance(node, Node))


def write(data: Data, folder: str | Path, *, images: Keep = "copy", strict: bool = False) -> tuple[Fault, ...]:
    """Writes a data set as Pascal VOC: `Annotations/NAME.xml`, `JPEGImages/NAME.jpg`, `ImageSets/Main/SPLIT.txt`.

    `read` returns the same scenes. Coordinates are written with all their digits. Outlines, crowds and attributes are
    written in additional elements, as CVAT does; other readers skip them. VOC has no order of classes, so it is lost;
    `read(..., class_names=data.class_names)` restores it.

    Args:
        data: Data set with boxes.
        folder: A folder that is new or empty.
        images: "copy" copies the files, "link" links to them, and "leave" writes the annotations alone.
        strict: Whether to raise a ValueError, before anything is written, if information would be lost.

    Returns:
        A fault for each kind of information that VOC has no place for: masks of classes, identities, time stamps.

    Raises:
        ValueError: The folder is not empty, two images differ in their suffix alone, or information would be lost and
            `strict`.
    """
    scenes = [scene for part in data.splits.values() for scene in part]
    names = stems(scenes)
    lossy = note_lossy(data, folder, holds={"outlines", "crowd", "difficult", "attributes"}, strict=strict)
    root = put_images(scenes, folder, ["JPEGImages/" + scene.name for scene in scenes], images)
    for scene, name in zip(scenes, names, strict=True):
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        tree = ElementTree.ElementTree(_annotation(scene, data.class_names))
        ElementTree.indent(tree, "\t")
        tree.write(path, "utf-8", xml_declaration=True)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for role, part in data.splits.items():
        if part:
            text = "".join(f"{name}\n" for name in stems(part))
            (lists / f"{'val' if role == 'valid' else role}.txt").write_text(text, "utf-8")
    return lossy


def _annotation(scene: Scene, class_names: Sequence[str]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", Path(scene.name).name)
    _add(_add(root, "source"), "database", "Unknown")
    size = _add(root, "size")
    for key, value in (("width", scene.size[1]), ("height", scene.size[0]), ("depth", 3)):
        _add(size, key, str(value))
    _add(root, "segmented", str(int(any(outline is not None for outline in scene.outlines or ()))))
    for index in range(len(scene)):
        _add_object(root, scene, index, class_names)
    return root


def _add_object(root: ElementTree.Element, scene: Scene, index: int, class_names: Sequence[str]) -> None:
    node = _add(root, "object")
    attributes = dict((scene.attributes or ())[index])
    _add(node, "name", class_names[scene.classes[index]])
    for key, default in _DEFAULTS.items():
        if isinstance(attributes.get(key, default), str):
            _add(node, key, attributes.pop(key, default))
    _add(node, "difficult", str(int(scene.difficult[index])))
    if scene.crowd[index]:
        _add(node, "iscrowd", "1")
    box = _add(node, "bndbox")
    for key, number in zip(("xmin", "ymin", "xmax", "ymax"), scene.boxes[index].tolist(), strict=True):
        _add(box, key, _number(number))
    outline = (scene.outlines or ())[index]
    if isinstance(outline, Mapping):
        _add(node, "rle", json.dumps(dict(outline)))
    elif outline is not None:
        for points in outline:
            polygon = _add(node, "polygon")
            for x, y in np.asarray(points).tolist():
                point = _add(polygon, "pt")
                _add(point, "x", _number(x))
                _add(point, "y", _number(y))
    if attributes:
        others = _add(node, "attributes")
        for key, value in attributes.items():
            item = _add(others, "attribute")
            _add(item, "name", key)
            if isinstance(value, str):
                _add(item, "value", value)
            else:
                _add(item, "value", json.dumps(value)).set("type", "json")


def _add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    node = ElementTree.SubElement(parent, tag)
    node.text = text
    return node


def _number(value: float) -> str:
    """Returns a number as text: whole numbers without a point, as VOC writes them, and others with all digits."""
    return str(int(value)) if value == int(value) else repr(value)
