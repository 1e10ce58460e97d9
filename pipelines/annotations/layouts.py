"""Recognising the format of annotations, by parsing the files that may hold them."""

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipelines.annotations.json_heads import JsonHead, json_heads
from pipelines.annotations.mask_folders import find_mask_folders
from pipelines.annotations.signatures import SIGNATURES, fitting_layout
from pipelines.sources.image_files import files_below, is_image

__all__ = [
    "LAYOUTS",
    "Recognition",
    "find_description",
    "is_coco",
    "json_layout",
    "layout_of",
    "read_description",
    "recognise",
]

LAYOUTS = ("voc", "yolo", "coco", "via", "labelme", "masks", *SIGNATURES)

# Number of files of one kind that are parsed before a folder counts as one without annotations of that kind.
_TRIES = 50


@dataclass(frozen=True)
class Recognition:
    """The format of annotations, and how it was recognised.

    Attributes:
        layout: One of `LAYOUTS`.
        reason: What was found, in words.
        others: Other formats that were found in the same folder, and are not read.
    """

    layout: str
    reason: str
    others: tuple["Recognition", ...] = ()

    def __str__(self) -> str:
        others = "".join(f"; there is {other.layout}, too ({other.reason})" for other in self.others)
        return f"{self.layout} ({self.reason}){others}"


def layout_of(path: Path) -> str | None:
    """Returns which of `LAYOUTS` a file or folder is, or `None`."""
    recognition = recognise(path)
    return None if recognition is None else recognition.layout


def recognise(path: Path) -> Recognition | None:
    """Recognises the format of a file, or of the annotations anywhere below a folder; `None` where there are none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "train").mkdir()
    ...     _ = Path(folder, "train/1.xml").write_text("<annotation/>")
    ...     recognise(Path(folder))
    Recognition(layout='voc', reason='train/1.xml is an <annotation>', others=())
    """
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in (".yaml", ".yml"):
            return Recognition("yolo", f"{path.name} is a description in YAML")
        layout = json_layout(path) if suffix == ".json" else None
        if layout is not None:
            return Recognition(layout, f"{path.name} has the keys of that format")
        return _recognition(fitting_layout([path]), path.parent)
    files = _Files(path)
    found: dict[str, Recognition] = {}
    for check in _CHECKS:
        made = check(files)
        if made is not None:
            found.setdefault(made.layout, made)
    if not found:
        return _names(files)
    first, *others = found.values()
    return replace(first, others=tuple(others))


class _Files:
    """The files below a folder, by suffix in small letters, those in fewer folders first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_suffix: dict[str, list[Path]] = defaultdict(list)
        self.image_stems: set[tuple[str, str]] = set()
        for name in files_below(root):
            path = Path(name)
            if is_image(name):
                self.image_stems.add((str(path.parent), path.stem))
            else:
                self.by_suffix[path.suffix.lower()].append(path)
        for paths in self.by_suffix.values():
            paths.sort(key=lambda path: len(path.parts))

    def place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _description(files: _Files) -> Recognition | None:
    description = find_description(files.root)
    return None if description is None else Recognition("yolo", f"{files.place(description)} describes it")


def _xml(files: _Files) -> Recognition | None:
    for path in files.by_suffix[".xml"][:_TRIES]:
        if _xml_root(path) == "annotation":
            return Recognition("voc", f"{files.place(path)} is an <annotation>")
    return None


def _json(files: _Files) -> Recognition | None:
    for path in files.by_suffix[".json"][:_TRIES]:
        layout = json_layout(path)
        if layout is not None:
            return Recognition(layout, f"{files.place(path)} has the keys of that format")
    return None


def _darknet(files: _Files) -> Recognition | None:
    for path in (*files.by_suffix[".data"], *files.by_suffix[".names"], *files.by_suffix[".labels"]):
        if path.name in ("obj.data", "obj.names", "_darknet.labels"):
            return Recognition("yolo", f"{files.place(path)} is a file of Darknet")
    return None


def _texts(files: _Files) -> Recognition | None:
    """Recognises YOLO's text files: beside an image, or in a folder of labels; their lines are numbers."""
    tries = 0
    for path in files.by_suffix[".txt"]:
        is_beside = (str(path.parent), path.stem) in files.image_stems
        if not is_beside and "labels" not in path.relative_to(files.root).parent.as_posix().lower().split("/"):
            continue
        if _holds_yolo_lines(path):
            return Recognition("yolo", f"{files.place(path)} holds lines of a class and numbers")
        tries += 1
        if tries == _TRIES:
            break
    return None


def _masks(files: _Files) -> Recognition | None:
    found = find_mask_folders(files.root)
    return None if not found else Recognition("masks", f"{files.place(found[0].masks)} holds an image for each photo")


