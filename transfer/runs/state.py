"""What a run leaves beside its folder while it is under way, so that one that was killed can go on.

The folder of a run appears only when all is done. Until then `.NAME.state/` beside it holds what was asked for and the
state of the training after each epoch (see `transfer.training.checkpoints`). A run that ends, well or with an error,
removes it. A run that was killed, or whose disk was full, leaves it for `zoo fit ... --resume`.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.outputs.durable import new_file
from pipelines.outputs.names import file_name
from transfer.runs.configuration import differences

__all__ = ["RunState"]

CONFIGURATION = "config.json"
CHECKPOINT = "checkpoint.npz"
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = tuple(os.strerror(number) for number in FULL)
LITTLE = 2**20  # A disk counts as full with fewer free bytes.


class RunState:
    """The state of a run under way, in a folder beside the one that it is going to write.

    Args:
        out: The folder of the run.

    Example:

    >>> import tempfile
    >>> state = RunState(Path(tempfile.mkdtemp()) / "run")
    >>> state.folder.name, state.exists
    ('.run.state', False)
    >>> state.begin_or_go_on({"seed": 0}, resume=False)
    >>> RunState(state.folder.parent / "run").begin_or_go_on({"seed": 1}, resume=True)
    Traceback (most recent call last):
    ValueError: ... seed: 0 then, 1 now. ...
    """

    def __init__(self, out: str | Path):
        out = Path(out).resolve()
        self.out = out
        self.folder = out.with_name(file_name(f".{out.name}", ".state"))
        self.begun = False
        self.keep = False  # whether the state stays although the run ended
        self.full_disk: Path | None = None  # a folder on a disk that was full when the run failed

    @property
    def exists(self) -> bool:
        """Whether an earlier run left its state."""
        return (self.folder / CONFIGURATION).exists()

    @property
    def checkpoint(self) -> Path:
        """The file in which the training keeps its state."""
        return self.folder / CHECKPOINT

    @property
    def micro_batch(self) -> int | None:
        """The number of images that the earlier run computed at once; None where there is no earlier run.

        A resumed run takes it from here, since what fits into the memory that happens to be free may be another number.
        """
        earlier = self._read()
        return None if earlier is None else earlier.get("facts", {}).get("micro_batch")

    def begin_or_go_on(self, configuration: Mapping[str, Any], *, resume: bool) -> None:
        """Keeps what this run was asked for; where it goes on with an earlier one, compares it with that one.

        Raises:
            ValueError: The earlier run was asked for something else; the message lists the differences.
        """
        earlier = self._read() if resume else None
        if earlier is None:
            self.remove()
            self.folder.mkdir(parents=True)
            with new_file(self.folder / CONFIGURATION) as new:
                new.write_text(json.dumps(configuration, indent=2), encoding="utf-8")
            self.begun = True
            return
        different = differences(earlier, json.loads(json.dumps(configuration)))
        if different:
            raise ValueError(
                f"the run to {self.out} that was killed is another one: {'; '.join(different)}. Repeat what was asked "
                "for then, or begin anew with overwrite=True (--overwrite)"
            )
        self.begun = True

    @contextmanager
    def under_way(self, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Surrounds the run itself, whose output is locked. Afterwards the state is removed, but not where the disk was
        full, nor where the run may go on (`resume`) and did not end well.

        Args:
            resume: Whether the run goes on with an earlier one, and may be gone on with.
            overwrite: Whether it replaces an earlier one.

        Raises:
            FileExistsError: An earlier run to this folder was killed, and this one neither goes on with it nor replaces
                it.
            OSError: The disk was full; the message says how to go on.
        """
        if self.exists and not (resume or overwrite):
            raise FileExistsError(
                f"an earlier run to {self.out} was killed; its state is in {self.folder}. Go on with resume=True "
                "(--resume), or begin anew with overwrite=True (--overwrite)"
            )
        self.keep = resume
        try:
            yield
        except BaseException as error:
            if self.full_disk is not None and isinstance(error, Exception):
                advice = f"The disk of {self.full_disk} is full; make room"
                kept = f". What the training has reached is kept in {self.folder}. Go on with resume=True (--resume)"
                raise OSError(f"{error}. {advice}{kept if self.begun else ''}") from error
            if self.begun and not self.keep:
                self.remove()
            raise
        self.remove()

    @contextmanager
    def watching_disks(self, *others: Path) -> Iterator[None]:
        """Notices a full disk while what filled it is still there: half of a result is deleted when it has failed.

        Args:
            others: Folders on whose disks the run writes, besides its own and the one for temporary files.
        """
        try:
            yield
        except Exception as error:
            places = [self.out.parent, Path(tempfile.gettempdir()), *others]
            full = [place for place in places if place.is_dir() and shutil.disk_usage(place).free < LITTLE]
            if full or _says_full(error):
                self.full_disk = full[0] if full else self.out.parent
            raise

    def remove(self) -> None:
        """Removes the state."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> dict[str, Any] | None:
        """Returns the earlier run's configuration; None where there is none, or where it was killed writing it."""
        try:
            return json.loads((self.folder / CONFIGURATION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _says_full(error: BaseException | None) -> bool:
    """Returns whether an error or one behind it is about a full disk; TensorFlow and HDF5 have errors of their own."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(words in str(error) for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
