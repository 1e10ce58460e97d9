"""One object per image: what it is and where it is. Slid over a larger image, the network finds several objects.

The network is a classifier with four more outputs: the centre of the box and the square roots of its width and height,
as fractions of the image. So all of them lie in 0..1, and a pixel matters more to a small box than to a large one.
`transfer.localiser` makes such a network on any trunk, and `transfer.Localisation` trains it.

Source: Sermanet et al. 2014, "OverFeat", sections 3.3 (a box from the same features) and 3.5 (sliding); Redmon et al.
2016, "You Only Look Once", section 2 (the four numbers, and an objectness that tells whether there is an object).
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from zoo import boxes as box_geometry
from zoo.boxes import Array
from zoo.detection import nms
from zoo.detection.losses import OVERLAPS
from zoo.detection.suppression import Suppression
from zoo.surgery.conversion import to_fully_convolutional
from zoo.surgery.feature_maps import strides

__all__ = ["LOCATION_LOSSES", "LocationIoU", "LocationLoss", "ObjectAccuracy", "SlidingWindow"]

LOCATION_LOSSES = ("square_root", *OVERLAPS)
UNIT = (1.0, 1.0)  # the size of an image whose coordinates are fractions


@keras.saving.register_keras_serializable("zoo")
class LocationLoss(keras.losses.Loss):
    """The error of a predicted box; 0 for images without an object.

    Args:
        kind: "square_root" is the mean squared error of the four numbers. "iou", "giou", "diou" and "ciou" are 1 minus
            that overlap. Defaults to "square_root".
        reduction: How the losses of a batch are reduced, as in every Keras loss.
        name: Name of the loss.

    Input shape:
        True boxes `[n, 4]`, `rel_xyxy` (fractions of the image's width and height), of zeros where there is no object.
        Predictions `[n, 4]`: centre x, centre y, square root of the width, square root of the height.

    Raises:
        ValueError: If the kind is unknown.

    Example, where the truth is the left half of the image and the prediction is all of it:

    >>> truth, guess = np.array([[0, 0, 0.5, 1]], "float32"), np.array([[0.5, 0.5, 1, 1]], "float32")
    >>> float(LocationLoss("iou")(truth, guess))
    0.5
    >>> float(LocationLoss("iou")(np.zeros((1, 4), "float32"), guess))
    0.0
    """

    def __init__(self, kind: str = "square_root", *, reduction="sum_over_batch_size", name: str = "location_loss"):
        if kind not in LOCATION_LOSSES:
            raise ValueError(f"expected a kind of {', '.join(LOCATION_LOSSES)}, got {kind!r}")
        super().__init__(name=name, reduction=reduction)
        self.kind = kind

    def call(self, y_true, y_pred):
        y_true = keras.ops.cast(y_true, y_pred.dtype)
        if self.kind == "square_root":
            loss = keras.ops.mean(keras.ops.square(box_geometry.encode_sqrt(y_true, UNIT) - y_pred), axis=-1)
        else:
            loss = 1 - OVERLAPS[self.kind](y_true, box_geometry.decode_sqrt(y_pred, UNIT))
        return loss * keras.ops.cast(_has_object(y_true), y_pred.dtype)

    def get_config(self):
        return {"name": self.name, "reduction": self.reduction, "kind": self.kind}


@keras.saving.register_keras_serializable("zoo")
class LocationIoU(keras.metrics.Mean):
    """The mean IoU of true and predicted boxes over the images with an object.

    Boxes and predictions have the form that `LocationLoss` takes.

    >>> metric = LocationIoU()
    >>> metric.update_state(np.array([[0, 0, 0.5, 1], [0, 0, 0, 0]]), np.array([[0.5, 0.5, 1, 1], [0.1, 0.1, 0, 0]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "iou", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = (keras.ops.cast(each, "float32") for each in (y_true, y_pred))
        overlaps = box_geometry.iou(y_true, box_geometry.decode_sqrt(y_pred, UNIT))
        super().update_state(overlaps, _weights(_has_object(y_true), sample_weight))


@keras.saving.register_keras_serializable("zoo")
class ObjectAccuracy(keras.metrics.Mean):
    """The fraction of correct classes among the images with an object.

    True classes are int `[n]`, -1 for an image without an object; predictions are scores `[n, k]`.

    >>> metric = ObjectAccuracy()
    >>> metric.update_state([1, 0, -1], np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = keras.ops.cast(y_true, "int32")
        right = keras.ops.cast(keras.ops.argmax(y_pred, axis=-1), "int32") == y_true
        super().update_state(keras.ops.cast(right, "float32"), _weights(y_true >= 0, sample_weight))


class SlidingWindow:
    """A network for one object, run once over a larger image: it gives a result for each position of its window.

    A loop over crops would compute the features that windows share again and again; this computes them once (see
    `zoo.surgery.conversion.to_fully_convolutional`). The results are the same as those of the loop, apart from the
    effect of padding at the edges of windows.

    Args:
        model: A model with the outputs (classes `[n, k]`, box `[n, 4]`) or (classes, box, objectness `[n, 1]`), as
            `transfer.localiser` makes it. The window has the size of its images, which must be fixed.
        score_threshold: `detect` keeps only boxes with a larger score than this, in 0..1. Defaults to 0.5.
        iou_threshold: `detect` takes two boxes of one class with a larger IoU than this for one object. Defaults to
            0.4.
        max_detections: Maximum number of detections per image. Defaults to 100.

    Attributes:
        network: The fully convolutional network, from images to maps.
        stride: Number of pixels from one position of the window to the next.
        suppression: The settings with which `detect` suppresses boxes.

    Raises:
        ValueError: If the model has other outputs, if a threshold lies outside 0..1, or if `to_fully_convolutional`
            refuses the model.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 16, strides=16)(image))
    >>> outputs = [keras.layers.Dense(n, activation=a)(x) for n, a in ((5, "softmax"), (4, "sigmoid"), (1, "sigmoid"))]
    >>> window = SlidingWindow(keras.Model(image, outputs))
    >>> window.grid(np.zeros((1, 64, 96, 3))).shape, window.stride
    ((1, 3, 4, 10), 16)
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        score_threshold: float = 0.5,
        iou_threshold: float = 0.4,
        max_detections: int = 100,
    ):
        widths = [output.shape[-1] for output in model.outputs]
        if len(widths) not in (2, 3) or widths[1] != 4 or widths[2:] not in ([], [1]):
            raise ValueError(
                f"expected a model with the outputs classes, box (4 numbers) and, if it has one, objectness (1); got "
                f"outputs of {widths} numbers. transfer.localiser makes such models"
            )
        self.suppression = Suppression(score_threshold, iou_threshold, max_detections)
        self.window = model.input_shape[1:3]
        self.network = to_fully_convolutional(model)
        self.stride = int(max(strides(self.network).values()))

    def grid(self, images: Array) -> np.ndarray:
        """Runs the network at each position of the window.

        Args:
            images: A batch `[n, h, w, channels]` in 0..255, in which no side is shorter than that of the window.

        Returns:
            float32 `[n, rows, columns, k + 5]`: the probabilities of the classes, the objectness (1 if the model has
            none), and the four numbers of the box, as fractions of the window.

        Raises:
            ValueError: If the images are not a batch, or if they are smaller than the window.
        """
        shape = np.shape(images)
        if len(shape) != 4 or shape[1] < self.window[0] or shape[2] < self.window[1]:
            raise ValueError(f"expected images [n, height, width, channels] of at least {self.window}, got {shape}")
        maps = keras.tree.flatten(self.network(np.asarray(images, "float32"), training=False))
        classes, box, *objectness = (np.asarray(each) for each in maps)
        return np.concatenate([classes, *(objectness or [np.ones_like(classes[..., :1])]), box], axis=-1)

    def decode(self, grid: Array) -> tuple[np.ndarray, np.ndarray]:
        """Decodes a grid to boxes and scores of all positions, before suppression.

        Args:
            grid: The result of `grid`.

        Returns:
            Boxes `[n, positions, 4]`, xyxy in pixels of the image, and scores `[n, positions, k]`: the objectness times
            the probability of the class.
        """
        grid = np.asarray(grid)
        n, rows, columns, numbers = grid.shape
        corners = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * self.stride
        boxes = box_geometry.decode_sqrt(grid[..., -4:], self.window) + np.tile(corners, 2)
        scores = grid[..., : numbers - 5] * grid[..., numbers - 5 : numbers - 4]
        return boxes.reshape(n, -1, 4).astype("float32"), scores.reshape(n, -1, numbers - 5)

    def detect(self, images: Array) -> dict[str, np.ndarray]:
        """Detects the objects in some images.

        Boxes that overlap are suppressed class by class, so that each object is found once.

        Args:
            images: A batch, as for `grid`.

        Returns:
            A dict of `boxes` (xyxy, in pixels, clipped to the image), `classes`, `scores` and `valid`, as
            `zoo.detection.suppress` returns them.
        """
        boxes, scores = self.decode(self.grid(images))
        boxes = box_geometry.clip(boxes, np.shape(images)[1:3])
        detections = nms.suppress(boxes, scores, **asdict(self.suppression))
        return {name: np.asarray(values) for name, values in detections.items()}


def _has_object(boxes: Array) -> Any:
    return box_geometry.area(boxes) > 0


def _weights(kept: Any, sample_weight: Sequence[float] | Any) -> Any:
    kept = keras.ops.cast(kept, "float32")
    return kept if sample_weight is None else kept * keras.ops.reshape(sample_weight, keras.ops.shape(kept))
