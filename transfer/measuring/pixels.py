"""How good class maps are: what the confusion matrix of all pixels says, and on which images they are worst."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfer.measuring.table import Table, as_number, as_percent, defined
from zoo.metrics.segmentation import SegmentationScores, segmentation_scores

__all__ = ["PixelEvaluation"]


@dataclass(frozen=True, eq=False)
class PixelEvaluation:
    """How good class maps of some images are.

    Attributes:
        class_names: The names of the classes.
        images: The scores of each image.
    """

    class_names: tuple[str, ...]
    images: tuple[SegmentationScores, ...]

    @classmethod
    def of(cls, class_names: Sequence[str], truths: Iterable[np.ndarray], masks: Iterable[np.ndarray]):
        """Measures masks.

        Args:
            class_names: The names of the classes.
            truths: The class of each pixel, `[h, w]`; 255 does not count.
            masks: The predicted ones, of the same sizes.

        Example:

        >>> PixelEvaluation.of(("background", "cell"), [[[0, 1, 1]]], [[[0, 0, 1]]]).metrics()["miou"]
        0.5
        """
        pairs = zip(truths, masks, strict=True)
        count = len(class_names)
        scores = [segmentation_scores(truth, mask, num_classes=count, tolerance=None) for truth, mask in pairs]
        return cls(tuple(class_names), tuple(scores))

    @property
    def total(self) -> SegmentationScores:
        """The scores of all images together."""
        return sum(self.images, SegmentationScores.none(len(self.class_names)))

    def metrics(self) -> dict[str, Any]:
        """Returns the mean IoU and Dice over the classes that occur, and the accuracy of all pixels."""
        total = self.total
        return {
            "miou": defined(total.mean_iou),
            "dice": defined(total.mean_dice),
            "pixel_accuracy": defined(total.pixel_accuracy),
        }

    def pixels(self) -> np.ndarray:
        """Returns how many pixels of each class there are, int `[k]`."""
        return self.total.confusion.sum(axis=1)

    def worst(self) -> list[int]:
        """Returns the numbers of those images that are not right in every pixel, the lowest mean IoU first."""
        means = [scores.mean_iou for scores in self.images]
        wrong = [index for index, mean in enumerate(means) if mean < 1]
        return sorted(wrong, key=lambda index: means[index])

    def confusions(self, most: int = 10) -> list[tuple[str, str, float]]:
        """Returns which classes are most often taken for which.

        Returns:
            The true class, the predicted one, and the share of the pixels of the true class; the largest share first.
        """
        confusion = self.total.confusion.astype(float)
        sums = confusion.sum(axis=1, keepdims=True)
        shares = np.divide(confusion, sums, out=np.zeros_like(confusion), where=sums > 0)
        np.fill_diagonal(shares, 0)
        order = np.argsort(-shares, axis=None, kind="stable")[:most].tolist()
        places = [divmod(place, len(shares)) for place in order]
        names = self.class_names
        return [
            (names[row], names[column], float(shares[row, column])) for row, column in places if shares[row, column]
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings."""
        total = self.total
        columns = {"iou": total.iou, "dice": total.dice, "accuracy": total.accuracy}
        classes = {
            name: {column: defined(values[number]) for column, values in columns.items()}
            for number, name in enumerate(self.class_names)
        }
        return {**self.metrics(), "classes": classes, "confusion": total.confusion.tolist()}

    def tables(self) -> Sequence[Table]:
        """Returns a table of the classes."""
        total, pixels = self.total, self.pixels()
        rows = tuple(
            (
                name,
                as_number(total.iou[number]),
                as_number(total.dice[number]),
                as_percent(total.accuracy[number]),
                as_percent(pixels[number] / max(1, pixels.sum())),
            )
            for number, name in enumerate(self.class_names)
        )
        metrics = self.metrics()
        note = (
            f"The mean IoU is {as_number(metrics['miou'])} and the mean Dice {as_number(metrics['dice'])}, over the "
            f"classes that occur; {as_percent(metrics['pixel_accuracy'])} of all pixels are right."
        )
        return (Table(("class", "IoU", "Dice", "found", "share of the pixels"), rows, note),)
