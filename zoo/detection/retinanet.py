"""RetinaNet: a pyramid, anchors, and a loss that easy background does not dominate.

Two-stage detectors first discard most of the background. RetinaNet keeps all of it, and lets the loss of correct
predictions fade. Anchors and loss: `zoo.detection.dense`.

Lin et al. 2017, "Focal Loss for Dense Object Detection": the network in section 4 and figure 3. Deviations: the pyramid
has batch norms and SiLU (`zoo.detection.fpn`), and P6 is computed from P5.
"""

from dataclasses import dataclass
from functools import partial

import keras

from zoo.detection import anchors, fpn
from zoo.detection.dense import DenseDetector
from zoo.detection.detector import PRIOR_LOGIT
from zoo.detection.suppression import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["LEVELS", "VARIANTS", "RetinaNet", "Variant"]

LEVELS = ("c3", "c4", "c5")


@dataclass(frozen=True)
class Variant:
    """The size of the network.

    Attributes:
        filters: Channels of the pyramid and the heads.
        depth: Number of convolutions in each head.
        anchor_scale: Side of the smallest anchor of a level, in strides of that level.
    """

    filters: int
    depth: int
    anchor_scale: float


# The first variant is that of the paper. The second is for small images and for processors without a GPU.
VARIANTS = {
    "retinanet": Variant(filters=256, depth=4, anchor_scale=4.0),
    "retinanet_tiny": Variant(filters=64, depth=2, anchor_scale=3.0),
}


@keras.saving.register_keras_serializable(package="zoo")
class RetinaNet(DenseDetector):
    """A detector with anchors on any trunk that has feature maps at strides 8, 16 and 32.

    It is trained and used as `zoo.detection.detector.Detector` describes.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        filters: Channels of the pyramid and the heads. Defaults to 256.
        depth: Number of convolutions in each head. Defaults to 4.
        anchor_scale: Side of the smallest anchor of a level, in strides of that level. Defaults to 4.
        suppression: The settings with which `predict` and `detect` suppress boxes. By default the score
            threshold is 0.05 and the IoU threshold 0.5.
        name: Name of the model.

    Input shape:
        float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape:
        `codes [n, anchors, 4]` and `logits [n, anchors, num_classes]`.

    Raises:
        ValueError: If the backbone does not have these levels, or if `Detector` refuses an argument.

    Example, with 9 anchors in each of 96 + 24 + 6 + 2 + 1 cells:

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
        suppression: Suppression = DenseDetector.SUPPRESSION,
        name: str = "retinanet",
    ):
        variant = Variant(filters, depth, anchor_scale)
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, variant=variant),
            variant=variant,
            num_classes=num_classes,
            suppression=suppression,
            name=name,
        )


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """Builds the pyramid and the heads, which all levels share: levels only differ in the size of their objects."""
    pyramid = fpn.further_levels(fpn.top_down(features(backbone, LEVELS).output, variant.filters), 2)
    shapes = len(anchors.OCTAVES) * len(anchors.RATIOS)
    outputs = {}
    for branch, channels, bias in (("codes", 4, 0.0), ("logits", num_classes, PRIOR_LOGIT)):
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
        # All outputs are float32, also under mixed precision. Small weights let the bias determine the first
        # predictions.
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
