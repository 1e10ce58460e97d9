"""What networks for segmentation are trained for: a loss of all pixels, judged by the mean IoU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from transfer.probabilities import Values
from transfer.training.objective_interface import OneOutput, with_validation
from zoo.metrics.segmentation import IGNORE
from zoo.segmentation.losses import CombinedLoss, DiceLoss, PixelCrossentropy, TverskyLoss

__all__ = ["SegmentationObjective"]

Weights = Sequence[float] | None
FOCAL_GAMMA = 2.0  # as in the paper
TVERSKY = 0.3, 0.7  # the best ones of the paper, which find more of what is thin

LOSSES: dict[str, Callable[[Weights], keras.losses.Loss]] = {
    "crossentropy": lambda weights: PixelCrossentropy(0.0, weights),
    "focal": lambda weights: PixelCrossentropy(FOCAL_GAMMA, weights),
    "dice": lambda weights: DiceLoss(weights),
    "tversky": lambda weights: TverskyLoss(*TVERSKY, weights),
}


@dataclass(frozen=True)
class SegmentationObjective(OneOutput):
    """The objective of a class for every pixel.

    Labels are class numbers `[n, h, w]`, 255 where there is none. The best epoch is the one of the highest mean IoU on
    the validation photos, on the canvas, and of several such epochs the one of the lowest loss.

    Args:
        name: The name of the loss, or several names with "+" between them, which are added up.
        class_weights: How much each class counts. By default all count the same.

    Example:

    >>> type(SegmentationObjective("crossentropy+dice").loss()).__name__
    'CombinedLoss'
    """

    values: ClassVar[Values] = "shares"
    needs_new_views: ClassVar[bool] = True  # Windows are worth little if the same ones come again and again.

    name: str = "crossentropy+dice"
    class_weights: tuple[float, ...] | None = None
    num_classes: int = 2

    @property
    def columns(self) -> tuple[str, ...]:
        return with_validation("loss", "miou")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return ("miou", "Mean IoU"), ("loss", "Loss")

    def loss(self) -> keras.losses.Loss:
        losses = [LOSSES[name](self.class_weights) for name in self.name.split("+")]
        return losses[0] if len(losses) == 1 else CombinedLoss(losses)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanIoU(self.num_classes, name="miou", ignore_class=IGNORE, sparse_y_pred=False)]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_miou"], -row["val_loss"]

    def check_spec(self, spec: Any, width: int, name: str) -> None:
        fits = isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3 and spec.dtype.is_integer
        if not fits:
            received = f"{spec.shape} of {spec.dtype.name}" if isinstance(spec, tf.TensorSpec) else f"{spec}"
            raise ValueError(
                f"the labels of {name} have to be class numbers for each pixel, int [n, height, width]; got {received}"
            )

    def check_array(self, labels: np.ndarray, width: int, name: str) -> None:
        known = labels[labels != IGNORE]
        if known.size and (known.min() < 0 or known.max() >= width):
            raise ValueError(
                f"the masks of {name} have to hold 0..{width - 1}, for the model tells {width} classes apart, and "
                f"{IGNORE} for pixels without a class; got {known.min()}..{known.max()}"
            )
