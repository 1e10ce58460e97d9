"""Box geometry: formats, overlap, and the codes that networks predict.

Boxes are the last axis of an array, four numbers each, `xyxy` in absolute pixels (x right, y down, continuous: a box
that covers only the first pixel is `[0, 0, 1, 1]`) unless a format is named. Leading axes are free: one box, `[n, 4]`,
or a batch `[b, n, 4]`.

NumPy arrays (and lists) give NumPy arrays and load no other library; tensors give tensors, eagerly, in tf.data and
inside models. Each formula is written once: `keras.ops` has the names and the meaning of NumPy. Floating types are
kept; integers and lists become float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "FORMATS",
    "area",
    "check",
    "ciou",
    "clip",
    "convert",
    "decode",
    "decode_sqrt",
    "diou",
    "encode",
    "encode_sqrt",
    "giou",
    "intersection",
    "iou",
    "overlap_matrix",
]

# np.ndarray (or what becomes one), or a tensor of Keras' backend.
Array: TypeAlias = Any

# Absolute pixels, and as shares of the image's width and height.
ABSOLUTE = ("xyxy", "yxyx", "xywh", "cxcywh")
FORMATS = (*ABSOLUTE, *(f"rel_{name}" for name in ABSOLUTE))

# How far relative coordinates may stray from 0..1 and still be taken for relative: predictions and truncated objects
# overshoot. A box of this many pixels shows nothing.
RELATIVE_REACH = 1.5

# Detectron's bound on the growth of an anchor, so that an untrained network cannot overflow `exp`.
MAX_GROWTH = 1000 / 16

# A side is at least this long where it is divided by or its logarithm is taken, so that padding (boxes of zeros) gives
# finite numbers, which a loss can mask.
SHORTEST_SIDE = 1e-6

_TO_CORNERS: dict[str, Callable] = {
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "yxyx": lambda y1, x1, y2, x2: (x1, y1, x2, y2),
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "cxcywh": lambda cx, cy, w, h: (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2),
}
_FROM_CORNERS: dict[str, Callable] = {
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "yxyx": lambda x1, y1, x2, y2: (y1, x1, y2, x2),
    "xywh": lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
    "cxcywh": lambda x1, y1, x2, y2: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
}


def convert(boxes: Array, source: str, target: str, *, image_size: Sequence[Array] | None = None) -> Array:
    """The same boxes in another format.

    Args:
        boxes: `[..., 4]` in the format `source`.
        source, target: of `FORMATS`: "xyxy" and "yxyx" are two corners, "xywh" is the upper left corner and the size,
            "cxcywh" the centre and the size; with "rel_" before it, in shares of the image's width and height.
        image_size: (height, width) in pixels, needed between absolute and relative formats. Numbers, or arrays that
            broadcast against `[...]`: for boxes `[b, n, 4]` of images of several sizes, two arrays `[b, 1]`.

    Returns:
        `[..., 4]` in the format `target`.

    Raises:
        ValueError: an unknown format, a last axis that is not 4, a missing image size; and for NumPy boxes that cross
            between absolute and relative, whatever `check` refuses.

    Example:

    >>> convert([10, 20, 30, 60], "xyxy", "cxcywh").tolist()
    [20.0, 40.0, 20.0, 40.0]
    >>> convert([16, 20, 48, 60], "xyxy", "rel_xywh", image_size=(80, 128)).tolist()
    [0.125, 0.25, 0.25, 0.5]
    """
    for name in (source, target):
        if name not in FORMATS:
            raise ValueError(f"unknown box format {name!r}; expected one of {', '.join(FORMATS)}")
    scales = source.startswith("rel_"), target.startswith("rel_")
    if scales[0] == scales[1]:
        library, boxes = _arrays(boxes)
        coordinates = _coordinates(boxes)
    else:
        if image_size is None:
            raise ValueError(f"converting {source} to {target} needs image_size=(height, width) in pixels")
        library, boxes, height, width = _arrays(boxes, image_size[0], image_size[1])
        coordinates = _coordinates(boxes)
        if library is np:
            check(boxes, source)
            _check_image_size(height, width)
    kinds = source.removeprefix("rel_"), target.removeprefix("rel_")
    # Scaled while absolute, where a small side is not yet the difference of two rounded shares.
    if scales == (True, False):
        coordinates = tuple(c * side for c, side in zip(coordinates, _extents(kinds[0], height, width), strict=True))
    if kinds[0] != kinds[1]:
        coordinates = _FROM_CORNERS[kinds[1]](*_TO_CORNERS[kinds[0]](*coordinates))
    if scales == (False, True):
        coordinates = tuple(c / side for c, side in zip(coordinates, _extents(kinds[1], height, width), strict=True))
    return library.stack(coordinates, axis=-1)


def check(boxes: Array, box_format: str = "xyxy") -> None:
    """Refuses boxes that cannot be what their format says. For arrays on the host: tensors in a graph have no values.

    Boxes that have no area or reach over the edge are not refused: both occur in real annotations.

    Args:
        boxes: `[..., 4]`, NumPy or lists.
        box_format: of `FORMATS`.

    Raises:
        ValueError: a last axis that is not 4; NaN or infinite coordinates; boxes said to be absolute that all lie
            within a pixel and a half of the origin, so are relative; or boxes said to be relative that are not.

    Example:

    >>> check([[0.1, 0.2, 0.5, 0.9]], "xyxy")
    Traceback (most recent call last):
    ...
    ValueError: expected xyxy boxes in absolute pixels, got relative ones: no coordinate is over 0.9; convert them with
    zoo.boxes.convert(boxes, "rel_xyxy", "xyxy", image_size=(height, width))
    """
    if box_format not in FORMATS:
        raise ValueError(f"unknown box format {box_format!r}; expected one of {', '.join(FORMATS)}")
    _, boxes = _arrays(boxes)
    _coordinates(boxes)
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
            f"expected {box_format} boxes in shares of the image, 0..1, got a coordinate of {reach:.6g}; "
            f'in absolute pixels the format is "{box_format.removeprefix("rel_")}"'
        )


def clip(boxes: Array, image_size: Sequence[Array]) -> Array:
    """Cuts off what lies outside the image. A box wholly outside keeps no area.

    Args:
        boxes: `[..., 4]`, xyxy, absolute pixels.
        image_size: (height, width), as for `convert`.

    Returns:
        `[..., 4]` in 0..width and 0..height.

    Raises:
        ValueError: a last axis that is not 4, an image size that is not positive.

    >>> clip([[-5, 10, 30, 90]], image_size=(80, 100)).tolist()
    [[0.0, 10.0, 30.0, 80.0]]
    """
    library, boxes, height, width = _arrays(boxes, image_size[0], image_size[1])
    if library is np:
        _check_image_size(height, width)
    cut = [
        library.minimum(library.maximum(coordinate, 0), side)
        for coordinate, side in zip(_coordinates(boxes), (width, height, width, height), strict=True)
    ]
    return library.stack(cut, axis=-1)


def area(boxes: Array) -> Array:
    """Area `[...]` of boxes `[..., 4]` (xyxy); 0 where x2 <= x1 or y2 <= y1.

    >>> area([[0, 0, 4, 3], [5, 5, 2, 9]]).tolist()
    [12.0, 0.0]
    """
    library, boxes = _arrays(boxes)
    width, height = _sides(library, boxes)
    return width * height


def intersection(a: Array, b: Array) -> Array:
    """Area that two boxes share, pair by pair.

    Args:
        a, b: `[..., 4]`, xyxy; they broadcast, so that `[4]` and `[n, 4]` give `[n]`.

    Returns:
        `[...]`, at least 0.

    >>> intersection([0, 0, 4, 3], [[2, 1, 9, 9], [4, 0, 5, 1]]).tolist()
    [4.0, 0.0]
    """
    library, a, b = _arrays(a, b)
    return _intersection(library, a, b)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union (Jaccard index), pair by pair.

    Args:
        a, b: `[..., 4]`, xyxy; they broadcast. `overlap_matrix` compares each with each.

    Returns:
        `[...]` in 0..1; 0 where neither box has an area.

    Raises:
        ValueError: a last axis that is not 4.

    >>> iou([0, 0, 4, 2], [[2, 0, 4, 2], [0, 0, 4, 2], [4, 0, 8, 2]]).tolist()
    [0.5, 1.0, 0.0]
    """
    library, a, b = _arrays(a, b)
    return _iou_and_union(library, a, b)[0]


