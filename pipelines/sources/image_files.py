"""Which files are images, by their names, and where they are."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = [
    "IMAGE_SUFFIXES",
    "files_below",
    "folders_in",
    "has_class_folders",
    "images_below",
    "images_in",
    "is_image",
    "listed",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff")

# Files that operating systems leave behind; like hidden files they are no part of anybody's data.
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


def is_image(name: str) -> bool:
    """Returns whether a file is an image by its name; hidden files are none.

    >>> is_image("bees/1.JPG"), is_image("bees/._1.jpg"), is_image("notes.txt")
    (True, False, False)
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not os.path.basename(name).startswith(".")


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders directly in `folder`, sorted, without hidden ones."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def images_in(folder: Path) -> list[Path]:
    """Returns the images directly in `folder`, sorted."""
    return sorted(child for child in folder.iterdir() if is_image(child.name) and child.is_file())


def files_below(folder: Path) -> Iterator[str]:
    """Yields every file below `folder` but hidden and system ones, in the order of their names; each real folder once.

    Links to folders are followed.
    """
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up would go round forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in _SYSTEM_FILES:
                yield os.path.join(place, name)


def images_below(folder: Path) -> list[Path]:
    """Returns every image below `folder`, sorted, without hidden ones; links to folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if is_image(name)]
    return sorted(found)


def has_class_folders(folder: Path) -> bool:
    """Returns whether two or more folders in `folder`, or in a folder in it, hold images, as class folders do."""
    if not folder.is_dir():
        return False
    children = folders_in(folder)
    return any(sum(bool(images_in(child)) for child in place) >= 2 for place in (children, *map(folders_in, children)))


def listed(names: Iterable[str]) -> str:
    """Returns the names in quotes, for messages; of many names only the first ten.

    >>> listed(["a", "b"])
    "'a', 'b'"
    """
    names = list(names)
    text = ", ".join(repr(name) for name in names[:10])
    return text if len(names) <= 10 else f"{text} and {len(names) - 10} more"
