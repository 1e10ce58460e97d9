"""A result folder appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["new_folder"]


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False, contents: Collection[str] = ()) -> Iterator[Path]:
    """Makes a temporary folder to fill, which becomes `folder` when the block ends well.

    It lies beside `folder`, so that the last step is one rename. On any exception, Ctrl-C among them, it is deleted
    and nothing is left; a `folder` that was there before is then as it was. A block that ends with an exception may
    rename the temporary folder before, to keep what must not be lost.

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
    _check_free(folder, overwrite, contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        # A folder inside: mkdtemp's own is closed to everyone else, which a result need not be.
        work = place / "new"
        work.mkdir()
        yield work
        _check_free(folder, overwrite, contents)  # The block may have taken an hour.
        _put(work, folder, aside=place / "old")
    finally:
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
    strangers = [name for name in held if name not in contents]
    if strangers:
        raise FileExistsError(
            f"{folder} holds {_some(strangers)}, which no earlier result put there, so it is not overwritten; "
            "move that away, or choose another folder"
        )


def _some(names: list[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _put(work: Path, folder: Path, *, aside: Path) -> None:
    """Renames `work` to `folder`. What was there is put back if that fails."""
    if not folder.exists():
        work.rename(folder)
        return
    folder.rename(aside)
    try:
        work.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
