"""The grid of the first YOLO, for reading: targets and loss as in the paper.

The image is divided into S x S cells. The cell that contains the centre of an object has to detect it. It predicts one
class, and with each of its B boxes a place and a confidence. Of these boxes only the one that fits best learns the
place of the object, so that the boxes of a cell specialise.

The last map of the network is `[n, S, S, 5 * B + C]`: for each box `x, y, root_w, root_h, confidence`, then the
classes. x and y are the centre within the cell, 0..1. root_w and root_h are the square roots of the size as fractions
of the image, so that a pixel counts for more in a small box. (The paper's equation 3 takes the roots in the loss. The
authors' network predicts the roots directly, which is the same and has a gradient at 0.)

Source: Redmon et al. 2016, "You Only Look Once: Unified, Real-Time Object Detection", section 2 and equation 3. To
train a detector today, use `zoo.detection.yolo`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array

__all__ = ["YOLOv1Loss", "decode_grid", "encode_grid"]


def encode_grid(
    boxes: np.ndarray, classes: np.ndarray, *, image_size: Sequence[int], num_classes: int, grid: int = 7
) -> np.ndarray:
    """Computes the target of the grid for one image.

    Args:
        boxes: Boxes `[m, 4]`, xyxy, absolute pixels.
        classes: Classes, int `[m]`, in 0..num_classes-1.
        image_size: Height and width of the image, in pixels.
        num_classes: Number of classes (C).
        grid: Rows and columns of cells (S). Defaults to 7.

    Returns:
        float32 `[S, S, 5 + C]`, rows from the top: `x, y, root_w, root_h`, 1 where there is an object, and its class as
        one of C. A cell has room for one object. Of several, the first stays; that is a limit of the paper, not an
        error.

    Raises:
        ValueError: If boxes are relative, if a centre lies outside of the image, if a class is unknown, or if there is
            not one class for each box.

    Example, where the centre (40, 20) is in the middle of the right cell of the first row:

    >>> target = encode_grid([[32, 15, 48, 25]], [1], image_size=(80, 64), num_classes=2, grid=2)
    >>> target.shape, [round(float(x), 3) for x in target[0, 1]]
    ((2, 2, 7), [0.25, 0.5, 0.5, 0.354, 1.0, 0.0, 1.0])
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.asarray(classes, np.int64).reshape(-1)
    box_geometry.check(boxes, "xyxy")
    if len(boxes) != len(classes):
        raise ValueError(f"expected a class for each box, got {len(boxes)} boxes and {len(classes)} classes")
    if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
        raise ValueError(f"expected classes of 0..{num_classes - 1}, got {classes.min()}..{classes.max()}")
    codes = box_geometry.encode_sqrt(boxes, image_size)
    if codes.size and not ((codes[:, :2] >= 0) & (codes[:, :2] <= 1)).all():
        raise ValueError(f"expected boxes with their centres in the image of {tuple(image_size)}, got {boxes.tolist()}")
    target = np.zeros((grid, grid, 5 + num_classes), np.float32)
    for (x, y, root_w, root_h), label in zip(codes.tolist(), classes.tolist(), strict=True):
        # A centre on the last edge belongs to the last cell.
        column, row = min(int(x * grid), grid - 1), min(int(y * grid), grid - 1)
        if target[row, column, 4] == 0:
            target[row, column, :5] = x * grid - column, y * grid - row, root_w, root_h, 1
            target[row, column, 5 + label] = 1
    return target


def decode_grid(output: Array, *, image_size: Sequence[int], boxes_per_cell: int = 2) -> tuple[Any, Any]:
    """Decodes a grid to boxes and scores, as `zoo.detection.suppress` takes them.

    Args:
        output: `[n, S, S, 5 * B + C]` from a network, or from `encode_grid` (where B is 1).
        image_size: Height and width of the images, in pixels.
        boxes_per_cell: Number of boxes per cell (B). Defaults to 2.

    Returns:
        Boxes `[n, S * S * B, 4]`, xyxy, absolute pixels, and scores `[n, S * S * B, C]`: the confidence of each box
        times the class probabilities of its cell (the paper's equation 1).

    >>> target = encode_grid([[32, 15, 48, 25]], [1], image_size=(80, 64), num_classes=2, grid=2)
    >>> boxes, scores = decode_grid(keras.ops.array(target[None]), image_size=(80, 64), boxes_per_cell=1)
    >>> boxes.numpy()[0, 1].round(3).tolist(), scores.numpy()[0, 1].tolist()
    ([32.0, 15.0, 48.0, 25.0], [0.0, 1.0])
    """
    ops = keras.ops
    grid = output.shape[1]
    parts, classes = _split(ops.convert_to_tensor(output), boxes_per_cell)
    corners = box_geometry.decode_sqrt(_in_image(parts[..., :4], grid), image_size)
    scores = parts[..., 4:] * classes[..., None, :]
    return ops.reshape(corners, (-1, grid * grid * boxes_per_cell, 4)), ops.reshape(
        scores, (-1, grid * grid * boxes_per_cell, classes.shape[-1])
    )


