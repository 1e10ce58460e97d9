"""Writing so that a power cut leaves the old or the new, and never neither.

A rename alone is not enough: the name may reach the disk before the contents do, and a file of 0 bytes is left. So the
contents are sent to the disk first, then the name is changed, and then the folder that holds the name is sent, too.
Whatever is deleted because the new file replaces it may be deleted after that.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.outputs.names import file_name

__all__ = ["exchange", "new_file", "replace_durably", "sync"]

HERE, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux.


def sync(path: Path) -> None:
    """Sends a file to the disk, or a folder with all that it holds."""
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _send(Path(folder, name))
            _send_folder(Path(folder))
    else:
        _send(path)


def replace_durably(new: Path, path: Path) -> None:
    """Renames a file or a folder, so that after a power cut the old or the new one is there, whole.

    Args:
        new: The file or the folder. It lies on the same disk.
        path: Its new name. A file, or an empty folder, of that name is replaced.

    Raises:
        OSError: It cannot be written or renamed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "new").write_text("42")
    >>> replace_durably(folder / "new", folder / "answer")
    >>> (folder / "answer").read_text()
    '42'
    """
    sync(new)
    new.replace(path)
    _send_folder(path.parent)
    if new.parent != path.parent:
        _send_folder(new.parent)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives the name of a file to write, which takes the place of `path` when the block ends well.

    Args:
        path: The file. The one to write lies beside it, under a hidden name with the same ending; what a killed process
            left there is replaced.

    Yields:
        The file to write.

    Raises:
        OSError: It cannot be written. What was there before is as it was.

    >>> import tempfile
    >>> answer = Path(tempfile.mkdtemp()) / "answer.txt"
    >>> with new_file(answer) as new:
    ...     _ = new.write_text("42")
    >>> answer.read_text(), len(list(answer.parent.iterdir()))
    ('42', 1)
    """
    path = path.resolve()  # A link stays one.
    if path.exists() and not path.is_file():  # It is a terminal or a pipe, such as /dev/stdout.
        yield path
        return
    new = path.with_name(file_name(f".{path.stem}", f".writing{path.suffix}"))
    try:
        yield new
        replace_durably(new, path)
    finally:
        new.unlink(missing_ok=True)  # On a full disk there is better use for the room.


def exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two files or folders in one step, and returns whether the system can do so.

    What has the first name before is sent to the disk before that.
    """
    sync(one)
    if not _exchanged(one, other):
        return False
    for folder in {one.parent, other.parent}:
        _send_folder(folder)
    return True


def _exchanged(one: Path, other: Path) -> bool:
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    rename = getattr(library, "renameat2", None)
    return rename is not None and rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0


def _send(file: Path) -> None:
    if file.is_symlink():
        return
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _send_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open folders, and writes their names by itself.
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