def giou(a: Array, b: Array) -> Array:
    """Generalised IoU: less the share of the hull that neither box covers.

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 2.

    Args, Raises: as for `iou`.

    Returns:
        `[...]` in -1..1; at most the IoU.

    >>> giou([0, 0, 1, 1], [3, 0, 4, 1]).item()  # 2 of the hull's 4 pixels are empty
    -0.5
    """
    library, a, b = _arrays(a, b)
    overlap, union = _iou_and_union(library, a, b)
    width, height = _hull(library, a, b)
    return overlap - _ratio(library, width * height - union, width * height)


def diou(a: Array, b: Array) -> Array:
    """Distance IoU: less the squared distance of the centres, as a share of the hull's squared diagonal.

    Source: Zheng et al. 2020, "Distance-IoU Loss", equation 7 (as a similarity: 1 minus the loss).

    Args, Raises: as for `iou`.

    Returns:
        `[...]` in -1..1; at most the IoU.

    >>> diou([0, 0, 2, 2], [2, 2, 4, 4]).item()  # (2² + 2²) / (4² + 4²)
    -0.25
    """
    library, a, b = _arrays(a, b)
    return _iou_and_union(library, a, b)[0] - _centre_distance(library, a, b)


def ciou(a: Array, b: Array) -> Array:
    """Complete IoU: the distance IoU, less a weighted difference of the aspect ratios.

    The weight is a constant to the gradient, as in the authors' code.

    Source: Zheng et al. 2020, "Distance-IoU Loss", equations 8 to 11 (as a similarity: 1 minus the loss).

    Args, Raises: as for `iou`.

    Returns:
        `[...]`, at most the distance IoU, at most 1.

    >>> round(float(ciou([0, 0, 2, 2], [0, 0, 4, 1])), 4)
    0.253
    """
    library, a, b = _arrays(a, b)
    overlap = _iou_and_union(library, a, b)[0]
    slope_a, slope_b = (
        library.arctan(width / library.maximum(height, SHORTEST_SIDE))
        for width, height in (_sides(library, a), _sides(library, b))
    )
    difference = 4 / math.pi**2 * (slope_b - slope_a) ** 2
    weight = _ratio(library, difference, 1 - overlap + difference)
    if library is not np:
        weight = library.stop_gradient(weight)
    return overlap - _centre_distance(library, a, b) - weight * difference