def _signature(files: _Files) -> Recognition | None:
    return _recognition(fitting_layout(path for paths in files.by_suffix.values() for path in paths), files.root)


def _recognition(found: tuple[str, Path] | None, root: Path) -> Recognition | None:
    if found is None:
        return None
    layout, path = found
    return Recognition(layout, f"{path.relative_to(root).as_posix()} {SIGNATURES[layout].reason}")


def _names(files: _Files) -> Recognition | None:
    beside = {str(files.root), str(files.root / "images")} & {folder for folder, _ in files.image_stems}
    if beside and (files.root / "classes.txt").is_file():
        return Recognition("yolo", "classes.txt holds the names of the classes")
    return None


# In this order: what is first found counts. A table, so that another format is another row.
_CHECKS: tuple[Callable[[_Files], Recognition | None], ...] = (
    _description, _xml, _json, _darknet, _texts, _masks, _signature,
)  # fmt: skip


def _xml_root(path: Path) -> str | None:
    """Returns the name of the root element. Of a broken file, it is what the parser got to."""
    try:
        for _, element in ElementTree.iterparse(path, ["start"]):
            return str(element.tag)
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        pass
    return None


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _holds_yolo_lines(path: Path) -> bool:
    """Tells whether the first line that is not empty holds a class number and four numbers or more."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            words = next((line.split() for line in file if line.strip()), [])
    except (OSError, UnicodeDecodeError):
        return False
    return len(words) >= 5 and words[0].isdigit() and all(_NUMBER.fullmatch(word) for word in words)


def json_layout(file: Path) -> str | None:
    """Returns the format of a JSON file by its keys, as far as it has to be read to know."""
    for head in _new_heads(file):
        for layout, fits in _JSON_LAYOUTS.items():
            if fits(head):
                return layout
    return "coco" if _usual_for_coco(file) and _LISTS_OF_COCO & set(head.keys) and not head.complete else None


def is_coco(file: Path) -> bool:
    """Returns whether a JSON file has the keys of COCO. A broken one in a usual place counts, and will be reported."""
    return json_layout(file) == "coco"


def _new_heads(file: Path) -> Iterator[JsonHead]:
    known = None
    for head in json_heads(file):
        size = len(head.keys), sum(map(len, head.values.values())), sum(map(len, head.entries.values())), head.complete
        if size != known:
            known = size
            yield head
    if known is None:
        yield JsonHead()


_LISTS_OF_COCO = {"images", "annotations", "categories"}


def _has_coco(head: JsonHead) -> bool:
    entry = head.entries.get("annotations", set())
    if "image_id" in entry:
        # Captions and panoptic files have no objects of their own.
        return bool(entry & {"bbox", "segmentation", "category_id"})
    images = head.entries.get("images", {"file_name"})
    return (
        head.complete
        and {"images", "categories"} <= set(head.keys)
        and "file_name" in images
        and not head.entries.get("annotations")
    )


def _has_via(head: JsonHead) -> bool:
    return any(key.startswith("_via_") for key in head.keys) or any(
        {"filename", "regions"} <= keys for keys in head.values.values()
    )


def _has_labelme(head: JsonHead) -> bool:
    if head.keys.get("shapes") != "array":
        return False
    others = {"imagePath", "imageData", "imageHeight", "imageWidth"}
    return bool(others & set(head.keys)) or "points" in head.entries.get("shapes", ())


_JSON_LAYOUTS: dict[str, Callable[[JsonHead], bool]] = {"coco": _has_coco, "via": _has_via, "labelme": _has_labelme}


def _usual_for_coco(file: Path) -> bool:
    return file.parent.name == "annotations" or file.name.startswith("instances") or ".coco." in file.name


def find_description(folder: Path) -> Path | None:
    """Returns the YAML file in `folder` that describes a YOLO data set: `data.yaml`, or else one that has `names`.

    Raises:
        ValueError: `data.yaml` is broken.
    """
    usual = folder / "data.yaml"
    if usual.is_file():
        return usual
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            settings = read_description(path)
        except ValueError:
            continue
        if "names" in settings:
            return path
    return None


def read_description(path: Path) -> dict[str, Any]:
    """Returns the settings in the YAML file that describes a YOLO data set, with all values as text.

    Otherwise classes called yes, no, on, off, null or 1e3 would be read as something else than their names.

    Raises:
        ValueError: The file is not YAML, or holds no keys.
    """
    try:
        settings = yaml.load(path.read_text("utf-8-sig"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid YAML in UTF-8: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected keys such as train, val and names, received {type(settings).__name__}")
    return settings
