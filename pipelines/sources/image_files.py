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
    "is_system",
    "listed",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff")

# What operating systems and network storage leave behind in folders. Like what is hidden, it is no part of anybody's
# data: thumbnails, deleted files, snapshots, and the other half of what macOS puts into archives.
_SYSTEM_NAMES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    "@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin",  # Synology
    "@recycle", "@recently-snapshot",  # QNAP
    "$recycle.bin", "recycler", "system volume information", "network trash folder", "temporary items",
    "lost+found", "__macosx", "__pycache__",
}  # fmt: skip


def is_system(name: str) -> bool:
    """Returns whether a file or a folder is hidden, or left behind by a system, by its name without folders.

    >>> is_system(".DS_Store"), is_system("@eaDir"), is_system("bees")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_image(name: str) -> bool:
    """Returns whether a file is an image by its name; hidden files are none.

    >>> is_image("bees/1.JPG"), is_image("bees/._1.jpg"), is_image("notes.txt")
    (True, False, False)
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_system(os.path.basename(name))


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders directly in `folder`, sorted, without hidden and system ones."""
    # What scandir knows of each entry spares asking the file system for every image.
    return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and not is_system(entry.name))


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
        folders[:] = sorted(name for name in folders if not is_system(name))
        yield from (os.path.join(place, name) for name in sorted(files) if not is_system(name))


def images_below(folder: Path) -> list[Path]:
    """Returns every image below `folder`, sorted, without hidden and system ones; links to folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_system(name))
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
