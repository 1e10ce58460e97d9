"""Averaged weights: in place while a model is measured, and at the end of a phase; in between the trained ones are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

__all__ = ["AverageWhileTesting", "AveragedWeights", "KeepTrained"]


class AveragedWeights:
    """The moving averages that an optimizer keeps, and the variables that they belong to.

    Putting them in place and taking them away copies values, so that the trained weights come back bit for bit. (Keras'
    `SwapEMAWeights` adds and subtracts, which rounds.)

    Args:
        optimizer: The optimizer, built for the variables.
        variables: The variables, in the order in which the optimizer was built.
        used: Whether the optimizer averages at all; otherwise nothing is ever changed.
    """

    def __init__(self, optimizer: keras.Optimizer, variables: Sequence[Any], *, used: bool):
        self._optimizer, self._variables, self.used = optimizer, list(variables), used
        self._trained: list[np.ndarray] | None = None

    def put(self) -> None:
        """Puts the averages in place, for good unless `take_away` follows."""
        if self.used:
            self._trained = self.trained()
            self._optimizer.finalize_variable_values(self._variables)

    def take_away(self) -> None:
        """Puts back the weights that were there before `put`."""
        if self._trained is not None:
            self.set(self._trained)
            self._trained = None

    def trained(self) -> list[np.ndarray]:
        """Returns a copy of the weights that are in place."""
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in self._variables]

    def set(self, values: Sequence[np.ndarray]) -> None:
        """Puts such a copy in place."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Has the averages in place for as long as a block runs."""
        self.put()
        try:
            yield
        finally:
            self.take_away()


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
