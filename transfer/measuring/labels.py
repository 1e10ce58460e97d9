"""How good a model is at tasks other than one class of several: tags, numbers, or several tasks at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, r2_score

from transfer.measuring.calibration import choose_thresholds, cooled, find_temperature
from transfer.measuring.classes import Bin, Evaluation, answers, reliability
from transfer.measuring.intervals import LEVEL, RESAMPLES, Interval, f1_intervals, share_interval
from transfer.training.objectives import MultiLabel, Regression, SingleLabel, Tasks

__all__ = ["MultiLabelEvaluation", "RegressionEvaluation", "measure"]


@dataclass(frozen=True, eq=False)
class MultiLabelEvaluation:
    """The labels of a data set, each 0 or 1, what a model makes of them, and what follows from the two.

    Args:
        class_names: `k` names, in the order of the columns.
        labels: 0 and 1, `[n, k]`.
        probabilities: float `[n, k]`.
        thresholds: from which a class counts as found: `[k]`, or one number for all; 0.5 unless told.

    Raises:
        ValueError: these do not fit each other, or there is nothing to evaluate.

    Example:

    >>> labels = np.array([[1, 0], [1, 1], [0, 1]])
    >>> found = MultiLabelEvaluation(("ant", "leaf"), labels, np.array([[0.9, 0.2], [0.4, 0.7], [0.1, 0.6]]))
    >>> found.recall.tolist(), found.with_thresholds([0.25, 0.4]).recall.tolist()
    ([0.5, 1.0], [1.0, 1.0])
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: Any = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
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
        """Which classes count as found: bool `[n, k]`."""
        return self.probabilities >= self.thresholds

    @cached_property
    def _hits(self) -> np.ndarray:
        return (self.predictions & self.labels.astype(bool)).sum(axis=0)

    @property
    def precision(self) -> np.ndarray:
        """Of the images that each class was found in, the share that have it: `[k]`; 0 where it was never found."""
        return self._hits / np.maximum(self.predictions.sum(axis=0), 1)

    @property
    def recall(self) -> np.ndarray:
        """Of the images that have each class, the share that it was found in: `[k]`; 0 where none has it."""
        return self._hits / np.maximum(self.support, 1)

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall: `[k]`; 0 where no image has the class, and it was never found."""
        return 2 * self._hits / np.maximum(self.predictions.sum(axis=0) + self.support, 1)

    @property
    def support(self) -> np.ndarray:
        """How many images have each class: `[k]`."""
        return self.labels.astype(int).sum(axis=0)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """Area under precision over recall, which depends on no threshold: `[k]`; NaN for a class that no image has."""
        scores = [
            average_precision_score(self.labels[:, i], self.probabilities[:, i]) if self.labels[:, i].any() else np.nan
            for i in range(len(self.class_names))
        ]
        return np.array(scores)

    @property
    def mean_average_precision(self) -> float:
        """The mean of it over the classes that some image has; NaN if there are none."""
        known = self.average_precision[~np.isnan(self.average_precision)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def exact_match(self) -> float:
        """Share of the images of which every class is right, in 0..1."""
        return float((self.predictions == self.labels.astype(bool)).all(axis=1).mean())

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """Of 95% confidence, for each class: of "precision", "recall" and "f1"; see `transfer.measuring.intervals`."""
        called = self.predictions.sum(axis=0)
        return {
            "precision": [share_interval(*each) for each in zip(self._hits, called, strict=True)],
            "recall": [share_interval(*each) for each in zip(self._hits, self.support, strict=True)],
            "f1": f1_intervals(self._hits, called, self.support, len(self.labels)),
        }

    def reliability(self, *, bins: int = 10) -> list[Bin]:
        """Probabilities of all classes against how often the class is there; see
        `transfer.measuring.classes.reliability`.
        """
        return reliability(self.probabilities.ravel(), self.labels.ravel().astype(bool), bins=bins)

    @cached_property
    def temperature(self) -> float:
        """The temperature that these labels ask for; see `transfer.find_temperature`."""
        return find_temperature(self.labels, self.probabilities)

    def at_temperature(self, temperature: float) -> "MultiLabelEvaluation":
        """With the probabilities at a temperature; thresholds are moved with them, so that answers stay."""
        thresholds = cooled(self.thresholds[np.newaxis], temperature, several=True)[0]
        scores = cooled(self.probabilities, temperature, several=True)
        return replace(self, probabilities=scores, thresholds=thresholds)

    def best_thresholds(self) -> dict[str, float]:
        """Of the highest F1 on these images, by name, as `transfer.export` takes them; see `choose_thresholds`."""
        chosen = choose_thresholds(self.labels, self.probabilities, self.class_names)
        return dict(zip(self.class_names, chosen.tolist(), strict=True))

    def with_thresholds(self, thresholds: Mapping[str, float] | Sequence[float] | float) -> "MultiLabelEvaluation":
        """The same probabilities, judged by other thresholds: by name, in the classes' order, or one for all."""
        if isinstance(thresholds, Mapping):
            thresholds = [thresholds[name] for name in self.class_names]
        return replace(self, thresholds=thresholds)

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain numbers, lists and strings, ready for JSON."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        classes = []
        for i, name in enumerate(self.class_names):
            row: dict[str, Any] = {"name": name, "threshold": float(self.thresholds[i])}
            for key, values in scores.items():
                row |= {key: float(values[i]), f"{key}_interval": self.intervals[key][i].as_list()}
            average = self.average_precision[i]
            row |= {"average_precision": None if np.isnan(average) else float(average), "support": int(self.support[i])}
            classes.append(row)
        mean = self.mean_average_precision
        return {
            "num_images": len(self.labels),
            "mean_average_precision": None if np.isnan(mean) else mean,
            "mean_f1": float(self.f1.mean()),
            "exact_match": self.exact_match,
            "temperature": self.temperature,
            "classes": classes,
        }


