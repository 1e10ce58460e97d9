"""What detectors with anchors on every cell of a pyramid share: RetinaNet and EfficientDet.

Nine anchors in each cell of P3 to P7, boxes as shifts of their anchors, and a loss that does not drown in easy
background: of a hundred thousand anchors a handful are on objects, and the focal loss multiplies the cross-entropy of
each answer by (1 - p)**gamma, p the probability it gave to what is true.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", sections 3 and 4. Deviations: codes divided by SSD's
variances, so that one weight suits both parts of the loss; an object that no anchor overlaps by half gets the anchor
that overlaps it most, as in the authors' code.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import keras

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection import anchors, matching, targets
from zoo.detection.anchors import VARIANCES
from zoo.detection.detector import Detector
from zoo.detection.nms import Suppression

__all__ = ["STRIDES", "DenseDetector", "dense_anchors", "dense_loss"]

STRIDES = (8, 16, 32, 64, 128)
# Equation 5 and section 5.1: positives count alpha, negatives 1 - alpha.
ALPHA = 0.25
POSITIVE, NEGATIVE = 0.5, 0.4


class DenseDetector(Detector):
    """Anchors on every cell, their boxes and their loss; the network is for each detector to say.

    Args:
        variant: a dataclass of what the network is like, `anchor_scale` among it: the smallest anchor of a level in
            its strides. Its fields are arguments of the detector.
        Others: as for `Detector`.
    """

    GAMMA = 2.0  # how fast the loss of what is right fades

    def __init__(
        self,
        backbone: keras.Model,
        build: Callable[[keras.Model], dict],
        *,
        variant: Any,
        num_classes: int,
        suppression: Suppression,
        name: str,
    ):
        super().__init__(
            backbone,
            build,
            num_classes=num_classes,
            loss_weights={"box_loss": 1.0, "class_loss": 1.0},
            suppression=suppression,
            name=name,
        )
        self.variant = variant

    def anchors(self, image_size: Sequence[Any]) -> Array:
        """All anchors of an image of (height, width), float32 `[anchors, 4]`, xyxy, in pixels."""
        return dense_anchors(image_size, self.variant.anchor_scale)

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        codes, logits = (keras.ops.cast(outputs[name], "float32") for name in ("codes", "logits"))
        boxes = box_geometry.decode(codes, self.anchors(image_size), variances=VARIANCES)
        return box_geometry.clip(boxes, image_size), keras.ops.sigmoid(logits)

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Smooth L1 of the codes and the focal loss of all classes, both per anchor that has an object."""
        return dense_loss(truths, outputs, self.anchors(image_size), gamma=self.GAMMA)

    def get_config(self):
        return {**super().get_config(), **asdict(self.variant)}


def dense_anchors(image_size: Sequence[Any], scale: float) -> Array:
    """Nine anchors in each cell of P3 to P7, the smallest square of which has `scale` strides.

    >>> dense_anchors((64, 96), 4.0)[1].tolist()  # the first cell's square of 32 pixels
    [-12.0, -12.0, 20.0, 20.0]
    """
    return anchors.anchor_grid(image_size, STRIDES, [anchors.anchor_shapes(scale * stride) for stride in STRIDES])


def dense_loss(
    truths: dict[str, Any],
    outputs: dict[str, Any],
    boxes: Array,
    *,
    gamma: float,
) -> dict[str, Any]:
    """The loss of every anchor of every level at once.

    Args:
        truths: `boxes [b, m, 4]`, `classes [b, m]` and the rest.
        outputs: `codes [b, n, 4]` and `logits [b, n, c]`.
        boxes: the anchors, `[n, 4]`.
        gamma: how fast the loss of what is right fades.

    Returns:
        `box_loss` and `class_loss`, scalars: sums over the batch, divided by the number of anchors with an object.
    """
    ops = keras.ops
    rows = matching.by_overlap(
        boxes, truths["boxes"], targets.real_objects(truths), positive=POSITIVE, negative=NEGATIVE, rescue="best"
    )
    positive = ops.cast(rows >= 0, "float32")
    count = ops.maximum(ops.sum(positive), 1.0)
    objects, classes = matching.matched(truths, rows)
    codes = box_geometry.encode(objects, ops.convert_to_tensor(boxes), variances=VARIANCES)
    # Keras takes the mean of the four coordinates and of the classes; the papers' losses are sums.
    of_boxes = 4 * keras.losses.huber(codes, outputs["codes"], delta=1.0)
    wanted = ops.one_hot(classes, outputs["logits"].shape[-1], dtype="float32")
    of_classes = wanted.shape[-1] * keras.losses.binary_focal_crossentropy(
        wanted, outputs["logits"], apply_class_balancing=True, alpha=ALPHA, gamma=gamma, from_logits=True
    )
    background = ops.cast(rows == -1, "float32") * matching.outside_crowds(box_geometry.centres(boxes), truths)
    return {
        "box_loss": ops.sum(of_boxes * positive) / count,
        "class_loss": ops.sum(of_classes * (positive + background)) / count,
    }
