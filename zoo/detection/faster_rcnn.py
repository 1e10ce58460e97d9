"""Faster R-CNN: a first stage proposes regions that may hold an object, a second stage classifies and refines them.

It is easiest to understand by the parts that its predecessors did not have:

- R-CNN (Girshick et al. 2014) has no network that finds regions: an image segmentation algorithm proposes 2000 regions
  per image. Each region is cut out, resized to 227 x 227 pixels and sent through the network alone. Support vector
  machines classify its features, and a regression refines its box. That takes three trainings, and 2000 passes for an
  image. To get R-CNN, leave out everything in this file before `RoIAlign`, and crop the image where `RoIAlign` crops
  the feature map.
- Fast R-CNN (Girshick 2015) is also given the regions, but crops them from the last feature map instead of the image:
  one pass for all of them, and with two heads, for class and box, one training. To get Fast R-CNN, leave out
  `Proposals` and the two convolutions before it, and give `RoIAlign` the boxes from elsewhere.
- Faster R-CNN (Ren et al. 2015) proposes the regions from the same feature map: a 3x3 convolution slides over it and
  predicts for each of a few anchors whether it holds an object, and where exactly (the region proposal network, section
  3.1). This is what the file contains.

`RoIAlign` comes from Mask R-CNN (He et al. 2017, section 3); Fast R-CNN rounded regions to whole pixels of the map.

Deviations: regions come from one map of stride 8, to which a pyramid has added the coarser ones, where the paper has
conv5_3 of VGG, at stride 16. Where the paper draws a sample of anchors and regions, all of them are in the loss, with
the weights that they would have on average. Where objects are few, background does not fill the sample, but is in
proportion. True boxes are not added to the proposals. Anchors that reach over the edge of the image are kept. The
refined box of a region is the same for all classes. A loss of boxes is divided by the number of boxes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection import anchors, fpn, matching, nms, targets
from zoo.detection.anchors import VARIANCES
from zoo.detection.detector import Detector
from zoo.detection.losses import code_loss
from zoo.detection.suppression import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["VARIANTS", "FasterRCNN", "Proposals", "RoIAlign", "Variant", "region_anchors", "roi_align"]

LEVELS = ("c3", "c4", "c5")
STRIDE = 8
# Sides of the anchors, in pixels. For images of 128 to 512 pixels they are about what the paper's 128, 256 and 512 are
# for images of 600 pixels.
SIZES, RATIOS = (16, 32, 64, 128, 256), (0.5, 1.0, 2.0)
# An anchor of the first stage has an object from the first IoU on, and is background below the second (section 3.1.2).
REGION_POSITIVE, REGION_NEGATIVE = 0.7, 0.3
# A region of the second stage has an object from this IoU on (Fast R-CNN, section 2.3).
POSITIVE = 0.5
# The number of anchors and of regions per image in a sample, and the largest fraction of them that may have an object.
REGION_SAMPLE, REGION_SHARE = 256, 0.5
SAMPLE, SHARE = 64, 0.25
# Of regions with a larger IoU than this only the best is kept (section 3.3).
REGION_IOU = 0.7


@dataclass(frozen=True)
class Variant:
    """The size of the network.

    Attributes:
        filters: Channels of the feature map.
        units: Units of each of the two dense layers of the second stage.
        proposals: Number of regions per image. They are what suppression leaves of four times as many.
    """

    filters: int
    units: int
    proposals: int


VARIANTS = {
    "faster_rcnn": Variant(filters=256, units=1024, proposals=300),
    "faster_rcnn_tiny": Variant(filters=64, units=256, proposals=100),
}


@keras.saving.register_keras_serializable(package="zoo")
class FasterRCNN(Detector):
    """A detector in two stages on any trunk that has feature maps at strides 8, 16 and 32.

    Both stages are trained together.

    It is trained and used as `zoo.detection.detector.Detector` describes.

    Args:
        backbone: A functional model with feature maps at these strides. The detector shares its layers and weights.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        filters: Channels of the feature map. Defaults to 256.
        units: Units of each of the two dense layers of the second stage. Defaults to 1024.
        proposals: Number of regions per image. Defaults to 300.
        suppression: The settings with which `predict` and `detect` suppress boxes. By default the score
            threshold is 0.05 and the IoU threshold 0.5.
        name: Name of the model.

    Input shape:
        float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape:
        From the first stage `region_codes [n, anchors, 4]`, `region_logits [n, anchors]` and `proposals [n, proposals,
        4]`, xyxy in pixels, padded with zeros. From the second stage, which `decode` takes, `codes [n, proposals, 4]`
        and `logits [n, proposals, 1 + num_classes]`, of which the first class is background.

    Raises:
        ValueError: If the backbone does not have these levels, or if `Detector` refuses an argument.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> detector = FasterRCNN(backbone, num_classes=3, filters=16, units=32, proposals=50)
    >>> for name, output in detector.output.items():
    ...     print(name, tuple(output.shape))
    region_codes (None, 1440, 4)
    region_logits (None, 1440)
    proposals (None, 50, 4)
    codes (None, 50, 4)
    logits (None, 50, 4)
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        filters: int = 256,
        units: int = 1024,
        proposals: int = 300,
        suppression: Suppression = Detector.SUPPRESSION,
        name: str = "faster_rcnn",
    ):
        variant = Variant(filters, units, proposals)
        super().__init__(
            backbone,
            partial(_outputs, num_classes=num_classes, variant=variant),
            num_classes=num_classes,
            loss_weights={"region_box_loss": 1.0, "region_loss": 1.0, "box_loss": 1.0, "class_loss": 1.0},
            suppression=suppression,
            name=name,
        )
        self.variant = variant

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Decodes the boxes and scores of all regions from the second stage; see `Detector.decode`.

        Padding has scores of 0.
        """
        ops = keras.ops
        proposals, codes, logits = (ops.cast(outputs[name], "float32") for name in ("proposals", "codes", "logits"))
        boxes = box_geometry.clip(box_geometry.decode(codes, proposals, variances=VARIANCES), image_size)
        real = ops.cast(box_geometry.area(proposals) > 0, "float32")
        return boxes, ops.softmax(logits)[..., 1:] * real[..., None]

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Computes the loss of both stages.

        For the first stage it is equation 1 of Ren et al. 2015; for the second, on the proposed regions, it is the
        multi-task loss of Girshick 2015, section 2.3.
        """
        ops = keras.ops
        real = targets.real_objects(truths)

        grid = ops.convert_to_tensor(region_anchors(image_size))
        rows = matching.by_overlap(
            grid, truths["boxes"], real, positive=REGION_POSITIVE, negative=REGION_NEGATIVE, rescue="best"
        )
        clear = matching.outside_crowds(box_geometry.centres(grid), truths)
        on, off = _sample(rows, clear, REGION_SAMPLE, REGION_SHARE)
        objects, _ = matching.matched(truths, rows)
        region_box_loss = code_loss(objects, grid, outputs["region_codes"], on)
        holds_object = ops.cast(rows >= 0, "float32")[..., None]
        losses = ops.binary_crossentropy(holds_object, outputs["region_logits"][..., None], from_logits=True)[..., 0]
        region_loss = ops.sum(losses * (on + off)) / ops.sum(on + off)

        # The regions are an input of the second stage: no gradient flows from its loss to the first.
        regions = ops.stop_gradient(outputs["proposals"])
        rows = matching.by_overlap(regions, truths["boxes"], real, positive=POSITIVE, negative=POSITIVE)
        clear = matching.outside_crowds(box_geometry.centres(regions)[:, None], truths)
        clear = clear * ops.cast(box_geometry.area(regions) > 0, "float32")
        on, off = _sample(rows, clear, SAMPLE, SHARE)
        objects, classes = matching.matched(truths, rows)
        losses = ops.sparse_categorical_crossentropy(classes + 1, outputs["logits"], from_logits=True)
        return {
            "region_box_loss": region_box_loss,
            "region_loss": region_loss,
            "box_loss": code_loss(objects, regions, outputs["codes"], on),
            "class_loss": ops.sum(losses * (on + off)) / ops.maximum(ops.sum(on + off), 1.0),
        }

    def get_config(self):
        return {**super().get_config(), **asdict(self.variant)}


