"""What all detectors share: batches of truths go in, boxes come out.

A detector is one file that says what its network looks like, what its numbers mean (`decode`) and what they should have
been (`loss_parts`). The rest is here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import keras
import numpy as np

from zoo.boxes import Array
from zoo.detection import nms, targets

__all__ = ["PRIOR_LOGIT", "Detector"]

# The logit of a class before training, at each point or anchor: a probability of 0.01. With an even chance, the many
# points on background would drown the others (Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.3).
PRIOR_LOGIT = math.log(0.01 / 0.99)


class Detector(keras.Model):
    """A flat functional model, images to a dict of outputs, whose layers can be frozen, costed and folded like any
    other's, with its loss and its suppression inside:

        detector.compile(keras.optimizers.AdamW(1e-3))
        detector.fit(pipelines.padded_batches(...), epochs=40)
        found = detector.detect(images)  # boxes, classes, scores, valid

    `fit` and `evaluate` take batches as `pipelines.padded_batches` makes them: dicts of `image`, `boxes`, `classes`,
    and as present `num_boxes` and `crowd`; or pairs (images, dict of the rest). Images without objects are trained on.
    `predict` gives what `detect` gives, so `zoo.metrics.training.DetectionCallback` needs nothing more.

    Args:
        backbone: functional, images `[n, h, w, channels]` to maps; its layers and weights are shared, not copied.
        build: the network, a function from the backbone to a dict of outputs. It is called once the other arguments
            are known to be good.
        num_classes: classes are 0..num_classes-1.
        loss_weights: name of each part of the loss -> what it counts in the sum. `fit` logs the parts by these names,
            before they are weighed.
        score_threshold: what `predict` and `detect` leave out.
        iou_threshold: at which they take two boxes of a class for one object.
        max_detections: of an image, the best.
        name: of the model.

    Input shape: float32 or uint8 `[n, h, w, channels]` in 0..255, of a size that `check_size` takes.

    Raises:
        ValueError: a backbone of a size that does not fit; no classes; thresholds outside 0..1, max_detections below 1;
            in `fit`, truths that have no boxes or other shapes.
        tensorflow.errors.InvalidArgumentError: in `fit`, boxes in relative coordinates or with NaN, classes that the
            model does not have.
    """

    # Height and width are multiples of it: the largest stride of the backbone's maps.
    LARGEST_STRIDE = 32
    SUPPRESSION = nms.Suppression()

    def __init__(
        self,
        backbone: keras.Model,
        build: Callable[[keras.Model], dict],
        *,
        num_classes: int,
        loss_weights: dict[str, float],
        suppression: nms.Suppression,
        name: str,
    ):
        if num_classes < 1:
            raise ValueError(f"expected 1 class or more, got num_classes={num_classes}")
        height, width = backbone.input_shape[1:3]
        self.check_size(height or self.LARGEST_STRIDE, width or self.LARGEST_STRIDE)
        super().__init__(inputs=backbone.input, outputs=build(backbone), name=name)
        self.backbone = backbone
        self.num_classes = num_classes
        self.suppression = suppression
        self.loss_weights = loss_weights
        self.loss_metrics = {part: keras.metrics.Mean(name=part) for part in loss_weights}

    @property
    def score_threshold(self) -> float:
        """The scores up to which `predict` and `detect` leave boxes out."""
        return self.suppression.score_threshold

    @property
    def iou_threshold(self) -> float:
        """The IoU over which `predict` and `detect` take two boxes of one class for one object."""
        return self.suppression.iou_threshold

    @property
    def max_detections(self) -> int:
        """The maximum number of detections per image that `predict` and `detect` give."""
        return self.suppression.max_detections

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Boxes and scores of all points (or anchors, or proposals), before suppression.

        Args:
            outputs: of the model.
            image_size: (height, width) of the images it was given.

        Returns:
            boxes `[n, points, 4]`, xyxy in the images' pixels and within them, and scores `[n, points, num_classes]`.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say what its outputs mean")

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """What `compute_loss` weighs and adds up.

        Args:
            truths: `boxes [b, m, 4]`, `classes [b, m]` and the rest, checked by `zoo.detection.targets.check_truths`.
            outputs: of the model, as float32.
            image_size: (height, width) of the images, in a graph scalar tensors.

        Returns:
            Scalars by the names of the `loss_weights`.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say what its outputs should be")

    @classmethod
    def check_size(cls, height: int, width: int) -> None:
        """Raises a ValueError for images of a size that the detector cannot take."""
        targets.grid_points((height, width), (cls.LARGEST_STRIDE,))

    def detect(self, images: Array) -> dict[str, np.ndarray]:
        """The objects in some images.

        Args:
            images: `[n, h, w, channels]` in 0..255, of the size that the model takes.

        Returns:
            `boxes`, float32 `[n, max_detections, 4]`, xyxy in pixels of these images; `classes`, int32, and `scores`,
            float32, `[n, max_detections]`; padded with zeros, classes with -1; and `valid`, int32 `[n]`, how many are
            real. `pipelines.restore_boxes` brings boxes back to the images as they were before resizing.

        Raises:
            ValueError: not a batch of images, or a size that is no multiple of the largest stride.
            tensorflow.errors.InvalidArgumentError: scores that are NaN, as from weights that are.
        """
        shape = np.shape(images)
        if len(shape) != 4:
            raise ValueError(f"expected images [n, height, width, channels], got {tuple(shape)}")
        self.check_size(*shape[1:3])
        return self.predict_on_batch(np.asarray(images))

    def loss_of(self, truths: dict[str, Any], outputs: dict[str, Array], image_size: Sequence[Any]) -> Any:
        """Computes the weighted sum of the `loss_parts` and adds each part to its mean in `loss_metrics`.

        `compute_loss` calls it with the outputs of the whole network. A part of the network, which does not get the
        images, calls it with the same outputs: see `part`. What layers add (regularisation) is not in the sum.

        Args:
            truths: A dict of `boxes [b, m, 4]`, `classes [b, m]` and the optional entries, as for `fit`.
            outputs: The outputs of the model for these images, of any floating type.
            image_size: Height and width of the images, in pixels: two numbers, or in a graph two scalar tensors.

        Returns:
            A float32 scalar tensor.

        Raises:
            ValueError: If the truths have no boxes or classes, or shapes that do not fit; outside of a graph also if
                their boxes are relative or not finite, or if a class is unknown.
            tensorflow.errors.InvalidArgumentError: For the same values, while a graph runs.
        """
        truths = targets.check_truths(truths, self.num_classes)
        outputs = {name: keras.ops.cast(values, "float32") for name, values in outputs.items()}
        parts = self.loss_parts(truths, outputs, image_size)
        for name, value in parts.items():
            self.loss_metrics[name].update_state(value)
        return sum(weight * parts[name] for name, weight in self.loss_weights.items())

    def part(self, inputs: Any, outputs: Any) -> keras.Model:
        """Returns a part of the network that is trained by the detector's own loss.

        The top of a detector can so be trained on stored activations of a frozen trunk. The part shares its layers and
        its `loss_metrics` with the detector. `compile` it and call `fit` with pairs (activations, truths), the truths
        as for the detector's own `fit`.

        Args:
            inputs: One symbolic tensor of the detector's graph, or a list of them: where the part begins.
            outputs: The symbolic outputs of the part, `detector.output` or a dict with the same names.

        Returns:
            A functional model from `inputs` to `outputs`.

        Raises:
            ValueError: If the height or width of the detector's input is open: the loss needs the size of the images.

        Example:

        >>> from zoo.detection import YOLO
        >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
        >>> detector = YOLO(backbone, num_classes=3, filters=16)
        >>> top = detector.part([backbone.get_layer("block_6_expand_relu").output], detector.output)
        >>> top.input_shape, len(top.trainable_variables) < len(detector.trainable_variables)
        ((None, 8, 12, 96), True)
        """
        return _DetectorPart(self, inputs, outputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Computes `loss_of` and adds what layers add (regularisation).

        Args:
            x: The images, of which only the size counts.
            y: The truths, a dict as for `fit`.
            y_pred: The output of the model for these images.
            sample_weight: Must be None.
            training: Has no effect.
        """
        _refuse_sample_weights(sample_weight)
        return sum(self.losses, self.loss_of(y, y_pred, keras.ops.shape(x)[1:3]))

    def train_step(self, data):
        return super().train_step(_images_and_truths(data))

    def test_step(self, data):
        return super().test_step(_images_and_truths(data))

    def predict_step(self, data):
        images = _images_and_truths(data)[0]
        boxes, scores = self.decode(self(images, training=False), keras.ops.shape(images)[1:3])
        return nms.suppress(boxes, scores, **asdict(self.suppression))

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            **asdict(self.suppression),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        arguments = dict(config)
        backbone = keras.saving.deserialize_keras_object(arguments.pop("backbone"), custom_objects=custom_objects)
        settings = {field.name: arguments.pop(field.name) for field in fields(nms.Suppression)}
        return cls(backbone, suppression=nms.Suppression(**settings), **arguments)


class _DetectorPart(keras.Model):
    """A part of a detector's graph, up to its outputs, with the detector's loss: see `Detector.part`."""

    def __init__(self, detector: Detector, inputs: Any, outputs: Any):
        image_size = detector.input_shape[1:3]
        if None in image_size:
            raise ValueError(
                f"expected a detector for images of one size, got {detector.name} for (height, width) = {image_size}; "
                "build its backbone for one size: the loss of a part cannot see the images"
            )
        super().__init__(inputs=inputs, outputs=outputs, name=f"{detector.name}_part")
        self.loss_metrics = dict(detector.loss_metrics)
        # A function, since Keras would count a model that is an attribute, with all its weights, as a layer.
        self._loss_of = partial(detector.loss_of, image_size=image_size)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        _refuse_sample_weights(sample_weight)
        return sum(self.losses, self._loss_of(y, y_pred))


def _refuse_sample_weights(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise ValueError("a detector's loss has no sample weights; leave sample_weight out")


def _images_and_truths(data: Any) -> tuple:
    """A batch of `fit`, of whatever form, as (images, truths), with sample weights if it has some."""
    if isinstance(data, dict):
        if "image" not in data:
            raise ValueError(f'expected batches with an "image", as pipelines.padded_batches makes, got {list(data)}')
        return data["image"], {name: data[name] for name in data if name in _TRUTHS}
    images, *rest = keras.utils.unpack_x_y_sample_weight(data)
    return _images_and_truths(images) if isinstance(images, dict) else (images, *rest)


_TRUTHS = ("boxes", "classes", "num_boxes", "valid", "crowd")
