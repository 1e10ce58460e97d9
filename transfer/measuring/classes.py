"""How good answers of one class of several are, on images that were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from transfer.measuring.calibration import cooled, find_temperature
from transfer.measuring.intervals import Interval, f1_intervals, share_interval
from transfer.measuring.table import Table, as_percent, count
from transfer.python_values import read_names

__all__ = ["Bin", "Evaluation", "Intervals", "calibration_error", "reliability"]


@dataclass(frozen=True)
class Bin:
    """The answers that were given with a probability in (low, high].

    Attributes:
        low: The lower end of the probabilities; it does not belong to the bin.
        high: The upper end; it belongs to the bin.
        count: Number of answers.
        confidence: The mean of their probabilities, in 0..1. It is NaN where there are none.
        accuracy: The share of them that are right, in 0..1. It is NaN where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Intervals(NamedTuple):
    """Intervals of 95% confidence: one for the accuracy, and for the other metrics one for each class."""

    accuracy: Interval
    precision: list[Interval]
    recall: list[Interval]
    f1: list[Interval]


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = 10) -> list[Bin]:
    """Compares probabilities with how often answers are right, in bins of equal width.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.

    Args:
        confidence: The probability in 0..1 of each answer, `[n]`.
        right: Whether each answer is right, `[n]`.
        bins: Number of bins. Defaults to 10.

    >>> [bin.count for bin in reliability(np.array([0.1, 0.15, 0.9]), np.array([0, 1, 1]), bins=5)]
    [2, 0, 0, 0, 1]
    """
    # The bins are half-open, (low, high]. Rounding may have put a softmax slightly above 1.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    result = []
    for index in range(bins):
        inside = place == index
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (np.nan,) * 2
        result.append(Bin(index / bins, (index + 1) / bins, int(inside.sum()), *means))
    return result


