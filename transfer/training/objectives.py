"""What a network is trained to tell: one class of several, any number of labels, numbers, or several of these at once.

A task says which loss and metrics a training has, which of its epochs was the best, and what labels have to look like.
`fine_tune(..., task=...)` takes one; `transfer.models.heads` has the head for each.

===============  ==============================  ==========================================================
`SingleLabel`    softmax `[n, k]`                labels int `[n]`, the index of the class
`MultiLabel`     sigmoid `[n, k]`                labels 0 or 1, `[n, k]`, a column for each class
`Regression`     linear `[n, k]`                 labels float `[n, k]`, or `[n]` where there is one number
`Tasks`          a dict of these                 a dict of labels with the same names
===============  ==============================  ==========================================================
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import keras
import numpy as np
import tensorflow as tf

from zoo.losses import SparseFocalCrossentropy

__all__ = ["MultiLabel", "Regression", "SingleLabel", "Task", "Tasks"]


class Task(Protocol):
    """What `fine_tune` asks of a task."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the logs that are kept of an epoch."""

    def loss(self) -> Any:
        """What `keras.Model.compile` takes as `loss`."""

    def loss_weights(self) -> dict[str, float] | None:
        """What `keras.Model.compile` takes as `loss_weights`."""

    def metrics(self) -> Any:
        """What `keras.Model.compile` takes as `metrics`: new objects at each call."""

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """How good an epoch was, by its logs; larger is better, and later numbers decide between equals."""

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        """Raises `ValueError` where labels of such shape and dtype cannot train the model.

        Args:
            spec: of a batch of labels, as `dataset.element_spec[1]` has it.
            model: that is to be trained.
            name: of the data set, for the message.
        """

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        """Raises `ValueError` where labels have values that the task does not know.

        Args:
            labels: arrays, of any number of images.
            model: that is to be trained.
            name: of the data set, for the message.
        """


class _OneHead(ABC):
    """What tasks with one output have in common."""

    def loss_weights(self) -> dict[str, float] | None:
        return None

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        if len(model.outputs) != 1:
            raise ValueError(
                f"{type(self).__name__} is for a model with one output, and {model.name} has "
                f"{len(model.outputs)}; give Tasks with a task for each"
            )
        self._check_spec(spec, model.outputs[0].shape[-1], name)

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        self._check_values(np.asarray(labels), model.outputs[0].shape[-1], name)

    @abstractmethod
    def _check_spec(self, spec: Any, width: int, name: str) -> None:
        """Raises `ValueError` where labels of that shape and dtype are none for an output of `width` numbers."""

    @abstractmethod
    def _check_values(self, labels: np.ndarray, width: int, name: str) -> None:
        """Raises `ValueError` where their values are none."""


