"""How much boxes overlap: areas, intersection over union (IoU), and the variants of it that are trained with."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.boxes.arrays import SHORTEST_SIDE, Array, as_floats, coordinates, ratio, sides

__all__ = ["area", "ciou", "diou", "giou", "intersection", "iou", "overlap_matrix"]


def area(boxes: Array) -> Array:
    """Computes the areas `[...]` of boxes `[..., 4]` (xyxy). The area is 0 where x2 <= x1 or y2 <= y1.

    >>> area([[0, 0, 4, 3], [5, 5, 2, 9]]).tolist()
    [12.0, 0.0]
    """
    library, boxes = as_floats(boxes)
    width, height = sides(library, boxes)
    return width * height


def intersection(a: Array, b: Array) -> Array:
    """Computes the area that two boxes share, pair by pair.

    Args:
        a: Boxes `[..., 4]`, xyxy.
        b: Boxes `[..., 4]`, xyxy. They broadcast against `a`, so that `[4]` and `[n, 4]` give `[n]`.

    Returns:
        Areas `[...]`, 0 or more.

    >>> intersection([0, 0, 4, 3], [[2, 1, 9, 9], [4, 0, 5, 1]]).tolist()
    [4.0, 0.0]
    """
    library, a, b = as_floats(a, b)
    return _intersection(library, a, b)


def iou(a: Array, b: Array) -> Array:
    """Computes the intersection over union (the Jaccard index), pair by pair.

    To compare every box with every other, use `overlap_matrix`.

    Args:
        a: Boxes `[..., 4]`, xyxy.
        b: Boxes `[..., 4]`, xyxy. They broadcast against `a`.

    Returns:
        Values `[...]` in 0..1; 0 where neither box has an area.

    Raises:
        ValueError: If the last axis is not 4.

    >>> iou([0, 0, 4, 2], [[2, 0, 4, 2], [0, 0, 4, 2], [4, 0, 8, 2]]).tolist()
    [0.5, 1.0, 0.0]
    """
    library, a, b = as_floats(a, b)
    return _iou_and_union(library, a, b)[0]


def giou(a: Array, b: Array) -> Array:
    """Computes the generalised IoU: the IoU, minus the fraction of the hull that neither box covers.

    The hull is the smallest box around both.

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 2.

    Args:
        a: Boxes `[..., 4]`, xyxy.
        b: Boxes `[..., 4]`, xyxy. They broadcast against `a`.

    Returns:
        Values `[...]` in -1..1, never more than the IoU.

    Raises:
        ValueError: If the last axis is not 4.

    >>> giou([0, 0, 1, 1], [3, 0, 4, 1]).item()  # 2 of the hull's 4 pixels are empty
    -0.5
    """
    library, a, b = as_floats(a, b)
    overlap, union = _iou_and_union(library, a, b)
    width, height = _hull(library, a, b)
    return overlap - ratio(library, width * height - union, width * height)


def diou(a: Array, b: Array) -> Array:
    """Computes the distance IoU: the IoU, minus the squared distance of the centres over the hull's squared diagonal.

    Source: Zheng et al. 2020, "Distance-IoU Loss", equation 7 (as a similarity: 1 minus the loss).

    Args:
        a: Boxes `[..., 4]`, xyxy.
        b: Boxes `[..., 4]`, xyxy. They broadcast against `a`.

    Returns:
        Values `[...]` in -1..1, never more than the IoU.

    Raises:
        ValueError: If the last axis is not 4.

    >>> diou([0, 0, 2, 2], [2, 2, 4, 4]).item()  # (2² + 2²) / (4² + 4²)
    -0.25
    """
    library, a, b = as_floats(a, b)
    return _iou_and_union(library, a, b)[0] - _centre_distance(library, a, b)


def ciou(a: Array, b: Array) -> Array:
    """Computes the complete IoU: the distance IoU, minus a weighted difference of the aspect ratios.

    No gradient flows through the weight, as in the authors' code.

    Source: Zheng et al. 2020, "Distance-IoU Loss", equations 8 to 11 (as a similarity: 1 minus the loss).

    Args:
        a: Boxes `[..., 4]`, xyxy.
        b: Boxes `[..., 4]`, xyxy. They broadcast against `a`.

    Returns:
        Values `[...]`, never more than the distance IoU, and at most 1.

    Raises:
        ValueError: If the last axis is not 4.

    >>> round(float(ciou([0, 0, 2, 2], [0, 0, 4, 1])), 4)
    0.253
    """
    library, a, b = as_floats(a, b)
    overlap = _iou_and_union(library, a, b)[0]
    slope_a, slope_b = (
        library.arctan(width / library.maximum(height, SHORTEST_SIDE))
        for width, height in (sides(library, a), sides(library, b))
    )
    difference = 4 / math.pi**2 * (slope_b - slope_a) ** 2
    weight = ratio(library, difference, 1 - overlap + difference)
    if library is not np:
        weight = library.stop_gradient(weight)
    return overlap - _centre_distance(library, a, b) - weight * difference


def overlap_matrix(a: Array, b: Array, *, overlap: Callable[[Array, Array], Array] = iou) -> Array:
    """Compares every box of `a` with every box of `b`.

    Args:
        a: Boxes `[..., n, 4]`, xyxy.
        b: Boxes `[..., m, 4]`, xyxy.
        overlap: The measure: `iou`, `giou`, `diou`, `ciou` or `intersection`. Defaults to `iou`.

    Returns:
        Values `[..., n, m]`.

    >>> overlap_matrix([[0, 0, 2, 2], [0, 0, 1, 1]], [[0, 0, 2, 1], [5, 5, 6, 6], [0, 0, 2, 2]]).tolist()
    [[0.5, 0.0, 1.0], [0.5, 0.0, 0.25]]
    """
    _, a, b = as_floats(a, b)
    return overlap(a[..., :, None, :], b[..., None, :, :])


def _intersection(library: Any, a: Array, b: Array) -> Array:
    ax1, ay1, ax2, ay2 = coordinates(a)
    bx1, by1, bx2, by2 = coordinates(b)
    width = library.minimum(ax2, bx2) - library.maximum(ax1, bx1)
    height = library.minimum(ay2, by2) - library.maximum(ay1, by1)
    return library.maximum(width, 0) * library.maximum(height, 0)


def _iou_and_union(library: Any, a: Array, b: Array) -> tuple[Array, Array]:
    shared = _intersection(library, a, b)
    union = area(a) + area(b) - shared
    return ratio(library, shared, union), union


def _hull(library: Any, a: Array, b: Array) -> tuple[Array, Array]:
    """Returns the width and height of the smallest box around both."""
    ax1, ay1, ax2, ay2 = coordinates(a)
    bx1, by1, bx2, by2 = coordinates(b)
    width = library.maximum(ax2, bx2) - library.minimum(ax1, bx1)
    height = library.maximum(ay2, by2) - library.minimum(ay1, by1)
    return width, height


def _centre_distance(library: Any, a: Array, b: Array) -> Array:
    """Returns the squared distance of the centres over the squared diagonal of the hull."""
    ax1, ay1, ax2, ay2 = coordinates(a)
    bx1, by1, bx2, by2 = coordinates(b)
    distance = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    width, height = _hull(library, a, b)
    return ratio(library, distance, width**2 + height**2)
