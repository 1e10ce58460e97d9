"""How well masks agree: intersection over union (Jaccard index) and Dice coefficient.

For class maps, count a confusion matrix (over any number of images, since confusion matrices can be added) and compute
the other numbers from it. For masks of single objects, compare masks pair by pair, or every mask with every other.
"""

import numpy as np

__all__ = ["class_dice", "class_iou", "confusion", "mask_dice", "mask_iou", "mask_iou_matrix"]


def confusion(truth: np.ndarray, prediction: np.ndarray, *, num_classes: int, ignore: int | None = None) -> np.ndarray:
    """Counts for each class how many of its pixels were predicted as each class.

    Args:
        truth: Class ids, integers of any shape, 0..num_classes-1 or `ignore`.
        prediction: Class ids, integers of the same shape, 0..num_classes-1.
        num_classes: Number of classes, at least 1.
        ignore: A class id of the truth (often 255) whose pixels do not count. By default all pixels count.

    Returns:
        int64 `[num_classes, num_classes]`, whose rows are the true classes.

    Raises:
        ValueError: If shapes differ, or if a class id lies outside 0..num_classes-1.

    >>> confusion([[0, 0, 1], [2, 1, 255]], [[0, 1, 1], [2, 1, 0]], num_classes=3, ignore=255).tolist()
    [[1, 1, 0], [0, 2, 0], [0, 0, 1]]
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"expected class maps of one shape, got truth {truth.shape} and prediction {prediction.shape}")
    if ignore is not None:
        counts = truth != ignore
        truth, prediction = truth[counts], prediction[counts]
    for name, ids in (("truth", truth), ("prediction", prediction)):
        if ids.size and ids.dtype.kind not in "bui":
            raise ValueError(
                f"expected integer class ids, got a {name} of {ids.dtype}; take the argmax of scores first"
            )
        if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
            raise ValueError(
                f"expected class ids in 0..{num_classes - 1}, got {ids.min()}..{ids.max()} in the {name}; "
                "to leave out pixels that do not count, give their id as ignore="
            )
    index = truth.reshape(-1).astype(np.int64) * num_classes + prediction.reshape(-1).astype(np.int64)
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Computes the IoU of each class from a confusion matrix.

    The mean IoU is `np.nanmean` of the result.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.3.

    Args:
        confusion: A confusion matrix `[k, k]`, as `confusion` returns it.

    Returns:
        float64 `[k]`, NaN for classes that occur neither in truths nor in predictions.

    >>> class_iou(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).round(3).tolist()
    [0.75, 0.667, nan]
    """
    hits = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def class_dice(confusion: np.ndarray) -> np.ndarray:
    """Computes the Dice coefficient (the F1 score of the pixels) of each class from a confusion matrix.

    Source: Dice 1945, "Measures of the Amount of Ecologic Association Between Species".

    Args:
        confusion: A confusion matrix `[k, k]`, as `confusion` returns it.

    Returns:
        float64 `[k]`, NaN for classes that occur neither in truths nor in predictions.

    >>> class_dice(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).round(3).tolist()
    [0.857, 0.8, nan]
    """
    hits = np.diagonal(confusion).astype(np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0)


def mask_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes the IoU of pairs of masks.

    Args:
        a: Masks `[..., h, w]`, bool or 0 and 1.
        b: Masks `[..., h, w]`, bool or 0 and 1. The leading axes broadcast against those of `a`.

    Returns:
        float64 `[...]`; 1 where both masks are empty, since they agree.

    Raises:
        ValueError: If sizes differ, or if there are values other than 0 and 1.

    >>> mask_iou([[1, 1, 0], [1, 1, 0]], [[0, 1, 1], [0, 1, 1]]).round(3).item()
    0.333
    """
    shared, total = _counts(a, b)
    return np.where(total == 0, 1.0, shared / np.maximum(total - shared, 1))


def mask_dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes the Dice coefficient of pairs of masks.

    Args:
        a: Masks `[..., h, w]`, bool or 0 and 1.
        b: Masks `[..., h, w]`, bool or 0 and 1. The leading axes broadcast against those of `a`.

    Returns:
        float64 `[...]`; 1 where both masks are empty, since they agree.

    Raises:
        ValueError: If sizes differ, or if there are values other than 0 and 1.

    >>> mask_dice([[1, 1, 0], [1, 1, 0]], [[0, 1, 1], [0, 1, 1]]).item()
    0.5
    """
    shared, total = _counts(a, b)
    return np.where(total == 0, 1.0, 2 * shared / np.maximum(total, 1))


def mask_iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes the IoU of every mask of `a` with every mask of `b`.

    Args:
        a: Masks `[n, h, w]`, bool or 0 and 1.
        b: Masks `[m, h, w]`, bool or 0 and 1.

    Returns:
        float64 `[n, m]`; 1 where both masks are empty, since they agree.

    Raises:
        ValueError: If sizes differ, or if there are values other than 0 and 1.

    >>> masks = np.array([[[1, 1], [0, 0]], [[1, 0], [1, 0]]])
    >>> mask_iou_matrix(masks, masks).round(3).tolist()
    [[1.0, 0.333], [0.333, 1.0]]
    """
    a, b = _masks(a), _masks(b)
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"expected masks [n, h, w] and [m, h, w] of one size, got {a.shape} and {b.shape}")
    # Sums of 0s and 1s are exact up to 2**24 in float32, and beyond any image in float64.
    exact: type = np.float32 if a.shape[1] * a.shape[2] < 2**24 else np.float64
    shared = np.tensordot(a.astype(exact), b.astype(exact), axes=([1, 2], [1, 2])).astype(np.float64)
    union = a.sum(axis=(1, 2))[:, None] + b.sum(axis=(1, 2)) - shared
    return np.where(union == 0, 1.0, shared / np.maximum(union, 1))


def _counts(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of pixels in both masks, and the sum of the pixels of both masks."""
    a, b = _masks(a), _masks(b)
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"expected masks [..., h, w] of one size, got {a.shape} and {b.shape}")
    return (a & b).sum(axis=(-2, -1)), a.sum(axis=(-2, -1)) + b.sum(axis=(-2, -1))


def _masks(masks: np.ndarray) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.ndim < 2:
        raise ValueError(f"expected masks [..., h, w], got the shape {masks.shape}")
    if masks.dtype != bool and not ((masks == 0) | (masks == 1)).all():
        raise ValueError(
            f"expected masks of 0 and 1, got values from {masks.min()} to {masks.max()}; threshold them first"
        )
    return masks.astype(bool)