@dataclass(frozen=True, eq=False)
class RegressionEvaluation:
    """Numbers that were to be told, and those that a model told.

    Args:
        names: of the `k` numbers.
        labels, predictions: float `[n, k]`, in the labels' unit.

    Raises:
        ValueError: these do not fit each other, or there is nothing to evaluate.

    Example:

    >>> found = RegressionEvaluation(("age",), np.array([[1.0], [2.0], [6.0]]), np.array([[2.0], [2.0], [4.0]]))
    >>> found.mean_absolute_error.tolist(), found.bias.round(3).tolist()
    ([1.0], [-0.333])
    """

    names: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        shape = (len(self.labels), len(self.names))
        if self.labels.shape != shape or self.predictions.shape != shape or not len(self.labels):
            raise ValueError(
                f"expected labels and predictions [n, {len(self.names)}], got {list(self.labels.shape)} and "
                f"{list(self.predictions.shape)}"
            )

    @property
    def mean_absolute_error(self) -> np.ndarray:
        """`[k]`, in the labels' unit."""
        return np.abs(self.predictions - self.labels).mean(axis=0)

    @property
    def root_mean_squared_error(self) -> np.ndarray:
        """`[k]`, in the labels' unit; larger than the mean absolute one where some errors are large."""
        return np.sqrt(np.square(self.predictions - self.labels).mean(axis=0))

    @property
    def bias(self) -> np.ndarray:
        """By how much answers are too large on average: `[k]`."""
        return (self.predictions - self.labels).mean(axis=0)

    @property
    def r2(self) -> np.ndarray:
        """Share of the labels' variance that is explained: `[k]`; 0 for a model that always says the mean."""
        return np.atleast_1d(r2_score(self.labels, self.predictions, multioutput="raw_values"))

    @cached_property
    def intervals(self) -> list[Interval]:
        """Of the mean absolute errors, at 95% confidence, by the bootstrap (Efron 1987, BCa; computed by SciPy)."""
        found = []
        for errors in np.abs(self.predictions - self.labels).T:
            if len(errors) < 2 or np.ptp(errors) == 0:
                found.append(Interval(np.nan, np.nan))
                continue
            interval = bootstrap(
                (errors,), np.mean, confidence_level=LEVEL, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
            ).confidence_interval
            found.append(Interval(float(interval.low), float(interval.high)))
        return found

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain numbers, lists and strings, ready for JSON."""
        columns = {
            "mean_absolute_error": self.mean_absolute_error,
            "root_mean_squared_error": self.root_mean_squared_error,
            "bias": self.bias,
            "r2": self.r2,
        }
        numbers = [
            {
                "name": name,
                **{key: float(values[i]) for key, values in columns.items()},
                "mean_absolute_error_interval": self.intervals[i].as_list(),
            }
            for i, name in enumerate(self.names)
        ]
        return {"num_images": len(self.labels), "numbers": numbers}


def measure(
    model: keras.Model,
    dataset: Iterable[tuple[tf.Tensor, Any]],
    task: SingleLabel | MultiLabel | Regression | Tasks,
    names: Any,
    *,
    mirror: bool = False,
) -> Any:
    """Runs a model over a data set once, in inference mode, and judges its answers by the task that it was trained for.

    Args:
        model: with the outputs of the task.
        dataset: batches of images and labels, in a fixed order.
        task: that it was trained for.
        names: of the classes, or of the numbers; for `Tasks` a dict of these.
        mirror: as of `transfer.evaluate`.

    Returns:
        An `Evaluation`, a `MultiLabelEvaluation` or a `RegressionEvaluation`; for `Tasks` a dict of these.

    Raises:
        ValueError: an empty data set, or labels or outputs that do not fit the names.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> model = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(image)))
    >>> dataset = tf.data.Dataset.from_tensor_slices((tf.zeros((5, 4, 6, 3)), [1.0, 2.0, 3.0, 4.0, 5.0])).batch(2)
    >>> measure(model, dataset, Regression(), ["age"]).mean_absolute_error.tolist()
    [3.0]
    """
    labels, outputs = answers(model, dataset, mirror=mirror)
    if not isinstance(task, Tasks):
        return _judge(task, names, labels, outputs)
    return {name: _judge(each, names[name], labels[name], outputs[name]) for name, each in task.tasks.items()}


def _judge(task: SingleLabel | MultiLabel | Regression, names: Sequence[str], labels: Any, outputs: Any) -> Any:
    if isinstance(task, SingleLabel):
        return Evaluation(tuple(names), labels.astype(np.int32), outputs.astype(np.float32))
    if isinstance(task, MultiLabel):
        return MultiLabelEvaluation(tuple(names), labels, outputs.astype(np.float32))
    return RegressionEvaluation(tuple(names), labels.reshape(len(labels), -1).astype(float), outputs.astype(float))
