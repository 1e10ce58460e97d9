"""Losses of boxes: 1 minus their overlap with the truth.

They are here and not in `zoo.losses`, because they are box geometry: each is 1 minus a function of `zoo.boxes`. Keras
has the other losses that detectors need: `keras.losses.BinaryFocalCrossentropy` and `keras.losses.Huber`.
"""

import keras

from zoo import boxes

__all__ = ["OVERLAPS", "OverlapLoss"]

OVERLAPS = {"iou": boxes.iou, "giou": boxes.giou, "diou": boxes.diou, "ciou": boxes.ciou}


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
