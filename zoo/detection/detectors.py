"""Every detector by its name.

| name | what it is | file of `zoo.detection` |
|---|---|---|
| `yolo_tiny`, `yolo` | no anchors, three maps, in one pass: where to begin | `yolo` |
| `ssd`, `ssd_mobilenet`, `ssd300` | priors on the trunk's maps; the last as published, for 300 x 300 | `ssd` |
| `retinanet_tiny`, `retinanet` | anchors on a pyramid, and the focal loss; the second as published | `retinanet` |
| `efficientdet_d0` to `efficientdet_d7` | anchors on a pyramid that goes both ways | `efficientdet` |
| `faster_rcnn_tiny`, `faster_rcnn` | one stage says where, a second what | `faster_rcnn` |
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
    """A new detector on a trunk: `compile(optimizer)`, `fit(batches)` and `detect(images)` are the same for all.

    Args:
        name: of `list_detectors`.
        backbone: a functional model with maps at strides 8, 16 and 32, such as `transfer.backbone(...).model`. Its
            layers and weights become the detector's; those that are frozen stay so.
        num_classes: classes are 0..num_classes-1.
        image_size: pixels, of a square or as (height, width), multiples of 32. By default the backbone's, which it has
            to be unless the backbone takes all sizes.
        score_threshold, iou_threshold, max_detections: of what `predict` and `detect` give; see
            `zoo.detection.detector.Detector`. By default the thresholds are the detector's own.

    Raises:
        ValueError: an unknown name; no functional model, or one without these maps; a size that is no multiple of 32 or
            not the backbone's; no classes; thresholds outside 0..1.

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
        own = backbone.input_shape[1:3]
        if any(side not in (None, wanted) for side, wanted in zip(own, size, strict=True)):
            raise ValueError(
                f"expected the backbone's image size {own}, got image_size={size}; build the backbone for that size, "
                "or for (None, None) to take all"
            )
    return detector


def list_detectors(pattern: str = "*") -> list[str]:
    """Names for `create` that match, sorted.

    >>> list_detectors("*tiny")
    ['faster_rcnn_tiny', 'retinanet_tiny', 'yolo_tiny']
    """
    return sorted(fnmatch.filter(_BY_NAME, pattern))
