"""One lock for each output, so that no two processes write the same one.

The lock of `NAME` is the file `.NAME.lock` beside it. The system itself gives it back when the process that holds it
ends, however that ends; the text in it is for people.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.outputs.names import file_name

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

__all__ = ["OutputLocked", "is_locked", "lock_file", "output_lock"]


class OutputLocked(FileExistsError):
    """Another process, or another thread of this one, writes the same output."""


@contextmanager
def output_lock(out: str | Path) -> Iterator[None]:
    """Keeps others from writing an output until the block ends.

    Args:
        out: The file or the folder that is going to be written. The folder above it is made.

    Raises:
        OutputLocked: Somebody writes it; the message says which process, and since when.

    Example:

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "run"
    >>> with output_lock(out):
    ...     is_locked(out)
    True
    >>> is_locked(out), lock_file(out).exists()
    (False, False)
    """
    path = lock_file(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = _locked(path)
    if opened is None:
        raise OutputLocked(f"{out} is being written by {_holder(path)}; wait for that to end, or choose another name")
    try:
        facts = {"process": os.getpid(), "machine": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(opened, 0)
        os.write(opened, json.dumps(facts).encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # While it is held, so that no other process deletes a lock that it got meanwhile.
        os.close(opened)


def lock_file(out: str | Path) -> Path:
    """Returns the file that is the lock of an output."""
    out = Path(out).resolve()
    return out.with_name(file_name(f".{out.name}", ".lock"))


def is_locked(out: str | Path) -> bool:
    """Returns whether somebody writes an output at the moment."""
    try:
        opened = os.open(lock_file(out), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(opened)
    finally:
        os.close(opened)


def _locked(path: Path) -> int | None:
    """Opens and locks a file; returns None where somebody else has locked it."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(opened):
            os.close(opened)
            return None
        if _is_named(opened, path):
            return opened
        os.close(opened)  # Its holder has just deleted it: what was locked is no name of anything any more.


def _lock(opened: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_named(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['process']} on {facts['machine']} since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # It has just begun, or ended.
        return "another process"
