"""What `fine_tune` asks of an objective, and what objectives for models with one output have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import keras
import numpy as np

from transfer.probabilities import Values, check_probabilities

__all__ = ["ChecksOutputs", "HasParts", "Objective", "OneOutput", "SelfValidating", "with_validation"]


class Objective(Protocol):
    """What `fine_tune` asks of an objective.

    An objective whose training images have to be new ones in each epoch may set `needs_new_views = True`. What layers
    give is then stored for the head's phase only, unless the user says how many views are to be stored.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the logs that are kept of each epoch; those of validation begin with `val_`."""

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        """What the report draws over the epochs: pairs of a column, without `val_`, and its title."""

    def loss(self) -> Any:
        """Returns what `keras.Model.compile` takes as `loss`; None where the model computes its own loss."""

    def loss_weights(self) -> Any:
        """Returns what `keras.Model.compile` takes as `loss_weights`."""

    def metrics(self) -> Any:
        """Returns what `keras.Model.compile` takes as `metrics`: new objects at each call."""

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """Returns how good an epoch was, from its row in the history.

        Larger is better, and later numbers decide between equals.
        """

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        """Raises a `ValueError` where labels of such a shape and type cannot train the model.

        Args:
            spec: The specification of a batch of labels, as `dataset.element_spec[1]` has it.
            model: The model that is going to be trained.
            name: The name of the data set, for the message.
        """

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        """Raises a `ValueError` where labels have values that the objective does not know.

        Args:
            labels: Arrays, of any number of images.
            model: The model that is going to be trained.
            name: The name of the data set, for the message.
        """


@runtime_checkable
class SelfValidating(Protocol):
    """An objective that measures the model itself; `fine_tune` then takes no validation data."""

    def validate(self, model: keras.Model, epoch: int, last: bool) -> Mapping[str, float] | None:
        """Measures a model. Where weights are averaged, the model has the averaged ones meanwhile.

        Args:
            model: The whole model.
            epoch: The number of the epoch that has just ended, counted from 1 over all phases.
            last: Whether this is the last epoch of the training.

        Returns:
            The values by the names of their columns, without `val_`; None where this epoch is not measured.
        """


@runtime_checkable
class ChecksOutputs(Protocol):
    """An objective that knows what a model's outputs have to be."""

    def check_outputs(self, outputs: Any, name: str) -> None:
        """Raises a `ValueError` where outputs are not what the loss takes.

        Args:
            outputs: What the model gives for some images, before any training.
            name: The name of the model, for the message.
        """


@runtime_checkable
class HasParts(Protocol):
    """An objective that is put together of one for each output of the model."""

    @property
    def parts(self) -> Mapping[str, "OneOutput"]:
        """The objectives by the names of the outputs; of a model with one output, its name is ""."""


class OneOutput(ABC):
    """What objectives for models with one output have in common.

    Attributes:
        values: What numbers the output holds.
    """

    values: ClassVar[Values] = "numbers"

    @property
    def parts(self) -> Mapping[str, "OneOutput"]:
        """This objective alone, by the name ""."""
        return {"": self}

    def targets(self, labels: np.ndarray, width: int) -> np.ndarray | None:
        """Returns what a linear head ought to give, where its loss is a convex problem that can be solved.

        Args:
            labels: The labels of `n` images.
            width: Number of outputs of the head.

        Returns:
            Shares of the classes, probabilities or numbers, as `transfer.training.readout` takes them, `[n, width]`;
            None, the default, where the head has to be trained.
        """
        return None

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the logs that are kept of each epoch."""

    @property
    @abstractmethod
    def curves(self) -> tuple[tuple[str, str], ...]:
        """What the report draws over the epochs: pairs of a column and its title."""

    @abstractmethod
    def loss(self) -> keras.losses.Loss:
        """Returns what `keras.Model.compile` takes as `loss`."""

    def loss_weights(self) -> None:
        """Returns None: there is one loss."""
        return None

    @abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns new metrics for `keras.Model.compile`."""

    @abstractmethod
    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """Returns how good an epoch was; larger is better."""

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        """Raises a `ValueError` where labels of such a shape and type cannot train the model."""
        if len(model.outputs) != 1:
            raise ValueError(
                f"{type(self).__name__} is for a model with one output, and {model.name} has "
                f"{len(model.outputs)}; give Objectives with an objective for each"
            )
        self.check_spec(spec, model.outputs[0].shape[-1], name)

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        """Raises a `ValueError` where labels have values that the objective does not know."""
        self.check_array(np.asarray(labels), model.outputs[0].shape[-1], name)

    def check_outputs(self, outputs: Any, name: str) -> None:
        """Raises a `NotProbabilities` where outputs are not what the loss takes."""
        if not getattr(self.loss(), "from_logits", False):
            check_probabilities(outputs, self.values, f"the outputs of {name} for {type(self).__name__}")

    @abstractmethod
    def check_spec(self, spec: Any, width: int, name: str) -> None:
        """Raises a `ValueError` where labels of that specification do not fit an output of `width` numbers."""

    @abstractmethod
    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        """Raises a `ValueError` where the values of labels do not fit an output of `width` numbers."""


def with_validation(*columns: str) -> tuple[str, ...]:
    """Returns columns and, after them, those of the same names in validation.

    >>> with_validation("loss", "accuracy")
    ('loss', 'accuracy', 'val_loss', 'val_accuracy')
    """
    return *columns, *(f"val_{column}" for column in columns)
