"""One class for each image, with labels that say how much of each class is in it, as MixUp and CutMix make them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from transfer.probabilities import Values
from transfer.training.objective_interface import OneOutput, with_validation

__all__ = ["SoftLabel"]


@dataclass(frozen=True)
class SoftLabel(OneOutput):
    """The objective for images that were mixed.

    Labels are float `[n, k]`, and each row has the sum 1; those of the validation data are one-hot rows. The best epoch
    is the one of the highest accuracy, and of several such epochs the one of the lowest loss.

    Args:
        label_smoothing: Share in [0, 1) of each label that is spread evenly over all classes. Defaults to 0.

    Example:

    >>> SoftLabel().check_labels(tf.TensorSpec((None,), tf.int32), _two_classes(), "train")
    Traceback (most recent call last):
    ValueError: the labels of train have to be shares of the classes, float [n, 2]; got (None,) of int32. ...
    """

    values: ClassVar[Values] = "shares"

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share in [0, 1), got {self.label_smoothing}")

    @property
    def columns(self) -> tuple[str, ...]:
        return with_validation("loss", "accuracy")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("accuracy", "Accuracy"), ("loss", "Loss")

    def loss(self) -> keras.losses.Loss:
        return keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        return labels * (1 - self.label_smoothing) + self.label_smoothing / width

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_accuracy"], -row["val_loss"]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        fits = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 2 and spec.shape[-1] in (None, width)
        if not (fits and spec.dtype.is_floating):
            received = f"{spec.shape} of {spec.dtype.name}" if isinstance(spec, tf.TensorSpec) else f"{spec}"
            raise ValueError(
                f"the labels of {name} have to be shares of the classes, float [n, {width}]; got {received}. One-hot "
                "rows are such labels: tf.one_hot(labels, num_classes)"
            )

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        sums = labels.sum(axis=-1)
        if not np.allclose(sums, 1, atol=1e-3):
            raise ValueError(f"each row of the labels of {name} has to have the sum 1; got {sums.min()}..{sums.max()}")


def _two_classes() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