@keras.saving.register_keras_serializable(package="zoo")
class YOLOv1Loss(keras.losses.Loss):
    """Equation 3: squared differences of place, size, confidence and classes, summed over the cells of an image.

    Args:
        boxes_per_cell: Number of boxes per cell (B). Defaults to 2.
        coordinates: Weight of place and size, lambda_coord in the paper. Defaults to 5.
        no_object: Weight of the confidence of boxes that have no object, lambda_noobj in the paper. There are many more
            of those boxes. Defaults to 0.5.
        reduction: How the losses of a batch are reduced, as in every Keras loss.
        name: Name of the loss.

    Input shape:
        Truths `[n, S, S, 5 + C]` from `encode_grid`, and outputs `[n, S, S, 5 * B + C]`.

    Raises:
        ValueError: If `boxes_per_cell` is below 1, if a weight is negative, or if shapes do not fit.

    Example, with a grid of one cell with an object, for which only half the class is predicted:

    >>> truth = keras.ops.array([[[[0.5, 0.5, 1.0, 1.0, 1.0, 1.0]]]])
    >>> float(YOLOv1Loss(1)(truth, keras.ops.array([[[[0.5, 0.5, 0.0, 0.0, 0.0, 0.5]]]])))  # 5 * (1 + 1) + 0 + 0.25
    10.25
    """

    def __init__(
        self,
        boxes_per_cell: int = 2,
        *,
        coordinates: float = 5.0,
        no_object: float = 0.5,
        reduction: str = "sum_over_batch_size",
        name: str = "yolo_v1_loss",
    ):
        if boxes_per_cell < 1 or coordinates < 0 or no_object < 0:
            raise ValueError(
                "expected 1 box a cell or more and weights of 0 or more, got "
                f"boxes_per_cell={boxes_per_cell}, coordinates={coordinates}, no_object={no_object}"
            )
        super().__init__(name=name, reduction=reduction)
        self.boxes_per_cell, self.coordinates, self.no_object = boxes_per_cell, coordinates, no_object

    def call(self, y_true, y_pred):
        ops = keras.ops
        expected = y_true.shape[-1] + 5 * (self.boxes_per_cell - 1)
        if y_pred.shape[1:] != (*y_true.shape[1:3], expected):
            raise ValueError(f"expected outputs [n, S, S, {expected}], got {y_pred.shape} for truths {y_true.shape}")
        truth, true_classes = _split(ops.cast(y_true, y_pred.dtype), 1)
        guess, classes = _split(y_pred, self.boxes_per_cell)
        grid = y_true.shape[1]
        # The overlap is computed in fractions of the image, since the size of the image cancels out.
        overlap = box_geometry.iou(
            *(box_geometry.decode_sqrt(_in_image(codes[..., :4], grid), (1, 1)) for codes in (truth, guess))
        )
        overlap = ops.stop_gradient(overlap)
        here = truth[..., 0, 4]  # [n, S, S]: 1 where there is an object
        responsible = ops.one_hot(ops.argmax(overlap, axis=-1), self.boxes_per_cell, dtype=y_pred.dtype)
        responsible = responsible * here[..., None]
        place = ops.sum((truth[..., :4] - guess[..., :4]) ** 2, axis=-1)
        # The confidence of the responsible box should be its IoU, of all others 0.
        confidence = (overlap * responsible - guess[..., 4]) ** 2
        weight = responsible + self.no_object * (1 - responsible)
        box_loss = self.coordinates * responsible * place + weight * confidence
        class_loss = here[..., None] * (true_classes - classes) ** 2
        return ops.sum(box_loss, axis=(1, 2, 3)) + ops.sum(class_loss, axis=(1, 2, 3))

    def get_config(self):
        own = {"boxes_per_cell": self.boxes_per_cell, "coordinates": self.coordinates, "no_object": self.no_object}
        return {**super().get_config(), **own}


def _split(grid: Array, boxes_per_cell: int) -> tuple[Any, Any]:
    """Splits `[n, S, S, 5 * B + C]` into boxes `[n, S, S, B, 5]` and classes `[n, S, S, C]`."""
    side, depth = grid.shape[1], 5 * boxes_per_cell
    return keras.ops.reshape(grid[..., :depth], (-1, side, side, boxes_per_cell, 5)), grid[..., depth:]


def _in_image(codes: Array, grid: int) -> Any:
    """Converts x and y from the cell to fractions of the image, `[n, S, S, B, 4]`."""
    ops = keras.ops
    rows, columns = np.mgrid[:grid, :grid].astype("float32")
    x = (codes[..., 0] + columns[..., None]) / grid
    y = (codes[..., 1] + rows[..., None]) / grid
    return ops.stack([x, y, codes[..., 2], codes[..., 3]], axis=-1)
