"""Paths that every library takes: some take brackets and stars for patterns, or need names in Unicode."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["plain_path"]

PATTERNS = frozenset("[]{}*?\\")  # What TensorFlow takes for a pattern where it reads variables.


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Gives a file or a folder a path without special characters, for as long as the block runs.

    It is the path itself where that has none. Otherwise it leads through a link to the folder that holds the file, so
    that files beside it are found, too, and new ones can be written.

    Args:
        path: A path in a folder that exists.

    Example:

    >>> with tempfile.TemporaryDirectory(prefix="a[1]") as folder:
    ...     (Path(folder) / "x.txt").touch()
    ...     with plain_path(Path(folder) / "x.txt") as plain:
    ...         plain.exists(), "[" in str(plain)
    (True, False)
    """
    if not PATTERNS & set(str(path)) and str(path).isprintable():
        yield path
        return
    with tempfile.TemporaryDirectory() as place:
        link = Path(place, "linked")
        try:
            link.symlink_to(path.parent.resolve(), target_is_directory=True)
        except OSError:  # Windows lets only some users make links.
            shutil.copytree(path.parent, link)
            yield link / path.name
            shutil.copytree(link, path.parent, dirs_exist_ok=True)
            return
        yield link / path.name