@dataclass(frozen=True)
class SingleLabel(_OneHead):
    """One class of several for each image; the best epoch is that of the highest accuracy, then of the lowest loss.

    Args:
        label_smoothing: in [0, 1); see `zoo.losses.SparseFocalCrossentropy`.
        focal_gamma: at least 0, likewise; 0 is plain cross-entropy.

    Example:

    >>> SingleLabel().goodness({"val_accuracy": 0.9, "val_loss": 0.5})
    (0.9, -0.5)
    >>> SingleLabel(label_smoothing=0.1).loss().get_config()["label_smoothing"]
    0.1
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    def __post_init__(self) -> None:
        _check_loss(self.label_smoothing, self.focal_gamma)

    @property
    def columns(self) -> tuple[str, ...]:
        return "loss", "accuracy", "val_loss", "val_accuracy"

    def loss(self) -> keras.losses.Loss:
        if self.label_smoothing or self.focal_gamma:
            return SparseFocalCrossentropy(self.focal_gamma, self.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        # On a small validation set many epochs have the same accuracy.
        return row["val_accuracy"], -row["val_loss"]

    def _check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"class indices, int [n] in 0..{width - 1}"
        shape, dtype = _shape_and_dtype(spec, expected, name)
        if shape.rank == 2 and shape[-1] == width and width > 1:
            raise ValueError(
                f"the labels of {name} have to be {expected}, not one-hot rows: got {shape} of {dtype.name}. Take "
                "their argmax; or, if several classes may be in one image, train with task=MultiLabel()"
            )
        if shape.rank != 1 or not dtype.is_integer:
            raise ValueError(f"the labels of {name} have to be {expected}; got labels {shape} of {dtype.name}")

    def _check_values(self, labels: np.ndarray, width: int, name: str) -> None:
        if labels.size and (labels.min() < 0 or labels.max() >= width):
            raise ValueError(
                f"the labels of {name} have to be in 0..{width - 1}, for the model tells {width} classes apart; got "
                f"{labels.min()}..{labels.max()}. Were the data read with other classes?"
            )


@dataclass(frozen=True)
class MultiLabel(_OneHead):
    """Any number of labels for each image, none of them included.

    The best epoch is that of the highest average precision (area under the curve of precision over recall, mean over
    the labels), which depends on no threshold, then of the lowest loss. Thresholds are chosen afterwards: see
    `transfer.choose_thresholds`.

    Args:
        label_smoothing: in [0, 1): the share by which 0 and 1 are moved towards 0.5.
        focal_gamma: at least 0: the larger, the less count answers that are already right; 0 is plain cross-entropy.
            Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4.

    Example:

    >>> type(MultiLabel(focal_gamma=2.0).loss()).__name__
    'BinaryFocalCrossentropy'
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    def __post_init__(self) -> None:
        _check_loss(self.label_smoothing, self.focal_gamma)

    @property
    def columns(self) -> tuple[str, ...]:
        return _with_validation("loss", "average_precision", "f1")

    def loss(self) -> keras.losses.Loss:
        if self.focal_gamma:
            return keras.losses.BinaryFocalCrossentropy(gamma=self.focal_gamma, label_smoothing=self.label_smoothing)
        return keras.losses.BinaryCrossentropy(label_smoothing=self.label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [
            keras.metrics.AUC(curve="PR", multi_label=True, name="average_precision"),
            keras.metrics.F1Score(average="macro", threshold=0.5, name="f1"),
        ]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_average_precision"], -row["val_loss"]

    def _check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"0 or 1 for each class, [n, {width}]"
        shape, dtype = _shape_and_dtype(spec, expected, name)
        if shape.rank != 2 or shape[-1] not in (None, width):
            hint = " Class indices are for task=SingleLabel()." if shape.rank == 1 else ""
            raise ValueError(f"the labels of {name} have to be {expected}; got {shape} of {dtype.name}.{hint}")
        if not (dtype.is_integer or dtype.is_floating or dtype.is_bool):
            raise ValueError(f"the labels of {name} have to be {expected}; got {dtype.name}")

    def _check_values(self, labels: np.ndarray, width: int, name: str) -> None:
        wrong = labels[(labels != 0) & (labels != 1)]
        if wrong.size:
            raise ValueError(f"the labels of {name} have to be 0 or 1; got {wrong[0]}, {wrong.size} such in all")


@dataclass(frozen=True)
class Regression(_OneHead):
    """One or more numbers for each image; the best epoch is that of the lowest mean absolute error.

    Args:
        error: what is minimised: "squared"; "absolute"; or "huber", squared up to `delta` and absolute from there on,
            for labels some of which are far off. Source: Huber 1964, "Robust Estimation of a Location Parameter".
        delta: of "huber", in the labels' unit.

    Example:

    >>> Regression("huber", delta=2.0).goodness({"val_mean_absolute_error": 0.5, "val_loss": 0.25})
    (-0.5, -0.25)
    """

    error: Literal["squared", "absolute", "huber"] = "squared"
    delta: float = 1.0

    def __post_init__(self) -> None:
        if self.error not in ("squared", "absolute", "huber"):
            raise ValueError(f'error is "squared", "absolute" or "huber", got {self.error!r}')
        if not self.delta > 0:
            raise ValueError(f"delta is a positive number in the labels' unit, got {self.delta}")

    @property
    def columns(self) -> tuple[str, ...]:
        return _with_validation("loss", "mean_absolute_error")

    def loss(self) -> keras.losses.Loss:
        if self.error == "huber":
            return keras.losses.Huber(self.delta)
        return keras.losses.MeanSquaredError() if self.error == "squared" else keras.losses.MeanAbsoluteError()

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return -row["val_mean_absolute_error"], -row["val_loss"]

    def _check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"numbers, float [n, {width}]" + (" or [n]" if width == 1 else "")
        shape, dtype = _shape_and_dtype(spec, expected, name)
        fits = (shape.rank == 2 and shape[-1] == width) or (shape.rank == 1 and width == 1)
        if not fits or not (dtype.is_floating or dtype.is_integer):
            raise ValueError(f"the labels of {name} have to be {expected}; got {shape} of {dtype.name}")

    def _check_values(self, labels: np.ndarray, width: int, name: str) -> None:
        if not np.isfinite(labels).all():
            raise ValueError(f"the labels of {name} have to be finite numbers; got NaN or infinity among them")


@dataclass(frozen=True)
class Tasks:
    """Several heads on one trunk, each with a task of its own; the best epoch is that of the lowest weighted loss.

    Source: Caruana 1997, "Multitask Learning".

    Args:
        tasks: by the names of the model's outputs, as `transfer.several_heads` gives them.
        weights: of each loss in the sum that is minimised; 1 unless told.

    Raises:
        ValueError: no task, or a weight for an unknown one, or one that is not positive.

    Example:

    >>> tasks = Tasks({"species": SingleLabel(), "age": Regression()}, weights={"age": 0.1})
    >>> tasks.loss_weights()
    {'species': 1.0, 'age': 0.1}
    >>> tasks.columns[:4]
    ('loss', 'species_loss', 'species_accuracy', 'age_loss')
    """

    tasks: Mapping[str, SingleLabel | MultiLabel | Regression]
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("expected at least one task by the name of its output, got none")
        for name, weight in self.weights.items():
            if name not in self.tasks or not weight > 0:
                raise ValueError(
                    f"weights are positive numbers for some of {', '.join(self.tasks)}; got {weight} for {name!r}"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        own = [f"{name}_{column}" for name, task in self.tasks.items() for column in _without_validation(task)]
        return _with_validation("loss", *own)

    def loss(self) -> dict[str, keras.losses.Loss]:
        return {name: task.loss() for name, task in self.tasks.items()}

    def loss_weights(self) -> dict[str, float]:
        return {name: float(self.weights.get(name, 1.0)) for name in self.tasks}

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        return {name: task.metrics() for name, task in self.tasks.items()}

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return (-row["val_loss"],)

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        if not isinstance(model.output, Mapping) or sorted(model.output) != sorted(self.tasks):
            has = f"a dict of {', '.join(sorted(model.output))}" if isinstance(model.output, Mapping) else "no dict"
            raise ValueError(
                f"there are tasks for {', '.join(sorted(self.tasks))}, and {model.name} has {has} as output; build it "
                "with an output for each, as transfer.several_heads does"
            )
        if not isinstance(spec, Mapping) or sorted(spec) != sorted(self.tasks):
            found = f"labels for {', '.join(sorted(spec))}" if isinstance(spec, Mapping) else f"{spec}"
            raise ValueError(f"{name} has to have a dict of labels for {', '.join(sorted(self.tasks))}; got {found}")
        for each, output in model.output.items():
            self.tasks[each]._check_spec(spec[each], output.shape[-1], f"{name} for {each!r}")

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        for each, output in model.output.items():
            self.tasks[each]._check_values(np.asarray(labels[each]), output.shape[-1], f"{name} for {each!r}")


def _with_validation(*columns: str) -> tuple[str, ...]:
    return *columns, *(f"val_{column}" for column in columns)


def _without_validation(task: Task) -> tuple[str, ...]:
    return tuple(column for column in task.columns if not column.startswith("val_"))


def _check_loss(label_smoothing: float, focal_gamma: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
    if focal_gamma < 0:
        raise ValueError(f"focal_gamma is 0 or more, got {focal_gamma}")


def _shape_and_dtype(spec: Any, expected: str, name: str) -> tuple[tf.TensorShape, tf.DType]:
    if not isinstance(spec, tf.TensorSpec):
        raise ValueError(f"the labels of {name} have to be {expected}; got {spec}")
    return spec.shape, spec.dtype
