"""A result folder appears whole or not at all, and what killed processes left beside it is cleared away.

Beside a result `NAME` may lie, while it is being written: `.NAME.lock` (see `pipelines.outputs.locks`), `.NAME.state`
(see `transfer.runs.state`), and `.NAME.partial-*`, the temporary folder. What a killed process leaves of them belongs
to the next one that holds the lock of `NAME`: it goes on with the state or removes it, and removes the others.
"""

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.outputs.durable import exchange, replace_durably
from pipelines.outputs.locks import is_locked

__all__ = ["clear_leftovers", "new_folder"]

PARTIAL = ".partial-"
NEW, OLD = "new", "old"  # What a temporary folder holds: the new result, and the one that it replaces.


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False, contents: Collection[str] = ()) -> Iterator[Path]:
    """Makes a temporary folder to fill, which becomes `folder` when the block ends well.

    It lies beside `folder`, so that the last step is one rename. The caller holds the lock of `folder`
    (`pipelines.outputs.locks`): what else lies there under such a name is of a process that was killed, and is removed.
    On any exception, Ctrl-C among them, it is deleted and nothing is left; a `folder` that was there before is then as
    it was. A block that ends with an exception may rename the temporary folder before, to keep what must not be lost.

    Args:
        folder: The folder of the result. Folders above it are made.
        overwrite: Whether to replace what `folder` holds. Defaults to False.
        contents: The names that a result of this kind may hold. Overwriting a folder that holds anything else is
            refused, because that would delete what somebody else put there.

    Yields:
        The folder to fill.

    Raises:
        FileExistsError: `folder` holds something, and `overwrite` is not given, or it holds other things than a
            result does.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with new_folder(Path(place) / "result") as work:
    ...         _ = (work / "answer.txt").write_text("42")
    ...     (Path(place) / "result" / "answer.txt").read_text()
    '42'
    """
    folder = Path(folder).resolve()  # Through links: the temporary folder has to be on the same disk.
    clear_leftovers(folder)
    _check_free(folder, overwrite, contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}{PARTIAL}", dir=folder.parent))
    try:
        # A folder inside: mkdtemp's own is closed to everyone else, which a result need not be.
        work = place / NEW
        work.mkdir()
        yield work
        _check_free(folder, overwrite, contents)  # The block may have taken an hour.
        _put(work, folder, aside=place / OLD)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def clear_leftovers(folder: str | Path) -> None:
    """Removes the temporary folders of killed processes; a result that one of them had moved aside is put back.

    Args:
        folder: The folder of the result. The caller holds its lock, so that nobody is at work there.
    """
    folder = Path(folder).resolve()
    if not folder.parent.is_dir():
        return
    for place in sorted(folder.parent.iterdir()):
        if place.name.startswith(f".{folder.name}{PARTIAL}"):
            if (place / OLD).exists() and not folder.exists():
                replace_durably(place / OLD, folder)
            shutil.rmtree(place, ignore_errors=True)


def _check_free(folder: Path, overwrite: bool, contents: Collection[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected the name of a new folder")
    held = sorted(path.name for path in folder.iterdir())
    if not held:
        return
    if not overwrite:
        raise FileExistsError(
            f"{folder} already holds {_some(held)}; choose another folder, or overwrite it (--overwrite)"
        )
    busy = [name for name in held if name in contents and is_locked(folder / name)]
    if busy:
        raise FileExistsError(f"{folder / busy[0]} is being written by another process; wait for that to end")
    strangers = [name for name in held if name not in contents and not _is_leftover(name, contents)]
    if strangers:
        raise FileExistsError(
            f"{folder} holds {_some(strangers)}, which no earlier result put there, so it is not overwritten; "
            "move that away, or choose another folder"
        )


def _is_leftover(name: str, contents: Collection[str]) -> bool:
    """Returns whether a killed process left this, which wrote one of the contents."""
    return any(name in (f".{one}.lock", f".{one}.state") or name.startswith(f".{one}{PARTIAL}") for one in contents)


def _some(names: list[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _put(work: Path, folder: Path, *, aside: Path) -> None:
    """Gives `work` the name `folder`, after all that it holds has reached the disk."""
    if not folder.exists():
        replace_durably(work, folder)
        return
    if exchange(work, folder):
        work.rename(aside)
        return
    # This system knows no exchange. Until the second rename is done, there is no folder of that name: whoever comes
    # next puts the old one back (`clear_leftovers`).
    replace_durably(folder, aside)
    try:
        replace_durably(work, folder)
    except BaseException:
        replace_durably(aside, folder)
        raise
