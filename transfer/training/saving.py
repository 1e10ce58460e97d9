"""Callbacks that keep the state of a training, and that go on from it in the middle of an epoch."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict

import keras
import numpy as np

from transfer.training.callbacks import BestWeights, Rows
from transfer.training.checkpoints import Checkpoint, Position
from transfer.training.history import Phase

__all__ = ["ResumeMetrics", "SaveState"]


class SaveState(keras.callbacks.Callback):
    """Keeps the state of a training when all other callbacks are done.

    Args:
        checkpoint: Where the state is kept.
        best: The best weights so far.
        phases: The phases that are done.
        epochs: Number of epochs of this phase.
        steps: Number of batches in an epoch; 0 where it is not known.
        begin: Where in the phase the training began.
        rows: The rows of this phase.
        metrics_of: The model that is fitted.
        start: When the phase would have begun if it had not been stopped, as `time.perf_counter` gives it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        best: BestWeights,
        phases: Sequence[Phase],
        *,
        epochs: int,
        steps: int,
        begin: Position,
        rows: Rows,
        metrics_of: keras.Model,
        start: float,
    ):
        super().__init__()
        self.checkpoint, self.best, self.phases = checkpoint, best, phases
        self.epochs, self.steps, self.begin, self.rows = epochs, steps, begin, rows
        self.metrics_of, self.start = metrics_of, start
        self.failed = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.checkpoint.share is None or not self.checkpoint.is_due():
            return
        done = batch + 1 + (self.begin.batch if self.epoch == self.begin.epoch else 0)
        if done < self.steps:
            self._save(epoch=self.epoch, batch=done)

    def on_epoch_end(self, epoch, logs=None):
        ended = self.model.stop_training or epoch + 1 == self.epochs
        if ended or self.checkpoint.is_due():  # What a whole phase has reached is always kept.
            self._save(epoch=self.epochs if ended else epoch + 1, batch=0)

    def _save(self, *, epoch: int, batch: int) -> None:
        position = Position(
            phase=len(self.phases),
            epoch=epoch,
            batch=batch,
            goodness=self.best.goodness,
            rows=self.rows.rows,
            phases=[asdict(phase) for phase in self.phases],
            seconds=time.perf_counter() - self.start,
        )
        metrics = self.metrics_of.metrics_variables if batch else []
        try:
            self.checkpoint.save(position, self.model, self.model.optimizer, self.best.weights, metrics)
        except OSError as error:
            if not self.failed:
                warnings.warn(
                    f"the state of the training cannot be written to {self.checkpoint.path}: {error}. Training goes "
                    "on; what was kept before is as it was",
                    stacklevel=2,
                )
            self.failed = True


class ResumeMetrics(keras.callbacks.Callback):
    """Lets the loss and the metrics of an epoch go on from what they were in the middle of it.

    Args:
        fitted: The model that is fitted.
        epoch: The epoch in the middle of which the training was stopped.
        values: The values of the metrics' variables at that time.
    """

    def __init__(self, fitted: keras.Model, epoch: int, values: Sequence[np.ndarray]):
        super().__init__()
        self.fitted, self.epoch, self.values = fitted, epoch, values

    def on_epoch_begin(self, epoch, logs=None):
        variables = self.fitted.metrics_variables
        if epoch == self.epoch and len(variables) == len(self.values):
            for variable, value in zip(variables, self.values, strict=True):
                variable.assign(value)
