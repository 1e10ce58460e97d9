"""What detectors are trained for: the loss that each detector brings along, measured by average precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Scene
from transfer.measuring.boxes import measure
from zoo.boxes import check

__all__ = ["DetectionObjective"]

MEASURED = ("map50", "map")


@dataclass(frozen=True, eq=False)
class DetectionObjective:
    """The objective of a detector, whose labels are dicts of `boxes`, `classes`, `num_boxes` and `crowd`.

    The detector computes its own loss. The validation photos choose nothing: the last epoch counts as the best one.
    They are measured after some epochs only, since that takes as long as part of an epoch.

    Args:
        parts: The names of the parts of the detector's loss (`tuple(detector.loss_weights)`).
        scenes: The validation photos; there may be none.
        size: Height and width of the canvas on which the detector sees them, in pixels.
        epochs: Number of epochs of the whole training.
        validations: How often at most the validation photos are measured; always after the last epoch. Defaults to 10.
        batch_size: Number of validation photos at a time. Defaults to 8.

    Raises:
        ValueError: `validations` is below 1.

    Example:

    >>> objective = DetectionObjective(("box", "class"), (), (64, 96), epochs=40)
    >>> objective.columns
    ('loss', 'box', 'class', 'val_map50', 'val_map')
    >>> sorted(objective.measured_epochs)
    [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    """

    parts: tuple[str, ...]
    scenes: Sequence[Scene]
    size: tuple[int, int]
    epochs: int
    validations: int = 10
    batch_size: int = 8

    # Mosaics and the like are worth nothing if the same ones come again and again.
    needs_new_views = True

    def __post_init__(self) -> None:
        if self.validations < 1:
            raise ValueError(f"expected validations of 1 or more, got {self.validations}")

    @property
    def columns(self) -> tuple[str, ...]:
        return "loss", *self.parts, *(f"val_{name}" for name in MEASURED)

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("map50", "mAP50"), ("map", "mAP"), ("loss", "Loss")

    @property
    def measured_epochs(self) -> frozenset[int]:
        """The numbers of the epochs, from 1, after which the validation photos are measured: spread evenly."""
        times = min(self.validations, self.epochs)
        return frozenset(round((number + 1) * self.epochs / times) for number in range(times))

    def loss(self) -> None:
        """Returns None: the detector computes its own loss."""
        return None

    def loss_weights(self) -> None:
        """Returns None: the detector weighs the parts of its loss itself."""
        return None

    def metrics(self) -> None:
        """Returns None: the detector itself logs the parts of its loss."""
        return None

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return (row["epoch"],)

    def validate(self, model: keras.Model, epoch: int, last: bool) -> dict[str, float] | None:
        """Measures the average precision on the validation photos, after some of the epochs and after the last one."""
        if not len(self.scenes) or not (last or epoch in self.measured_epochs):
            return None
        summary = measure(model, self.scenes, size=self.size, batch_size=self.batch_size).summary()
        return {name: summary[name] for name in MEASURED}

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        expected = "a dict of boxes float [b, m, 4] and classes int [b, m], as transfer's training_batches makes it"
        if not isinstance(spec, Mapping) or not {"boxes", "classes"} <= set(spec):
            received = ", ".join(spec) if isinstance(spec, Mapping) else f"{spec}"
            raise ValueError(f"the labels of {name} have to be {expected}; got {received}")
        boxes, classes = spec["boxes"], spec["classes"]
        fits = isinstance(boxes, tf.TensorSpec) and boxes.shape.rank == 3 and boxes.shape[-1] in (None, 4)
        fits = fits and isinstance(classes, tf.TensorSpec) and classes.shape.rank == 2 and classes.dtype.is_integer
        if not fits:
            raise ValueError(f"the labels of {name} have to be {expected}; got boxes {boxes} and classes {classes}")

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        truths = {key: np.asarray(values) for key, values in labels.items()}
        classes = truths["classes"]
        number = model.num_classes
        if classes.size and (classes.min() < -1 or classes.max() >= number):
            raise ValueError(
                f"the classes of {name} have to be in 0..{number - 1}, and -1 for padding; got {classes.min()}.."
                f"{classes.max()}. Were the data read with other classes?"
            )
        try:
            check(truths["boxes"].reshape(-1, 4), "xyxy")
        except ValueError as error:
            raise ValueError(f"the boxes of {name} are none: {error}") from error
