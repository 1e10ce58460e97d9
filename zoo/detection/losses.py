"""Losses of boxes: 1 minus their overlap with the truth, and the smooth L1 loss of their codes.

They are here and not in `zoo.losses`, because they are box geometry: they call the functions of `zoo.boxes`.
"""

from typing import Any

import keras

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection.anchors import VARIANCES

__all__ = ["OVERLAPS", "OverlapLoss", "code_loss"]

OVERLAPS = {"iou": box_geometry.iou, "giou": box_geometry.giou, "diou": box_geometry.diou, "ciou": box_geometry.ciou}


@keras.saving.register_keras_serializable("zoo")
class OverlapLoss(keras.losses.Loss):
    """1 minus the overlap of true and predicted boxes, pair by pair.

    All coordinates of a box are learned together, and a pixel counts for more in a small box than in a large one; a sum
    of squared differences has neither property. The plain IoU has no gradient where boxes do not touch; the others do.

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 2 (giou); Zheng et al. 2020,
    "Distance-IoU Loss", equations 7 (diou) and 10 (ciou).

    Args:
        overlap: The overlap: "iou" gives losses in 0..1, "giou" and "diou" in 0..2, "ciou" of 0 or more. Defaults to
            "ciou".
        reduction: How the losses of a batch are reduced, as in every Keras loss.
        name: Name of the loss.

    Input shape:
        True and predicted boxes `[..., 4]`, xyxy, in the same pixels; a `sample_weight` is `[...]`. Padding (boxes of
        zeros) gives finite losses and gradients, so that a weight of 0 leaves it out.

    Raises:
        ValueError: If the overlap is unknown.

    Example, where half of the union is missing:

    >>> truth, guess = keras.ops.array([[0.0, 0.0, 4.0, 2.0]]), keras.ops.array([[2.0, 0.0, 4.0, 2.0]])
    >>> float(OverlapLoss("iou")(truth, guess))
    0.5
    """

    def __init__(self, overlap: str = "ciou", *, reduction: str = "sum_over_batch_size", name: str = "overlap_loss"):
        if overlap not in OVERLAPS:
            raise ValueError(f"expected an overlap of {', '.join(OVERLAPS)}, got {overlap!r}")
        super().__init__(name=name, reduction=reduction)
        self.overlap = overlap

    def call(self, y_true, y_pred):
        return 1 - OVERLAPS[self.overlap](keras.ops.cast(y_true, y_pred.dtype), y_pred)

    def get_config(self):
        return {**super().get_config(), "overlap": self.overlap}


def code_loss(boxes: Array, anchors: Array, codes: Array, weights: Array) -> Any:
    """Computes the smooth L1 loss of predicted codes, as the mean over the anchors that have an object.

    Source: Girshick 2015, "Fast R-CNN", equations 2 and 3.

    Args:
        boxes: The box of the object of each anchor, `[b, n, 4]`, xyxy.
        anchors: Anchors `[n, 4]` or `[b, n, 4]`, xyxy.
        codes: The predicted codes `[b, n, 4]`, of the form of `zoo.boxes.encode` with `VARIANCES`.
        weights: The weight of each anchor, float32 `[b, n]`; 0 for anchors without an object.

    Returns:
        A scalar: the weighted sum over all anchors, divided by the sum of the weights, or by 1 if that is smaller.

    Example, where the code of one anchor is wrong by 1 in one number, and another anchor has no object:

    >>> anchors = keras.ops.array([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]])
    >>> codes = keras.ops.array([[[1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]])
    >>> float(code_loss(anchors[None], anchors, codes, keras.ops.array([[1.0, 0.0]])))
    0.5
    """
    ops = keras.ops
    expected = box_geometry.encode(boxes, ops.convert_to_tensor(anchors), variances=VARIANCES)
    # Where there is no object (or in padding, no anchor), codes may be huge or infinite, and 0 times infinity is not 0.
    expected = ops.where(weights[..., None] > 0, expected, 0.0)
    # Keras takes the mean of the four coordinates; the papers add them up.
    losses = 4 * keras.losses.huber(expected, codes, delta=1.0)
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)
