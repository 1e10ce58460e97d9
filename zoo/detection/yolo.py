"""A practical YOLO: one network, three maps, a box and class scores from every point, no anchors.

What it takes from whom: Redmon et al. 2016, "You Only Look Once" (everything in one pass, trained as one); Redmon &
Farhadi 2018, "YOLOv3", section 2.3 (three maps, at strides 8, 16 and 32); Ge et al. 2021, "YOLOX", section 2 (no
anchors, separate branches for classes and boxes); Feng et al. 2021, "TOOD" (which points learn what, and scores that
say how good the box is: `zoo.detection.matching.task_aligned`); Zheng et al. 2020, "Distance-IoU Loss" (CIoU).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.blocks import conv_bn, csp_stage, residual_add
from zoo.boxes import Array
from zoo.detection import fpn, matching, nms, targets
from zoo.detection.losses import OverlapLoss
from zoo.features import features

__all__ = ["LEVELS", "STRIDES", "VARIANTS", "YOLO", "Variant"]

LEVELS = ("c3", "c4", "c5")
STRIDES = (8, 16, 32)
# What a point says of a class before it has learned anything, so that the many points on background do not drown the
# rest: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.3.
PRIOR = 0.01
# A new network's boxes reach two strides to each side.
FIRST_REACH = 2.0
# Of the two losses; ultralytics' YOLOv8 has the same proportions.
BOX_WEIGHT, CLASS_WEIGHT = 7.5, 0.5


@dataclass(frozen=True)
class Variant:
    """`filters` of the pyramid and branches, convolutions in each branch, units in each stage of the pyramid's way back
    (0: a pyramid without it)."""

    filters: int
    depth: int
    units: int


VARIANTS = {"yolo_tiny": Variant(filters=64, depth=1, units=0), "yolo": Variant(filters=128, depth=2, units=1)}


@keras.saving.register_keras_serializable(package="zoo")
class YOLO(keras.Model):
    """A detector on any trunk that has maps at strides 8, 16 and 32. `zoo.detection.create` makes it by name.

    It is a flat functional model, images to codes, whose layers can be frozen, costed and folded like any other's, with
    its loss inside:

        detector.compile(keras.optimizers.AdamW(1e-3))
        detector.fit(pipelines.padded_batches(...), epochs=40)
        found = detector.detect(images)  # boxes, classes, scores, valid

    `fit` and `evaluate` take batches as `pipelines.padded_batches` makes them: dicts of `image`, `boxes`, `classes`,
    and as present `num_boxes` and `crowd`; or pairs (images, dict of the rest). Images without objects are trained on.
    `predict` gives what `detect` gives, so `zoo.metrics.training.DetectionCallback` needs nothing more.

    Args:
        backbone: functional, images `[n, h, w, channels]` to maps; its layers and weights are shared, not copied.
        num_classes: classes are 0..num_classes-1.
        filters, depth, units: see `Variant`.
        score_threshold: what `predict` and `detect` leave out.
        iou_threshold: at which they take two boxes of a class for one object.
        max_detections: of an image, the best.
        name: of the model.

    Input shape: float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape: `codes [n, points, 4]` and `logits [n, points, num_classes]`; `decode` makes boxes and scores of them.

    Raises:
        ValueError: a backbone without these levels, or of a size that is no multiple of 32; no classes; thresholds
            outside 0..1, max_detections below 1; in `fit`, truths that have no boxes or other shapes.
        tensorflow.errors.InvalidArgumentError: in `fit`, boxes in relative coordinates or with NaN, classes that the
            model does not have.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = YOLO(backbone, num_classes=3, filters=16, depth=1, units=0)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 126, 4), 'logits': (None, 126, 3)}
    >>> found = detector.detect(np.zeros((2, 64, 96, 3), "float32"))
    >>> {name: values.shape for name, values in found.items()}
    {'boxes': (2, 100, 4), 'classes': (2, 100), 'scores': (2, 100), 'valid': (2,)}
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        filters: int = 64,
        depth: int = 1,
        units: int = 0,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.6,
        max_detections: int = 100,
        name: str = "yolo",
    ):
        if num_classes < 1:
            raise ValueError(f"expected 1 class or more, got num_classes={num_classes}")
        nms.check_settings(iou_threshold, score_threshold, max_detections)
        maps = features(backbone, LEVELS).output
        height, width = backbone.input_shape[1:3]
        _check_size(height or STRIDES[-1], width or STRIDES[-1])
        super().__init__(
            inputs=backbone.input,
            outputs=_outputs(maps, num_classes, Variant(filters, depth, units)),
            name=name,
        )
        self.backbone = backbone
        self.num_classes = num_classes
        self.variant = Variant(filters, depth, units)
        self.score_threshold, self.iou_threshold, self.max_detections = score_threshold, iou_threshold, max_detections
        self.overlap_loss = OverlapLoss("ciou", reduction="none")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        self.class_loss = keras.metrics.Mean(name="class_loss")

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Boxes and scores of all points, before suppression.

        Args:
            outputs: of the model.
            image_size: (height, width) of the images it was given.

        Returns:
            boxes `[n, points, 4]`, xyxy in the images' pixels and within them, and scores `[n, points, num_classes]`.
        """
        points, strides = targets.grid_points(image_size, STRIDES)
        boxes = targets.decode_distances(keras.ops.cast(outputs["codes"], "float32"), points, strides)
        scores = keras.ops.sigmoid(keras.ops.cast(outputs["logits"], "float32"))
        return box_geometry.clip(boxes, image_size), scores

    def detect(self, images: Array) -> dict[str, np.ndarray]:
        """The objects in some images.

        Args:
            images: `[n, h, w, channels]` in 0..255, of the size that the model takes.

        Returns:
            `boxes`, float32 `[n, max_detections, 4]`, xyxy in pixels of these images; `classes`, int32, and `scores`,
            float32, `[n, max_detections]`; padded with zeros, classes with -1; and `valid`, int32 `[n]`, how many are
            real. `pipelines.restore_boxes` brings boxes back to the images as they were before resizing.

        Raises:
            ValueError: not a batch of images, or a size that is no multiple of 32.
            tensorflow.errors.InvalidArgumentError: scores that are NaN, as from weights that are.
        """
        shape = np.shape(images)
        if len(shape) != 4:
            raise ValueError(f"expected images [n, height, width, channels], got {tuple(shape)}")
        _check_size(*shape[1:3])
        return self.predict_on_batch(np.asarray(images))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The CIoU loss of the boxes and the cross-entropy of the scores, both per object of the batch.

        Args:
            x: images, of which only the size counts; y: truths, a dict as in `fit`; y_pred: the model's output.
            sample_weight: must be None.
        """
        ops = keras.ops
        if sample_weight is not None:
            raise ValueError("a detector's loss has no sample weights; leave sample_weight out")
        truths = targets.check_truths(y, self.num_classes)
        points, strides = targets.grid_points(keras.ops.shape(x)[1:3], STRIDES)
        codes, logits = (ops.cast(y_pred[name], "float32") for name in ("codes", "logits"))
        predicted = targets.decode_distances(codes, points, strides)
        rows, weights = matching.task_aligned(
            ops.stop_gradient(ops.sigmoid(logits)),
            ops.stop_gradient(predicted),
            points,
            truths["boxes"],
            truths["classes"],
            targets.real_objects(truths),
        )
        weights = ops.stop_gradient(weights)
        # Background points read the last row, of padding.
        rows = ops.where(rows >= 0, rows, ops.shape(truths["boxes"])[1])
        boxes = ops.pad(truths["boxes"], ((0, 0), (0, 1), (0, 0)))
        classes = ops.pad(truths["classes"], ((0, 0), (0, 1)), constant_values=-1)
        boxes = ops.take_along_axis(boxes, rows[..., None], axis=1)
        classes = ops.take_along_axis(classes, rows, axis=1)
        # As in a mean over objects, whose weights are at most 1; at least 1 where there are none.
        count = ops.maximum(ops.sum(weights), 1.0)
        box_loss = ops.sum(self.overlap_loss(boxes, predicted) * weights) / count
        wanted = ops.one_hot(classes, self.num_classes, dtype="float32") * weights[..., None]
        each = ops.binary_crossentropy(wanted, logits, from_logits=True)
        if "crowd" in truths:
            each = each * _outside_crowds(points, truths)[..., None]
        class_loss = ops.sum(each) / count
        self.box_loss.update_state(box_loss)
        self.class_loss.update_state(class_loss)
        loss = BOX_WEIGHT * box_loss + CLASS_WEIGHT * class_loss
        return sum(self.losses, loss)

    def train_step(self, data):
        return super().train_step(_images_and_truths(data))

    def test_step(self, data):
        return super().test_step(_images_and_truths(data))

    def predict_step(self, data):
        images = _images_and_truths(data)[0]
        boxes, scores = self.decode(self(images, training=False), keras.ops.shape(images)[1:3])
        return nms.suppress(
            boxes,
            scores,
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
        )

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "filters": self.variant.filters,
            "depth": self.variant.depth,
            "units": self.variant.units,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": self.max_detections,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects=custom_objects)
        return cls(**{**config, "backbone": backbone})


