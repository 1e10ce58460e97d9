"""How good a classifier is on data that it was not trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

__all__ = ["Bin", "Evaluation", "evaluate"]


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
        """Confidence against accuracy, in bins of equal width.

        Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
        """
        confidence = self.probabilities.max(axis=1)
        right = self.predictions == self.labels
        # Half-open bins (low, high]; rounding may have put a softmax a hair above 1.
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        found = []
        for index in range(bins):
            inside = place == index
            means = (float(confidence[inside].mean()), float(right[inside].mean())) if inside.any() else (np.nan,) * 2
            found.append(Bin(index / bins, (index + 1) / bins, int(inside.sum()), *means))
        return found

    @cached_property
    def calibration_error(self) -> float:
        """Expected calibration error over 10 bins, in 0..1.

        Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
        """
        gaps = [each.count * abs(each.accuracy - each.confidence) for each in self.reliability() if each.count]
        return float(sum(gaps) / len(self.labels))

    def as_dict(self) -> dict[str, Any]:
        """The summary as plain numbers, lists and strings, ready for JSON."""
        columns = zip(self.class_names, self.precision, self.recall, self.f1, self.support, strict=True)
        return {
            "num_images": len(self.labels),
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            "classes": [
                {"name": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
                for name, p, r, f, s in columns
            ],
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    model: keras.Model, dataset: Iterable[tuple[tf.Tensor, tf.Tensor]], class_names: Sequence[str]
) -> Evaluation:
    """Runs a classifier over a data set once, in inference mode.

    Args:
        model: images in 0..255 -> probabilities `[n, k]`.
        dataset: batches of (float32 `[b, h, w, 3]`, int `[b]`), in a fixed order, such as `pipelines.batches` gives.
        class_names: `k` names, in the order of the labels.

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
    # One graph for batches of all sizes: calling the model eagerly is slower, `predict` would lose the labels.
    shape = model.inputs[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def predict(images):
        return model(images, training=False)

    labels, probabilities = [], []
    for images, batch_labels in dataset:
        probabilities.append(predict(tf.cast(images, tf.float32)).numpy())
        labels.append(np.asarray(batch_labels))
    if not labels:
        raise ValueError("expected at least one batch to evaluate, got an empty data set")
    return Evaluation(
        tuple(class_names),
        np.concatenate(labels).astype(np.int32),
        np.concatenate(probabilities).astype(np.float32),
    )
