"""RetinaNet: a pyramid, anchors, and a loss that does not drown in easy background.

Two-stage detectors throw most of the background away first; RetinaNet keeps all of it, and lets the loss of what the
network already gets right fade. Anchors and loss: `zoo.detection.dense`.

Lin et al. 2017, "Focal Loss for Dense Object Detection": the network in section 4 and figure 3. Deviations: batch norms
and SiLU in the pyramid (`zoo.detection.fpn`); P6 from P5.
"""

from dataclasses import dataclass
from functools import partial

import keras

from zoo.detection import anchors, fpn
from zoo.detection.dense import DenseDetector
from zoo.detection.detector import PRIOR_LOGIT
from zoo.detection.nms import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["LEVELS", "VARIANTS", "RetinaNet", "Variant"]

LEVELS = ("c3", "c4", "c5")


@dataclass(frozen=True)
class Variant:
    """`filters` of pyramid and heads, convolutions in each head, and the smallest anchor of a level in its strides."""

    filters: int
    depth: int
    anchor_scale: float


# The first is the paper's. The second is for small images and for processors without a GPU.
VARIANTS = {
    "retinanet": Variant(filters=256, depth=4, anchor_scale=4.0),
    "retinanet_tiny": Variant(filters=64, depth=2, anchor_scale=3.0),
}


@keras.saving.register_keras_serializable(package="zoo")
class RetinaNet(DenseDetector):
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
    """Pyramid and heads. The heads are the same for all levels, which differ only in the size of what they show."""
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
