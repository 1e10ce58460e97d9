"""What a network is trained for: one class of several, any number of labels, numbers, or several of these at once.

An objective says which loss and metrics a training has, which of its epochs is the best, and what labels have to look
like. `fine_tune(..., objective=...)` takes one, and `transfer.models.heads` has the head for each.

===============  ==============================  ==========================================================
`SingleLabel`    softmax `[n, k]`                labels int `[n]`, the index of the class
`MultiLabel`     sigmoid `[n, k]`                labels 0 or 1, `[n, k]`, a column for each class
`Regression`     linear `[n, k]`                 labels float `[n, k]`, or `[n]` where there is one number
`Objectives`     a dict of these                 a dict of labels with the same names
===============  ==============================  ==========================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from transfer.probabilities import Values
from transfer.training.objective_interface import Objective, OneOutput, with_validation
from zoo.losses import SparseFocalCrossentropy

__all__ = ["ONE_LABEL", "MultiLabel", "Objective", "Objectives", "OneOutput", "Regression", "SingleLabel"]


@dataclass(frozen=True)
class SingleLabel(OneOutput):
    """One class of several for each image.

    The best epoch is the one of the highest accuracy, and of several such epochs the one of the lowest loss.

    Args:
        label_smoothing: Share in [0, 1) of each label that is spread evenly over all classes. Defaults to 0.
        focal_gamma: Exponent of the focal loss, 0 or more: the larger it is, the less do answers count that are right
            already. Defaults to 0, which is plain cross-entropy. See `zoo.losses.SparseFocalCrossentropy`.
        class_names: The names of the classes in the order of the outputs, by which weights of classes may be given.
            There are none by default.

    Example:

    >>> SingleLabel().goodness({"val_accuracy": 0.9, "val_loss": 0.5})
    (0.9, -0.5)
    >>> SingleLabel(label_smoothing=0.1).loss().get_config()["label_smoothing"]
    0.1
    """

    values: ClassVar[Values] = "shares"

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_loss(self.label_smoothing, self.focal_gamma)

    @property
    def columns(self) -> tuple[str, ...]:
        return with_validation("loss", "accuracy")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("accuracy", "Accuracy"), ("loss", "Loss")

    def loss(self) -> keras.losses.Loss:
        if self.label_smoothing or self.focal_gamma:
            return SparseFocalCrossentropy(self.focal_gamma, self.label_smoothing)
        return keras.losses.SparseCategoricalCrossentropy()

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        if self.focal_gamma:
            return None
        return np.eye(width)[labels] * (1 - self.label_smoothing) + self.label_smoothing / width

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        # On a small validation set many epochs have the same accuracy.
        return row["val_accuracy"], -row["val_loss"]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"class indices, int [n] in 0..{width - 1}"
        shape, dtype = _shape_and_dtype(spec, expected, name)
        if shape.rank == 2 and shape[-1] == width and width > 1:
            raise ValueError(
                f"the labels of {name} have to be {expected}, not one-hot rows: got {shape} of {dtype.name}. Take "
                "their argmax; or, if several classes may be in one image, train with objective=MultiLabel()"
            )
        if shape.rank != 1 or not dtype.is_integer:
            raise ValueError(f"the labels of {name} have to be {expected}; got labels {shape} of {dtype.name}")

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        if labels.size and (labels.min() < 0 or labels.max() >= width):
            raise ValueError(
                f"the labels of {name} have to be in 0..{width - 1}, for the model tells {width} classes apart; got "
                f"{labels.min()}..{labels.max()}. Were the data read with other classes?"
            )


@dataclass(frozen=True)
class MultiLabel(OneOutput):
    """Any number of labels for each image, which may also have none.

    The best epoch is the one of the highest average precision (area under the curve of precision over recall, mean over
    the labels), which depends on no threshold, and of several such epochs the one of the lowest loss. Thresholds are
    chosen afterwards: see `transfer.choose_thresholds`.

    Args:
        label_smoothing: Share in [0, 1) by which 0 and 1 are moved towards 0.5. Defaults to 0.
        focal_gamma: Exponent of the focal loss, 0 or more: the larger it is, the less do answers count that are right
            already. Defaults to 0, which is plain cross-entropy. Source: Lin et al. 2017, "Focal Loss for Dense Object
            Detection", equation 4.

    Example:

    >>> type(MultiLabel(focal_gamma=2.0).loss()).__name__
    'BinaryFocalCrossentropy'
    """

    values: ClassVar[Values] = "probabilities"

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    def __post_init__(self) -> None:
        _check_loss(self.label_smoothing, self.focal_gamma)

    @property
    def columns(self) -> tuple[str, ...]:
        return with_validation("loss", "average_precision", "f1")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("average_precision", "Mean average precision"), ("f1", "F1, mean over the labels"), ("loss", "Loss")

    def loss(self) -> keras.losses.Loss:
        if self.focal_gamma:
            return keras.losses.BinaryFocalCrossentropy(gamma=self.focal_gamma, label_smoothing=self.label_smoothing)
        return keras.losses.BinaryCrossentropy(label_smoothing=self.label_smoothing)

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        return None if self.focal_gamma else labels * (1 - self.label_smoothing) + self.label_smoothing / 2

    def metrics(self) -> list[keras.metrics.Metric]:
        return [
            keras.metrics.AUC(curve="PR", multi_label=True, name="average_precision"),
            keras.metrics.F1Score(average="macro", threshold=0.5, name="f1"),
        ]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_average_precision"], -row["val_loss"]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"0 or 1 for each class, [n, {width}]"
        shape, dtype = _shape_and_dtype(spec, expected, name)
        if shape.rank != 2 or shape[-1] not in (None, width):
            hint = " Class indices are for objective=SingleLabel()." if shape.rank == 1 else ""
            raise ValueError(f"the labels of {name} have to be {expected}; got {shape} of {dtype.name}.{hint}")
        if not (dtype.is_integer or dtype.is_floating or dtype.is_bool):
            raise ValueError(f"the labels of {name} have to be {expected}; got {dtype.name}")

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        wrong = labels[(labels != 0) & (labels != 1)]
        if wrong.size:
            raise ValueError(f"the labels of {name} have to be 0 or 1; got {wrong[0]}, {wrong.size} such in all")


@dataclass(frozen=True)
class Regression(OneOutput):
    """One or more numbers for each image. The best epoch is the one of the lowest mean absolute error.

    Args:
        error: The error that is minimised: "squared", the default; "absolute"; or "huber", which is squared up to
            `delta` and absolute from there on, for labels some of which are far off. Source: Huber 1964, "Robust
            Estimation of a Location Parameter".
        delta: The error at which "huber" becomes absolute, in the unit of the labels. Defaults to 1.

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
        return with_validation("loss", "mean_absolute_error")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("mean_absolute_error", "Mean absolute error"), ("loss", "Loss")

    def loss(self) -> keras.losses.Loss:
        if self.error == "huber":
            return keras.losses.Huber(self.delta)
        return keras.losses.MeanSquaredError() if self.error == "squared" else keras.losses.MeanAbsoluteError()

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        return labels.reshape(-1, width) if self.error == "squared" else None

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return -row["val_mean_absolute_error"], -row["val_loss"]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        expected = f"numbers, float [n, {width}]" + (" or [n]" if width == 1 else "")
        shape, dtype = _shape_and_dtype(spec, expected, name)
        fits = (shape.rank == 2 and shape[-1] == width) or (shape.rank == 1 and width == 1)
        if not fits or not (dtype.is_floating or dtype.is_integer):
            raise ValueError(f"the labels of {name} have to be {expected}; got {shape} of {dtype.name}")

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        if not np.isfinite(labels).all():
            raise ValueError(f"the labels of {name} have to be finite numbers; got NaN or infinity among them")


