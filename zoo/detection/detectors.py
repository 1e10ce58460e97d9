"""Every detector by its name.

| name | description | file of `zoo.detection` |
|---|---|---|
| `yolo_tiny`, `yolo` | no anchors, three feature maps, one pass: begin with these | `yolo` |
| `ssd`, `ssd_mobilenet`, `ssd300` | priors on the trunk's maps; `ssd300` is as published, for 300 x 300 | `ssd` |
| `retinanet_tiny`, `retinanet` | anchors on a pyramid, and the focal loss; `retinanet` is as published | `retinanet` |
| `efficientdet_d0` to `efficientdet_d7` | anchors on a pyramid with connections in both directions | `efficientdet` |
| `faster_rcnn_tiny`, `faster_rcnn` | a first stage proposes regions, a second one classifies them | `faster_rcnn` |
"""

import difflib
import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from zoo.detection import efficientdet, faster_rcnn, retinanet, ssd, yolo
from zoo.detection.detector import Detector

__all__ = ["create", "list_detectors"]


# The class of each detector, and its variants: name -> a dataclass with arguments of the class. The classes are typed
# as `Any`, since each of them takes other arguments.
FAMILIES: tuple[tuple[Any, Mapping[str, Any]], ...] = (
    (yolo.YOLO, yolo.VARIANTS),
    (ssd.SSD, ssd.VARIANTS),
    (ssd.SSD300, ssd.VARIANTS_300),
    (retinanet.RetinaNet, retinanet.VARIANTS),
    (efficientdet.EfficientDet, efficientdet.VARIANTS),
    (faster_rcnn.FasterRCNN, faster_rcnn.VARIANTS),
)

_BY_NAME = {name: (family, row) for family, variants in FAMILIES for name, row in variants.items()}


def create(
    name: str,
    *,
    backbone: keras.Model,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int = 100,
) -> Detector:
    """Creates a new detector on a trunk.

    All detectors have the same `compile(optimizer)`, `fit(batches)` and `detect(images)`.

    Args:
        name: Name of the detector, one of `list_detectors()`.
        backbone: A functional model with feature maps at strides 8, 16 and 32, such as `transfer.backbone(...).model`.
            Its layers and weights become those of the detector, and frozen layers stay frozen.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        image_size: Size of the images in pixels: the side of a square, or (height, width). Sides must be multiples of
            32, and must be those of the backbone unless the backbone takes all sizes. Defaults to the size of the
            backbone.
        score_threshold: Only boxes with a larger score than this are detections, in 0..1. Defaults to the detector's
            own value.
        iou_threshold: Two boxes of one class with a larger IoU than this are one object, in 0..1. Defaults to the
            detector's own value.
        max_detections: Maximum number of detections per image. Defaults to 100.

    Returns:
        The detector, not yet compiled.

    Raises:
        ValueError: If the name is unknown; if the backbone is not a functional model with these feature maps; if the
            image size is not a multiple of 32 or not that of the backbone; if there are no classes; or if a threshold
            lies outside 0..1.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = create("yolo_tiny", backbone=backbone, num_classes=3, image_size=(64, 96))
    >>> detector.name, detector.num_classes
    ('yolo_tiny', 3)
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=3, cutoff=0.4) or list(_BY_NAME)
        raise ValueError(f"no detector is named {name!r}; near are {', '.join(near)} (zoo.detection.list_detectors())")
    if not isinstance(backbone, keras.Model):
        hint = "; pass its .model" if isinstance(getattr(backbone, "model", None), keras.Model) else ""
        raise ValueError(f"expected the backbone as a keras.Model, got {type(backbone).__name__}{hint}")
    family, row = _BY_NAME[name]
    settings = {"score_threshold": score_threshold, "iou_threshold": iou_threshold, "max_detections": max_detections}
    given = {setting: value for setting, value in settings.items() if value is not None}
    suppression = replace(family.SUPPRESSION, **given)
    detector = family(backbone, num_classes, **vars(row), suppression=suppression, name=name)
    if image_size is not None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        detector.check_size(*size)
        backbone_size = backbone.input_shape[1:3]
        if any(side not in (None, expected) for side, expected in zip(backbone_size, size, strict=True)):
            raise ValueError(
                f"expected the backbone's image size {backbone_size}, got image_size={size}; build the backbone for "
                "that size, or for (None, None), so that it takes all sizes"
            )
    return detector


def list_detectors(pattern: str = "*") -> list[str]:
    """Lists the names that `create` takes and that match a shell-style pattern, sorted.

    >>> list_detectors("*tiny")
    ['faster_rcnn_tiny', 'retinanet_tiny', 'yolo_tiny']
    """
    return sorted(fnmatch.filter(_BY_NAME, pattern))
