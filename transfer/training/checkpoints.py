"""Where a training stands, so that one that was killed goes on as if nothing had happened.

A checkpoint is one NumPy file, written beside the old one and then put in its place: whenever the process ends, a whole
one is there. It holds numbers and one JSON text; nothing in it is unpickled.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.outputs.durable import new_file

__all__ = ["Checkpoint", "Position"]


@dataclass(frozen=True)
class Position:
    """Where a training stands.

    Attributes:
        phase: The number of the phase, from 0.
        epoch: How many epochs of this phase are done.
        batch: How many batches of the next epoch are done.
        goodness: How good the best epoch so far was; empty before the first one.
        rows: The rows of the epochs of this phase, as `History.rows` describes them.
        phases: The phases that are done, as dicts.
        seconds: How long this phase took so far.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    goodness: tuple[float, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Checkpoint:
    """A file that holds the state of a training.

    Args:
        path: The path of the file; its folder is made if need be.
        share: The share of the time that saving may take, above 0 and at most 1. With a share, the state is saved in
            the middle of epochs, too, but not more often than that, and always at the end of a phase. Without a share,
            it is saved after each epoch.

    Raises:
        ValueError: The share is out of its range.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> checkpoint = Checkpoint(Path(tempfile.mkdtemp()) / "state.npz")
    >>> checkpoint.save(Position(epoch=4), model, keras.optimizers.SGD(), None)
    >>> checkpoint.position().epoch
    4
    """

    def __init__(self, path: str | Path, *, share: float | None = None):
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share is one of the time, above 0 and at most 1; got {share}")
        self.path = Path(path)
        self.share = share
        self._pause, self._saved = 0.0, time.perf_counter()

    def is_due(self) -> bool:
        """Returns whether enough time has passed since the state was saved last."""
        return time.perf_counter() - self._saved >= self._pause

    def position(self) -> Position | None:
        """Returns where the training stood when it was saved last; None if it was never saved.

        Raises:
            ValueError: The file is no checkpoint, or it is damaged.
        """
        if not self.path.exists():
            return None
        arrays = self._read()
        try:
            known = json.loads(str(arrays["position"]))
            position = Position(**{**known, "goodness": tuple(known["goodness"])})
            if not all(isinstance(number, int) for number in (position.phase, position.epoch, position.batch)):
                raise TypeError("a number of phases, epochs or batches is none")
            return position
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} is the state of a training of another version, which this one cannot go on with; delete "
                "it to begin anew"
            ) from error

    def save(
        self,
        position: Position,
        model: keras.Model,
        optimizer: keras.Optimizer,
        best: Sequence[np.ndarray] | None,
        metrics: Sequence[Any] = (),
    ) -> None:
        """Puts the state in place of the one before.

        Args:
            position: Where the training stands.
            model: The model whose values are kept.
            optimizer: The optimizer whose values are kept.
            best: The weights of the best epoch, or None.
            metrics: The variables of the metrics, in the middle of an epoch.

        Raises:
            OSError: The file cannot be written. The state before is as it was.
        """
        start = time.perf_counter()
        arrays = {"position": np.array(json.dumps(vars(position)))}
        groups = {"model": _values(_state(model)), "optimizer": _values(optimizer.variables), "best": best or ()}
        groups |= {"metrics": _values(metrics)}
        for name, values in groups.items():
            arrays |= {f"{name}/{number}": value for number, value in enumerate(values)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(self.path) as new, new.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        self._saved = time.perf_counter()
        if self.share is not None:
            self._pause = (self._saved - start) * (1 / self.share - 1)

    def restore(self, model: keras.Model, optimizer: keras.Optimizer) -> list[np.ndarray] | None:
        """Gives a model and a built optimizer the saved state.

        Returns:
            The weights of the best epoch; None where no epoch was done.

        Raises:
            ValueError: The state is of another model or optimizer; nothing is changed then.
        """
        arrays = self._read()
        groups = {name: self._group(arrays, name) for name in ("model", "optimizer", "best")}
        targets = {"model": _state(model), "optimizer": optimizer.variables}
        for name, variables in targets.items():
            shapes = [value.shape for value in groups[name]]
            if shapes != [tuple(variable.shape) for variable in variables]:
                raise ValueError(
                    f"{self.path} is the state of another {name}: {len(shapes)} values, not {len(variables)}, or of "
                    "other shapes. Delete it to begin anew"
                )
        for name, variables in targets.items():
            for variable, value in zip(variables, groups[name], strict=True):
                variable.assign(value)
        return groups["best"] or None

    def metrics(self) -> list[np.ndarray]:
        """Returns the values of the metrics' variables, where the state is one in the middle of an epoch."""
        return self._group(self._read(), "metrics")

    def _read(self) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # NumPy and zipfile raise whatever the damaged bytes lead them to.
            raise ValueError(
                f"{self.path} cannot be read as the state of a training: {error}. Delete it to begin anew"
            ) from error

    def _group(self, arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
        count = sum(key.startswith(f"{name}/") for key in arrays)
        try:
            return [arrays[f"{name}/{number}"] for number in range(count)]
        except KeyError as error:
            raise ValueError(
                f"{self.path} cannot be read as the state of a training: it lacks {error}. Delete it to begin anew"
            ) from error


def _state(model: keras.Model) -> list[Any]:
    """Returns the weights, and the states of random generators such as those of dropout."""
    generators = [each for each in model.non_trainable_variables if each.path.endswith("seed_generator_state")]
    return [*model.weights, *generators]


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]
