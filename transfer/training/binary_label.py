"""One of two classes for each image, told apart by a single number: a sigmoid with the labels 0 and 1."""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from transfer.probabilities import Values
from transfer.training.objective_interface import Objective
from transfer.training.objectives import SingleLabel

__all__ = ["BinaryLabel", "fitting_objective"]


@dataclass(frozen=True)
class BinaryLabel(SingleLabel):
    """The objective for a model that ends in one sigmoid, which is the probability of the second class.

    Arguments and columns are those of `SingleLabel`. `fine_tune` takes it in place of a `SingleLabel` where the model
    has one output unit.

    Example:

    >>> round(float(BinaryLabel().loss()(np.array([1, 0]), np.array([[0.5], [0.5]]))), 4)
    0.6931
    """

    values: ClassVar[Values] = "probabilities"

    def loss(self) -> keras.losses.Loss:
        if self.focal_gamma:
            return keras.losses.BinaryFocalCrossentropy(gamma=self.focal_gamma, label_smoothing=self.label_smoothing)
        return keras.losses.BinaryCrossentropy(label_smoothing=self.label_smoothing)

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        if self.focal_gamma:
            return None
        return labels.reshape(-1, 1) * (1 - self.label_smoothing) + self.label_smoothing / 2

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.BinaryAccuracy(name="accuracy")]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        is_column = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 2 and spec.shape[-1] == 1
        if is_column and not spec.dtype.is_floating:
            return
        super().check_spec(spec, 2, name)

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        super().check_array(labels, 2, name)


def fitting_objective(objective: Objective, model: keras.Model) -> Objective:
    """Returns the objective for a model: that of a binary classifier for one class of several and one output unit.

    There is a warning about a softmax of one unit, which says 1 whatever it is shown.

    Args:
        objective: What the model is to be trained for.
        model: A flat model.
    """
    shapes = [tuple(output.shape) for output in model.outputs]
    last = model.layers[-1]
    is_softmax = (
        isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax
    )
    if shapes == [(None, 1)] and is_softmax:
        warnings.warn(
            f"{model.name} ends in a softmax of one unit, which is always 1 and learns nothing; for two classes take a "
            "sigmoid of one unit or a softmax of two",
            stacklevel=3,
        )
    if type(objective) is SingleLabel and len(shapes) == 1 and shapes[0][-1] == 1:
        return BinaryLabel(objective.label_smoothing, objective.focal_gamma, objective.class_names)
    return objective
