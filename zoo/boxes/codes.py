"""The codes that networks predict in place of boxes: relative to an anchor, or to the image."""

import math
from collections.abc import Sequence
from typing import Any

from zoo.boxes.arrays import SHORTEST_SIDE, Array, as_floats, coordinates
from zoo.boxes.formats import FROM_CORNERS, TO_CORNERS, convert

__all__ = ["MAX_GROWTH", "decode", "decode_sqrt", "encode", "encode_sqrt"]

# The sides of an anchor grow at most by this factor, so that an untrained network cannot overflow `exp`. The value is
# Detectron's.
MAX_GROWTH = 1000 / 16


def encode(boxes: Array, anchors: Array, *, variances: Sequence[float] = (1, 1, 1, 1)) -> Array:
    """Encodes boxes as shifts and growths of anchors: `(x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)`.

    Source: Girshick et al. 2014, "Rich feature hierarchies", appendix C; Ren et al. 2015, "Faster R-CNN", equation 2.

    Args:
        boxes: Boxes `[..., 4]`, xyxy.
        anchors: Anchors `[..., 4]`, xyxy, each with an area. They broadcast against the boxes.
        variances: Four divisors of the codes, which give all codes about the same spread. SSD uses (0.1, 0.1, 0.2,
            0.2). Defaults to 1 for each.

    Returns:
        Codes `[..., 4]`. They are finite also for boxes without area, whose sides count as 1e-6 pixels, so that the
        padding of a batch can be masked in the loss.

    Raises:
        ValueError: If the last axis is not 4, or if there are not four positive variances.

    >>> encode([10, 10, 30, 50], [0, 0, 20, 40]).round(3).tolist()
    [0.5, 0.25, 0.0, 0.0]
    """
    library, boxes, anchors = as_floats(boxes, anchors)
    scales = _checked_variances(variances)
    x, y, width, height = FROM_CORNERS["cxcywh"](*coordinates(boxes))
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
    """Decodes boxes from the codes that `encode` made of them.

    Args:
        codes: Codes `[..., 4]`, for example the predictions of a network.
        anchors: The anchors `[..., 4]` that the boxes were encoded with.
        variances: The variances that the boxes were encoded with. Defaults to 1 for each.
        max_growth: The largest factor by which the sides of an anchor may grow. Defaults to 62.5.

    Returns:
        Boxes `[..., 4]`, xyxy, in the pixels of the anchors; not clipped to the image.

    Raises:
        ValueError: If the last axis is not 4, or if there are not four positive variances.

    >>> decode([0.5, 0.25, 0, 0], [0, 0, 20, 40]).tolist()
    [10.0, 10.0, 30.0, 50.0]
    """
    library, codes, anchors = as_floats(codes, anchors)
    scales = _checked_variances(variances)
    dx, dy, dw, dh = (code * scale for code, scale in zip(coordinates(codes), scales, strict=True))
    anchor_x, anchor_y, anchor_width, anchor_height = _centred_anchors(library, anchors)
    longest = math.log(max_growth)
    corners = TO_CORNERS["cxcywh"](
        anchor_x + dx * anchor_width,
        anchor_y + dy * anchor_height,
        anchor_width * library.exp(library.minimum(dw, longest)),
        anchor_height * library.exp(library.minimum(dh, longest)),
    )
    return library.stack(corners, axis=-1)


def encode_sqrt(boxes: Array, image_size: Sequence[Array]) -> Array:
    """Encodes boxes as the relative centre and the square roots of the relative width and height.

    With the square root, a pixel matters more to a small box than to a large one.

    Source: Redmon et al. 2016, "You Only Look Once", section 2.2 (there the centre is relative to a cell of a grid).

    Args:
        boxes: Boxes `[..., 4]`, xyxy, absolute pixels.
        image_size: Height and width of the image, in pixels: two numbers, or two arrays that broadcast against `[...]`.

    Returns:
        Codes `[..., 4]`: centre x, centre y, square root of the width, square root of the height. They are in 0..1 for
        boxes inside of the image.

    Raises:
        ValueError: If the last axis is not 4; for NumPy boxes also if `check` refuses them.

    >>> encode_sqrt([16, 20, 48, 40], image_size=(80, 128)).tolist()
    [0.25, 0.375, 0.5, 0.5]
    """
    library, relative = as_floats(convert(boxes, "xyxy", "rel_cxcywh", image_size=image_size))
    x, y, width, height = coordinates(relative)
    return library.stack([x, y, *(library.sqrt(library.maximum(side, 0)) for side in (width, height))], axis=-1)


def decode_sqrt(codes: Array, image_size: Sequence[Array]) -> Array:
    """Decodes boxes from the codes that `encode_sqrt` made of them.

    Args:
        codes: Codes `[..., 4]`.
        image_size: Height and width of the image, in pixels: two numbers, or two arrays that broadcast against `[...]`.

    Returns:
        Boxes `[..., 4]`, xyxy, absolute pixels; not clipped to the image.

    >>> decode_sqrt([0.25, 0.375, 0.5, 0.5], image_size=(80, 128)).tolist()
    [16.0, 20.0, 48.0, 40.0]
    """
    library, codes, height, width = as_floats(codes, image_size[0], image_size[1])
    x, y, root_width, root_height = coordinates(codes)
    corners = TO_CORNERS["cxcywh"](x * width, y * height, root_width**2 * width, root_height**2 * height)
    return library.stack(corners, axis=-1)


def _centred_anchors(library: Any, anchors: Array) -> tuple[Array, ...]:
    x, y, width, height = FROM_CORNERS["cxcywh"](*coordinates(anchors))
    return x, y, library.maximum(width, SHORTEST_SIDE), library.maximum(height, SHORTEST_SIDE)


def _checked_variances(variances: Sequence[float]) -> tuple[float, ...]:
    if len(variances) != 4 or min(variances) <= 0:
        raise ValueError(f"expected four positive variances (x, y, width, height), got {tuple(variances)}")
    return tuple(float(variance) for variance in variances)
