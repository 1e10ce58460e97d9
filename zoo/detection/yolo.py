"""A practical YOLO: one network, three feature maps, a box and class scores from every point, no anchors.

Its parts come from: Redmon et al. 2016, "You Only Look Once" (everything in one pass, trained together); Redmon &
Farhadi 2018, "YOLOv3", section 2.3 (three maps, at strides 8, 16 and 32); Ge et al. 2021, "YOLOX", section 2 (no
anchors, separate branches for classes and boxes); Feng et al. 2021, "TOOD" (which points learn which object, and scores
that also tell how good the box is: `zoo.detection.matching.task_aligned`); Zheng et al. 2020, "Distance-IoU Loss"
(CIoU).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.blocks import conv_bn, csp_stage, residual_add
from zoo.boxes import Array
from zoo.detection import fpn, matching, targets
from zoo.detection.detector import PRIOR_LOGIT, Detector
from zoo.detection.losses import OverlapLoss
from zoo.detection.suppression import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["LEVELS", "STRIDES", "VARIANTS", "YOLO", "Variant"]

LEVELS = ("c3", "c4", "c5")
STRIDES = (8, 16, 32)
# Before training, boxes reach this many strides to each side of their point.
FIRST_REACH = 2.0
# The weights of the two losses are those of Ultralytics' YOLOv8. With 2.0 for the classes, ten digits were learned in
# fewer steps, but blood cells, of which there are few photos, were learned worse (benchmarks/RESULTS.md).
BOX_WEIGHT, CLASS_WEIGHT = 7.5, 0.5


@dataclass(frozen=True)
class Variant:
    """The size of the network.

    Attributes:
        filters: Channels of the pyramid and the branches.
        depth: Number of convolutions in each branch.
        units: Number of residual units in each stage of the pyramid's way back; 0 for a pyramid without a way back.
    """

    filters: int
    depth: int
    units: int


VARIANTS = {"yolo_tiny": Variant(filters=64, depth=1, units=0), "yolo": Variant(filters=128, depth=2, units=1)}


@keras.saving.register_keras_serializable(package="zoo")
class YOLO(Detector):
    """A detector on any trunk that has feature maps at strides 8, 16 and 32. `zoo.detection.create` creates it by name.

    It is trained and used as `zoo.detection.detector.Detector` describes.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        filters: Channels of the pyramid and the branches. Defaults to 64.
        depth: Number of convolutions in each branch. Defaults to 1.
        units: Number of residual units in each stage of the pyramid's way back. Defaults to 0, a pyramid without a way
            back.
        suppression: The settings with which `predict` and `detect` suppress boxes. By default the score
            threshold is 0.01 and the IoU threshold 0.6.
        name: Name of the model.

    Input shape:
        float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape:
        `codes [n, points, 4]` and `logits [n, points, num_classes]`; `decode` makes boxes and scores of them.

    Raises:
        ValueError: If the backbone does not have these levels, or if `Detector` refuses an argument.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = YOLO(backbone, num_classes=3, filters=16, depth=1, units=0)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 126, 4), 'logits': (None, 126, 3)}
    >>> detections = detector.detect(np.zeros((2, 64, 96, 3), "float32"))
    >>> {name: values.shape for name, values in detections.items()}
    {'boxes': (2, 100, 4), 'classes': (2, 100), 'scores': (2, 100), 'valid': (2,)}
    """

    # Average precision also counts detections with low scores; that of YOLOX is measured from a score of 0.01 on.
    SUPPRESSION = Suppression(score_threshold=0.01, iou_threshold=0.6)

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        filters: int = 64,
        depth: int = 1,
        units: int = 0,
        suppression: Suppression = SUPPRESSION,
        name: str = "yolo",
    ):
        variant = Variant(filters, depth, units)
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, variant=variant),
            num_classes=num_classes,
            loss_weights={"box_loss": BOX_WEIGHT, "class_loss": CLASS_WEIGHT},
            suppression=suppression,
            name=name,
        )
        self.variant = variant
        self.overlap_loss = OverlapLoss("ciou", reduction="none")

    def points_and_boxes(self, codes: Array, image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Returns the points of all maps, `[points, 2]`, and the boxes that are predicted there, `[n, points, 4]`.

        Only this method would be different in a YOLO with anchors. `benchmarks/anchors.py` has one and measures it.
        """
        points, strides = targets.grid_points(image_size, STRIDES)
        return points, targets.decode_distances(codes, points, strides)

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Decodes the outputs to boxes and scores of all points; see `Detector.decode`."""
        _, boxes = self.points_and_boxes(keras.ops.cast(outputs["codes"], "float32"), image_size)
        scores = keras.ops.sigmoid(keras.ops.cast(outputs["logits"], "float32"))
        return box_geometry.clip(boxes, image_size), scores

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Computes the CIoU loss of the boxes and the cross-entropy of the scores, each per object of the batch."""
        ops = keras.ops
        points, predicted = self.points_and_boxes(outputs["codes"], image_size)
        rows, weights = matching.task_aligned(
            ops.stop_gradient(ops.sigmoid(outputs["logits"])),
            ops.stop_gradient(predicted),
            points,
            truths["boxes"],
            truths["classes"],
            targets.real_objects(truths),
        )
        weights = ops.stop_gradient(weights)
        boxes, classes = matching.matched(truths, rows)
        # The sum of the weights is like a number of objects, since a weight is at most 1. It counts as at least 1.
        count = ops.maximum(ops.sum(weights), 1.0)
        box_loss = ops.sum(self.overlap_loss(boxes, predicted) * weights) / count
        expected = ops.one_hot(classes, self.num_classes, dtype="float32") * weights[..., None]
        losses = ops.binary_crossentropy(expected, outputs["logits"], from_logits=True)
        class_loss = ops.sum(losses * matching.outside_crowds(points, truths)[..., None]) / count
        return {"box_loss": box_loss, "class_loss": class_loss}

    def get_config(self):
        return {**super().get_config(), **asdict(self.variant)}


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """Builds the pyramid and the branches: from the maps of the trunk to the codes and logits of all points."""
    conv = partial(conv_bn, activation="silu", momentum=fpn.MOMENTUM)
    pyramid = fpn.top_down(features(backbone, LEVELS).output, variant.filters)
    if variant.units:
        unit = partial(_residual, conv=conv)
        pyramid = {
            level: csp_stage(
                x,
                variant.filters,
                variant.units,
                unit,
                part=variant.filters // 2,
                activation="silu",
                part_activation="silu",
                momentum=fpn.MOMENTUM,
                name=f"csp_{level[1:]}",
            )
            for level, x in fpn.bottom_up(pyramid).items()
        }
    outputs: dict[str, list] = {"codes": [], "logits": []}
    first = {"codes": float(np.log(FIRST_REACH)), "logits": PRIOR_LOGIT}
    for level, feature in pyramid.items():
        for branch, channels in (("codes", 4), ("logits", num_classes)):
            x = feature
            for i in range(1, variant.depth + 1):
                x = conv(x, variant.filters, 3, name=f"{branch}_{level[1:]}_{i}")
            # All outputs are float32, also under mixed precision. Small weights let the bias determine the first
            # predictions.
            x = keras.layers.Conv2D(
                channels,
                1,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                bias_initializer=keras.initializers.Constant(first[branch]),
                dtype="float32",
                name=f"{branch}_{level[1:]}",
            )(x)
            outputs[branch].append(
                keras.layers.Reshape((-1, channels), dtype="float32", name=f"{branch}_{level[1:]}_points")(x)
            )
    return {
        branch: keras.layers.Concatenate(axis=1, dtype="float32", name=branch)(parts)
        for branch, parts in outputs.items()
    }


def _residual(x, *, conv, name: str):
    """Adds two 3x3 convolutions of `x` to `x`."""
    channels = x.shape[-1]
    return residual_add(conv(conv(x, channels, 3, name=f"{name}_1"), channels, 3, name=f"{name}_2"), x, name=name)
