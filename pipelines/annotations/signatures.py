"""What a file of annotations begins with, for the formats that say nothing by the names of their files or folders."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ijson

from pipelines.annotations.box_columns import box_columns, plain
from pipelines.sources.csv_rows import first_rows

__all__ = ["SIGNATURES", "Signature", "fitting_layout", "has_signature"]


# Number of files with the suffix of a format that are looked into.
_TRIES = 50


@dataclass(frozen=True)
class Signature:
    """How the files of a format are recognised.

    Attributes:
        suffixes: What the names of the files may end in.
        fits: Whether a file is of the format, by what it begins with.
        reason: What was found, in words.
        of_one_image: Whether there is a file for each image.
    """

    suffixes: tuple[str, ...]
    fits: Callable[[Path], bool]
    reason: str
    of_one_image: bool = False


def _is_cvat(path: Path) -> bool:
    return _xml_begins_with(path, "annotations", ("image",), skip=("version", "meta"))


def _is_imglab(path: Path) -> bool:
    return _xml_begins_with(path, "dataset", ("images",), skip=("name", "comment"))


def _xml_begins_with(path: Path, root: str, children: tuple[str, ...], *, skip: tuple[str, ...]) -> bool:
    """Tells whether the root of an XML file is of a name, and the first element in it that counts is one of some."""
    depth = 0
    try:
        for event, element in ElementTree.iterparse(path, ["start", "end"]):
            depth += 1 if event == "start" else -1
            if event == "start" and depth == 1 and element.tag != root:
                return False
            if event == "start" and depth == 2 and element.tag not in skip:
                return element.tag in children
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        pass
    return False


def _is_createml(path: Path) -> bool:
    """Tells whether a JSON file is a list of images with annotations; of a broken one, whether it begins so."""
    try:
        with path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
                file.seek(0)
            first = next(iter(ijson.items(file, "item")), None)
    except (ijson.JSONError, OSError, UnicodeDecodeError):
        return False
    keys = set(first) if isinstance(first, dict) else set()
    return bool(keys & {"image", "imagefilename"}) and bool(keys & {"annotations", "annotation"})


def _is_open_images(path: Path) -> bool:
    rows = first_rows(path, 1)
    return bool(rows) and {"imageid", "labelname", "xmin", "xmax", "ymin", "ymax"} <= {plain(name) for name in rows[0]}


def _is_box_table(path: Path) -> bool:
    return not _is_open_images(path) and box_columns(first_rows(path)) is not None


def _is_kitti(path: Path) -> bool:
    """Tells whether the first line that is not empty is a type and the 14 numbers of an object, or 15 with a score."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            words = next((line.split() for line in file if line.strip()), [])
            [float(word) for word in words[1:]]
    except (OSError, ValueError):
        return False
    return len(words) in (15, 16) and not words[0].replace(".", "").isdigit()


SIGNATURES: Mapping[str, Signature] = {
    "cvat": Signature((".xml",), _is_cvat, "has the elements of CVAT's images"),
    "imglab": Signature((".xml",), _is_imglab, "has the elements of dlib's ImgLab"),
    "createml": Signature((".json",), _is_createml, "is a list of images with annotations, as CreateML has it"),
    "openimages": Signature((".csv", ".tsv"), _is_open_images, "has the columns of Open Images"),
    "csv": Signature((".csv", ".tsv"), _is_box_table, "has a column of images and columns of boxes"),
    "kitti": Signature(
        (".txt",), _is_kitti, "holds lines of a type and 14 numbers, as KITTI has them", of_one_image=True
    ),
}


def has_signature(path: Path, layout: str) -> bool:
    """Tells whether a file is of a format: by its suffix, in any case, and by what it begins with."""
    return _has_suffix(path, layout) and SIGNATURES[layout].fits(path)


def _has_suffix(path: Path, layout: str) -> bool:
    return path.suffix.lower() in SIGNATURES[layout].suffixes


def fitting_layout(paths: Iterable[Path]) -> tuple[str, Path] | None:
    """Returns the name of the format of the first file that is of one of these, and the file, or None.

    Tables of boxes count where there is nothing else, since other programs leave tables, too.
    """
    table = None
    tries = dict.fromkeys(SIGNATURES, _TRIES)
    for path in paths:
        for layout in SIGNATURES:
            if not tries[layout] or not _has_suffix(path, layout) or (layout == "csv" and table):
                continue
            tries[layout] -= 1
            if SIGNATURES[layout].fits(path):
                if layout != "csv":
                    return layout, path
                table = layout, path
    return table
