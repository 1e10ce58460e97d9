"""Callbacks that watch a training: one stops it where its loss is lost, one lets an objective measure the model."""

import math
from typing import Any

import keras

from transfer.training.averaging import AveragedWeights
from transfer.training.callbacks import BestWeights
from transfer.training.checkpoints import Position
from transfer.training.counted_data import CountedDataset
from transfer.training.guard import TrainingDiverged, write_batch
from transfer.training.objective_interface import SelfValidating
from transfer.training.plan import Stage

__all__ = ["MeasureItself", "StopWhenDiverged"]


class StopWhenDiverged(keras.callbacks.Callback):
    """Stops a training whose loss is NaN or infinite, writes the batch, and gives the model its last good weights.

    Args:
        stage: The phase.
        begin: Where in the phase the training began.
        counted: The training data, which remember their last batches.
        best: The best weights so far.

    Attributes:
        data: What is being trained on; set before each call of `fit`.
    """

    def __init__(self, stage: Stage, begin: Position, counted: CountedDataset, best: BestWeights):
        super().__init__()
        self.stage, self.begin, self.counted, self.best = stage, begin, counted, best
        self.data: Any = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        number = batch + (self.begin.batch if self.epoch == self.begin.epoch else 0)
        stored = isinstance(self.data, keras.utils.PyDataset)
        bad = self.data[batch] if stored else self.counted.batch(number)
        kind = "activations where the frozen part ends" if stored else "images"
        raise TrainingDiverged(
            f"the loss is {logs['loss']} in phase {self.stage.name!r}, epoch {self.epoch + 1}, batch {number + 1}, at "
            f"a learning rate of {self.stage.learning_rate:g}. {self.best.rescue(self.model)} The {kind} and "
            f"labels of this batch are in {write_batch(bad[0], bad[1])}. Try a tenth of that rate; if that does not "
            "help, look for NaN in the images"
        )


class MeasureItself(keras.callbacks.Callback):
    """Lets an objective measure the model at the end of an epoch, with averaged weights where there are any.

    Args:
        objective: The objective.
        averages: The averaged weights.
        first_epoch: How many epochs the phases before this one had.
        last: The number of the last epoch of the training; 0 where it is not in this phase.
    """

    def __init__(self, objective: SelfValidating, averages: AveragedWeights, *, first_epoch: int, last: int):
        super().__init__()
        self.objective, self.averages = objective, averages
        self.first_epoch, self.last = first_epoch, last

    def on_epoch_end(self, epoch, logs=None):
        number = self.first_epoch + epoch + 1
        with self.averages.in_place():
            measured = self.objective.validate(self.model, number, number == self.last)
        logs.update({f"val_{name}": float(value) for name, value in (measured or {}).items()})
