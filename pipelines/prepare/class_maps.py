"""From probabilities of classes on the canvas to the class of every pixel of the photo.

The probabilities are resized to the photo, and then the highest one decides; so borders between classes run between
the pixels of the canvas, and not in steps of them. As all preparation, it exists in NumPy, in the TensorFlow graph, and
in operations that every runtime has; tests hold the three equal.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.prepare.graph_resizing import resize
from pipelines.prepare.matrix_resizing import multiply, placed_matrix
from pipelines.prepare.numpy_resizing import resizing_matrix
from pipelines.prepare.preparation import Preparation

__all__ = ["NOTHING", "classes_on_photo", "classes_on_photos_in_graph", "probabilities_on_photo"]

NOTHING = 255  # the class of pixels that the canvas did not show
STRIP = 2**24  # numbers that are held at once, so that a large photo with many classes needs little memory


def classes_on_photo(
    preparation: Preparation, probabilities: np.ndarray, size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class of every pixel of a photo, and its probability.

    Args:
        preparation: How the photo came onto the canvas.
        probabilities: float32 `[H, W, k]`, of the classes on the canvas.
        size: Height and width of the photo, in pixels.

    Returns:
        `uint8 [h, w]`, 255 where the canvas did not show the photo, and `float32 [h, w]`, 0 there.

    Example:

    >>> from pipelines import Letterbox
    >>> p = np.zeros((2, 4, 2), np.float32)
    >>> p[:, :2, 0] = p[:, 2:, 1] = 1
    >>> classes_on_photo(Letterbox((2, 4)), p, (4, 8))[0].tolist()[0]
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    h, w = (int(side) for side in size)
    (top, left, rows, columns), _ = preparation.windows(h, w)
    classes, scores = np.full((h, w), NOTHING, np.uint8), np.zeros((h, w), np.float32)
    tall, to_columns = _in_rows(preparation, probabilities, (h, w))
    step = max(1, STRIP // (columns * probabilities.shape[2]))
    for start in range(0, rows, step):
        strip = _in_columns(tall[start : start + step], to_columns)
        place = np.s_[top + start : top + start + len(strip), left : left + columns]
        classes[place], scores[place] = strip.argmax(axis=2), strip.max(axis=2)
    return classes, scores


def probabilities_on_photo(preparation: Preparation, probabilities: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns the probabilities of all classes for every pixel of a photo: float32 `[h, w, k]`, 0 where nothing shows.

    The arguments are those of `classes_on_photo`.
    """
    h, w = (int(side) for side in size)
    (top, left, rows, columns), _ = preparation.windows(h, w)
    whole = np.zeros((h, w, probabilities.shape[2]), np.float32)
    whole[top : top + rows, left : left + columns] = _in_columns(*_in_rows(preparation, probabilities, (h, w)))
    return whole


def _in_rows(preparation: Preparation, maps: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Any]:
    """Resizes the heights of what the canvas shows of the photo; the matrix for the widths is returned, too."""
    (_, _, rows, columns), (top, left, height, width) = preparation.windows(*size)
    window = np.asarray(maps, np.float32)[top : top + height, left : left + width]
    tall = resizing_matrix(height, rows, "bilinear") @ window.reshape(height, -1)
    return tall.reshape(rows, width, -1), resizing_matrix(width, columns, "bilinear")


def _in_columns(tall: np.ndarray, to_columns: Any) -> np.ndarray:
    """Resizes the widths of some rows: `[rows, width, k]` -> `[rows, columns, k]`."""
    rows, width, k = tall.shape
    wide = to_columns @ tall.swapaxes(0, 1).reshape(width, rows * k)
    return wide.reshape(-1, rows, k).swapaxes(0, 1)


def classes_on_photos_in_graph(
    preparation: Preparation, probabilities: Any, heights: Any, widths: Any, *, portable: bool = False
) -> tuple[Any, Any]:
    """Returns the class of every pixel of photos, and its probability, in a graph.

    Args:
        preparation: How the photos came onto the canvas.
        probabilities: `float32 [n, H, W, k]`.
        heights: Heights of the photos in pixels, `int32`, one for all or `[n]`.
        widths: Widths of the photos in pixels, `int32`, one for all or `[n]`.
        portable: Whether only operations that ONNX, OpenVINO and LiteRT know may be used; the sizes are then one for
            all.

    Returns:
        `uint8 [n, h, w]` and `float32 [n, h, w]` of the largest height and width. Pixels that are none of the photo, or
        that the canvas did not show, have the class 255 and the probability 0.
    """
    import tensorflow as tf

    probabilities, heights, widths = map(tf.convert_to_tensor, (probabilities, heights, widths))
    if heights.shape.rank == 0:
        classes, scores = _of_one_size(preparation, probabilities, heights, widths, portable)
        return tf.cast(classes, tf.uint8), scores
    largest = tf.reduce_max(heights), tf.reduce_max(widths)

    def of_one(inputs: Any) -> tuple[Any, Any]:
        own, height, width = inputs
        classes, scores = _of_one_size(preparation, own[None], height, width, portable)
        around = [[0, 0], [0, largest[0] - height], [0, largest[1] - width]]
        return tf.pad(classes, around, constant_values=NOTHING)[0], tf.pad(scores, around)[0]

    specs = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.float32))
    classes, scores = tf.map_fn(of_one, (probabilities, heights, widths), fn_output_signature=specs)
    return tf.cast(classes, tf.uint8), scores


def _of_one_size(preparation: Preparation, maps: Any, height: Any, width: Any, portable: bool) -> tuple[Any, Any]:
    """Returns classes, `int32 [n, h, w]`, and their probabilities, for photos of one size."""
    import tensorflow as tf

    (top, left, rows, columns), (canvas_top, canvas_left, canvas_rows, canvas_columns) = preparation.windows(
        height, width
    )
    window = maps[:, canvas_top : canvas_top + canvas_rows, canvas_left : canvas_left + canvas_columns]
    if portable:
        to_rows, _ = placed_matrix(canvas_rows, 0, rows, rows)
        to_columns, _ = placed_matrix(canvas_columns, 0, columns, columns)
        resized = multiply(window, to_rows, to_columns)
    else:
        resized = resize(window, [rows, columns], "bilinear")
    classes = tf.argmax(resized, axis=-1, output_type=tf.int32)
    scores = tf.reduce_max(resized, axis=-1)
    if isinstance(top, int) and top == 0 and isinstance(left, int) and left == 0:
        return classes, scores  # The whole photo was shown.
    around = [[0, 0], [top, height - rows - top], [left, width - columns - left]]
    return tf.pad(classes, around, constant_values=NOTHING), tf.pad(scores, around)
