"""The formats of boxes: how to convert them, how to check them, and how to cut boxes off at the edges of an image."""

from collections.abc import Callable, Sequence

import numpy as np

from zoo.boxes.arrays import Array, as_floats, coordinates

__all__ = ["ABSOLUTE", "FORMATS", "FROM_CORNERS", "RELATIVE_REACH", "TO_CORNERS", "centres", "check", "clip", "convert"]

# The formats in absolute pixels; those that begin with "rel_" are fractions of the image's width and height.
ABSOLUTE = ("xyxy", "yxyx", "xywh", "cxcywh")
FORMATS = (*ABSOLUTE, *(f"rel_{name}" for name in ABSOLUTE))

# Coordinates up to this value are taken for relative ones, although those should lie in 0..1: predictions and truncated
# objects reach over the edges. A box of so few pixels would show nothing.
RELATIVE_REACH = 1.5

TO_CORNERS: dict[str, Callable] = {
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "yxyx": lambda y1, x1, y2, x2: (x1, y1, x2, y2),
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "cxcywh": lambda cx, cy, w, h: (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2),
}
FROM_CORNERS: dict[str, Callable] = {
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "yxyx": lambda x1, y1, x2, y2: (y1, x1, y2, x2),
    "xywh": lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
    "cxcywh": lambda x1, y1, x2, y2: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
}


def convert(boxes: Array, source: str, target: str, *, image_size: Sequence[Array] | None = None) -> Array:
    """Converts boxes from one format to another.

    Args:
        boxes: Boxes `[..., 4]` in the format `source`.
        source: The format of the given boxes, one of `FORMATS`. "xyxy" and "yxyx" are two corners, "xywh" is the upper
            left corner and the size, "cxcywh" is the centre and the size. With "rel_" before it, the numbers are
            fractions of the image's width and height.
        target: The format of the result, one of `FORMATS`.
        image_size: Height and width of the image, in pixels. It is needed between absolute and relative formats. Two
            numbers, or two arrays that broadcast against `[...]`: for boxes `[b, n, 4]` of images of several sizes, two
            arrays `[b, 1]`.

    Returns:
        Boxes `[..., 4]` in the format `target`.

    Raises:
        ValueError: If a format is unknown, if the last axis is not 4, or if the image size is missing. For NumPy boxes
            that are converted between absolute and relative also if `check` refuses them.

    Example:

    >>> convert([10, 20, 30, 60], "xyxy", "cxcywh").tolist()
    [20.0, 40.0, 20.0, 40.0]
    >>> convert([16, 20, 48, 60], "xyxy", "rel_xywh", image_size=(80, 128)).tolist()
    [0.125, 0.25, 0.25, 0.5]
    """
    for name in (source, target):
        _check_format(name)
    scales = source.startswith("rel_"), target.startswith("rel_")
    if scales[0] == scales[1]:
        library, boxes = as_floats(boxes)
        numbers = coordinates(boxes)
    else:
        if image_size is None:
            raise ValueError(f"converting {source} to {target} needs image_size=(height, width) in pixels")
        library, boxes, height, width = as_floats(boxes, image_size[0], image_size[1])
        numbers = coordinates(boxes)
        if library is np:
            check(boxes, source)
            _check_image_size(height, width)
    kinds = source.removeprefix("rel_"), target.removeprefix("rel_")
    # Sizes are computed from corners in absolute pixels. The difference of two rounded fractions would be less exact.
    if scales == (True, False):
        numbers = tuple(c * side for c, side in zip(numbers, _extents(kinds[0], height, width), strict=True))
    if kinds[0] != kinds[1]:
        numbers = FROM_CORNERS[kinds[1]](*TO_CORNERS[kinds[0]](*numbers))
    if scales == (False, True):
        numbers = tuple(c / side for c, side in zip(numbers, _extents(kinds[1], height, width), strict=True))
    return library.stack(numbers, axis=-1)


