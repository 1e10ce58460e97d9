"""What a run leaves beside its folder while it is under way, so that one that was killed can go on.

The folder of a run appears only when all is done. Until then `.NAME.state/` beside it holds what was asked for and the
state of the training after each epoch (see `transfer.training.checkpoints`). A run that ends, well or with an error,
removes it. A run that was killed, or whose disk was full, leaves it for `zoo fit ... --resume`.
"""

import errno
import glob
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer.runs.configuration import differences

__all__ = ["RunState"]

CONFIGURATION = "config.json"
CHECKPOINT = "checkpoint.npz"
FULL = (errno.ENOSPC, errno.EDQUOT)
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
        self.folder = out.with_name(f".{out.name}.state")
        self.begun = False
        self.keep = False  # whether the state stays although the run ended

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

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Removes what a killed run left half written, where this run goes on with it or replaces it.

        Raises:
            FileExistsError: An earlier run to this folder was killed or is at work, and this one neither goes on with
            it
                nor replaces it.
        """
        if resume or overwrite:
            for place in self.out.parent.glob(f".{glob.escape(self.out.name)}.partial-*"):
                shutil.rmtree(place, ignore_errors=True)
        elif self.exists:
            raise FileExistsError(
                f"an earlier run to {self.out} was killed, or is still at work; its state is in {self.folder}. Go on "
                "with resume=True (--resume), or begin anew with overwrite=True (--overwrite)"
            )

    def begin_or_go_on(self, configuration: Mapping[str, Any], *, resume: bool) -> None:
        """Keeps what this run was asked for; where it goes on with an earlier one, compares it with that one.

        Raises:
            ValueError: The earlier run was asked for something else; the message lists the differences.
        """
        earlier = self._read() if resume else None
        if earlier is None:
            self.remove()
            self.folder.mkdir(parents=True)
            (self.folder / CONFIGURATION).write_text(json.dumps(configuration, indent=2), encoding="utf-8")
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
    def under_way(self, *, keep: bool) -> Iterator[None]:
        """Surrounds the run itself. The state is removed afterwards, but not where the disk was full, nor where `keep`
        is given and the run did not end well.

        Raises:
            OSError: The disk was full; the message says how to go on.
        """
        self.keep = keep
        try:
            yield
        except BaseException as error:
            if self.begun and self._is_full(error):
                raise OSError(
                    f"{error}. The disk of {self.out.parent} is full; what the training has reached is kept in "
                    f"{self.folder}. Make room, and go on with resume=True (--resume)"
                ) from error
            if self.begun and not self.keep:
                self.remove()
            raise
        self.remove()

    def remove(self) -> None:
        """Removes the state."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> dict[str, Any] | None:
        """Returns the earlier run's configuration; None where there is none, or where it was killed writing it."""
        try:
            return json.loads((self.folder / CONFIGURATION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _is_full(self, error: BaseException) -> bool:
        if not isinstance(error, Exception):
            return False
        # TensorFlow has errors of its own for a full disk.
        return getattr(error, "errno", None) in FULL or shutil.disk_usage(self.out.parent).free < LITTLE
