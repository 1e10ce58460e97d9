"""How good a model is that tells one class and one box for each image."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pipelines import Scene
from transfer.measuring.intervals import Interval, share_interval
from transfer.measuring.table import Table, as_number, as_percent, count, defined
from zoo.boxes import iou

__all__ = ["IOU", "NO_OBJECT", "LocalisationEvaluation", "largest_objects"]

NO_OBJECT = -1  # The class of an image without an object.
IOU = 0.5  # The IoU from which on a box is right.


@dataclass(frozen=True, eq=False)
class LocalisationEvaluation:
    """The true object of each of some images, the object that a model tells, and what follows from the two.

    Images without an object count where the model tells whether there is one (`objectness`). Otherwise there is no
    right answer to them, and they are left out.

    Args:
        class_names: The names of the `k` classes, in the order of the labels.
        labels: The true class of each image, int `[n]`; -1 for an image without an object.
        boxes: The true box of each image, float `[n, 4]`, xyxy, in pixels of the photo.
        probabilities: The predicted probability of each class, float `[n, k]`.
        predicted_boxes: The predicted boxes, float `[n, 4]`, xyxy, in pixels of the photo.
        objectness: The predicted probability that there is an object, float `[n]`, or None. An object is predicted from
            0.5 on.

    Raises:
        ValueError: The arguments do not fit each other, or there are no images that count.

    Example:

    >>> boxes = np.float32([[0, 0, 10, 20], [0, 0, 10, 20]])
    >>> probabilities = np.float32([[0.9, 0.1], [0.2, 0.8]])
    >>> result = LocalisationEvaluation(("ant", "bee"), np.array([0, 1]), boxes, probabilities, boxes * [1, 1, 1, 0.4])
    >>> result.accuracy, round(result.mean_iou, 2), result.accuracy_and_iou50
    (1.0, 0.4, 0.0)
    """

    headline: ClassVar[str] = "accuracy_and_iou50"

    class_names: tuple[str, ...]
    labels: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    predicted_boxes: np.ndarray
    objectness: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        n, k = len(self.labels), len(self.class_names)
        shapes = [list(array.shape) for array in (self.labels, self.boxes, self.probabilities, self.predicted_boxes)]
        if shapes != [[n], [n, 4], [n, k], [n, 4]]:
            raise ValueError(
                f"expected labels [n], boxes [n, 4], probabilities [n, {k}] and predicted boxes [n, 4]; got {shapes}"
            )
        if self.objectness is not None and self.objectness.shape != (n,):
            raise ValueError(f"expected objectness [{n}], got {list(self.objectness.shape)}")
        if n and (self.labels.min() < NO_OBJECT or self.labels.max() >= k):
            raise ValueError(
                f"expected labels in 0..{k - 1}, or {NO_OBJECT} without an object, for the classes "
                f"{', '.join(self.class_names)}; got {self.labels.min()}..{self.labels.max()}"
            )
        if not self.counted.any():
            raise ValueError(f"expected at least one image with an object, got {n} images, none of which has one")

    @property
    def has_object(self) -> np.ndarray:
        """Whether each image has an object, bool `[n]`."""
        return self.labels != NO_OBJECT

    @property
    def counted(self) -> np.ndarray:
        """Whether each image counts, bool `[n]`: it has an object, or the model tells whether there is one."""
        return self.has_object | (self.objectness is not None)

    @property
    def predictions(self) -> np.ndarray:
        """The most probable class of each image, int `[n]`; -1 where no object is predicted."""
        classes = np.argmax(self.probabilities, axis=1)
        return classes if self.objectness is None else np.where(self.objectness >= 0.5, classes, NO_OBJECT)

    @cached_property
    def ious(self) -> np.ndarray:
        """The IoU of the true and the predicted box of each image, float `[n]` in 0..1.

        It is 0 where there is no object, and where none is predicted.
        """
        both = self.has_object & (self.predictions != NO_OBJECT)
        return np.where(both, np.asarray(iou(self.boxes, self.predicted_boxes), float), 0.0)

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, bool `[n]`: the right class and an IoU of at least 0.5, or no object."""
        return (self.predictions == self.labels) & (~self.has_object | (self.ious >= IOU))

    @property
    def accuracy_and_iou50(self) -> float:
        """The share of the images with a right answer, in 0..1."""
        return float(self.right[self.counted].mean())

    @property
    def accuracy(self) -> float:
        """The share of the images for which the class is right, in 0..1; "no object" counts as a class."""
        return float((self.predictions == self.labels)[self.counted].mean())

    @property
    def mean_iou(self) -> float:
        """The mean IoU of the images with an object, in 0..1; NaN where none has one."""
        return float(self.ious[self.has_object].mean()) if self.has_object.any() else float("nan")

    @property
    def score(self) -> float:
        """The share of the images with a right answer: how good the answers are, in 0..1."""
        return self.accuracy_and_iou50

    @property
    def support(self) -> np.ndarray:
        """Number of images of each class, int `[k]`."""
        return np.bincount(self.labels[self.has_object], minlength=len(self.class_names))

    @cached_property
    def interval(self) -> Interval:
        """The interval of 95% confidence of the share of right answers."""
        return share_interval(int(self.right[self.counted].sum()), int(self.counted.sum()))

    def metrics(self) -> dict[str, Any]:
        """Returns the share of right answers with its interval, the accuracy of the classes, and the mean IoU."""
        return {
            "accuracy_and_iou50": self.accuracy_and_iou50,
            "accuracy": self.accuracy,
            "mean_iou": defined(self.mean_iou),
            "interval": self.interval.as_list(),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """Returns the metrics of each class, and of the images without an object where they count.

        Each row has `name`, `accuracy_and_iou50` and its `interval`, `accuracy`, `mean_iou` and `support`. Metrics are
        None where there are no images, and the mean IoU is None for images without an object.
        """
        groups = list(enumerate(self.class_names))
        if self.objectness is not None and not self.has_object.all():
            groups.append((NO_OBJECT, "(no object)"))
        rows = []
        for number, name in groups:
            members = self.labels == number
            count, right = int(members.sum()), int(self.right[members].sum())
            rows.append(
                {
                    "name": name,
                    "accuracy_and_iou50": right / count if count else None,
                    "interval": share_interval(right, count).as_list(),
                    "accuracy": float((self.predictions[members] == number).mean()) if count else None,
                    "mean_iou": float(self.ious[members].mean()) if count and number != NO_OBJECT else None,
                    "support": count,
                }
            )
        return rows

    def tables(self) -> list[Table]:
        """Returns a table with the metrics of each class."""
        rows = tuple(
            (
                row["name"],
                as_percent(row["accuracy_and_iou50"], row["interval"]),
                as_percent(row["accuracy"]),
                as_number(row["mean_iou"]),
                str(row["support"]),
            )
            for row in self.per_class()
        )
        note = "An answer is right where the class is right and the boxes overlap with an IoU of at least 0.5."
        if uncounted := int((~self.counted).sum()):
            note += (
                f" The metrics leave out {count(uncounted, 'image')} without an object, since the model does not tell "
                "whether there is one."
            )
        return [Table(("class", "right class and IoU ≥ 0.5", "right class", "mean IoU", "images"), rows, note)]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON. Intervals are of 95% confidence."""
        metrics = self.metrics()
        return {
            "num_images": int(self.counted.sum()),
            "accuracy_and_iou50": metrics["accuracy_and_iou50"],
            "accuracy_and_iou50_interval": metrics["interval"],
            "accuracy": metrics["accuracy"],
            "mean_iou": metrics["mean_iou"],
            "classes": [
                {("accuracy_and_iou50_interval" if key == "interval" else key): value for key, value in row.items()}
                for row in self.per_class()
            ],
        }


def largest_objects(scenes: Iterable[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class and the box of the largest object of each image.

    Returns:
        The classes, int32 `[n]`, -1 for an image without an object; and the boxes, float32 `[n, 4]`, xyxy, in pixels of
        the photos, zeros for an image without an object.

    >>> scene = Scene(np.zeros((8, 16, 3), "uint8"), "two", (8, 16), [[0, 0, 2, 2], [4, 0, 12, 8]], [1, 0])
    >>> classes, boxes = largest_objects([scene, scene[:0]])
    >>> classes.tolist(), boxes.tolist()
    ([0, -1], [[4.0, 0.0, 12.0, 8.0], [0.0, 0.0, 0.0, 0.0]])
    """
    classes, boxes = [], []
    for scene in scenes:
        areas = np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1)
        largest = int(areas.argmax()) if len(areas) else None
        classes.append(NO_OBJECT if largest is None else int(scene.classes[largest]))
        boxes.append(np.zeros(4, np.float32) if largest is None else scene.boxes[largest])
    return np.array(classes, np.int32), np.array(boxes, np.float32).reshape(-1, 4)
