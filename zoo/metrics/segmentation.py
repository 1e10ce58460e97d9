"""How good class maps are: the confusion matrix of their pixels, what follows from it, and boundary F1.

`segmentation_scores` measures one image. Scores can be added, so that any number of images is measured one after
another and none has to be kept:

>>> images = [([[0, 1], [0, 255]], [[0, 1], [1, 1]]), ([[1, 1]], [[1, 1]])]
>>> scores = sum((segmentation_scores(*image, num_classes=3) for image in images), SegmentationScores.none(3))
>>> scores.iou.round(3).tolist(), round(scores.mean_iou, 3), round(scores.pixel_accuracy, 3)
([0.5, 0.75, nan], 0.625, 0.8)

A class that occurs neither in the truths nor in the predictions of all images together has the score NaN, and does not
count in means. A class that is predicted and occurs in no truth has the score 0 and counts, as does one that occurs and
is never predicted. Every mean is one over classes.
"""

from dataclasses import dataclass

import numpy as np

from zoo.metrics import overlap

__all__ = ["BOUNDARY_TOLERANCE", "IGNORE", "SegmentationScores", "boundary_f1", "segmentation_scores"]

# The class id of pixels that do not count.
IGNORE = 255

# How far apart boundaries may be, as a fraction of the diagonal of the image (Csurka et al. 2013).
BOUNDARY_TOLERANCE = 0.0075


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """Scores of the class maps of one image or of several. Those of different images are added with `+`.

    Attributes:
        confusion: Numbers of pixels, int64 `[k, k]`. Rows are the true classes, columns the predicted ones.
        boundary_sums: For each class the sum of the boundary F1 of the images that have a score, float64 `[k]`.
        boundary_images: For each class the number of images that have a score, int64 `[k]`.
        images: Number of images.
    """

    confusion: np.ndarray
    boundary_sums: np.ndarray
    boundary_images: np.ndarray
    images: int

    @classmethod
    def none(cls, num_classes: int) -> "SegmentationScores":
        """Returns the scores of no image, to which others are added.

        Args:
            num_classes: Number of classes, with the background.
        """
        counts = np.zeros((num_classes, num_classes), np.int64)
        return cls(counts, np.zeros(num_classes), np.zeros(num_classes, np.int64), 0)

    def __add__(self, other: "SegmentationScores") -> "SegmentationScores":
        """Returns the scores of the images of both.

        Raises:
            ValueError: If the numbers of classes differ.
        """
        if len(self.confusion) != len(other.confusion):
            raise ValueError(
                f"expected scores of the same classes, got {len(self.confusion)} and {len(other.confusion)} classes"
            )
        return SegmentationScores(
            self.confusion + other.confusion,
            self.boundary_sums + other.boundary_sums,
            self.boundary_images + other.boundary_images,
            self.images + other.images,
        )

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, float64 `[k]`."""
        return overlap.class_iou(self.confusion)

    @property
    def dice(self) -> np.ndarray:
        """Dice coefficient (F1 of the pixels) of each class, float64 `[k]`."""
        return overlap.class_dice(self.confusion)

    @property
    def accuracy(self) -> np.ndarray:
        """Fraction of the pixels of each class that are predicted as it, float64 `[k]`; NaN without such pixels."""
        pixels = self.confusion.sum(axis=1)
        hits = np.diagonal(self.confusion).astype(np.float64)
        return np.divide(hits, pixels, out=np.full(len(hits), np.nan), where=pixels > 0)

    @property
    def boundary(self) -> np.ndarray:
        """Boundary F1 of each class, the mean over the images that have a score, float64 `[k]`."""
        counts = self.boundary_images
        return np.divide(self.boundary_sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that occur; NaN if no pixel counts."""
        return _mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """Mean of `dice` over the classes that occur; NaN if no pixel counts."""
        return _mean(self.dice)

    @property
    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over the classes that truths have; NaN if no pixel counts."""
        return _mean(self.accuracy)

    @property
    def mean_boundary(self) -> float:
        """Mean of `boundary` over the classes that have a score; NaN if none has."""
        return _mean(self.boundary)

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of all pixels whose class is right; NaN if no pixel counts."""
        total = int(self.confusion.sum())
        return float(np.trace(self.confusion) / total) if total else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou` weighted by the numbers of true pixels (Long et al. 2015, section 5); NaN if none counts."""
        pixels = self.confusion.sum(axis=1)
        total = int(pixels.sum())
        return float(np.where(pixels > 0, np.nan_to_num(self.iou) * pixels, 0).sum() / total) if total else float("nan")


def segmentation_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    num_classes: int,
    ignore: int | None = IGNORE,
    tolerance: float | None = BOUNDARY_TOLERANCE,
) -> SegmentationScores:
    """Measures the class map of one image.

    Sources: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.3 (IoU); Long et al. 2015,
    "Fully Convolutional Networks for Semantic Segmentation", section 5 (accuracies); `boundary_f1`.

    Args:
        truth: Class ids, integers `[h, w]`, 0..num_classes-1 or `ignore`.
        prediction: Class ids, integers `[h, w]`. Where the truth is `ignore`, they may be anything.
        num_classes: Number of classes, with the background.
        ignore: The class id of the truth whose pixels do not count; None if all count. Defaults to 255.
        tolerance: How far apart boundaries may be, as a fraction of the diagonal of the image; None to leave out
            boundary F1, which costs most of the time. Defaults to 0.0075.

    Returns:
        The scores, which can be added to those of other images.

    Raises:
        ValueError: If the shapes differ, or if a class id is out of range.

    Example:

    >>> scores = segmentation_scores([[0, 0, 1, 1]], [[0, 1, 1, 1]], num_classes=2)
    >>> scores.iou.round(3).tolist(), scores.dice.round(3).tolist(), scores.pixel_accuracy
    ([0.5, 0.667], [0.667, 0.8], 0.75)
    """
    counts = overlap.confusion(truth, prediction, num_classes=num_classes, ignore=ignore)
    if tolerance is None:
        scores = np.full(num_classes, np.nan)
    else:
        scores = boundary_f1(truth, prediction, num_classes=num_classes, ignore=ignore, tolerance=tolerance)
    return SegmentationScores(counts, np.nan_to_num(scores), (~np.isnan(scores)).astype(np.int64), 1)


def boundary_f1(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    num_classes: int,
    ignore: int | None = IGNORE,
    tolerance: float = BOUNDARY_TOLERANCE,
) -> np.ndarray:
    """Computes for each class of one image how well the boundaries agree: the BF score.

    The boundary of a class are its pixels beside a pixel (left, right, above or below) that is not of the class. The
    border of the image is no boundary. Precision is the fraction of the predicted boundary that lies no farther than
    the tolerance from the true boundary, recall the fraction of the true boundary that lies no farther from the
    predicted one, and F1 = 2PR / (P + R). Distances are Euclidean, between the centres of pixels. A fraction of no
    pixels is 1: a class that fills the image in both maps agrees, and one that only one map has scores 0. Pixels that
    are ignored in the truth are ignored in the prediction, too, so that their edges are boundaries of both.

    Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"; the
    tolerance of 0.75% of the diagonal is theirs.

    Args:
        truth: Class ids, integers `[h, w]`, 0..num_classes-1 or `ignore`.
        prediction: Class ids, integers `[h, w]`.
        num_classes: Number of classes, with the background.
        ignore: The class id of the truth whose pixels do not count; None if all count. Defaults to 255.
        tolerance: How far apart boundaries may be, as a fraction of the diagonal. Defaults to 0.0075.

    Returns:
        float64 `[num_classes]` in 0..1; NaN for a class that neither map has.

    Raises:
        ValueError: If the shapes are not `[h, w]` or differ, or if the tolerance is below 0.

    Example, where the square lies one pixel farther right than it should, and the tolerance is one pixel or none:

    >>> truth, prediction = np.zeros((2, 30, 40), int)
    >>> truth[10:20, 10:20] = prediction[10:20, 11:21] = 1
    >>> boundary_f1(truth, prediction, num_classes=2, tolerance=1 / 50).tolist()
    [1.0, 1.0]
    >>> boundary_f1(truth, prediction, num_classes=3, tolerance=0).round(3).tolist()
    [0.45, 0.5, nan]
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            f"expected class maps [h, w] of one shape, got truth {truth.shape} and prediction {prediction.shape}"
        )
    if tolerance < 0:
        raise ValueError(f"expected a tolerance of 0 or more, as a fraction of the diagonal, got {tolerance}")
    counts = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    farthest = tolerance * np.hypot(*truth.shape)
    scores = np.full(num_classes, np.nan)
    for number in np.union1d(truth[counts], prediction[counts]).tolist():
        masks = [(ids == number) & counts for ids in (truth, prediction)]
        expected, actual = (_inner_boundary(mask) for mask in masks)
        if all(mask.any() for mask in masks):
            precision, recall = _near(actual, expected, farthest), _near(expected, actual, farthest)
            scores[number] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        else:
            scores[number] = 0.0
    return scores


def _inner_boundary(mask: np.ndarray) -> np.ndarray:
    """Returns the pixels of a mask that have one of their four neighbours outside of it, `bool [h, w]`."""
    around = np.pad(mask, 1, mode="edge")
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return mask & ~inside


def _near(points: np.ndarray, others: np.ndarray, farthest: float) -> float:
    """Returns the fraction of the pixels of one mask that are no farther than a distance from one of another."""
    from scipy.ndimage import distance_transform_edt  # here, since only boundaries need it

    if not points.any():
        return 1.0
    if not others.any():
        return 0.0
    # Rounding must not decide about distances that are whole.
    return float((distance_transform_edt(~others)[points] <= farthest + 1e-9).mean())


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
