"""Callbacks of a fine-tuning that need nothing of its other parts: what they keep, and when they end a phase."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from transfer.training.objectives import Task
from transfer.training.optimization import learning_rate_of

__all__ = ["BestWeights", "OnWholeModel", "Patience", "Rows"]


class OnWholeModel(keras.callbacks.Callback):
    """Callbacks that are to see the whole model, though only its top is being fitted."""

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
    """Keeps one row an epoch."""

    def __init__(self, phase: str, rows: list[dict[str, Any]], *, first_epoch: int, columns: Sequence[str]):
        super().__init__()
        self.phase, self.first_epoch, self.columns = phase, first_epoch, columns
        self.rows = rows

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        measured = {key: float(logs[key]) for key in self.columns}
        rate = learning_rate_of(self.model.optimizer)
        seconds = time.perf_counter() - self.start
        epoch = self.first_epoch + epoch + 1
        self.rows.append({"epoch": epoch, "phase": self.phase, **measured, "learning_rate": rate, "seconds": seconds})


class BestWeights(keras.callbacks.Callback):
    """Holds the weights of the best epoch by validation, over all phases it is given to."""

    def __init__(self, task: Task, model: keras.Model, *, averaged: bool):
        super().__init__()
        self.task, self.averaged = task, averaged
        self.begin = model.get_weights()
        self.goodness: tuple[float, ...] = ()
        self.weights: list[np.ndarray] | None = None

    def on_test_end(self, logs=None):
        if self.averaged:  # in the model only while it is validated
            self.candidate = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        goodness = self.task.goodness(logs)
        if goodness > self.goodness:
            self.goodness = tuple(map(float, goodness))
            self.weights = self.candidate if self.averaged else self.model.get_weights()

    def restore(self, model: keras.Model) -> None:
        if self.weights is not None:
            model.set_weights(self.weights)

    def rescue(self, model: keras.Model) -> str:
        """Gives a model that has become useless the last good weights, and says which."""
        if self.weights is not None:
            model.set_weights(self.weights)
            return "The model has the best weights so far."
        model.set_weights(self.begin)
        if all(np.isfinite(each).all() for each in self.begin):
            return "The model has the weights that it began with."
        return "The model's weights are lost: there were NaN or infinity among those that it began with."


class Patience(keras.callbacks.Callback):
    """Ends a phase when its best epoch is long ago."""

    def __init__(self, task: Task, patience: int, rows: Rows):
        super().__init__()
        self.task, self.patience, self.rows = task, patience, rows

    def on_epoch_end(self, epoch, logs=None):
        goodness = [self.task.goodness(row) for row in self.rows.rows]
        if len(goodness) - 1 - goodness.index(max(goodness)) >= self.patience:
            self.model.stop_training = True