def calibration_error(bins: Sequence[Bin]) -> float:
    """Computes the expected calibration error, in 0..1: the mean difference between probabilities and accuracy.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.

    Args:
        bins: The answers by their probabilities, as `reliability` counts them; at least one bin has answers.
    """
    gaps = [bin.count * abs(bin.accuracy - bin.confidence) for bin in bins if bin.count]
    return float(sum(gaps) / sum(bin.count for bin in bins))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The true classes of some images, the probabilities that a model gives, and what follows from the two.

    Args:
        class_names: The names of the `k` classes, in the order of the labels.
        labels: The true class of each image, int32 `[n]`.
        probabilities: The probability of each class, float32 `[n, k]`, in the order of `labels`.

    Raises:
        ValueError: The three do not fit each other, or there are no images.

    Example:

    >>> result = Evaluation(("ant", "bee"), np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    >>> result.predictions
    array([0, 1, 1])
    >>> result.confusion
    array([[1, 1],
           [0, 1]])
    >>> round(result.accuracy, 3), result.recall.tolist(), round(result.calibration_error, 3)
    (0.667, [0.5, 1.0], 0.3)
    """

    headline: ClassVar[str] = "accuracy"

    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        num_classes = len(self.class_names)
        if self.labels.ndim != 1 or not len(self.labels):
            raise ValueError(f"expected at least one label, as [n], got {list(self.labels.shape)}")
        if self.probabilities.shape != (len(self.labels), num_classes):
            raise ValueError(
                f"expected probabilities [{len(self.labels)}, {num_classes}] for {len(self.labels)} labels and the "
                f"classes {', '.join(self.class_names)}; got {list(self.probabilities.shape)}"
            )
        if self.labels.min() < 0 or self.labels.max() >= num_classes:
            raise ValueError(
                f"expected labels in 0..{num_classes - 1} for the classes {', '.join(self.class_names)}; got "
                f"{self.labels.min()}..{self.labels.max()}. Was the data set read with other classes?"
            )

    @property
    def predictions(self) -> np.ndarray:
        """The index of the most probable class of each image, `[n]`."""
        return np.argmax(self.probabilities, axis=1)

    @property
    def accuracy(self) -> float:
        """The share of the predictions that are right, in 0..1."""
        return float(np.mean(self.predictions == self.labels))

    @property
    def score(self) -> float:
        """The accuracy: how good the answers are, in 0..1."""
        return self.accuracy

    @cached_property
    def confusion(self) -> np.ndarray:
        """Number of images by their true class (row) and predicted class (column), `[k, k]`."""
        return confusion_matrix(self.labels, self.predictions, labels=range(len(self.class_names)))

    @cached_property
    def _per_class(self) -> tuple[np.ndarray, ...]:
        classes = range(len(self.class_names))
        return precision_recall_fscore_support(self.labels, self.predictions, labels=classes, zero_division=0.0)

    @property
    def precision(self) -> np.ndarray:
        """The share of right answers among the predictions of each class, `[k]` in 0..1; 0 where there are none."""
        return self._per_class[0]

    @property
    def recall(self) -> np.ndarray:
        """The share of the images of each class that were recognised, `[k]` in 0..1; 0 where there are none."""
        return self._per_class[1]

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, `[k]` in 0..1."""
        return self._per_class[2]

    @property
    def support(self) -> np.ndarray:
        """Number of images of each class, `[k]`."""
        return self._per_class[3]

    def reliability(self, *, bins: int = 10) -> list[Bin]:
        """Compares the probabilities of the predictions with how often they are right.

        Args:
            bins: Number of bins of equal width. Defaults to 10.
        """
        return reliability(self.probabilities.max(axis=1), self.predictions == self.labels, bins=bins)

    @cached_property
    def calibration_error(self) -> float:
        """The expected calibration error over 10 bins, in 0..1."""
        return calibration_error(self.reliability())

    @cached_property
    def intervals(self) -> Intervals:
        """Intervals of 95% confidence, as `transfer.measuring.intervals` computes them.

        The precision of a class that was never predicted, and the recall of one that no image shows, are NaN.
        """
        hits, predicted, support = np.diag(self.confusion), self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        return Intervals(
            share_interval(hits.sum(), len(self.labels)),
            [share_interval(*counts) for counts in zip(hits, predicted, strict=True)],
            [share_interval(*counts) for counts in zip(hits, support, strict=True)],
            f1_intervals(hits, predicted, support, len(self.labels)),
        )

    @cached_property
    def temperature(self) -> float:
        """The temperature that fits these labels best, as `transfer.find_temperature` finds it."""
        return find_temperature(self.labels, self.probabilities)

    def at_temperature(self, temperature: float) -> "Evaluation":
        """Returns the same predictions with the probabilities that they have at a temperature."""
        return replace(self, probabilities=cooled(self.probabilities, temperature))

    def metrics(self) -> dict[str, Any]:
        """Returns the accuracy, and its interval of 95% confidence."""
        return {"accuracy": self.accuracy, "interval": self.intervals.accuracy.as_list()}

    def tables(self) -> list[Table]:
        """Returns a table with precision, recall, F1 and the number of images of each class.

        Classes that no image shows and that were never predicted are left out, and the note counts them.
        """
        predicted, intervals = self.confusion.sum(axis=0), self.intervals
        used = [i for i in range(len(self.class_names)) if self.support[i] or predicted[i]]
        rows = [
            (
                self.class_names[i],
                as_percent(self.precision[i] if predicted[i] else None, intervals.precision[i]),
                as_percent(self.recall[i] if self.support[i] else None, intervals.recall[i]),
                as_percent(self.f1[i], intervals.f1[i]),
                str(self.support[i]),
            )
            for i in used
        ]
        note = (
            f"The expected calibration error is {self.calibration_error:.3f}: the mean difference between a "
            "probability and how often such answers are right. The best temperature for these images is "
            f"{self.temperature:.2f}; above 1, the probabilities are too high."
        )
        if unused := len(self.class_names) - len(used):
            verb = "is" if unused == 1 else "are"
            note += f" {count(unused, 'class', 'classes')} without images and predictions {verb} left out."
        return [Table(("class", "precision", "recall", "F1", "images"), tuple(rows), note)]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON. Intervals are of 95% confidence."""
        intervals = self.intervals
        return {
            "num_images": len(self.labels),
            "accuracy": self.accuracy,
            "accuracy_interval": intervals.accuracy.as_list(),
            "calibration_error": self.calibration_error,
            "temperature": self.temperature,
            "classes": [
                {
                    "name": name,
                    "precision": float(self.precision[i]),
                    "precision_interval": intervals.precision[i].as_list(),
                    "recall": float(self.recall[i]),
                    "recall_interval": intervals.recall[i].as_list(),
                    "f1": float(self.f1[i]),
                    "f1_interval": intervals.f1[i].as_list(),
                    "support": int(self.support[i]),
                }
                for i, name in enumerate(self.class_names)
            ],
            "confusion": self.confusion.tolist(),
        }