def check(boxes: Array, box_format: str = "xyxy") -> None:
    """Refuses boxes that cannot have the format that they are said to have.

    It is for arrays on the host, because tensors in a graph have no values yet. Boxes without area and boxes that reach
    over the edge of the image are not refused: both occur in real annotations.

    Args:
        boxes: Boxes `[..., 4]`, a NumPy array or lists.
        box_format: The format that they should have, one of `FORMATS`.

    Raises:
        ValueError: If the last axis is not 4; if a coordinate is NaN or infinite; if boxes that should be absolute all
            lie within a pixel and a half of the origin, so that they must be relative; or if boxes that should be
            relative are absolute.

    Example:

    >>> check([[0.1, 0.2, 0.5, 0.9]], "xyxy")
    Traceback (most recent call last):
    ...
    ValueError: expected xyxy boxes in absolute pixels, got relative ones: no coordinate is over 0.9; convert them with
    zoo.boxes.convert(boxes, "rel_xyxy", "xyxy", image_size=(height, width))
    """
    _check_format(box_format)
    _, boxes = as_floats(boxes)
    coordinates(boxes)
    if not boxes.size:
        return
    if not np.isfinite(boxes).all():
        where = np.argwhere(~np.isfinite(boxes).all(axis=-1))[0].tolist()
        raise ValueError(f"expected finite box coordinates, got {boxes[tuple(where)].tolist()} at {where}")
    reach = float(np.abs(boxes).max())
    if box_format in ABSOLUTE:
        if 0 < reach <= RELATIVE_REACH:
            raise ValueError(
                f"expected {box_format} boxes in absolute pixels, got relative ones: no coordinate is over {reach:.3g}"
                f'; convert them with zoo.boxes.convert(boxes, "rel_{box_format}", "{box_format}", '
                "image_size=(height, width))"
            )
    elif reach > 2 * RELATIVE_REACH:
        raise ValueError(
            f"expected {box_format} boxes as fractions of the image in 0..1, got a coordinate of {reach:.6g}; "
            f'in absolute pixels the format is "{box_format.removeprefix("rel_")}"'
        )


def clip(boxes: Array, image_size: Sequence[Array]) -> Array:
    """Cuts boxes off at the edges of the image. A box that lies wholly outside keeps no area.

    Args:
        boxes: Boxes `[..., 4]`, xyxy, absolute pixels.
        image_size: Height and width of the image, in pixels: two numbers, or two arrays that broadcast against `[...]`.

    Returns:
        Boxes `[..., 4]` with x in 0..width and y in 0..height.

    Raises:
        ValueError: If the last axis is not 4, or if the image size is not positive.

    >>> clip([[-5, 10, 30, 90]], image_size=(80, 100)).tolist()
    [[0.0, 10.0, 30.0, 80.0]]
    """
    library, boxes, height, width = as_floats(boxes, image_size[0], image_size[1])
    if library is np:
        _check_image_size(height, width)
    inside = [
        library.minimum(library.maximum(coordinate, 0), side)
        for coordinate, side in zip(coordinates(boxes), (width, height, width, height), strict=True)
    ]
    return library.stack(inside, axis=-1)


def centres(boxes: Array) -> Array:
    """Computes the centres (x, y) `[..., 2]` of boxes `[..., 4]` (xyxy).

    >>> centres([[0, 0, 4, 3], [10, 20, 30, 60]]).tolist()
    [[2.0, 1.5], [20.0, 40.0]]
    """
    _, boxes = as_floats(boxes)
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise ValueError(f"unknown box format {name!r}; expected one of {', '.join(FORMATS)}")


def _extents(kind: str, height: Array, width: Array) -> tuple[Array, ...]:
    """Returns for each of the four numbers of a box the side of the image that it is a fraction of."""
    return (height, width, height, width) if kind == "yxyx" else (width, height, width, height)


def _check_image_size(height: np.ndarray, width: np.ndarray) -> None:
    if not (np.all(height > 0) and np.all(width > 0)):
        raise ValueError(f"expected image_size=(height, width) in pixels, over 0, got ({height}, {width})")
