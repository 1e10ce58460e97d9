"""The classes of the zoo, by the names that model files give them, so that Keras finds them after `import zoo`.

Keras knows a class once its module was imported, and `import zoo` imports no module that needs Keras. So Keras is given
a stand-in for each class. The first one that a file asks for imports all of their modules, which register themselves.
"""

import importlib
from typing import Any

__all__ = ["CLASSES", "register"]

# Module -> its classes that Keras can save. A test compares this table with the modules.
CLASSES: dict[str, tuple[str, ...]] = {
    "zoo.blocks.as_layers": ("FCNHead", "InceptionModule", "ResidualUnit", "SqueezeExcite"),
    "zoo.detection.efficientdet": ("EfficientDet", "FastFusion", "Magnify"),
    "zoo.detection.faster_rcnn": ("FasterRCNN", "Proposals", "RoIAlign"),
    "zoo.detection.losses": ("OverlapLoss",),
    "zoo.detection.one_object": ("LocationIoU", "LocationLoss", "ObjectAccuracy"),
    "zoo.detection.retinanet": ("RetinaNet",),
    "zoo.detection.ssd": ("SSD", "SSD300", "ScaledL2Normalisation"),
    "zoo.detection.yolo": ("YOLO",),
    "zoo.detection.yolo_v1": ("YOLOv1Loss",),
    "zoo.losses": ("SparseFocalCrossentropy",),
    "zoo.metrics.training": ("MeanAveragePrecision",),
    "zoo.primitives.channels": ("DepthPool", "LocalResponseNormalization"),
    "zoo.primitives.convolution": ("GroupedConv2D",),
    "zoo.primitives.patches": ("PatchMap", "PatchTokens"),
    "zoo.primitives.radial_basis": ("RadialBasis",),
    "zoo.primitives.residual": ("DropPath", "LayerScale", "ScaledAdd"),
    "zoo.primitives.taps": ("TrunkMap",),
    "zoo.primitives.upsampling": ("BilinearUpsampling", "CropToMatch", "PixelShuffle", "ResizeToMatch"),
    "zoo.segmentation.losses": ("CombinedLoss", "DiceLoss", "PixelCrossentropy", "TverskyLoss"),
}


class _StandIn:
    """What Keras has for a class until a file asks for it."""

    def __init__(self, module: str, name: str):
        self.module = module
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        for module in CLASSES:
            importlib.import_module(module)
        return getattr(importlib.import_module(self.module), self.name).from_config(config)


def register(keras: Any) -> None:
    """Gives Keras a stand-in for each class that is not registered yet.

    Args:
        keras: The module `keras`.
    """
    known = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            known.setdefault(f"zoo>{name}", _StandIn(module, name))
