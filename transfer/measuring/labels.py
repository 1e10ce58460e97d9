"""How good answers of several labels for each image are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import average_precision_score

from transfer.measuring.calibration import choose_thresholds, cooled, find_temperature
from transfer.measuring.classes import Bin, calibration_error, reliability
from transfer.measuring.intervals import Interval, f1_intervals, share_interval
from transfer.measuring.table import Table, as_number, as_percent, defined
from transfer.python_values import read_names

__all__ = ["MultiLabelEvaluation"]


@dataclass(frozen=True, eq=False)
class MultiLabelEvaluation:
    """The true labels of some images, each 0 or 1, the probabilities that a model gives, and what follows from the two.

    Args:
        class_names: The names of the `k` labels, in the order of the columns.
        labels: 1 where an image has a label, otherwise 0, `[n, k]`.
        probabilities: The probability of each label, float `[n, k]`.
        thresholds: The probability from which on a label is predicted: one number for all labels, or `[k]`. Defaults to
            0.5.

    Raises:
        ValueError: The arguments do not fit each other, or there are no images.

    Example:

    >>> labels = np.array([[1, 0], [1, 1], [0, 1]])
    >>> result = MultiLabelEvaluation(("ant", "leaf"), labels, np.array([[0.9, 0.2], [0.4, 0.7], [0.1, 0.6]]))
    >>> result.recall.tolist(), result.with_thresholds([0.25, 0.4]).recall.tolist()
    ([0.5, 1.0], [1.0, 1.0])
    """

    headline: ClassVar[str] = "mean_average_precision"

    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: Any = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        width = len(self.class_names)
        if self.labels.ndim != 2 or self.labels.shape[1] != width or not len(self.labels):
            raise ValueError(f"expected labels [n, {width}], a column for each class, got {list(self.labels.shape)}")
        if self.probabilities.shape != self.labels.shape:
            raise ValueError(
                f"expected probabilities {list(self.labels.shape)} like the labels, got "
                f"{list(self.probabilities.shape)}"
            )
        if not np.isin(self.labels, (0, 1)).all():
            raise ValueError("expected labels of 0 and 1; got others among them")
        thresholds = np.asarray(self.thresholds, "float64")
        if thresholds.shape not in ((), (width,)) or not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ValueError(f"expected a threshold in 0..1, or {width} of them, got {self.thresholds}")
        object.__setattr__(self, "thresholds", np.broadcast_to(thresholds, width))

    @property
    def predictions(self) -> np.ndarray:
        """Whether each label is predicted for each image, bool `[n, k]`."""
        return self.probabilities >= self.thresholds

    @cached_property
    def _hits(self) -> np.ndarray:
        return (self.predictions & self.labels.astype(bool)).sum(axis=0)

    @property
    def precision(self) -> np.ndarray:
        """The share of right answers among the predictions of each label, `[k]`; 0 where it was never predicted."""
        return self._hits / np.maximum(self.predictions.sum(axis=0), 1)

    @property
    def recall(self) -> np.ndarray:
        """The share of the images with each label for which it was predicted, `[k]`; 0 where no image has it."""
        return self._hits / np.maximum(self.support, 1)

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, `[k]`; 0 where no image has the label and it was never
        predicted."""
        return 2 * self._hits / np.maximum(self.predictions.sum(axis=0) + self.support, 1)

    @property
    def support(self) -> np.ndarray:
        """Number of images with each label, `[k]`."""
        return self.labels.astype(int).sum(axis=0)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """The area under precision over recall, `[k]`. It depends on no threshold. NaN where no image has the label."""
        scores = [
            average_precision_score(self.labels[:, i], self.probabilities[:, i]) if self.labels[:, i].any() else np.nan
            for i in range(len(self.class_names))
        ]
        return np.array(scores)

    @property
    def mean_average_precision(self) -> float:
        """The mean average precision of the labels that some image has; NaN if there are none."""
        known = self.average_precision[~np.isnan(self.average_precision)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def score(self) -> float:
        """The mean average precision: how good the answers are, in 0..1, or NaN."""
        return self.mean_average_precision

    @property
    def exact_match(self) -> float:
        """The share of the images for which every label is right, in 0..1."""
        return float((self.predictions == self.labels.astype(bool)).all(axis=1).mean())

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """Intervals of 95% confidence of "precision", "recall" and "f1", one for each label."""
        predicted = self.predictions.sum(axis=0)
        return {
            "precision": [share_interval(*counts) for counts in zip(self._hits, predicted, strict=True)],
            "recall": [share_interval(*counts) for counts in zip(self._hits, self.support, strict=True)],
            "f1": f1_intervals(self._hits, predicted, self.support, len(self.labels)),
        }

    def reliability(self, *, bins: int = 10) -> list[Bin]:
        """Compares the probabilities of all labels with how often images have the label.

        Args:
            bins: Number of bins of equal width. Defaults to 10.
        """
        return reliability(self.probabilities.ravel(), self.labels.ravel().astype(bool), bins=bins)

    @cached_property
    def calibration_error(self) -> float:
        """The expected calibration error over 10 bins, in 0..1, of the probabilities of all labels."""
        return calibration_error(self.reliability())

    @cached_property
    def temperature(self) -> float:
        """The temperature that fits these labels best, as `transfer.find_temperature` finds it."""
        return find_temperature(self.labels, self.probabilities)

    def at_temperature(self, temperature: float) -> "MultiLabelEvaluation":
        """Returns the evaluation with the probabilities that the model has at a temperature.

        The thresholds are moved along, so that the predictions stay.
        """
        thresholds = cooled(self.thresholds[np.newaxis], temperature, several=True)[0]
        scores = cooled(self.probabilities, temperature, several=True)
        return replace(self, probabilities=scores, thresholds=thresholds)

    def best_thresholds(self) -> dict[str, float]:
        """Returns the threshold of the highest F1 on these images for each label, by name."""
        chosen = choose_thresholds(self.labels, self.probabilities, self.class_names)
        return dict(zip(self.class_names, chosen.tolist(), strict=True))

    def with_thresholds(self, thresholds: Mapping[str, float] | Sequence[float] | float) -> "MultiLabelEvaluation":
        """Returns the evaluation of the same probabilities with other thresholds.

        Args:
            thresholds: Thresholds by name, in the order of the labels, or one number for all labels.
        """
        if isinstance(thresholds, Mapping):
            thresholds = [thresholds[name] for name in self.class_names]
        return replace(self, thresholds=thresholds)

    def metrics(self) -> dict[str, Any]:
        """Returns the mean average precision, the mean F1, and the share of images for which every label is right."""
        return {
            "mean_average_precision": defined(self.mean_average_precision),
            "mean_f1": float(self.f1.mean()),
            "exact_match": self.exact_match,
        }

    def tables(self) -> list[Table]:
        """Returns a table with the metrics, the threshold and the number of images of each label."""
        predicted, intervals = self.predictions.sum(axis=0), self.intervals
        rows = [
            (
                name,
                as_number(self.average_precision[i]),
                as_percent(self.precision[i] if predicted[i] else None, intervals["precision"][i]),
                as_percent(self.recall[i] if self.support[i] else None, intervals["recall"][i]),
                as_percent(self.f1[i] if predicted[i] or self.support[i] else None, intervals["f1"][i]),
                f"{self.thresholds[i]:.2f}",
                str(self.support[i]),
            )
            for i, name in enumerate(self.class_names)
        ]
        note = (
            f"Every label is right for {as_percent(self.exact_match)} of the images, and the mean F1 is "
            f"{as_percent(float(self.f1.mean()))}. The best temperature for these images is {self.temperature:.2f}; "
            "above 1, the probabilities are too far from one half."
        )
        columns = ("label", "average precision", "precision", "recall", "F1", "threshold", "images")
        return [Table(columns, tuple(rows), note)]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON. Intervals are of 95% confidence."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        classes = []
        for i, name in enumerate(self.class_names):
            row: dict[str, Any] = {"name": name, "threshold": float(self.thresholds[i])}
            for key, values in scores.items():
                row |= {key: float(values[i]), f"{key}_interval": self.intervals[key][i].as_list()}
            row |= {"average_precision": defined(self.average_precision[i]), "support": int(self.support[i])}
            classes.append(row)
        return {
            "num_images": len(self.labels),
            **self.metrics(),
            "calibration_error": self.calibration_error,
            "temperature": self.temperature,
            "classes": classes,
        }