def _outputs(maps: dict, num_classes: int, variant: Variant) -> dict:
    """Pyramid and branches: level -> map to codes and logits of all points."""
    conv = partial(conv_bn, activation="silu", momentum=fpn.MOMENTUM)
    pyramid = fpn.top_down(maps, variant.filters)
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
    first = {"codes": float(np.log(FIRST_REACH)), "logits": float(np.log(PRIOR / (1 - PRIOR)))}
    for level, feature in pyramid.items():
        for branch, channels in (("codes", 4), ("logits", num_classes)):
            x = feature
            for i in range(1, variant.depth + 1):
                x = conv(x, variant.filters, 3, name=f"{branch}_{level[1:]}_{i}")
            # In float32 under mixed precision, as all outputs; small weights, so that the bias says what comes first.
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
    """Two 3x3 convolutions, added to `x`."""
    channels = x.shape[-1]
    return residual_add(conv(conv(x, channels, 3, name=f"{name}_1"), channels, 3, name=f"{name}_2"), x, name=name)


def _images_and_truths(data: Any) -> tuple:
    """A batch of `fit`, of whatever form, as (images, truths), with sample weights if it has some."""
    if isinstance(data, dict):
        if "image" not in data:
            raise ValueError(f'expected batches with an "image", as pipelines.padded_batches makes, got {list(data)}')
        return data["image"], {name: data[name] for name in data if name in _TRUTHS}
    images, *rest = keras.utils.unpack_x_y_sample_weight(data)
    return _images_and_truths(images) if isinstance(images, dict) else (images, *rest)


_TRUTHS = ("boxes", "classes", "num_boxes", "valid", "crowd")


def _outside_crowds(points: Array, truths: dict) -> Any:
    """1.0 for points `[b, n]` that are in no crowd, whose members nobody has counted."""
    ops = keras.ops
    inside = matching.points_inside(points, truths["boxes"]) & ops.cast(truths["crowd"], "bool")[..., None]
    return ops.cast(~ops.any(inside, axis=1), "float32")


def _check_size(height: int, width: int) -> None:
    targets.grid_points((height, width), STRIDES[-1:])