def overlap_matrix(a: Array, b: Array, *, overlap: Callable[[Array, Array], Array] = iou) -> Array:
    """Every box of `a` with every box of `b`.

    Args:
        a: `[..., n, 4]`, xyxy.
        b: `[..., m, 4]`, xyxy.
        overlap: `iou`, `giou`, `diou`, `ciou` or `intersection`.

    Returns:
        `[..., n, m]`.

    >>> overlap_matrix([[0, 0, 2, 2], [0, 0, 1, 1]], [[0, 0, 2, 1], [5, 5, 6, 6], [0, 0, 2, 2]]).tolist()
    [[0.5, 0.0, 1.0], [0.5, 0.0, 0.25]]
    """
    _, a, b = _arrays(a, b)
    return overlap(a[..., :, None, :], b[..., None, :, :])


def encode(boxes: Array, anchors: Array, *, variances: Sequence[float] = (1, 1, 1, 1)) -> Array:
    """Boxes as shifts and growths of anchors: `(x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)`.

    Source: Girshick et al. 2014, "Rich feature hierarchies", appendix C; Ren et al. 2015, "Faster R-CNN", equation 2.

    Args:
        boxes: `[..., 4]`, xyxy.
        anchors: `[..., 4]`, xyxy, each with an area; they broadcast against the boxes.
        variances: the codes are divided by them, to give each about the same spread. SSD's are (0.1, 0.1, 0.2, 0.2).

    Returns:
        `[..., 4]`. Finite for boxes without area, too: their sides count as 1e-6 pixels, so that the padding of a
        batch can be masked in the loss.

    Raises:
        ValueError: a last axis that is not 4; other than four positive variances.

    >>> encode([10, 10, 30, 50], [0, 0, 20, 40]).round(3).tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    library, boxes, anchors = _arrays(boxes, anchors)
    scales = _variances(variances)
    x, y, width, height = _FROM_CORNERS["cxcywh"](*_coordinates(boxes))
    anchor_x, anchor_y, anchor_width, anchor_height = _centred_anchors(library, anchors)
    codes = (
        (x - anchor_x) / anchor_width,
        (y - anchor_y) / anchor_height,
        library.log(library.maximum(width, SHORTEST_SIDE) / anchor_width),
        library.log(library.maximum(height, SHORTEST_SIDE) / anchor_height),
    )
    return library.stack([code / scale for code, scale in zip(codes, scales, strict=True)], axis=-1)


def decode(
    codes: Array, anchors: Array, *, variances: Sequence[float] = (1, 1, 1, 1), max_growth: float = MAX_GROWTH
) -> Array:
    """The boxes that `encode` made these codes of.

    Args:
        codes: `[..., 4]`, what a network predicts.
        anchors, variances: as for `encode`.
        max_growth: an anchor's sides grow at most by this factor.

    Returns:
        `[..., 4]`, xyxy, in the anchors' pixels; not clipped to the image.

    Raises:
        ValueError: as for `encode`.

    >>> decode([0.5, 0.25, 0, 0], [0, 0, 20, 40]).tolist()
    [10.0, 10.0, 30.0, 50.0]
    """
    library, codes, anchors = _arrays(codes, anchors)
    scales = _variances(variances)
    dx, dy, dw, dh = (code * scale for code, scale in zip(_coordinates(codes), scales, strict=True))
    anchor_x, anchor_y, anchor_width, anchor_height = _centred_anchors(library, anchors)
    longest = math.log(max_growth)
    corners = _TO_CORNERS["cxcywh"](
        anchor_x + dx * anchor_width,
        anchor_y + dy * anchor_height,
        anchor_width * library.exp(library.minimum(dw, longest)),
        anchor_height * library.exp(library.minimum(dh, longest)),
    )
    return library.stack(corners, axis=-1)


def encode_sqrt(boxes: Array, image_size: Sequence[Array]) -> Array:
    """Relative centre and square root of the relative size, in which a pixel matters more to a small box.

    Source: Redmon et al. 2016, "You Only Look Once", section 2.2 (there the centre is relative to a cell of a grid).

    Args:
        boxes: `[..., 4]`, xyxy, absolute pixels.
        image_size: (height, width), as for `convert`.

    Returns:
        `[..., 4]`: centre x, centre y, square root of the width, of the height, in 0..1 for boxes inside the image.

    Raises:
        ValueError: as for `convert`.

    >>> encode_sqrt([16, 20, 48, 40], image_size=(80, 128)).tolist()
    [0.25, 0.375, 0.5, 0.5]
    """
    library, relative = _arrays(convert(boxes, "xyxy", "rel_cxcywh", image_size=image_size))
    x, y, width, height = _coordinates(relative)
    return library.stack([x, y, *(library.sqrt(library.maximum(side, 0)) for side in (width, height))], axis=-1)


def decode_sqrt(codes: Array, image_size: Sequence[Array]) -> Array:
    """The boxes that `encode_sqrt` made these codes of.

    Args:
        codes: `[..., 4]`.
        image_size: (height, width), as for `convert`.

    Returns:
        `[..., 4]`, xyxy, absolute pixels; not clipped to the image.

    >>> decode_sqrt([0.25, 0.375, 0.5, 0.5], image_size=(80, 128)).tolist()
    [16.0, 20.0, 48.0, 40.0]
    """
    library, codes, height, width = _arrays(codes, image_size[0], image_size[1])
    x, y, root_width, root_height = _coordinates(codes)
    corners = _TO_CORNERS["cxcywh"](x * width, y * height, root_width**2 * width, root_height**2 * height)
    return library.stack(corners, axis=-1)


def _arrays(*arrays: Array) -> tuple[Any, ...]:
    """The library that computes with these arrays, and the arrays as floats of that library."""
    host = np.ndarray | np.generic | int | float | Sequence
    tensors = [array for array in arrays if not isinstance(array, host)]
    if not tensors:
        return np, *(_host_floats(array) for array in arrays)
    import keras

    dtype = keras.backend.standardize_dtype(tensors[0].dtype)
    if "float" not in dtype:
        dtype = keras.backend.floatx()
    return keras.ops, *(keras.ops.cast(array, dtype) for array in arrays)


def _host_floats(array: Array) -> np.ndarray:
    if isinstance(array, np.ndarray | np.generic) and np.issubdtype(array.dtype, np.floating):
        return np.asarray(array)
    return np.asarray(array, np.float32)


def _coordinates(boxes: Array) -> tuple[Array, ...]:
    """`[..., 4]` as four arrays `[...]`."""
    shape = boxes.shape
    # A tensor in tf.data may have an unknown rank.
    if getattr(shape, "rank", 0) is not None and (len(shape) == 0 or shape[-1] not in (4, None)):
        raise ValueError(f"expected boxes [..., 4], got the shape {tuple(shape)}")
    return tuple(boxes[..., i] for i in range(4))


def _sides(library: Any, boxes: Array) -> tuple[Array, Array]:
    """Width and height, not below 0."""
    x1, y1, x2, y2 = _coordinates(boxes)
    return library.maximum(x2 - x1, 0), library.maximum(y2 - y1, 0)


def _intersection(library: Any, a: Array, b: Array) -> Array:
    ax1, ay1, ax2, ay2 = _coordinates(a)
    bx1, by1, bx2, by2 = _coordinates(b)
    width = library.minimum(ax2, bx2) - library.maximum(ax1, bx1)
    height = library.minimum(ay2, by2) - library.maximum(ay1, by1)
    return library.maximum(width, 0) * library.maximum(height, 0)


def _iou_and_union(library: Any, a: Array, b: Array) -> tuple[Array, Array]:
    shared = _intersection(library, a, b)
    union = area(a) + area(b) - shared
    return _ratio(library, shared, union), union


def _hull(library: Any, a: Array, b: Array) -> tuple[Array, Array]:
    """Width and height of the smallest box around both."""
    ax1, ay1, ax2, ay2 = _coordinates(a)
    bx1, by1, bx2, by2 = _coordinates(b)
    width = library.maximum(ax2, bx2) - library.minimum(ax1, bx1)
    height = library.maximum(ay2, by2) - library.minimum(ay1, by1)
    return width, height


def _centre_distance(library: Any, a: Array, b: Array) -> Array:
    """Squared distance of the centres over the squared diagonal of the hull."""
    ax1, ay1, ax2, ay2 = _coordinates(a)
    bx1, by1, bx2, by2 = _coordinates(b)
    distance = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    width, height = _hull(library, a, b)
    return _ratio(library, distance, width**2 + height**2)


def _ratio(library: Any, part: Array, whole: Array) -> Array:
    """part / whole; where the whole is nothing, so is the part. NaN stays NaN, so that a loss shows it."""
    return part / library.where(whole == 0, library.ones_like(whole), whole)


def _centred_anchors(library: Any, anchors: Array) -> tuple[Array, ...]:
    x, y, width, height = _FROM_CORNERS["cxcywh"](*_coordinates(anchors))
    return x, y, library.maximum(width, SHORTEST_SIDE), library.maximum(height, SHORTEST_SIDE)


def _variances(variances: Sequence[float]) -> tuple[float, ...]:
    if len(variances) != 4 or min(variances) <= 0:
        raise ValueError(f"expected four positive variances (x, y, width, height), got {tuple(variances)}")
    return tuple(float(variance) for variance in variances)


def _extents(kind: str, height: Array, width: Array) -> tuple[Array, ...]:
    """What each of the four numbers is a share of."""
    return (height, width, height, width) if kind == "yxyx" else (width, height, width, height)


def _check_image_size(height: np.ndarray, width: np.ndarray) -> None:
    if not (np.all(height > 0) and np.all(width > 0)):
        raise ValueError(f"expected image_size=(height, width) in pixels, over 0, got ({height}, {width})")
