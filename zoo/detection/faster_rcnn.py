"""Faster R-CNN: one network says where something is, a second looks there again and says what it is.

It is easiest to understand by what its predecessors did without:

- R-CNN (Girshick et al. 2014) has no part that finds regions: an algorithm of image segmentation proposes 2000 of an
  image. Each is cut out, squashed to 227 x 227 pixels and sent through the network alone; support vector machines
  classify its features, and a regression refines its box. Three trainings, and 2000 passes for an image. Leave out of
  this file everything before `RoIAlign`, and cut the image where `RoIAlign` cuts the map.
- Fast R-CNN (Girshick 2015) still has the regions given, but cuts them out of the last map instead of the image: one
  pass for all of them, and with its two heads, for class and box, one training. Leave out `Proposals` and the two
  convolutions before it, and give `RoIAlign` the boxes from elsewhere.
- Faster R-CNN (Ren et al. 2015) lets the same map propose the regions: a 3x3 convolution slides over it and says of
  each of a few anchors whether it holds an object, and where exactly (the region proposal network, section 3.1). What
  this file shows.

`RoIAlign` is of Mask R-CNN (He et al. 2017, section 3); Fast R-CNN rounded regions to whole pixels of the map.

Deviations: regions come from one map of stride 8 that a pyramid has told what coarser ones see, where the paper has
conv5_3 of VGG, at stride 16. Where the paper draws a sample of anchors and regions, all learn, with the weights that
they would have on average; and where objects are few, background does not fill the sample, but is in proportion. True
boxes are not added to the proposals. Anchors that reach over the edge are kept. The refined box of a region is the same
for all classes. A loss of boxes is divided by the number of boxes.
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
from zoo.detection.nms import Suppression
from zoo.surgery.feature_maps import features

__all__ = ["VARIANTS", "FasterRCNN", "Proposals", "RoIAlign", "Variant", "region_anchors", "roi_align"]

LEVELS = ("c3", "c4", "c5")
STRIDE = 8
# Anchors, in pixels: for images of 128 to 512 about what the paper's 128, 256 and 512 are for those of 600.
SIZES, RATIOS = (16, 32, 64, 128, 256), (0.5, 1.0, 2.0)
# Section 3.1.2: an anchor is on an object from this IoU on, and background below that.
REGION_POSITIVE, REGION_NEGATIVE = 0.7, 0.3
# Fast R-CNN, section 2.3: a region from this on.
POSITIVE = 0.5
# How many anchors and regions of an image a sample has, and which share of it is on objects at most.
REGION_SAMPLE, REGION_SHARE = 256, 0.5
SAMPLE, SHARE = 64, 0.25
# Regions that overlap more than this are one (section 3.3).
REGION_IOU = 0.7


@dataclass(frozen=True)
class Variant:
    """`filters` of the map, `units` of the two dense layers that look at a region, and how many regions an image has:
    so many `proposals` are left when of four times as many those that overlap are suppressed."""

    filters: int
    units: int
    proposals: int


VARIANTS = {
    "faster_rcnn": Variant(filters=256, units=1024, proposals=300),
    "faster_rcnn_tiny": Variant(filters=64, units=256, proposals=100),
}


@keras.saving.register_keras_serializable(package="zoo")
class FasterRCNN(Detector):
    """A detector in two stages on any trunk that has maps at strides 8, 16 and 32; both are trained at once.

    How it is trained and asked: `zoo.detection.detector.Detector`.

    Args:
        filters, units, proposals: see `Variant`.
        Others: as for `Detector`.

    Input shape: float32 or uint8 `[n, h, w, channels]` in 0..255, height and width multiples of 32.

    Output shape: of the first stage `region_codes [n, anchors, 4]` and `region_logits [n, anchors]`, and `proposals
    [n, proposals, 4]`, xyxy in pixels, padded with zeros; of the second, which `decode` takes, `codes
    [n, proposals, 4]` and `logits [n, proposals, 1 + num_classes]`, the first of which is background.

    Raises:
        ValueError: a backbone without these levels; and what `Detector` refuses.

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
        """Boxes and scores of all regions, of the second stage; see `Detector.decode`. Padding has scores of 0."""
        ops = keras.ops
        proposals, codes, logits = (ops.cast(outputs[name], "float32") for name in ("proposals", "codes", "logits"))
        boxes = box_geometry.clip(box_geometry.decode(codes, proposals, variances=VARIANCES), image_size)
        real = ops.cast(box_geometry.area(proposals) > 0, "float32")
        return boxes, ops.softmax(logits)[..., 1:] * real[..., None]

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Equation 1 of Ren et al. 2015, and the multi-task loss of Girshick 2015, section 2.3, on its regions."""
        ops = keras.ops
        real = targets.real_objects(truths)

        grid = ops.convert_to_tensor(region_anchors(image_size))
        rows = matching.by_overlap(
            grid, truths["boxes"], real, positive=REGION_POSITIVE, negative=REGION_NEGATIVE, rescue="best"
        )
        clear = matching.outside_crowds(box_geometry.centres(grid), truths)
        on, off = _sample(rows, clear, REGION_SAMPLE, REGION_SHARE)
        objects, _ = matching.matched(truths, rows)
        region_box_loss = _box_loss(objects, grid, outputs["region_codes"], on)
        holds_object = ops.cast(rows >= 0, "float32")[..., None]
        each = ops.binary_crossentropy(holds_object, outputs["region_logits"][..., None], from_logits=True)[..., 0]
        region_loss = ops.sum(each * (on + off)) / ops.sum(on + off)

        # Regions are given to the second stage: its loss does not move them.
        regions = ops.stop_gradient(outputs["proposals"])
        rows = matching.by_overlap(regions, truths["boxes"], real, positive=POSITIVE, negative=POSITIVE)
        clear = matching.outside_crowds(box_geometry.centres(regions)[:, None], truths)
        clear = clear * ops.cast(box_geometry.area(regions) > 0, "float32")
        on, off = _sample(rows, clear, SAMPLE, SHARE)
        objects, classes = matching.matched(truths, rows)
        each = ops.sparse_categorical_crossentropy(classes + 1, outputs["logits"], from_logits=True)
        return {
            "region_box_loss": region_box_loss,
            "region_loss": region_loss,
            "box_loss": _box_loss(objects, regions, outputs["codes"], on),
            "class_loss": ops.sum(each * (on + off)) / ops.maximum(ops.sum(on + off), 1.0),
        }

    def get_config(self):
        return {**super().get_config(), **asdict(self.variant)}


def region_anchors(image_size: Sequence[Any]) -> Array:
    """The first stage's anchors of an image of (height, width), float32 `[anchors, 4]`, xyxy, in pixels.

    >>> region_anchors((64, 96)).shape  # 15 in each of 8 x 12 cells
    (1440, 4)
    """
    shapes = anchors.anchor_shapes(1, octaves=SIZES, ratios=RATIOS)
    return anchors.anchor_grid(image_size, [STRIDE], [shapes])


def roi_align(maps: Array, boxes: Array, *, stride: float, size: int = 7, samples: int = 2) -> Any:
    """Each region of a map, as a small map of fixed size.

    A region is divided into `size` x `size` bins. A bin is the mean of `samples` x `samples` points in it, and the map
    between its pixels' centres is interpolated bilinearly; beyond the outermost centres it goes on as it is there. Rows
    and columns can be interpolated one after the other, so that the whole is two products of matrices.

    Source: He et al. 2017, "Mask R-CNN", section 3 (RoIAlign).

    Args:
        maps: `[b, h, w, c]`.
        boxes: `[b, p, 4]`, xyxy, in pixels of the image.
        stride: pixels of the image for one of the map.
        size, samples: as above.

    Returns:
        `[b, p, size, size, c]`.

    Example: a map that rises by 1 from column to column.

    >>> maps = keras.ops.array(np.tile(np.arange(6, dtype="float32"), (1, 4, 1))[..., None])
    >>> roi_align(maps, keras.ops.array([[[8.0, 0, 40, 32]]]), stride=8, size=2).numpy()[0, 0, :, :, 0].tolist()
    [[1.5, 3.5], [1.5, 3.5]]
    """
    ops = keras.ops
    height, width = ops.shape(maps)[1:3]
    rows = _interpolation(boxes[..., 1] / stride, boxes[..., 3] / stride, height, size, samples)
    columns = _interpolation(boxes[..., 0] / stride, boxes[..., 2] / stride, width, size, samples)
    of_rows = ops.einsum("bpyh,bhwc->bpywc", rows, maps)
    # Not an einsum, which would turn the large `of_rows` around.
    return ops.matmul(columns[:, :, None], of_rows)


@keras.saving.register_keras_serializable(package="zoo")
class RoIAlign(keras.layers.Layer):
    """`roi_align` as a layer: maps `[b, h, w, c]` and boxes `[b, p, 4]` to `[b, p, size, size, c]`, in float32.

    Args:
        stride, size, samples: as for `roi_align`.
        name: of the layer.
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
    """What the first stage found: its best boxes, where they overlap the best of each.

    Source: Ren et al. 2015, section 3.3.

    Args:
        count: of boxes.
        name: of the layer.

    Input shape: the images `[b, h, w, c]`, of which only the size counts, codes `[b, n, 4]` and logits `[b, n]` of all
    anchors.

    Output shape: float32 `[b, count, 4]`, xyxy in pixels of the images and within them, the surest first, padded with
    zeros. No gradient goes through.
    """

    def __init__(self, count: int, *, name: str | None = None, dtype: Any = "float32", trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.count = count

    def call(self, images, codes, logits):
        ops = keras.ops
        image_size = ops.shape(images)[1:3]
        boxes = box_geometry.decode(ops.stop_gradient(codes), region_anchors(image_size), variances=VARIANCES)
        found = nms.suppress_portable(
            box_geometry.clip(boxes, image_size),
            ops.sigmoid(ops.stop_gradient(logits))[..., None],
            iou_threshold=REGION_IOU,
            score_threshold=0.0,
            max_detections=self.count,
            max_candidates=4 * self.count,
        )
        return ops.stop_gradient(found["boxes"])

    def compute_output_shape(self, images_shape, codes_shape, logits_shape):
        return (images_shape[0], self.count, 4)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


def _interpolation(start: Array, end: Array, count: Any, size: int, samples: int) -> Any:
    """How much each of `count` pixels in a row counts for each bin between `start` and `end`: `[b, p, size, count]`."""
    ops = keras.ops
    share = (np.arange(size * samples, dtype="float32") + 0.5) / (size * samples)
    places = start[..., None] + (end - start)[..., None] * share
    # A pixel's centre is half a pixel from its edge.
    places = ops.clip(places - 0.5, 0.0, ops.cast(count - 1, "float32"))
    weights = ops.relu(1 - ops.abs(places[..., None] - ops.arange(count, dtype="float32")))
    return ops.mean(ops.reshape(weights, (*ops.shape(start), size, samples, count)), axis=-2)


def _sample(rows: Array, clear: Array, count: int, share: float) -> tuple[Any, Any]:
    """The chance that each anchor is in a sample with as many objects as there are, up to a share of `count`, and of
    background in proportion (as for one object, where there is none).

    Args:
        rows: `[b, n]`, of `by_overlap`.
        clear: float `[b, n]`, 0 for what is no background.

    Returns:
        Chances of what has an object, and of background, `[b, n]` each; 0 for the others.
    """
    ops = keras.ops
    positive, negative = ops.cast(rows >= 0, "float32"), ops.cast(rows == -1, "float32") * clear
    positives, negatives = (ops.sum(which, axis=1, keepdims=True) for which in (positive, negative))
    on = ops.minimum(positives, share * count)
    off = ops.minimum(negatives, ops.minimum(count - on, ops.maximum(on, 1.0) * (1 - share) / share))
    return positive * on / ops.maximum(positives, 1.0), negative * off / ops.maximum(negatives, 1.0)


def _box_loss(objects: Array, boxes: Array, codes: Array, weights: Array) -> Any:
    """Smooth L1 of the codes, the mean of those that have an object."""
    ops = keras.ops
    wanted = box_geometry.encode(objects, boxes, variances=VARIANCES)
    # Where there is no object (or, in padding, no region) codes may be huge, and 0 times that is not always 0.
    wanted = ops.where(weights[..., None] > 0, wanted, 0.0)
    each = 4 * keras.losses.huber(wanted, codes, delta=1.0)
    return ops.sum(each * weights) / ops.maximum(ops.sum(weights), 1.0)


def _outputs(backbone: keras.Model, num_classes: int, variant: Variant) -> dict:
    """The two stages, on one map."""
    layers = keras.layers
    # Small weights, so that at first every anchor and every region is left where it is; outputs in float32.
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
