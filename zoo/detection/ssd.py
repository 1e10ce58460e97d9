"""SSD: six feature maps of one trunk, a few priors in each of their cells, and one 3x3 convolution per map.

There is no first stage that looks for regions, and no pyramid that carries information from map to map: fine maps find
small objects, coarse maps find large ones. The network adds maps to the trunk until one cell sees the whole image.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector": the network in figure 2 and section 3; priors, matching, loss and
hard negative mining in section 2.2. Howard et al. 2017, "MobileNets", section 4.6, for the layout with two maps of the
trunk.

Deviations: an image without objects has as much background in its loss as an image with one object, where the paper's
mining would leave it out. The layouts that are not from the paper have batch norms in their additional maps. The layout
"ssd", which is for images of all sizes, has priors whose size depends on the strides of the maps and not on the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from zoo import boxes as box_geometry
from zoo.blocks import DefaultConv2D, conv_bn, conv_relu
from zoo.boxes import Array
from zoo.detection import anchors, fpn, matching, targets
from zoo.detection.anchors import VARIANCES
from zoo.detection.detector import Detector
from zoo.detection.losses import code_loss
from zoo.detection.suppression import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["LAYOUTS", "SSD", "SSD300", "Layout", "ScaledL2Normalisation", "hard_negatives"]

# A prior has an object if it overlaps it by half (section 2.2, Matching strategy).
OVERLAP = 0.5
# The size of priors in the layout without scales. SSD300 has priors of 2.5 to 3.75 strides. As fractions of a small
# image, priors would be so small that objects fall between the cells.
SIZE_IN_STRIDES = 3.0
# How many background priors are in the loss for each prior with an object: the ones with the largest losses.
NEGATIVES = 3


@dataclass(frozen=True)
class Layout:
    """The feature maps of an SSD, and the priors on them.

    Attributes:
        levels: Levels of the trunk that are used.
        extras: For each additional map the channels of a 1x1 convolution, the channels of a 3x3 convolution and the
            stride of the latter. Those of stride 1 have no padding, which makes the last small maps smaller.
        strides: The stride of each map.
        ratios: For each map the ratios of width to height of its priors, apart from the squares.
        scales: The size of the priors of each map, as a fraction of the shorter side of the image, and one more for the
            map that would come next. Without scales, the size is `SIZE_IN_STRIDES` strides on each map.
        few_first: Whether the first map has no priors of the size between two scales, as TensorFlow's object detection
            has it for MobileNet.
        normalise_first: Whether the scale of the first map is learned, as the paper does for conv4_3 (section 3.1).
        dense: Whether the fully connected layers of VGG follow on c4 as convolutions, as in the paper.
    """

    levels: tuple[str, ...]
    extras: tuple[tuple[int, int, int], ...]
    strides: tuple[int, ...]
    ratios: tuple[tuple[int, ...], ...]
    scales: tuple[float, ...] = ()
    few_first: bool = False
    normalise_first: bool = True
    dense: bool = False


LAYOUTS = {
    "ssd300": Layout(
        levels=("c3", "c4"),
        extras=((256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1)),
        strides=(8, 16, 32, 64, 100, 300),
        ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        scales=tuple(anchors.ssd_scales(6)),
        dense=True,
    ),
    "ssd": Layout(
        levels=("c3", "c4", "c5"),
        extras=((128, 256, 2), (128, 256, 2)),
        strides=(8, 16, 32, 64, 128),
        ratios=((2, 3), (2, 3), (2, 3), (2,), (2,)),
    ),
    "ssd_mobilenet": Layout(
        levels=("c4", "c5"),
        extras=((256, 512, 2), (128, 256, 2), (128, 256, 2), (64, 128, 2)),
        strides=(16, 32, 64, 128, 256, 512),
        ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3)),
        scales=tuple(anchors.ssd_scales(6, largest=0.95, first=None)),
        few_first=True,
        normalise_first=False,
    ),
}


@keras.saving.register_keras_serializable(package="zoo")
class SSD(Detector):
    """A detector with priors on any trunk that has feature maps at strides 8, 16 and 32.

    It is trained and used as `zoo.detection.detector.Detector` describes.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        layout: Name of a layout. "ssd" is for any trunk and size, with priors whose size depends on the strides.
            "ssd_mobilenet" is coarser and faster. Defaults to "ssd".
        suppression: The settings with which `predict` and `detect` suppress boxes. By default the score
            threshold is 0.05 and the IoU threshold 0.45.
        name: Name of the model.

    Input shape:
        float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape:
        `codes [n, priors, 4]` and `logits [n, priors, 1 + num_classes]`, of which the first class is background.

    Raises:
        ValueError: If the layout is unknown, if the backbone does not have its levels, or if `Detector` refuses an
            argument.

    Example, with 6 priors in each of 96 + 24 + 6 cells and 4 in each of 2 + 1:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = SSD(backbone, num_classes=3)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 768, 4), 'logits': (None, 768, 4)}
    """

    SUPPRESSION = Suppression(score_threshold=0.05, iou_threshold=0.45)

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        layout: str = "ssd",
        suppression: Suppression = SUPPRESSION,
        name: str = "ssd",
    ):
        if layout not in LAYOUTS:
            raise ValueError(f"expected a layout of {', '.join(LAYOUTS)}, got {layout!r}")
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, layout=LAYOUTS[layout]),
            num_classes=num_classes,
            loss_weights={"box_loss": 1.0, "class_loss": 1.0},
            suppression=suppression,
            name=name,
        )
        self.layout = layout

    def priors(self, image_size: Sequence[Any]) -> Array:
        """Returns all priors of an image of (height, width), float32 `[priors, 4]`, xyxy, in pixels."""
        layout = LAYOUTS[self.layout]
        known = all(isinstance(side, int) for side in image_size)
        shorter = min(image_size) if known else keras.ops.cast(keras.ops.minimum(*image_size), "float32")
        units = [shorter] * len(layout.strides) if layout.scales else layout.strides
        sizes = [unit * shapes for unit, shapes in zip(units, _shapes(layout), strict=True)]
        return anchors.anchor_grid(image_size, layout.strides, sizes)

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Decodes the outputs to boxes and scores of all priors; see `Detector.decode`."""
        codes, logits = (keras.ops.cast(outputs[name], "float32") for name in ("codes", "logits"))
        boxes = box_geometry.decode(codes, self.priors(image_size), variances=VARIANCES)
        return box_geometry.clip(boxes, image_size), keras.ops.softmax(logits)[..., 1:]

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Computes the MultiBox loss (equation 1): smooth L1 of the codes and cross-entropy of the classes.

        Both are divided by the number of priors that have an object.
        """
        ops = keras.ops
        priors = self.priors(image_size)
        rows = matching.by_overlap(
            priors,
            truths["boxes"],
            targets.real_objects(truths),
            positive=OVERLAP,
            negative=OVERLAP,
            rescue="bipartite",
        )
        positive = ops.cast(rows >= 0, "float32")
        objects, classes = matching.matched(truths, rows)
        class_losses = ops.sparse_categorical_crossentropy(classes + 1, outputs["logits"], from_logits=True)
        background = (rows == -1) & (matching.outside_crowds(box_geometry.centres(priors), truths) > 0)
        negatives = NEGATIVES * ops.maximum(ops.sum(positive, axis=1), 1.0)
        negative = ops.cast(hard_negatives(ops.stop_gradient(class_losses), background, negatives), "float32")
        return {
            "box_loss": code_loss(objects, priors, outputs["codes"], positive),
            "class_loss": ops.sum(class_losses * (positive + negative)) / ops.maximum(ops.sum(positive), 1.0),
        }

    def get_config(self):
        return {**super().get_config(), "layout": self.layout}


@keras.saving.register_keras_serializable(package="zoo")
class SSD300(SSD):
    """The network of the paper: VGG-16, images of 300 x 300 pixels, 8732 priors.

    Any trunk with feature maps at strides 8 and 16 can be used. The pooling of VGG drops the last row of a map of odd
    size. Here it keeps that row, as Caffe does, so that the maps have 38, 19, 10, 5, 3 and 1 rows. The last layers of
    the trunk, beyond stride 16, are not used.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        layout: Name of a layout. Defaults to "ssd300".
        suppression: The settings with which `predict` and `detect` suppress boxes. By default the score
            threshold is 0.05 and the IoU threshold 0.45.
        name: Name of the model.

    Output shape:
        `codes [n, 8732, 4]` and `logits [n, 8732, 1 + num_classes]`, of which the first class is background.

    Raises:
        ValueError: If the backbone is not for 300 x 300 pixels, if it does not have the levels, or if `Detector`
            refuses an argument.

    >>> image = x = keras.Input((300, 300, 3))
    >>> for channels in (4, 8, 8):
    ...     x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x))
    >>> x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    >>> x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(keras.layers.MaxPooling2D()(x))
    >>> detector = SSD300(keras.Model(image, x), num_classes=20)
    >>> {name: tuple(output.shape) for name, output in detector.output.items()}
    {'codes': (None, 8732, 4), 'logits': (None, 8732, 21)}
    """

    LARGEST_STRIDE = 300

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        layout: str = "ssd300",
        suppression: Suppression = SSD.SUPPRESSION,
        name: str = "ssd300",
    ):
        super().__init__(
            backbone,
            num_classes,
            layout=layout,
            suppression=suppression,
            name=name,
        )

    @classmethod
    def check_size(cls, height: int, width: int) -> None:
        if (height, width) != (300, 300):
            raise ValueError(f'expected images of 300 x 300 pixels, got {(height, width)}; "ssd" takes other sizes')


def hard_negatives(losses: Array, background: Array, count: Array) -> Any:
    """Selects the background with the largest losses.

    Source: Liu et al. 2016, section 2.2 (Hard negative mining).

    Args:
        losses: The loss of each prior, `[b, n]`.
        background: bool `[b, n]`, the priors that may be selected.
        count: How many to select in each image, `[b]`.

    Returns:
        bool `[b, n]`, the selected priors.

    >>> losses, background = keras.ops.array([[0.3, 0.9, 0.1, 0.5]]), keras.ops.array([[True, False, True, True]])
    >>> hard_negatives(losses, background, keras.ops.array([2])).numpy().tolist()
    [[True, False, False, True]]
    """
    ops = keras.ops
    order = ops.argsort(ops.where(background, -losses, float("inf")), axis=1)
    place = ops.argsort(order, axis=1)
    return background & (ops.cast(place, "float32") < ops.cast(count, "float32")[:, None])


@keras.saving.register_keras_serializable(package="zoo")
class ScaledL2Normalisation(keras.layers.Layer):
    """Scales the channels of each pixel together to a length of 1, and then each channel by a learned factor.

    An early map has larger values than later ones and would drown them.

    Source: Liu et al. 2015, "ParseNet: Looking Wider to See Better", section 3.3; the initial scale is that of SSD,
    section 3.1.

    Args:
        first: Scale of every channel before training. Defaults to 20.
        name: Name of the layer.
        dtype: The dtype or dtype policy of the layer.
        trainable: Whether the scales are trained. Defaults to True.

    >>> layer = ScaledL2Normalisation(first=10.0)
    >>> layer(keras.ops.array([[3.0, 4.0]])).numpy().tolist()
    [[6.0, 8.0]]
    """

    def __init__(self, first: float = 20.0, *, name: str | None = None, dtype: Any = None, trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.first = first

    def build(self, input_shape):
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.first), name="scale"
        )

    def call(self, x):
        return keras.ops.normalize(x, axis=-1, order=2) * self.scale

    def get_config(self):
        return {**super().get_config(), "first": self.first}


def _shapes(layout: Layout) -> list:
    """Returns the (width, height) of the priors of each map, as fractions of the image's shorter side or in strides."""
    scales = layout.scales or [SIZE_IN_STRIDES] * (len(layout.strides) + 1)
    # Strides double from map to map, and so does a size that is counted in strides.
    growth = 1 if layout.scales else 2
    pairs = zip(scales[:-1], scales[1:], layout.ratios, strict=True)
    shapes = [anchors.ssd_shapes(scale, growth * following, ratios) for scale, following, ratios in pairs]
    if layout.few_first:
        shapes[0] = shapes[0][[0, 2, 3]]
    return shapes


