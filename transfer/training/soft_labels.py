"""One class for each image, with labels that say how much of each class is in it, as MixUp and CutMix make them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["SoftLabel"]


@dataclass(frozen=True)
class SoftLabel:
    """The task of images that were mixed: labels float `[n, k]`, each row of sum 1; those of validation one-hot.

    The best epoch is that of the highest accuracy, then of the lowest loss.

    Args:
        label_smoothing: in [0, 1).

    Example:

    >>> SoftLabel().check_labels(tf.TensorSpec((None,), tf.int32), _two_classes(), "train")
    Traceback (most recent call last):
    ValueError: the labels of train have to be shares of the classes, float [n, 2]; got (None,) of int32. ...
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share in [0, 1), got {self.label_smoothing}")

    @property
    def columns(self) -> tuple[str, ...]:
        return "loss", "accuracy", "val_loss", "val_accuracy"

    def loss(self) -> keras.losses.Loss:
        return keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)

    def loss_weights(self) -> None:
        return None

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_accuracy"], -row["val_loss"]

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        width = model.outputs[0].shape[-1]
        fits = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 2 and spec.shape[-1] in (None, width)
        if not (fits and spec.dtype.is_floating):
            found = f"{spec.shape} of {spec.dtype.name}" if isinstance(spec, tf.TensorSpec) else f"{spec}"
            raise ValueError(
                f"the labels of {name} have to be shares of the classes, float [n, {width}]; got {found}. One-hot rows "
                "are such: tf.one_hot(labels, num_classes)"
            )

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        sums = np.asarray(labels).sum(axis=-1)
        if not np.allclose(sums, 1, atol=1e-3):
            raise ValueError(f"each row of the labels of {name} has to have the sum 1; got {sums.min()}..{sums.max()}")


def _two_classes() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
