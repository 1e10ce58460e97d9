"""Callbacks of a fine-tuning that need nothing of its other parts: what they keep, and when they end a phase."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from transfer.training.averaging import AveragedWeights
from transfer.training.objective_interface import Objective
from transfer.training.optimization import learning_rate_of

__all__ = ["BestWeights", "KeepBest", "OnWholeModel", "Patience", "Rows"]


class OnWholeModel(keras.callbacks.Callback):
    """Lets callbacks see the whole model, though only its top is being fitted."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], whole: keras.Model):
        super().__init__()
        self.whole = whole
        self.callbacks = keras.callbacks.CallbackList(list(callbacks), model=whole)

    def set_params(self, params):
        super().set_params(params)
        self.callbacks.set_params(params)

    def _stop_if_asked(self):
        if self.whole.stop_training:
            self.model.stop_training = True

    def on_train_begin(self, logs=None):
        self.whole.stop_training = False
        self.callbacks.on_train_begin(logs)

    def on_train_end(self, logs=None):
        self.callbacks.on_train_end(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.callbacks.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.callbacks.on_epoch_end(epoch, logs)
        self._stop_if_asked()

    def on_train_batch_begin(self, batch, logs=None):
        self.callbacks.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.callbacks.on_train_batch_end(batch, logs)
        self._stop_if_asked()

    def on_test_begin(self, logs=None):
        self.callbacks.on_test_begin(logs)

    def on_test_end(self, logs=None):
        self.callbacks.on_test_end(logs)

    def on_test_batch_begin(self, batch, logs=None):
        self.callbacks.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self.callbacks.on_test_batch_end(batch, logs)


class Rows(keras.callbacks.Callback):
    """Keeps one row for each epoch.

    Args:
        phase: The name of the phase.
        rows: The rows of its epochs that are done; new ones are added.
        first_epoch: How many epochs the phases before this one had.
        columns: The logs that are kept.
        gaps: Whether columns of validation may be missing, which are then None.
    """

    def __init__(
        self, phase: str, rows: list[dict[str, Any]], *, first_epoch: int, columns: Sequence[str], gaps: bool = False
    ):
        super().__init__()
        self.phase, self.first_epoch, self.columns, self.gaps = phase, first_epoch, columns, gaps
        self.rows = rows

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        measured = {name: float(logs[name]) for name in self.columns if name in logs or not self._may_lack(name)}
        row: dict[str, float | None] = {name: measured.get(name) for name in self.columns}
        rate = learning_rate_of(self.model.optimizer)
        seconds = time.perf_counter() - self.start
        epoch = self.first_epoch + epoch + 1
        self.rows.append({"epoch": epoch, "phase": self.phase, **row, "learning_rate": rate, "seconds": seconds})

    def _may_lack(self, name: str) -> bool:
        return self.gaps and name.startswith("val_")


class BestWeights:
    """The weights of the best epoch so far, over all phases.

    Attributes:
        goodness: How good that epoch was, as the objective judges it; () before the first one.
        weights: Its weights; None before the first one.
    """

    def __init__(self, model: keras.Model):
        self._begin = model.get_weights()
        self.goodness: tuple[float, ...] = ()
        self.weights: list[np.ndarray] | None = None

    def restore(self, model: keras.Model) -> None:
        """Gives a model the best weights, if there are any."""
        if self.weights is not None:
            model.set_weights(self.weights)

    def rescue(self, model: keras.Model) -> str:
        """Gives a model that has become useless the last good weights, and says which they are."""
        if self.weights is not None:
            model.set_weights(self.weights)
            return "The model has the best weights so far."
        model.set_weights(self._begin)
        if all(np.isfinite(weights).all() for weights in self._begin):
            return "The model has the weights that it began with."
        return "The model's weights are lost: there were NaN or infinity among those that it began with."


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of an epoch that is better than all before it; the averaged ones where weights are averaged."""

    def __init__(self, best: BestWeights, objective: Objective, rows: Rows, averages: AveragedWeights):
        super().__init__()
        self.best, self.objective, self.rows, self.averages = best, objective, rows, averages

    def on_epoch_end(self, epoch, logs=None):
        goodness = self.objective.goodness(self.rows.rows[-1])
        if goodness > self.best.goodness:
            with self.averages.in_place():
                self.best.weights = self.model.get_weights()
            self.best.goodness = tuple(map(float, goodness))


class Patience(keras.callbacks.Callback):
    """Ends a phase when its best epoch is long ago."""

    def __init__(self, objective: Objective, patience: int, rows: Rows):
        super().__init__()
        self.objective, self.patience, self.rows = objective, patience, rows

    def on_epoch_end(self, epoch, logs=None):
        goodness = [self.objective.goodness(row) for row in self.rows.rows]
        if len(goodness) - 1 - goodness.index(max(goodness)) >= self.patience:
            self.model.stop_training = True