def region_anchors(image_size: Sequence[Any]) -> Array:
    """Returns the anchors of the first stage for an image of (height, width), float32 `[anchors, 4]`, xyxy, in pixels.

    >>> region_anchors((64, 96)).shape  # 15 in each of 8 x 12 cells
    (1440, 4)
    """
    shapes = anchors.anchor_shapes(1, octaves=SIZES, ratios=RATIOS)
    return anchors.anchor_grid(image_size, [STRIDE], [shapes])


def roi_align(maps: Array, boxes: Array, *, stride: float, size: int = 7, samples: int = 2) -> Any:
    """Crops regions from a feature map and resamples each of them to a small map of fixed size.

    A region is divided into `size` x `size` bins. The value of a bin is the mean of `samples` x `samples` points in it.
    Between the centres of pixels the map is interpolated bilinearly; beyond the outermost centres it is constant. Rows
    and columns can be interpolated one after the other, so that the whole is two matrix products.

    Source: He et al. 2017, "Mask R-CNN", section 3 (RoIAlign).

    Args:
        maps: Feature maps `[b, h, w, c]`.
        boxes: Regions `[b, p, 4]`, xyxy, in pixels of the image.
        stride: Pixels of the image per pixel of the map.
        size: Rows and columns of bins in the result. Defaults to 7.
        samples: Rows and columns of points in a bin. Defaults to 2.

    Returns:
        `[b, p, size, size, c]`.

    Example, with a map whose values rise by 1 from column to column:

    >>> maps = keras.ops.array(np.tile(np.arange(6, dtype="float32"), (1, 4, 1))[..., None])
    >>> roi_align(maps, keras.ops.array([[[8.0, 0, 40, 32]]]), stride=8, size=2).numpy()[0, 0, :, :, 0].tolist()
    [[1.5, 3.5], [1.5, 3.5]]
    """
    ops = keras.ops
    height, width = ops.shape(maps)[1:3]
    rows = _interpolation(boxes[..., 1] / stride, boxes[..., 3] / stride, height, size, samples)
    columns = _interpolation(boxes[..., 0] / stride, boxes[..., 2] / stride, width, size, samples)
    of_rows = ops.einsum("bpyh,bhwc->bpywc", rows, maps)
    # Not an einsum, since that would transpose the large `of_rows`.
    return ops.matmul(columns[:, :, None], of_rows)


