"""RetinaNet: a pyramid, anchors, and a loss that does not drown in easy background.

Of a hundred thousand anchors a handful are on objects. Two-stage detectors throw most of the background away first;
RetinaNet keeps all of it, and lets the loss of what the network already gets right fade: the focal loss multiplies the
cross-entropy of each answer by (1 - p)**gamma, p the probability it gave to what is true.

Lin et al. 2017, "Focal Loss for Dense Object Detection": the loss in section 3 and equation 5, the network in section 4
and figure 3. Deviations: batch norms and SiLU in the pyramid (`zoo.detection.fpn`); P6 from P5; codes divided by SSD's
variances, so that one weight suits both parts of the loss; an object that no anchor overlaps by half gets the anchor
that overlaps it most, as in the authors' code.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection import anchors, fpn, matching, targets
from zoo.detection.detector import Detector
from zoo.features import features

__all__ = ["LEVELS", "STRIDES", "VARIANTS", "RetinaNet", "Variant", "dense_anchors", "dense_loss"]

LEVELS = ("c3", "c4", "c5")
STRIDES = (8, 16, 32, 64, 128)
# Equation 5 and section 5.1: positives count alpha, negatives 1 - alpha.
ALPHA, GAMMA = 0.25, 2.0
# What an anchor says of a class before it has learned anything (section 3.3).
PRIOR = 0.01
POSITIVE, NEGATIVE = 0.5, 0.4
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True)
class Variant:
    """`filters` of pyramid and heads, convolutions in each head, and the smallest anchor of a level in its strides."""

    filters: int
    depth: int
    anchor_scale: float


# The first is the paper's. The second is for small images and for processors without a GPU.
VARIANTS = {
    "retinanet": Variant(filters=256, depth=4, anchor_scale=4.0),
    "retinanet_tiny": Variant(filters=64, depth=2, anchor_scale=2.0),
}


@keras.saving.register_keras_serializable(package="zoo")
class RetinaNet(Detector):
    """A detector with anchors on any trunk that has maps at strides 8, 16 and 32.

    How it is trained and asked: `zoo.detection.detector.Detector`.

    Args:
        filters, depth, anchor_scale: see `Variant`.
        Others: as for `Detector`.

    Input shape: float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape: `codes [n, anchors, 4]` and `logits [n, anchors, num_classes]`.

    Raises:
        ValueError: a backbone without these levels; and what `Detector` refuses.

    Example: 9 anchors in each of 96 + 24 + 6 + 2 + 1 cells.

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = RetinaNet(backbone, num_classes=3, filters=16, depth=1)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 1161, 4), 'logits': (None, 1161, 3)}
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        filters: int = 256,
        depth: int = 4,
        anchor_scale: float = 4.0,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        name: str = "retinanet",
    ):
        variant = Variant(filters, depth, anchor_scale)
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, variant=variant),
            num_classes=num_classes,
            loss_weights={"box_loss": 1.0, "class_loss": 1.0},
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
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
        return dense_loss(truths, outputs, self.anchors(image_size), gamma=GAMMA)

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
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    background = ops.cast(rows == -1, "float32") * matching.outside_crowds(centres, truths)
    return {
        "box_loss": ops.sum(of_boxes * positive) / count,
        "class_loss": ops.sum(of_classes * (positive + background)) / count,
    }


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """Pyramid and heads. The heads are the same for all levels, which differ only in the size of what they show."""
    pyramid = fpn.further_levels(fpn.top_down(features(backbone, LEVELS).output, variant.filters), 2)
    shapes = len(anchors.OCTAVES) * len(anchors.RATIOS)
    outputs = {}
    for branch, channels, bias in (("codes", 4, 0.0), ("logits", num_classes, float(np.log(PRIOR / (1 - PRIOR))))):
        layers = [
            keras.layers.Conv2D(
                variant.filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"{branch}_{i}",
            )
            for i in range(1, variant.depth + 1)
        ]
        # In float32 under mixed precision, as all outputs; small weights, so that the bias says what comes first.
        last = keras.layers.Conv2D(
            shapes * channels,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(bias),
            dtype="float32",
            name=f"{branch}_last",
        )
        parts = []
        for level, x in pyramid.items():
            for layer in [*layers, last]:
                x = layer(x)
            parts.append(keras.layers.Reshape((-1, channels), dtype="float32", name=f"{branch}_{level[1:]}_anchors")(x))
        outputs[branch] = keras.layers.Concatenate(axis=1, dtype="float32", name=branch)(parts)
    return outputs
