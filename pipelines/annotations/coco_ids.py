"""The identifiers by which COCO files know images: what detections have to name to be measured against such a file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.annotations.layouts import is_coco

__all__ = ["image_ids"]


def image_ids(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Returns the identifier of each photo in a folder.

    They are those of the COCO file in the folder, or in one of the two above or in `annotations` in these, that names
    most of the photos. A photo that no file names has the number that is its name, or else its name without suffix.

    Args:
        folder: The folder.
        names: Paths of the photos below it.

    Example:

    >>> image_ids(Path("nowhere"), ["000012.jpg", "a/bee.png"])
    {'000012.jpg': 12, 'a/bee.png': 'bee'}
    """
    stems = [PurePosixPath(name).stem for name in names]
    unique = len(set(stems)) == len(stems)
    own = [
        stem if unique else str(PurePosixPath(name).with_suffix("")) for stem, name in zip(stems, names, strict=True)
    ]
    known = max((_known(file, names) for file in _files(folder)), key=len, default={})
    return {
        name: known.get(name, int(text) if text.isascii() and text.isdigit() else text)
        for name, text in zip(names, own, strict=True)
    }


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, *folder.resolve().parents[:2]):
        for file in sorted([*place.glob("*.json"), *place.glob("annotations/*.json")]):
            if file.is_file() and is_coco(file):
                yield file


def _known(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Returns the identifiers of the photos that a COCO file names, by their paths or by their last parts."""
    try:
        entries = json.loads(file.read_text("utf-8-sig"))["images"]
        by_path = {entry["file_name"].replace("\\", "/"): entry["id"] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    by_name: dict[str, list[Any]] = {}
    for path, number in by_path.items():
        by_name.setdefault(PurePosixPath(path).name, []).append(number)
    found = {}
    for name in names:
        same = by_name.get(PurePosixPath(name).name, [])
        if name in by_path:
            found[name] = by_path[name]
        elif len(same) == 1:
            found[name] = same[0]
    return found
