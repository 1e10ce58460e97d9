"""What the detectors with anchors in every cell of a pyramid share: RetinaNet and EfficientDet.

They have nine anchors in each cell of P3 to P7, predict boxes as shifts of the anchors, and train with the focal loss.
Of a hundred thousand anchors only a handful are on objects, so that a plain sum of losses would be that of easy
background. The focal loss multiplies the cross-entropy of each prediction by (1 - p)**gamma, where p is the probability
that was predicted for the truth.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", sections 3 and 4. Deviations: codes are divided by the
variances of SSD, so that one weight suits both parts of the loss; an object that no anchor overlaps by half gets the
anchor that overlaps it most, as in the authors' code.
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
from zoo.detection.losses import code_loss
from zoo.detection.suppression import Suppression

__all__ = ["STRIDES", "DenseDetector", "dense_anchors", "dense_loss"]

STRIDES = (8, 16, 32, 64, 128)
# The weight of positive anchors; that of negative ones is 1 - ALPHA (equation 5 and section 5.1).
ALPHA = 0.25
POSITIVE, NEGATIVE = 0.5, 0.4


class DenseDetector(Detector):
    """The anchors, the decoding and the loss of such a detector. A subclass builds the network.

    Args:
        backbone: A functional model with feature maps at strides 8, 16 and 32. The detector shares its layers and
            weights.
        build: A function from the backbone to a dict of outputs, which builds the network. The outputs must be
            `codes [n, anchors, 4]` and `logits [n, anchors, num_classes]`.
        variant: A dataclass that describes the network. Its fields are arguments of the subclass. One of them is
            `anchor_scale`: the side of the smallest anchor of a level, in strides of that level.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        suppression: The settings with which `predict` and `detect` suppress boxes.
        name: Name of the model.
    """

    GAMMA = 2.0  # the exponent of the focal loss

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
        """Returns all anchors of an image of (height, width), float32 `[anchors, 4]`, xyxy, in pixels."""
        return dense_anchors(image_size, self.variant.anchor_scale)

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Decodes the outputs to boxes and scores of all anchors; see `Detector.decode`."""
        codes, logits = (keras.ops.cast(outputs[name], "float32") for name in ("codes", "logits"))
        boxes = box_geometry.decode(codes, self.anchors(image_size), variances=VARIANCES)
        return box_geometry.clip(boxes, image_size), keras.ops.sigmoid(logits)

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Computes the smooth L1 loss of the codes and the focal loss of all classes.

        Both are divided by the number of anchors that have an object.
        """
        return dense_loss(truths, outputs, self.anchors(image_size), gamma=self.GAMMA)

    def get_config(self):
        return {**super().get_config(), **asdict(self.variant)}


def dense_anchors(image_size: Sequence[Any], scale: float) -> Array:
    """Returns nine anchors in each cell of P3 to P7, the smallest of which are squares of `scale` strides.

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
    """Computes the loss of all anchors of all levels together.

    Args:
        truths: A dict of `boxes [b, m, 4]`, `classes [b, m]` and the optional entries, as for `Detector.loss_parts`.
        outputs: A dict of `codes [b, n, 4]` and `logits [b, n, c]`.
        boxes: The anchors, `[n, 4]`.
        gamma: The exponent of the focal loss. With a larger one, the loss of correct predictions fades faster.

    Returns:
        A dict of the scalars `box_loss` and `class_loss`: sums over the batch, divided by the number of anchors with an
        object.
    """
    ops = keras.ops
    rows = matching.by_overlap(
        boxes, truths["boxes"], targets.real_objects(truths), positive=POSITIVE, negative=NEGATIVE, rescue="best"
    )
    positive = ops.cast(rows >= 0, "float32")
    objects, classes = matching.matched(truths, rows)
    # Keras takes the mean over the classes; the paper adds them up.
    expected = ops.one_hot(classes, outputs["logits"].shape[-1], dtype="float32")
    class_losses = expected.shape[-1] * keras.losses.binary_focal_crossentropy(
        expected, outputs["logits"], apply_class_balancing=True, alpha=ALPHA, gamma=gamma, from_logits=True
    )
    background = ops.cast(rows == -1, "float32") * matching.outside_crowds(box_geometry.centres(boxes), truths)
    return {
        "box_loss": code_loss(objects, boxes, outputs["codes"], positive),
        "class_loss": ops.sum(class_losses * (positive + background)) / ops.maximum(ops.sum(positive), 1.0),
    }
