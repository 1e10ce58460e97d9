"""What is said to be frozen stays so, and a training that goes wrong stops where it does.

`fine_tune` has all of this built in. `Guard` is the same for your own `compile` and `fit`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from transfer.training import freezing
from transfer.training.freezing import FrozenWeightsChanged

__all__ = [
    "Guard",
    "TrainableChanged",
    "TrainingDiverged",
    "raise_if_trainable_changed",
    "trainable_layers",
    "write_batch",
]


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


class TrainableChanged(FrozenWeightsChanged):
    """`trainable` of a layer was changed after compiling: what is trained did not change with it."""


class Guard(keras.callbacks.Callback):
    """A callback for your own `fit` that watches over what is frozen.

    Frozen weights, batch norms' statistics included, have to stay bit-identical, and what trains has to be what
    `trainable` says.

    Example, of the usual mistake:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="base"), keras.layers.Dense(1)])
    >>> model.get_layer("base").trainable = False
    >>> model.compile("sgd", "mse")
    >>> x, y = np.zeros((4, 3)), np.zeros((4, 1))
    >>> _ = model.fit(x, y, callbacks=[Guard()], verbose=0)
    >>> model.get_layer("base").trainable = True  # and no compile
    >>> model.fit(x, y, callbacks=[Guard()], verbose=0)
    Traceback (most recent call last):
    transfer.training.guard.TrainableChanged: `trainable` of base was changed after compiling, ...
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes what trains, and the weights of what does not."""
        self._check_compiled()
        self._trainable = trainable_layers(self.model)
        self._before = freezing.fingerprints(freezing.frozen_layers(self.model))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Checks that `trainable` is what it was."""
        raise_if_trainable_changed(self.model, self._trainable)

    def on_train_end(self, logs: Any = None) -> None:
        """Checks that the frozen weights are what they were."""
        freezing.raise_if_changed(self.model, self._before)
        raise_if_trainable_changed(self.model, self._trainable)

    def _check_compiled(self) -> None:
        optimizer = self.model.optimizer
        if not optimizer.built:
            return
        trained = {variable.path for variable in optimizer._trainable_variables}
        trainable = {variable.path for variable in self.model.trainable_variables}
        layers = [
            path
            for path, layer, _ in freezing.layers_at_any_depth(self.model)
            if any((variable.path in trained) != (variable.path in trainable) for variable in layer.weights)
        ]
        if layers:
            raise TrainableChanged(_message(layers))


def trainable_layers(model: keras.Model) -> dict[str, bool]:
    """Returns for each layer with weights, at any depth and by its path, whether it trains."""
    return {path: trains for path, _, trains in freezing.layers_at_any_depth(model)}


def raise_if_trainable_changed(model: keras.Model, before: dict[str, bool]) -> None:
    """Compares what trains with what `trainable_layers` gave when the model was compiled.

    Raises:
        TrainableChanged: Another layer trains now.
    """
    now = trainable_layers(model)
    changed = [path for path in before if now.get(path) != before[path]]
    if changed:
        raise TrainableChanged(_message(changed))


def _message(layers: Sequence[str]) -> str:
    shown = ", ".join(layers[:10]) + (f" and {len(layers) - 10} more" if len(layers) > 10 else "")
    return (
        f"`trainable` of {shown} was changed after compiling, and what is trained did not change with it. Compile "
        "again after setting it; in fine_tune, say what to train by `unfreeze`"
    )


def write_batch(inputs: Any, labels: Any) -> Path:
    """Writes a batch to an `.npz` file in the folder for temporary files, so that somebody can look at it.

    Args:
        inputs: An array, or a structure of arrays.
        labels: An array, or a structure of arrays, such as a dict.

    Returns:
        The path of the file. Its arrays are `inputs` and `labels`; where there are several arrays, they are numbered
        in Keras' order (`inputs_0`, `inputs_1`, ...), or named where they are entries of a dict (`labels_boxes`).

    Example:

    >>> path = write_batch(np.zeros((2, 4, 6, 3), "float32"), np.array([0, 1]))
    >>> with np.load(path) as batch:
    ...     print({name: array.shape for name, array in batch.items()})
    {'inputs': (2, 4, 6, 3), 'labels': (2,)}
    >>> path.unlink()
    """
    arrays: dict[str, Any] = {}
    for name, value in (("inputs", inputs), ("labels", labels)):
        flat = keras.tree.flatten(value)
        if isinstance(value, dict) and len(flat) == len(value):
            arrays |= {f"{name}_{key}": np.asarray(array) for key, array in value.items()}
        else:
            names = [name] if len(flat) == 1 else [f"{name}_{number}" for number in range(len(flat))]
            arrays |= {key: np.asarray(array) for key, array in zip(names, flat, strict=True)}
    with tempfile.NamedTemporaryFile(prefix="batch-", suffix=".npz", delete=False) as file:
        np.savez(file, **arrays)
    return Path(file.name)
