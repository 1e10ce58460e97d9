"""Averaged weights: in place while a model is measured, and at the end of a phase; in between the trained ones are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

__all__ = ["AverageStatistics", "AverageWhileTesting", "AveragedWeights", "KeepTrained"]


class AveragedWeights:
    """The moving averages of what a phase trains: of the weights, which an optimizer keeps, and of batch statistics.

    Batch norms that train have statistics that belong to the trained weights of the last few steps. Averaged weights
    are those of many more steps, and give quite other activations, so that the statistics are averaged along with them.
    (Sources: Keras' optimizers; Ge et al. 2021, "YOLOX", whose averages are of all values of a network.)

    Putting the averages in place and taking them away copies values, so that the trained weights come back bit for bit.
    (Keras' `SwapEMAWeights` adds and subtracts, which rounds.)

    Args:
        optimizer: The optimizer, built for the trainable variables of the model. The averages of the statistics become
            variables of it, so that they are kept with its state.
        model: The model that is trained.
        momentum: Momentum of the averages, which is that of the optimizer; 0 where nothing is averaged.
    """

    def __init__(self, optimizer: keras.Optimizer, model: keras.Model, *, momentum: float):
        self._optimizer, self._momentum = optimizer, momentum
        self._weights = list(model.trainable_variables)
        self._statistics = _statistics(model) if self.used else []
        self._averages = [optimizer.add_variable_from_reference(each, "average") for each in self._statistics]
        self._trained: list[np.ndarray] | None = None

    @property
    def used(self) -> bool:
        """Whether anything is averaged."""
        return self._momentum > 0

    def update(self) -> None:
        """Adds the statistics after a step to their averages; the optimizer does so with the weights."""
        momentum = self._momentum if self._optimizer.iterations > 1 else 0.0
        for statistic, average in zip(self._statistics, self._averages, strict=True):
            average.assign(momentum * average + (1 - momentum) * statistic)

    def put(self) -> None:
        """Puts the averages in place, for good unless `take_away` follows. Before the first step nothing changes."""
        if self.used and self._optimizer.iterations > 0:
            self._trained = self.trained()
            self._optimizer.finalize_variable_values(self._weights)
            for statistic, average in zip(self._statistics, self._averages, strict=True):
                statistic.assign(average)

    def take_away(self) -> None:
        """Puts back the weights that were there before `put`."""
        if self._trained is not None:
            self.set(self._trained)
            self._trained = None

    def trained(self) -> list[np.ndarray]:
        """Returns a copy of the weights and the statistics that are in place."""
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in (*self._weights, *self._statistics)]

    def set(self, values: Sequence[np.ndarray]) -> None:
        """Puts such a copy in place."""
        for variable, value in zip((*self._weights, *self._statistics), values, strict=True):
            variable.assign(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Has the averages in place for as long as a block runs."""
        self.put()
        try:
            yield
        finally:
            self.take_away()


def _statistics(model: keras.Model) -> list[Any]:
    """Returns the moving statistics of the batch norms that train."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [statistic for layer in norms if layer.trainable for statistic in (layer.moving_mean, layer.moving_variance)]


class AverageStatistics(keras.callbacks.Callback):
    """Averages the statistics of batch norms after each step."""

    def __init__(self, averages: AveragedWeights):
        super().__init__()
        self.averages = averages

    def on_train_batch_end(self, batch, logs=None):
        self.averages.update()


class AverageWhileTesting(keras.callbacks.Callback):
    """Has averaged weights in place while Keras validates the model."""

    def __init__(self, averages: AveragedWeights):
        super().__init__()
        self.averages = averages

    def on_test_begin(self, logs=None):
        self.averages.put()

    def on_test_end(self, logs=None):
        self.averages.take_away()


class KeepTrained(keras.callbacks.Callback):
    """Keeps the trained weights of the end of an epoch, since `fit` puts averaged ones in place at its own end."""

    def __init__(self, averages: AveragedWeights):
        super().__init__()
        self.averages = averages
        self._values: list[np.ndarray] = []

    def on_epoch_end(self, epoch, logs=None):
        if self.averages.used:
            self._values = self.averages.trained()

    def put_back(self) -> None:
        """Puts these weights in place, for another `fit` that goes on with the phase."""
        if self.averages.used:
            self.averages.set(self._values)
