"""What a run leaves beside its folder while it is under way, so that one that was killed can go on.

The folder of a run appears only when all is done. Until then `.NAME.state/` beside it holds what was asked for and the
state of the training after each epoch (see `transfer.training.checkpoints`). A run that ends, well or with an error,
takes it
away; one that was killed, or whose disk was full, leaves it for `zoo fit ... --resume`.
"""

import errno
import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import Data, Samples

__all__ = ["RunState", "arguments_in", "data_fingerprint", "differences"]

CONFIGURATION = "config.json"
CHECKPOINT = "checkpoint.npz"
FULL = (errno.ENOSPC, errno.EDQUOT)
LITTLE = 2**20  # bytes free, with which a disk counts as full


class RunState:
    """The state of a run under way, in a folder beside the one that it is going to write.

    Args:
        out: the folder of the run.

    Example:

    >>> import tempfile
    >>> state = RunState(Path(tempfile.mkdtemp()) / "run")
    >>> state.folder.name, state.exists
    ('.run.state', False)
    >>> state.begin({"seed": 0})
    >>> RunState(state.folder.parent / "run").go_on({"seed": 1})
    Traceback (most recent call last):
    ValueError: ... seed: 0 then, 1 now. ...
    """

    def __init__(self, out: str | Path):
        out = Path(out).resolve()
        self.out = out
        self.folder = out.with_name(f".{out.name}.state")
        self.begun = False

    @property
    def exists(self) -> bool:
        return (self.folder / CONFIGURATION).exists()

    @property
    def checkpoint(self) -> Path:
        """Where the training keeps its state."""
        return self.folder / CHECKPOINT

    def refuse_if_there(self) -> None:
        """What a run that does not go on calls before any work.

        Raises:
            FileExistsError: another run to this folder was killed, or is at work.
        """
        if self.exists:
            raise FileExistsError(
                f"an earlier run to {self.out} was killed, or is still at work; its state is in {self.folder}. Go on "
                "with resume=True (--resume), or begin anew with overwrite=True (--overwrite)"
            )

    def begin(self, configuration: Mapping[str, Any]) -> None:
        """Forgets any earlier state, and keeps what this run was asked for."""
        self.remove()
        self.folder.mkdir(parents=True)
        (self.folder / CONFIGURATION).write_text(json.dumps(configuration, indent=2), encoding="utf-8")
        self.begun = True

    def go_on(self, configuration: Mapping[str, Any]) -> None:
        """Compares what the earlier run was asked for with what this one is. Without an earlier run, begins.

        Raises:
            ValueError: they differ; the message lists the differences.
        """
        if not self.exists:
            self.begin(configuration)
            return
        text = (self.folder / CONFIGURATION).read_text(encoding="utf-8")
        try:
            earlier = json.loads(text)
        except ValueError:  # killed while it was written, so before any training
            self.begin(configuration)
            return
        different = differences(earlier, json.loads(json.dumps(configuration)))
        if different:
            raise ValueError(
                f"the run to {self.out} that was killed is another one: {'; '.join(different)}. Repeat what was asked "
                "for then, or begin anew with overwrite=True (--overwrite)"
            )

    @contextmanager
    def under_way(self, *, keep: bool) -> Iterator[None]:
        """The run itself. Afterwards the state is removed, but not where `keep` is given and the run did not end well,
        nor where the disk was full.

        Raises:
            OSError: the disk was full; the message says how to go on.
        """
        try:
            yield
        except BaseException as error:
            if self.begun and self._is_full(error):
                raise OSError(
                    f"{error}. The disk of {self.out.parent} is full; what the training has reached is kept in "
                    f"{self.folder}. Make room, and go on with resume=True (--resume)"
                ) from error
            if self.begun and not keep:
                self.remove()
            raise
        self.remove()

    def _is_full(self, error: BaseException) -> bool:
        if not isinstance(error, Exception):
            return False
        # TensorFlow has errors of its own for it
        return getattr(error, "errno", None) in FULL or shutil.disk_usage(self.out.parent).free < LITTLE

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_half_done(self) -> None:
        """Deletes the folders that a killed run was about to fill."""
        for place in self.out.parent.glob(f".{self.out.name}.partial-*"):
            shutil.rmtree(place, ignore_errors=True)


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, name by name; dicts are gone into.

    >>> differences({"seed": 0, "versions": {"keras": "3.14"}}, {"seed": 0, "versions": {"keras": "3.15"}})
    ['versions of keras: 3.14 then, 3.15 now']
    """
    found = []
    for name in [*earlier, *(name for name in now if name not in earlier)]:
        old, new = earlier.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [f"{name} of {each}" for each in differences(old, new)]
        else:
            found.append(f"{name}: {_shown(old)} then, {_shown(new)} now")
    return found


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


def data_fingerprint(data: Data) -> str:
    """Stands for the names of the classes and for labels and contents of all images, split by split, in their order.

    Where the images lie does not matter.

    >>> import numpy as np
    >>> samples = Samples(np.zeros((2, 4, 6, 3), "uint8"), [0, 1], "ab")
    >>> one, other = Data(("x", "y"), samples, samples, samples), Data(("x", "z"), samples, samples, samples)
    >>> data_fingerprint(one) == data_fingerprint(one), data_fingerprint(one) == data_fingerprint(other)
    (True, False)
    """
    digest = hashlib.blake2b("\0".join(data.class_names).encode(errors="surrogateescape"), digest_size=16)
    for samples in (data.train, data.valid, data.test):
        digest.update(samples.labels.tobytes())
        for contents in _contents(samples):
            digest.update(contents)
    return digest.hexdigest()


def _contents(samples: Samples):
    for image in samples.images:
        if isinstance(image, str):
            with Path(image).open("rb") as file:
                yield hashlib.file_digest(file, "blake2b").digest()
        else:
            yield hashlib.blake2b(image if isinstance(image, bytes) else image.tobytes()).digest()


def arguments_in(config: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """The part of a run's `config.json` that are arguments of a function, here `transfer.fit`.

    >>> arguments_in({"seed": 3, "versions": {}}, lambda data, *, seed=0: None)
    {'seed': 3}
    """
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in config.items() if name in parameters}