@dataclass(frozen=True)
class Objectives:
    """Several heads on one trunk, each with an objective of its own. The best epoch is that of the lowest weighted
    loss.

    Source: Caruana 1997, "Multitask Learning".

    Args:
        objectives: The objectives by the names of the model's outputs, as `transfer.several_heads` gives them.
        weights: The factor of each loss in the sum that is minimised, by the name of its output. Defaults to 1 for each
            output.

    Raises:
        ValueError: There is no objective, a weight for an unknown one, or a weight that is not positive.

    Example:

    >>> objectives = Objectives({"species": SingleLabel(), "age": Regression()}, weights={"age": 0.1})
    >>> objectives.loss_weights()
    {'species': 1.0, 'age': 0.1}
    >>> objectives.columns[:4]
    ('loss', 'species_loss', 'species_accuracy', 'age_loss')
    >>> objectives.curves[0]
    ('species_accuracy', 'species: Accuracy')
    """

    objectives: Mapping[str, OneOutput]
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("expected at least one objective by the name of its output, got none")
        for name, weight in self.weights.items():
            if name not in self.objectives or not weight > 0:
                raise ValueError(
                    f"weights are positive numbers for some of {', '.join(self.objectives)}; got {weight} for {name!r}"
                )

    @property
    def parts(self) -> Mapping[str, OneOutput]:
        """The objectives by the names of the outputs."""
        return self.objectives

    @property
    def columns(self) -> tuple[str, ...]:
        own = [
            f"{name}_{column}"
            for name, objective in self.objectives.items()
            for column in objective.columns
            if not column.startswith("val_")
        ]
        return with_validation("loss", *own)

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        own = [
            (f"{name}_{column}", f"{name}: {title}")
            for name, objective in self.objectives.items()
            for column, title in objective.curves
            if column != "loss"
        ]
        return *own, ("loss", "Loss, weighted sum")

    def loss(self) -> dict[str, keras.losses.Loss]:
        return {name: objective.loss() for name, objective in self.objectives.items()}

    def loss_weights(self) -> dict[str, float]:
        return {name: float(self.weights.get(name, 1.0)) for name in self.objectives}

    def metrics(self) -> dict[str, list[keras.metrics.Metric]]:
        return {name: objective.metrics() for name, objective in self.objectives.items()}

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return (-row["val_loss"],)

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        names = ", ".join(sorted(self.objectives))
        if not isinstance(model.output, Mapping) or sorted(model.output) != sorted(self.objectives):
            has = f"a dict of {', '.join(sorted(model.output))}" if isinstance(model.output, Mapping) else "no dict"
            raise ValueError(
                f"there are objectives for {names}, and {model.name} has {has} as output; build it with an output for "
                "each, as transfer.several_heads does"
            )
        if not isinstance(spec, Mapping) or sorted(spec) != sorted(self.objectives):
            received = f"labels for {', '.join(sorted(spec))}" if isinstance(spec, Mapping) else f"{spec}"
            raise ValueError(f"{name} has to have a dict of labels for {names}; got {received}")
        for output, tensor in model.output.items():
            self.objectives[output].check_spec(spec[output], tensor.shape[-1], f"{name} for {output!r}")

    def check_outputs(self, outputs: Any, name: str) -> None:
        for output, objective in self.objectives.items():
            objective.check_outputs(outputs[output], f"{name} for {output!r}")

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        for output, tensor in model.output.items():
            array = np.asarray(labels[output])
            self.objectives[output].check_array(array, tensor.shape[-1], f"{name} for {output!r}")


def _check_loss(label_smoothing: float, focal_gamma: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
    if focal_gamma < 0:
        raise ValueError(f"focal_gamma is 0 or more, got {focal_gamma}")


def _shape_and_dtype(spec: Any, expected: str, name: str) -> tuple[tf.TensorShape, tf.DType]:
    if not isinstance(spec, tf.TensorSpec):
        raise ValueError(f"the labels of {name} have to be {expected}; got {spec}")
    return spec.shape, spec.dtype


ONE_LABEL = SingleLabel()  # What a training is for unless something else is given.
