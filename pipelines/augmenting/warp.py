"""Geometry as one 3x3 matrix for each image, and the warping of pixels, masks, points and boxes with it.

Coordinates are those of boxes: x points to the right and y down, in pixels; (0, 0) is the image's top left *corner*;
and the pixel in row i and column j covers x from j to j + 1 and y from i to i + 1. A matrix M takes a point (x, y) of
the old image to its place in the new image: (x', y', s) = M (x, y, 1), and the place is (x' / s, y' / s).

Matrices are composed by multiplying them, so that any number of transforms reads the pixels once. The functions that
make matrices take numbers or tensors `float32 [n]`, one number for each image, and return `float32 [n, 3, 3]`. Numbers
that change nothing give the exact identity, which returns an image bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = [
    "FILL_MODES",
    "about",
    "compose",
    "flip",
    "identity",
    "invert",
    "lengths",
    "perspective",
    "resizing",
    "rotation",
    "scaling",
    "shear",
    "translation",
    "visible_boxes",
    "warp_boxes",
    "warp_images",
    "warp_points",
    "window",
]

# What the new image shows beyond the edges of the old one. The names are those of `keras.ops.image.affine_transform`.
FILL_MODES = ("constant", "nearest", "reflect", "wrap")

Size = tuple[Any, Any]  # height and width, as numbers or scalar tensors


def _rows(*entries: Any) -> tf.Tensor:
    """Returns matrices `[n, 3, 3]` of nine numbers or tensors `[n]`, row by row.

    One product puts the tensors into their places. To stack nine tensors would take four times as many operations.
    """
    is_number = [isinstance(entry, int | float) for entry in entries]
    numbers = np.where(is_number, [entry if known else 0.0 for entry, known in zip(entries, is_number, strict=True)], 0)
    constant = tf.constant(numbers.reshape([1, 3, 3]), tf.float32)
    if all(is_number):
        return constant
    vectors = [
        tf.reshape(tf.convert_to_tensor(entry, tf.float32), [-1])
        for entry, known in zip(entries, is_number, strict=True)
        if not known
    ]
    if len({vector.shape[0] for vector in vectors}) > 1:
        n = tf.reduce_max([tf.size(vector) for vector in vectors])
        vectors = [tf.broadcast_to(vector, [n]) for vector in vectors]
    places = np.eye(9)[~np.array(is_number)]
    return constant + tf.reshape(tf.stack(vectors, axis=-1) @ tf.constant(places, tf.float32), [-1, 3, 3])


def lengths(size: Size) -> tuple[Any, Any]:
    """Returns height and width as floats: as numbers, which cost no operations in a graph, if they are numbers."""
    height, width = (float(length) if isinstance(length, int) else tf.cast(length, tf.float32) for length in size)
    return height, width


def identity(n: Any = 1) -> tf.Tensor:
    """Returns matrices that change nothing: `[n, 3, 3]`."""
    return tf.eye(3, batch_shape=[n])


def translation(x: Any, y: Any) -> tf.Tensor:
    """Returns matrices that move by `x` pixels to the right and `y` pixels down."""
    return _rows(1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0)


def scaling(x: Any, y: Any) -> tf.Tensor:
    """Returns matrices that multiply x by `x` and y by `y`, so that the top left corner stays; -1 mirrors.

    >>> scaling(2.0, [3.0]).numpy()[0, :2, :2].tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return _rows(x, 0.0, 0.0, 0.0, y, 0.0, 0.0, 0.0, 1.0)


def flip(x: Any, y: Any, size: Size) -> tf.Tensor:
    """Returns matrices that mirror images.

    Args:
        x: 1 mirrors left to right, and 0 does not.
        y: 1 mirrors top to bottom, and 0 does not.
        size: Height and width of the images.
    """
    x, y = (tf.convert_to_tensor(value, tf.float32) for value in (x, y))
    height, width = lengths(size)
    return _rows(1 - 2 * x, 0.0, x * width, 0.0, 1 - 2 * y, y * height, 0.0, 0.0, 1.0)


