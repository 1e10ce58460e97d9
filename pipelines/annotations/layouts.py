"""Recognising the format of annotations, by the names of files and their first bytes."""

import itertools
from pathlib import Path
from typing import Any

import yaml

from pipelines.sources.split_names import split_in, split_of

__all__ = [
    "LAYOUTS",
    "XML_FOLDERS",
    "find_description",
    "find_mask_folders",
    "layout_of",
    "looks_like_coco",
    "read_description",
]

LAYOUTS = ("voc", "yolo", "coco", "via", "labelme", "masks")

XML_FOLDERS = ("Annotations", "annotations", "xmls", "labels")  # of Pascal VOC
# Of masks.
_IMAGE_FOLDERS = ("images", "JPEGImages", "image", "imgs")
_MASK_FOLDERS = ("masks", "SegmentationClass", "labels", "annotations", "mask")


def layout_of(path: Path) -> str | None:
    """Which of `LAYOUTS` a file or folder is, by the names in it and the first bytes of a few files; or `None`."""
    if path.is_file():
        if path.suffix.lower() in (".yaml", ".yml"):
            return "yolo"
        return _json_layout(path) if path.suffix.lower() == ".json" else None
    if find_description(path) is not None:
        return "yolo"
    if any(_has(path / name, "**/*.xml") for name in XML_FOLDERS):
        return "voc"
    jsons = itertools.islice(itertools.chain(path.glob("*.json"), path.glob("*/*.json")), 20)
    for file in jsons:
        found = _json_layout(file)
        if found is not None:
            return found
    splits = [child for child in path.iterdir() if split_of(child.name)]
    if _has(path / "labels", "**/*.txt") or any(_has(split / "labels", "*.txt") for split in splits):
        return "yolo"
    if find_mask_folders(path):
        return "masks"
    if (path / "classes.txt").is_file():
        return "yolo"
    return "voc" if _is_voc_beside_images(path) else None


def _has(folder: Path, pattern: str) -> bool:
    return folder.is_dir() and next(folder.glob(pattern), None) is not None


def _is_voc_beside_images(folder: Path) -> bool:
    file = next(folder.glob("*.xml"), None)
    return file is not None and b"<annotation" in file.read_bytes()[:4096]


def _json_layout(file: Path) -> str | None:
    """The format of a JSON file, by words that stand in its first or last few thousand bytes."""
    if looks_like_coco(file):
        return "coco"
    with file.open("rb") as opened:
        head = opened.read(65536)
    if b'"shapes"' in head and b'"imagePath"' in head + _tail(file):
        return "labelme"
    if b'"_via_' in head or (b'"regions"' in head and b'"filename"' in head):
        return "via"
    return None


def _tail(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 65536))
        return opened.read()


def looks_like_coco(file: Path) -> bool:
    """Whether the first and last 64 kB speak of images, annotations and categories, without reading it all.

    One of these words is enough in a place where COCO files are kept, so that a broken one is read and reported.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        ends = opened.read(65536)
        opened.seek(max(0, size - 65536))
        ends += opened.read()
    # LabelMe has "shapes", VIA "regions"; key points, captions and panoptic files have no boxes of their own.
    words = (b'"images"', b'"annotations"', b'"categories"')
    others = (b'"shapes"', b'"regions"', b'"_via_', b'"caption"', b'"segments_info"')
    usual = file.parent.name == "annotations" or file.name.startswith("instances") or ".coco." in file.name
    return sum(word in ends for word in words) >= (1 if usual else 2) and not any(word in ends for word in others)


def find_description(folder: Path) -> Path | None:
    """The YAML file in `folder` that describes a YOLO data set: `data.yaml`, or else one that has `names`.

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
    """Returns the settings in the YAML file that describes a YOLO data set.

    Raises:
        ValueError: the file is not YAML, or holds no keys.
    """
    try:
        settings = yaml.safe_load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not valid YAML in UTF-8: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected keys such as train, val and names, received {type(settings).__name__}")
    return settings


def find_mask_folders(root: Path) -> list[tuple[str, Path, Path]]:
    """(split, folder of images, folder of masks) of each pair of folders below `root`."""
    found = []
    for base in (root, *sorted(path for path in root.iterdir() if path.is_dir() and split_in(path.name))):
        images = next((base / name for name in _IMAGE_FOLDERS if (base / name).is_dir()), None)
        masks = next((base / name for name in _MASK_FOLDERS if _has_images(base / name)), None)
        if images is None or masks is None:
            continue
        splits = [path.name for path in sorted(masks.iterdir()) if path.is_dir() and split_in(path.name)]
        splits = [name for name in splits if (images / name).is_dir()]
        if splits:
            found += [(split_in(name) or "train", images / name, masks / name) for name in splits]
        else:
            found.append(((split_in(base.name) if base != root else None) or "train", images, masks))
    return found


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("**/*.[pPbBtTgG][nNmMiI][gGpPfF]*"), None) is not None
