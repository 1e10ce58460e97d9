"""How good a classifier is on data that it was not trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from transfer.measuring.calibration import cooled, find_temperature
from transfer.measuring.intervals import Interval, f1_intervals, share_interval

__all__ = ["Bin", "Evaluation", "Intervals", "answers", "evaluate", "reliability"]


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies in (low, high]: how many, how sure, how often right.

    `confidence` and `accuracy` are means in 0..1, and NaN where `count` is 0.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Intervals(NamedTuple):
    """Of 95% confidence, over samples of as many images: of the whole, and for each class."""

    accuracy: Interval
    precision: list[Interval]
    recall: list[Interval]
    f1: list[Interval]


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = 10) -> list[Bin]:
    """Confidence against accuracy, in bins of equal width.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.

    Args:
        confidence: probabilities in 0..1 that were given, `[n]`.
        right: whether what they were given for is so, `[n]`.
        bins: how many.

    >>> [each.count for each in reliability(np.array([0.1, 0.15, 0.9]), np.array([0, 1, 1]), bins=5)]
    [2, 0, 0, 0, 1]
    """
    # Half-open bins (low, high]; rounding may have put a softmax a hair above 1.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for index in range(bins):
        inside = place == index
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (np.nan,) * 2
        found.append(Bin(index / bins, (index + 1) / bins, int(inside.sum()), *means))
    return found


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The labels of a data set, what a model makes of them, and what follows from the two.

    Args:
        class_names: `k` names, in the order of the labels.
        labels: int32 `[n]`, the true classes.
        probabilities: float32 `[n, k]`, in the order of `labels`.

    Raises:
        ValueError: the three do not fit each other, or there is nothing to evaluate.

    Example:

    >>> found = Evaluation(("ant", "bee"), np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    >>> found.predictions
    array([0, 1, 1])
    >>> found.confusion
    array([[1, 1],
           [0, 1]])
    >>> round(found.accuracy, 3), found.recall.tolist(), round(found.calibration_error, 3)
    (0.667, [0.5, 1.0], 0.3)
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
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
        """Indices `[n]` of the most probable classes."""
        return np.argmax(self.probabilities, axis=1)

    @property
    def accuracy(self) -> float:
        """Share of predictions that are right, in 0..1."""
        return float(np.mean(self.predictions == self.labels))

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts `[k, k]`: row the true class, column the predicted one."""
        return confusion_matrix(self.labels, self.predictions, labels=range(len(self.class_names)))

    @cached_property
    def _per_class(self) -> tuple[np.ndarray, ...]:
        classes = range(len(self.class_names))
        return precision_recall_fscore_support(self.labels, self.predictions, labels=classes, zero_division=0.0)

    @property
    def precision(self) -> np.ndarray:
        """Of what was called each class, the share that is it: `[k]` in 0..1; 0 where nothing was called so."""
        return self._per_class[0]

    @property
    def recall(self) -> np.ndarray:
        """Of what is each class, the share that was called so: `[k]` in 0..1; 0 where there is nothing."""
        return self._per_class[1]

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall: `[k]` in 0..1."""
        return self._per_class[2]

    @property
    def support(self) -> np.ndarray:
        """How many images of each class there are: `[k]`."""
        return self._per_class[3]

    def reliability(self, *, bins: int = 10) -> list[Bin]:
        """Confidence of the answers against their accuracy; see `transfer.measuring.classes.reliability`."""
        return reliability(self.probabilities.max(axis=1), self.predictions == self.labels, bins=bins)

    @cached_property
    def calibration_error(self) -> float:
        """Expected calibration error over 10 bins, in 0..1.

        Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
        """
        gaps = [each.count * abs(each.accuracy - each.confidence) for each in self.reliability() if each.count]
        return float(sum(gaps) / len(self.labels))

    @cached_property
    def intervals(self) -> Intervals:
        """How far accuracy, precision, recall and F1 may be off by chance; see `transfer.measuring.intervals`.

        Precision of a class that was never called, and recall of one that no image has, are NaN.
        """
        hits, called, support = np.diag(self.confusion), self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        return Intervals(
            share_interval(hits.sum(), len(self.labels)),
            [share_interval(*each) for each in zip(hits, called, strict=True)],
            [share_interval(*each) for each in zip(hits, support, strict=True)],
            f1_intervals(hits, called, support, len(self.labels)),
        )

    @cached_property
    def temperature(self) -> float:
        """The temperature that these labels ask for; see `transfer.find_temperature`."""
        return find_temperature(self.labels, self.probabilities)

    def at_temperature(self, temperature: float) -> "Evaluation":
        """The same answers, given with the probabilities that they have at a temperature."""
        return replace(self, probabilities=cooled(self.probabilities, temperature))

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain numbers, lists and strings, ready for JSON. Intervals are of 95% confidence."""
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


def evaluate(
    model: keras.Model,
    dataset: Iterable[tuple[tf.Tensor, tf.Tensor]],
    class_names: Sequence[str],
    *,
    mirror: bool = False,
) -> Evaluation:
    """Runs a classifier over a data set once, in inference mode.

    Args:
        model: images in 0..255 -> probabilities `[n, k]`.
        dataset: batches of (float32 `[b, h, w, 3]`, int `[b]`), in a fixed order, such as `pipelines.batches` gives.
        class_names: `k` names, in the order of the labels.
        mirror: average over each image and its mirror image (test-time augmentation), at twice the cost. Not where left
            and right make a difference, as in writing.

    Returns:
        Labels and probabilities in the order of the data set, and what follows from them.

    Raises:
        ValueError: an empty data set, or labels or outputs that do not fit the class names.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> dataset = tf.data.Dataset.from_tensor_slices((tf.zeros((5, 4, 6, 3)), [0, 1, 1, 0, 1])).batch(2)
    >>> evaluate(model, dataset, ["ant", "bee"]).confusion.sum()
    np.int64(5)
    """
    labels, probabilities = answers(model, dataset, mirror=mirror)
    return Evaluation(tuple(class_names), labels.astype(np.int32), probabilities.astype(np.float32))


def answers(model: keras.Model, dataset: Iterable[tuple[tf.Tensor, Any]], *, mirror: bool = False) -> tuple[Any, Any]:
    """The labels of a data set and what a model says about its images, in inference mode.

    Args:
        model, dataset, mirror: as of `evaluate`; labels and outputs may be of any structure.

    Returns:
        Both as arrays of all images, in the structure that each has in a batch.

    Raises:
        ValueError: an empty data set.
    """
    # One graph for batches of all sizes: calling the model eagerly is slower, `predict` would lose the labels.
    shape = model.inputs[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def predict(images):
        outputs = model(images, training=False)
        if not mirror:
            return outputs
        mirrored = model(tf.reverse(images, [2]), training=False)
        return tf.nest.map_structure(lambda one, other: (one + other) / 2, outputs, mirrored)

    labels, outputs = [], []
    for images, batch_labels in dataset:
        outputs.append(tf.nest.map_structure(np.asarray, predict(tf.cast(images, tf.float32))))
        labels.append(tf.nest.map_structure(np.asarray, batch_labels))
    if not labels:
        raise ValueError("expected at least one batch to evaluate, got an empty data set")
    return tuple(tf.nest.map_structure(lambda *parts: np.concatenate(parts), *each) for each in (labels, outputs))