def rotation(angle: Any) -> tf.Tensor:
    """Returns matrices that turn anticlockwise by `angle`, in radians, about the top left corner."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _rows(cos, sin, 0.0, -sin, cos, 0.0, 0.0, 0.0, 1.0)


def shear(x: Any, y: Any) -> tf.Tensor:
    """Returns matrices that move each point by `x` times its y to the right, and by `y` times its x down."""
    return _rows(1.0, x, 0.0, y, 1.0, 0.0, 0.0, 0.0, 1.0)


def perspective(corners: Any, size: Size) -> tf.Tensor:
    """Returns matrices that move the four corners of the image, as if its plane turned in space.

    The closed form for the unit square is that of P. Heckbert, "Fundamentals of Texture Mapping and Image Warping"
    (1989), section 2.2.3.

    Args:
        corners: Movements of the corners `[n, 4, 2]`, as fractions of the width to the right and of the height down,
            in the order top left, top right, bottom right, bottom left. The moved corners must form a convex figure,
            which they do if all movements are below a quarter.
        size: Height and width of the images.
    """
    square = tf.constant([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
        tf.unstack(corner, axis=-1) for corner in tf.unstack(square + tf.cast(corners, tf.float32), axis=1)
    )
    dx1, dx2, dx3 = x1 - x2, x3 - x2, (x0 - x1) + (x2 - x3)
    dy1, dy2, dy3 = y1 - y2, y3 - y2, (y0 - y1) + (y2 - y3)
    area = dx1 * dy2 - dx2 * dy1
    g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
    unit = _rows(x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h, 1.0)
    height, width = lengths(size)
    scales = tf.stack([width, height, 1.0])
    return unit * (scales[:, None] / scales)


def about(matrices: tf.Tensor, point: tuple[Any, Any]) -> tf.Tensor:
    """Returns matrices that do the same about `point` (x, y) instead of the top left corner."""
    x, y = point
    return compose(translation(-x, -y), matrices, translation(x, y))


def compose(*matrices: tf.Tensor) -> tf.Tensor:
    """Returns one matrix for several matrices, of which the first is applied first.

    >>> both = compose(translation(1.0, 0.0), scaling(2.0, 2.0))
    >>> warp_points([[[3.0, 4.0]]], both).numpy().tolist()
    [[[8.0, 8.0]]]
    """
    result = matrices[0]
    for matrix in matrices[1:]:
        result = matrix @ result
    return result


def invert(matrices: tf.Tensor) -> tf.Tensor:
    """Returns the inverse matrices `[n, 3, 3]`, which lead from the new image back to the old one."""
    columns = tf.unstack(matrices, axis=-1)
    # The rows of the adjugate are the cross products of the columns. A factor common to all entries has no effect.
    adjugate = tf.stack([tf.linalg.cross(columns[(i + 1) % 3], columns[(i + 2) % 3]) for i in range(3)], axis=-2)
    return adjugate / adjugate[:, 2:, 2:]


def warp_images(
    images: Any,
    matrices: tf.Tensor,
    *,
    size: Size | None = None,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
) -> tf.Tensor:
    """Warps images: each new pixel shows what the old image shows at the place that the matrix takes to its centre.

    There is no antialiasing. Images that become smaller than half of their size should be shrunk before, with
    `tf.image.resize(..., antialias=True)` or by decoding them at a smaller size.

    Args:
        images: Images `[n, h, w, channels]`. Images of `uint8` are interpolated as floats and rounded.
        matrices: Matrices `[n, 3, 3]` from the old images to the new ones.
        size: Height and width of the new images, or None for the size of the old ones.
        interpolation: "bilinear", or "nearest" for masks.
        fill_mode: What the new image shows beyond the edges of the old one: "reflect" (the image mirrored), "nearest"
            (the pixels of the edge), "wrap" (the opposite side) or "constant" (`fill_value`).
        fill_value: Value of the new pixels for "constant".

    Returns:
        `[n, H, W, channels]` of the dtype of `images`.

    Example:

    >>> image = tf.reshape(tf.range(6.0), [1, 2, 3, 1])
    >>> warp_images(image, flip(1.0, 0.0, (2, 3)))[0, ..., 0].numpy().tolist()
    [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]
    """
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8 and interpolation != "nearest":
        options: dict[str, Any] = {"interpolation": interpolation, "fill_mode": fill_mode, "fill_value": fill_value}
        floats = warp_images(tf.cast(images, tf.float32), matrices, size=size, **options)
        return tf.cast(tf.round(floats), tf.uint8)
    static = images.shape[1:3] if size is None else tf.TensorShape(size if isinstance(size[0], int) else [None, None])
    size = tf.shape(images)[1:3] if size is None else tf.convert_to_tensor(size, tf.int32)
    # TensorFlow's operation takes matrices from the new image to the old one, in coordinates of pixel centres.
    way_back = compose(translation(0.5, 0.5), invert(matrices), translation(-0.5, -0.5))
    way_back = tf.reshape(way_back / way_back[:, 2:, 2:], [-1, 9])[:, :8]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=way_back,
        output_shape=size,
        interpolation=interpolation.upper(),
        fill_mode=fill_mode.upper(),
        fill_value=float(fill_value),
    )
    return tf.ensure_shape(warped, [images.shape[0], *static, images.shape[3]])


def warp_points(points: Any, matrices: tf.Tensor) -> tf.Tensor:
    """Warps points.

    Args:
        points: Points `float32 [n, m, 2]`, (x, y) in pixels.
        matrices: Matrices `[n, 3, 3]`.

    Returns:
        `float32 [n, m, 2]`. Points may lie outside of the image.
    """
    points = tf.convert_to_tensor(points, tf.float32)
    extended = tf.concat([points, tf.ones_like(points[..., :1])], axis=-1)
    moved = tf.matmul(extended, matrices, transpose_b=True)
    return moved[..., :2] / moved[..., 2:]


def warp_boxes(boxes: Any, matrices: tf.Tensor) -> tf.Tensor:
    """Warps boxes: each becomes the upright box around its four moved corners.

    Args:
        boxes: Boxes `float32 [n, m, 4]`, xyxy in pixels.
        matrices: Matrices `[n, 3, 3]`.

    Returns:
        `float32 [n, m, 4]`. Boxes may reach out of the image, where `visible_boxes` cuts them.
    """
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    corners = tf.gather(boxes, [0, 1, 2, 1, 2, 3, 0, 3], axis=-1)  # x1 y1, x2 y1, x2 y2, x1 y2
    shape = tf.shape(boxes)
    moved = tf.reshape(warp_points(tf.reshape(corners, [shape[0], -1, 2]), matrices), [shape[0], shape[1], 4, 2])
    hull = tf.concat([tf.reduce_min(moved, axis=2), tf.reduce_max(moved, axis=2)], axis=-1)
    return tf.ensure_shape(hull, boxes.shape)


def visible_boxes(boxes: tf.Tensor, size: Size, *, min_visible: float = 0.25) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts boxes at the edges of the image, and tells which of them are still visible.

    Args:
        boxes: Boxes `float32 [..., 4]`, xyxy in pixels.
        size: Height and width of the image, as numbers, or as tensors `[n, 1]` with one number for each image.
        min_visible: Smallest part of its area, 0 to 1, that a visible box keeps. Defaults to 0.25.

    Returns:
        The boxes `float32 [..., 4]` inside of the image; and `bool [...]`, true for boxes that have an area above 0 and
        keep at least `min_visible` of it.

    Example:

    >>> boxes, visible = visible_boxes(tf.constant([[-6.0, 0.0, 2.0, 4.0], [1.0, 1.0, 9.0, 5.0]]), (10, 8))
    >>> boxes.numpy().tolist(), visible.numpy().tolist()
    ([[0.0, 0.0, 2.0, 4.0], [1.0, 1.0, 8.0, 5.0]], [True, True])
    """
    limits = tf.cast(tf.stack([size[1], size[0], size[1], size[0]], axis=-1), tf.float32)
    clipped = tf.clip_by_value(boxes, 0.0, limits)

    def area(boxes: tf.Tensor) -> tf.Tensor:
        return tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0)

    return clipped, (area(clipped) > 0) & (area(clipped) >= min_visible * area(boxes))


def resizing(given: Size, wanted: Size) -> tf.Tensor:
    """Returns the matrix `[1, 3, 3]` that stretches images of the size `given` to the size `wanted`."""
    (height, width), (new_height, new_width) = lengths(given), lengths(wanted)
    return scaling(new_width / width, new_height / height)


def window(box: Sequence[Any], size: Size) -> tf.Tensor:
    """Returns matrices that crop images and resize them in one step.

    Args:
        box: Left, top, right and bottom of the window in pixels, as numbers or tensors `[n]`.
        size: Height and width to which the window is stretched.
    """
    x1, y1, x2, y2 = box
    height, width = lengths(size)
    return compose(translation(-x1, -y1), scaling(width / (x2 - x1), height / (y2 - y1)))
