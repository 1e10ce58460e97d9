"""What each EXIF orientation means, and turning of boxes, points and masks by it, without TensorFlow."""

from typing import Any

import numpy as np

__all__ = ["TURNS", "turn_array", "turn_boxes", "turn_points", "turned_size"]

# How to make the stored image upright, for each value of the tag: whether to swap rows and columns, then whether to
# reverse the order of the rows, then that of the columns. EXIF 2.32, 4.6.4, tag 274.
TURNS = {
    1: (False, False, False),
    2: (False, False, True),  # mirrored
    3: (False, True, True),  # upside down
    4: (False, True, False),  # upside down and mirrored
    5: (True, False, False),  # on its left side and mirrored
    6: (True, False, True),  # has to be turned clockwise
    7: (True, True, True),  # on its right side and mirrored
    8: (True, True, False),  # has to be turned anticlockwise
}


def turned_size(size: tuple[int, int], tag: int) -> tuple[int, int]:
    """Returns the height and width of the upright image from those of the image as it is stored.

    >>> turned_size((480, 640), 6)
    (640, 480)
    """
    return (size[1], size[0]) if TURNS[tag][0] else size


def turn_points(points: Any, size: tuple[int, int], tag: int) -> np.ndarray:
    """Turns points of an image as it is stored into points of the upright image.

    Args:
        points: Points `[..., 2]`, (x, y) in pixels.
        size: Height and width of the image as it is stored.
        tag: EXIF orientation, 1 to 8.

    Returns:
        `float64 [..., 2]`.

    Example:

    >>> turn_points([[0, 0], [640, 0]], (480, 640), 6).tolist()
    [[480.0, 0.0], [480.0, 640.0]]
    """
    swap, rows, columns = TURNS[tag]
    height, width = turned_size(size, tag)
    points = np.asarray(points, np.float64)
    x, y = (points[..., 1], points[..., 0]) if swap else (points[..., 0], points[..., 1])
    return np.stack([width - x if columns else x, height - y if rows else y], axis=-1)


def turn_boxes(boxes: Any, size: tuple[int, int], tag: int) -> np.ndarray:
    """Turns boxes `[n, 4]` (xyxy) of an image as it is stored into boxes of the upright image.

    >>> turn_boxes([[0, 0, 10, 20]], (480, 640), 3).tolist()
    [[630.0, 460.0, 640.0, 480.0]]
    """
    corners = turn_points(np.asarray(boxes, np.float64).reshape(-1, 2, 2), size, tag)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)


def turn_array(pixels: np.ndarray, tag: int) -> np.ndarray:
    """Turns an image or mask `[h, w, ...]` upright.

    >>> turn_array(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    swap, rows, columns = TURNS[tag]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]