@keras.saving.register_keras_serializable(package="zoo")
class RoIAlign(keras.layers.Layer):
    """`roi_align` as a layer, in float32.

    Args:
        stride: Pixels of the image per pixel of the map.
        size: Rows and columns of bins in the result. Defaults to 7.
        samples: Rows and columns of points in a bin. Defaults to 2.
        name: Name of the layer.
        dtype: The dtype or dtype policy of the layer. Defaults to "float32".
        trainable: Has no effect, since the layer has no weights.

    Input shape:
        Maps `[b, h, w, c]` and boxes `[b, p, 4]`.

    Output shape:
        `[b, p, size, size, c]`.
    """

    def __init__(
        self,
        stride: float,
        size: int = 7,
        samples: int = 2,
        *,
        name: str | None = None,
        dtype: Any = "float32",
        trainable: bool = True,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.stride, self.size, self.samples = stride, size, samples

    def call(self, maps, boxes):
        return roi_align(maps, boxes, stride=self.stride, size=self.size, samples=self.samples)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride, "size": self.size, "samples": self.samples}


@keras.saving.register_keras_serializable(package="zoo")
class Proposals(keras.layers.Layer):
    """Selects the best boxes of the first stage: those that overlap a better one too much are suppressed.

    Source: Ren et al. 2015, section 3.3.

    Args:
        count: Number of boxes.
        name: Name of the layer.
        dtype: The dtype or dtype policy of the layer. Defaults to "float32".
        trainable: Has no effect, since the layer has no weights.

    Input shape:
        The images `[b, h, w, c]`, of which only the size counts, and the codes `[b, n, 4]` and logits `[b, n]` of all
        anchors.

    Output shape:
        float32 `[b, count, 4]`, xyxy in pixels of the images and clipped to them, by falling score, padded with zeros.
        No gradient flows through.
    """

    def __init__(self, count: int, *, name: str | None = None, dtype: Any = "float32", trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.count = count

    def call(self, images, codes, logits):
        ops = keras.ops
        image_size = ops.shape(images)[1:3]
        boxes = box_geometry.decode(ops.stop_gradient(codes), region_anchors(image_size), variances=VARIANCES)
        proposals = nms.suppress_portable(
            box_geometry.clip(boxes, image_size),
            ops.sigmoid(ops.stop_gradient(logits))[..., None],
            iou_threshold=REGION_IOU,
            score_threshold=0.0,
            max_detections=self.count,
            max_candidates=4 * self.count,
        )
        return ops.stop_gradient(proposals["boxes"])

    def compute_output_shape(self, images_shape, codes_shape, logits_shape):
        return (images_shape[0], self.count, 4)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


def _interpolation(start: Array, end: Array, count: Any, size: int, samples: int) -> Any:
    """Computes the weight of each of `count` pixels in a row for each bin between `start` and `end`.

    Returns:
        `[b, p, size, count]`.
    """
    ops = keras.ops
    share = (np.arange(size * samples, dtype="float32") + 0.5) / (size * samples)
    places = start[..., None] + (end - start)[..., None] * share
    # The centre of a pixel is half a pixel from its edge.
    places = ops.clip(places - 0.5, 0.0, ops.cast(count - 1, "float32"))
    weights = ops.relu(1 - ops.abs(places[..., None] - ops.arange(count, dtype="float32")))
    return ops.mean(ops.reshape(weights, (*ops.shape(start), size, samples, count)), axis=-2)


def _sample(rows: Array, clear: Array, count: int, share: float) -> tuple[Any, Any]:
    """Computes the probability that each anchor is in a sample of objects and background.

    The sample has as many anchors with objects as there are, up to `share` of `count`. It has background in proportion;
    where there is no object, as much as for one.

    Args:
        rows: `[b, n]`, as `by_overlap` returns them.
        clear: float `[b, n]`, 0 for anchors that are no background.
        count: Size of the sample.
        share: The largest fraction of the sample that may have an object.

    Returns:
        The probabilities of the anchors that have an object, and of those on background, `[b, n]` each; 0 for the
        others.
    """
    ops = keras.ops
    positive, negative = ops.cast(rows >= 0, "float32"), ops.cast(rows == -1, "float32") * clear
    positives, negatives = (ops.sum(which, axis=1, keepdims=True) for which in (positive, negative))
    on = ops.minimum(positives, share * count)
    off = ops.minimum(negatives, ops.minimum(count - on, ops.maximum(on, 1.0) * (1 - share) / share))
    return positive * on / ops.maximum(positives, 1.0), negative * off / ops.maximum(negatives, 1.0)


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """Builds the two stages on one feature map."""
    layers = keras.layers
    # With small weights, anchors and regions stay where they are at first. Outputs are float32.
    small = {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01), "dtype": "float32"}
    maps = fpn.top_down(features(backbone, LEVELS).output, variant.filters)["p3"]

    shapes = len(SIZES) * len(RATIOS)
    x = layers.Conv2D(
        variant.filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="region"
    )(maps)
    region_codes = layers.Conv2D(4 * shapes, 1, name="region_codes_map", **small)(x)
    region_codes = layers.Reshape((-1, 4), dtype="float32", name="region_codes")(region_codes)
    region_logits = layers.Conv2D(shapes, 1, name="region_logits_map", **small)(x)
    region_logits = layers.Reshape((-1,), dtype="float32", name="region_logits")(region_logits)

    proposals = Proposals(variant.proposals, name="proposals")(backbone.input, region_codes, region_logits)
    x = RoIAlign(STRIDE, name="regions")(maps, proposals)
    x = layers.Reshape((variant.proposals, x.shape[2] * x.shape[3] * x.shape[4]), name="regions_flat")(x)
    for i in (1, 2):
        x = layers.Dense(variant.units, activation="relu", kernel_initializer="he_normal", name=f"dense_{i}")(x)
    return {
        "region_codes": region_codes,
        "region_logits": region_logits,
        "proposals": proposals,
        "codes": layers.Dense(4, name="codes", **small)(x),
        "logits": layers.Dense(1 + num_classes, name="logits", **small)(x),
    }
