"""EfficientDet: a pyramid in which feature maps exchange information in both directions, repeatedly and at low cost.

Each node of the pyramid adds up maps of several levels, with learned weights (the fast normalised fusion). One cell of
nodes goes from coarse to fine and back, and cells are repeated. All convolutions are separable. The number of channels,
of cells and of layers in the heads and the size of the image grow together, from D0 to D7.

Tan, Pang & Le 2020, "EfficientDet: Scalable and Efficient Object Detection": fusion in section 3.2, the cell in section
3.3 and figure 2d, compound scaling in section 4.2 and table 1. Anchors and loss are those of RetinaNet, with a gamma of
1.5 (section 5.1): `zoo.detection.dense`. As in the authors' code, a map of the trunk that a cell uses twice has two
convolutions to the cell's width, and the heads are the same for all levels, except for their batch norms.

Deviations: batch norms have a lower momentum (`zoo.detection.fpn`); codes are divided by the variances of SSD, where
the authors give the loss of boxes a weight of 50; images may have any multiple of 32 as their size, where the authors
need multiples of 128.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from zoo.detection import anchors, fpn
from zoo.detection.dense import DenseDetector
from zoo.detection.detector import PRIOR_LOGIT
from zoo.detection.suppression import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["SCALING", "VARIANTS", "EfficientDet", "FastFusion", "Magnify", "Scaling", "Variant", "compound_scaling"]

LEVELS = ("c3", "c4", "c5")


@dataclass(frozen=True)
class Variant:
    """The size of the network.

    Attributes:
        filters: Channels of all maps of the pyramid and the heads.
        cells: Number of cells of the pyramid.
        depth: Number of separable convolutions in each head.
        anchor_scale: Side of the smallest anchor of a level, in strides of that level.
    """

    filters: int
    cells: int
    depth: int
    anchor_scale: float = 4.0


@dataclass(frozen=True)
class Scaling:
    """A row of table 1.

    Attributes:
        backbone: Name of the trunk, as `zoo.create_model` takes it.
        image_size: Side of the square images, in pixels.
        filters: Channels of all maps of the pyramid and the heads.
        cells: Number of cells of the pyramid.
        depth: Number of separable convolutions in each head.
        anchor_scale: Side of the smallest anchor of a level, in strides of that level.
    """

    backbone: str
    image_size: int
    filters: int
    cells: int
    depth: int
    anchor_scale: float = 4.0


SCALING = {
    "efficientdet_d0": Scaling("efficientnet_b0", 512, 64, 3, 3),
    "efficientdet_d1": Scaling("efficientnet_b1", 640, 88, 4, 3),
    "efficientdet_d2": Scaling("efficientnet_b2", 768, 112, 5, 3),
    "efficientdet_d3": Scaling("efficientnet_b3", 896, 160, 6, 4),
    "efficientdet_d4": Scaling("efficientnet_b4", 1024, 224, 7, 4),
    "efficientdet_d5": Scaling("efficientnet_b5", 1280, 288, 7, 4),
    "efficientdet_d6": Scaling("efficientnet_b6", 1280, 384, 8, 5),
    "efficientdet_d7": Scaling("efficientnet_b6", 1536, 384, 8, 5, anchor_scale=5.0),
}
VARIANTS = {name: Variant(row.filters, row.cells, row.depth, row.anchor_scale) for name, row in SCALING.items()}


def compound_scaling(phi: int) -> tuple[float, int, int, int]:
    """Computes the channels, cells, layers of the heads and side of the image that belong together (equations 1 to 3).

    Table 1 rounds the channels, and departs from the equations from D4 on.

    Args:
        phi: The compound coefficient: 0 for D0, 1 for D1 and so on.

    >>> compound_scaling(0), compound_scaling(3)
    ((64.0, 3, 3, 512), (157.464, 6, 4, 896))
    """
    return round(64 * 1.35**phi, 3), 3 + phi, 3 + phi // 3, 512 + 128 * phi


@keras.saving.register_keras_serializable(package="zoo")
class EfficientDet(DenseDetector):
    """A detector with anchors and a pyramid in both directions, on any trunk with feature maps at strides 8, 16 and 32.

    The published networks have the trunk and the image size of `SCALING`; other trunks and sizes work as well. It is
    trained and used as `zoo.detection.detector.Detector` describes.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        filters: Channels of all maps of the pyramid and the heads. Defaults to 64.
        cells: Number of cells of the pyramid. Defaults to 3.
        depth: Number of separable convolutions in each head. Defaults to 3.
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
    >>> detector = EfficientDet(backbone, num_classes=3, filters=16, cells=1, depth=1)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 1161, 4), 'logits': (None, 1161, 3)}
    """

    GAMMA = 1.5  # section 5.1

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        filters: int = 64,
        cells: int = 3,
        depth: int = 3,
        anchor_scale: float = 4.0,
        suppression: Suppression = DenseDetector.SUPPRESSION,
        name: str = "efficientdet",
    ):
        variant = Variant(filters, cells, depth, anchor_scale)
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, variant=variant),
            variant=variant,
            num_classes=num_classes,
            suppression=suppression,
            name=name,
        )


@keras.saving.register_keras_serializable(package="zoo")
class FastFusion(keras.layers.Layer):
    """A weighted mean of feature maps, with learned weights.

    Source: Tan et al. 2020, section 3.2 (Fast normalized fusion): a ReLU keeps the weights from becoming negative, and
    they are divided by their sum, which costs less than a softmax.

    Args:
        epsilon: A small number that is added to the sum of the weights. Defaults to 1e-4.
        name: Name of the layer.
        dtype: The dtype or dtype policy of the layer.
        trainable: Whether the weights are trained. Defaults to True.

    Input shape:
        A list of maps `[n, h, w, c]`.

    Output shape:
        `[n, h, w, c]`.

    >>> FastFusion(epsilon=0.0)([keras.ops.array([[1.0]]), keras.ops.array([[2.0]])]).numpy().tolist()
    [[1.5]]
    """

    def __init__(self, epsilon: float = 1e-4, *, name: str | None = None, dtype: Any = None, trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(len(input_shape),), initializer="ones", name="weight")

    def call(self, maps):
        weights = keras.ops.relu(self.weight)
        shares = weights / (keras.ops.sum(weights) + self.epsilon)
        return sum(shares[i] * x for i, x in enumerate(maps))

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="zoo")
class Magnify(keras.layers.Layer):
    """Enlarges a feature map to twice its size by repeating pixels, and crops it to the size of another map.

    So a map of 5 rows can be reached from one of 3 rows.

    Input shape:
        The map `[n, h, w, c]`, and the other map `[n, h', w', ...]`, which is at most twice as large.

    Output shape:
        `[n, h', w', c]`.

    >>> Magnify()(keras.ops.ones((1, 3, 2, 8)), keras.ops.ones((1, 5, 4, 3))).shape
    TensorShape([1, 5, 4, 8])
    """

    def call(self, x, target):
        ops = keras.ops
        height, width = ops.shape(target)[1:3]
        return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)[:, :height, :width]

    def compute_output_shape(self, x_shape, target_shape):
        return (*target_shape[:3], x_shape[-1])


def _separable(x, filters: int, *, name: str):
    """Applies an activation, a separable convolution and a batch norm, as after each fusion."""
    x = keras.layers.Activation("silu", name=f"{name}_activation")(x)
    x = keras.layers.SeparableConv2D(filters, 3, padding="same", name=f"{name}_sepconv")(x)
    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=fpn.MOMENTUM, name=f"{name}_bn")(x)


def _to_width(x, filters: int, *, name: str):
    x = keras.layers.Conv2D(filters, 1, name=f"{name}_conv")(x)
    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=fpn.MOMENTUM, name=f"{name}_bn")(x)


def _reduce(x, *, name: str):
    return keras.layers.MaxPooling2D(3, strides=2, padding="same", name=name)(x)


def _cell(down: list, back: list, filters: int, *, name: str) -> list:
    """Builds one cell of the pyramid, from coarse to fine and back.

    Args:
        down: The maps of the five levels, from fine to coarse, that the way down takes.
        back: The maps that the way back takes, of the same sizes. In all cells but the first they are the same maps.
        filters: Channels of the new maps.
        name: Prefix of the names of the layers.

    Returns:
        Five maps of the same sizes.
    """

    def node(maps, where):
        return _separable(FastFusion(name=f"{name}_{where}_fusion")(maps), filters, name=f"{name}_{where}")

    levels = range(3, 3 + len(down))
    informed = [down[-1]]
    for level, x in list(zip(levels, down, strict=True))[-2::-1]:
        above = Magnify(name=f"{name}_{level}_magnify")(informed[0], x)
        informed.insert(0, node([x, above], f"{level}_down"))
    result = [informed[0]]
    for level, x, between in list(zip(levels, back, informed, strict=True))[1:]:
        below = _reduce(result[-1], name=f"{name}_{level}_reduce")
        # The coarsest level has no node in between.
        maps = [x, below] if level == levels[-1] else [x, between, below]
        result.append(node(maps, f"{level}_up"))
    return result


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """Builds the pyramid and the heads: from the maps of the trunk to the codes and logits of all anchors."""
    c3, c4, c5 = features(backbone, LEVELS).output.values()
    to_width = partial(_to_width, filters=variant.filters)
    p6 = _reduce(to_width(c5, name="c6"), name="p6")
    coarse = [p6, _reduce(p6, name="p7")]
    down = [*(to_width(x, name=name) for x, name in ((c3, "c3"), (c4, "c4"), (c5, "c5"))), *coarse]
    # The way down ends at the finest level, and the way back begins with that map.
    back = [down[0], to_width(c4, name="c4_again"), to_width(c5, name="c5_again"), *coarse]
    for i in range(1, variant.cells + 1):
        down = back = _cell(down, back, variant.filters, name=f"cell{i}")

    shapes = len(anchors.OCTAVES) * len(anchors.RATIOS)
    outputs = {}
    for branch, channels, bias in (("codes", 4, 0.0), ("logits", num_classes, PRIOR_LOGIT)):
        convolutions = [
            keras.layers.SeparableConv2D(variant.filters, 3, padding="same", name=f"{branch}_{i}")
            for i in range(1, variant.depth + 1)
        ]
        # All outputs are float32, also under mixed precision.
        last = keras.layers.SeparableConv2D(
            shapes * channels,
            3,
            padding="same",
            pointwise_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(bias),
            dtype="float32",
            name=f"{branch}_last",
        )
        parts = []
        for level, x in enumerate(down, 3):
            for i, convolution in enumerate(convolutions, 1):
                x = keras.layers.BatchNormalization(
                    epsilon=1e-3, momentum=fpn.MOMENTUM, name=f"{branch}_{i}_{level}_bn"
                )(convolution(x))
                x = keras.layers.Activation("silu", name=f"{branch}_{i}_{level}_activation")(x)
            parts.append(
                keras.layers.Reshape((-1, channels), dtype="float32", name=f"{branch}_{level}_anchors")(last(x))
            )
        outputs[branch] = keras.layers.Concatenate(axis=1, dtype="float32", name=branch)(parts)
    return outputs