def _outputs(backbone: keras.Model, num_classes: int, layout: Layout) -> dict:
    """Builds all maps, and the predictions for the priors of each of them."""
    conv = conv_relu if layout.dense else partial(conv_bn, momentum=fpn.MOMENTUM)
    maps = list((_whole_maps(backbone, layout) if layout.dense else features(backbone, layout.levels)).output.values())
    if layout.dense:
        x = keras.layers.MaxPooling2D(3, strides=1, padding="same", name="pool5")(maps[-1])
        x = DefaultConv2D(1024, dilation_rate=6, name="fc6")(x)
        maps[-1] = DefaultConv2D(1024, kernel_size=1, name="fc7")(x)
    for i, (squeezed, filters, strides) in enumerate(layout.extras, 1):
        x = conv(maps[-1], squeezed, name=f"extra{i}_1")
        padding = "same" if strides > 1 else "valid"
        maps.append(conv(x, filters, 3, strides=strides, padding=padding, name=f"extra{i}_2"))
    if layout.normalise_first:
        maps[0] = ScaledL2Normalisation(name="normalise_first")(maps[0])
    outputs = {}
    for branch, channels in (("codes", 4), ("logits", 1 + num_classes)):
        parts = []
        for i, (x, shapes) in enumerate(zip(maps, _shapes(layout), strict=True), 1):
            # All outputs are float32, also under mixed precision.
            x = keras.layers.Conv2D(len(shapes) * channels, 3, padding="same", dtype="float32", name=f"{branch}_{i}")(x)
            parts.append(keras.layers.Reshape((-1, channels), dtype="float32", name=f"{branch}_{i}_priors")(x))
        outputs[branch] = keras.layers.Concatenate(axis=1, dtype="float32", name=branch)(parts)
    return outputs


def _whole_maps(backbone: keras.Model, layout: Layout) -> keras.Model:
    """Rebuilds the feature maps of the trunk with the same layers, but with pooling that rounds up."""

    def rounding_up(layer):
        if isinstance(layer, keras.layers.MaxPooling2D) and layer.padding == "valid":
            return keras.layers.MaxPooling2D.from_config({**layer.get_config(), "padding": "same"})
        return layer

    # Pooling ignores padding, so that windows without padding give the same as before.
    return keras.models.clone_model(
        features(backbone, layout.levels), input_tensors=backbone.input, clone_function=rounding_up
    )


@dataclass(frozen=True)
class _Choice:
    layout: str


VARIANTS = {name: _Choice(name) for name in ("ssd", "ssd_mobilenet")}
VARIANTS_300 = {"ssd300": _Choice("ssd300")}
