"""Average precision during training: a Keras metric, and a callback that writes it into the logs of `fit`."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from zoo.metrics import detection

__all__ = ["DetectionCallback", "MeanAveragePrecision"]


@keras.saving.register_keras_serializable(package="zoo")
class MeanAveragePrecision(keras.metrics.Metric):
    """COCO's average precision of padded batches.

    It collects truths and detections on the host, since average precision needs all of them together. Call it with
    values: in your own loop, in a `test_step` that runs eagerly, or through `DetectionCallback`. It cannot be used in
    `compile(metrics=...)`: there Keras gives each metric one output, but boxes, classes and scores belong together.

    Args:
        num_classes: Number of classes. Classes are then 0..num_classes-1. By default the classes are those that occur.
        max_detections: Maximum number of detections of a class in an image that count. Defaults to 100.
        name: Name of the metric.
        dtype: The dtype of the metric.

    Raises:
        ValueError: When it is called, if `zoo.metrics.detection.coco` refuses the values, or if tensors have no values.

    Example:

    >>> metric = MeanAveragePrecision()
    >>> truth = {"boxes": np.array([[[0, 0, 40, 40], [0, 0, 0, 0]]]), "classes": np.array([[1, -1]])}
    >>> metric.update_state(truth, {**truth, "scores": np.array([[0.9, 0.0]])})
    >>> round(metric.result()["map50"], 6)
    1.0
    """

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        max_detections: int = 100,
        name: str = "mean_average_precision",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.max_detections = max_detections
        self.truths: list[dict[str, np.ndarray]] = []
        self.detections: list[dict[str, np.ndarray]] = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: A dict of `boxes [b, n, 4]` (xyxy, absolute pixels), `classes [b, n]`, and optionally `valid`,
                `crowd` and `areas`. Padding is as `zoo.metrics.detection.unbatch` describes.
            y_pred: A dict of `boxes [b, m, 4]`, `classes [b, m]`, `scores [b, m]`, and optionally `valid`.
            sample_weight: Must be None, since average precision has no sample weights.
        """
        if sample_weight is not None:
            raise ValueError("average precision has no sample weights; leave sample_weight out")
        for values in (*y_true.values(), *y_pred.values()):
            if keras.ops.is_tensor(values) and not hasattr(values, "numpy"):
                raise ValueError(
                    "MeanAveragePrecision needs values, got a tensor of a graph: use "
                    "zoo.metrics.training.DetectionCallback in fit, or run_eagerly=True"
                )
        truths, detections = (detection.unbatch(_host(batch)) for batch in (y_true, y_pred))
        self.truths += truths
        self.detections += detections

    def result(self) -> dict[str, float]:
        """Returns `zoo.metrics.detection.CocoResult.summary`; NaN for numbers of which there are no objects."""
        counts = sorted({count for count in (1, 10) if count < self.max_detections} | {self.max_detections})
        return detection.coco(
            self.truths, self.detections, num_classes=self.num_classes, max_detections=counts
        ).summary()

    def reset_state(self):
        self.truths, self.detections = [], []

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes, "max_detections": self.max_detections}


class DetectionCallback(keras.callbacks.Callback):
    """A callback that writes the average precision on some data into the logs of `fit` after each epoch.

    Put it before `EarlyStopping(monitor="val_map50", mode="max")` and `ModelCheckpoint` in the list of callbacks, so
    that they and the history see the numbers.

    Args:
        data: Batches of (images, truths), which are read once per evaluation. The truths are as for
            `MeanAveragePrecision`.
        detect: A function from images to detections as `MeanAveragePrecision` takes them, in the pixels of the truths.
            Defaults to the model's `predict_on_batch`.
        every: Number of epochs from one evaluation to the next. The logs of the epochs in between have no such numbers.
            Defaults to 1.
        prefix: Prefix of the names in the logs. Defaults to "val_".
        num_classes: Number of classes. Classes are then 0..num_classes-1. By default the classes are those that occur.
        max_detections: Maximum number of detections of a class in an image that count. Defaults to 100.

    Raises:
        ValueError: If `every` is below 1. In training, if the data has no batch, or if the metric refuses it.
    """

    def __init__(
        self,
        data: Iterable,
        *,
        detect: Callable[[Any], Any] | None = None,
        every: int = 1,
        prefix: str = "val_",
        num_classes: int | None = None,
        max_detections: int = 100,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"expected an evaluation every 1 or more epochs, got every={every}")
        self.data = data
        self.detect = detect
        self.every = every
        self.prefix = prefix
        self.metric = MeanAveragePrecision(num_classes=num_classes, max_detections=max_detections)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and (epoch + 1) % self.every == 0:
            logs.update({f"{self.prefix}{name}": value for name, value in self.evaluate().items()})

    def evaluate(self) -> dict[str, float]:
        """Evaluates the model as it is now, and returns the numbers by their names without the prefix."""
        detect = self.detect or self.model.predict_on_batch
        self.metric.reset_state()
        for images, truths in self.data:
            self.metric.update_state(truths, detect(images))
        if not self.metric.truths:
            raise ValueError("expected data with at least one batch of (images, truths), got none")
        return self.metric.result()


def _host(batch: Any) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(values) for name, values in batch.items()}
