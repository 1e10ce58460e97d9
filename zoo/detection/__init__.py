"""Detectors, and the parts they are made of."""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import zoo.detection` loads no TensorFlow.
_EXPORTS = {
    "Detector": "zoo.detection.detector",
    "EfficientDet": "zoo.detection.efficientdet",
    "FasterRCNN": "zoo.detection.faster_rcnn",
    "LocationIoU": "zoo.detection.one_object",
    "LocationLoss": "zoo.detection.one_object",
    "ObjectAccuracy": "zoo.detection.one_object",
    "OverlapLoss": "zoo.detection.losses",
    "RetinaNet": "zoo.detection.retinanet",
    "SSD": "zoo.detection.ssd",
    "SSD300": "zoo.detection.ssd",
    "SlidingWindow": "zoo.detection.one_object",
    "Suppression": "zoo.detection.suppression",
    "YOLO": "zoo.detection.yolo",
    "YOLOv1Loss": "zoo.detection.yolo_v1",
    "anchor_grid": "zoo.detection.anchors",
    "anchor_shapes": "zoo.detection.anchors",
    "cluster_shapes": "zoo.detection.anchors",
    "create": "zoo.detection.detectors",
    "hard_nms": "zoo.detection.nms",
    "list_detectors": "zoo.detection.detectors",
    "roi_align": "zoo.detection.faster_rcnn",
    "soft_nms": "zoo.detection.nms",
    "suppress": "zoo.detection.nms",
    "suppress_portable": "zoo.detection.nms",
    "suppress_soft": "zoo.detection.nms",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
