"""What all detectors share: training on batches of truths, and prediction of boxes.

A detector is one file. It defines the network, how its outputs are decoded to boxes and scores (`decode`), and the
parts of its loss (`loss_parts`). Everything else is here.
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
from zoo.detection.suppression import Suppression

__all__ = ["PRIOR_LOGIT", "Detector"]

# The logit of a class before training, at each point or anchor: a probability of 0.01. With an even chance, the many
# points on background would drown the others (Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3.3).
PRIOR_LOGIT = math.log(0.01 / 0.99)


class Detector(keras.Model):
    """A flat functional model from images to a dict of outputs, which contains its own loss and its own suppression.

    Its layers can be frozen, costed and folded like those of any other model:

        detector.compile(keras.optimizers.AdamW(1e-3))
        detector.fit(pipelines.padded_batches(...), epochs=40)
        detections = detector.detect(images)  # boxes, classes, scores, valid

    `fit` and `evaluate` take batches as `pipelines.padded_batches` makes them: dicts of `image`, `boxes`, `classes`,
    and optionally `num_boxes` and `crowd`. They also take pairs (images, dict of the other entries). The detector is
    also trained on images without objects. `predict` returns the same as `detect`, so that
    `zoo.metrics.training.DetectionCallback` works with every detector.

    Args:
        backbone: A functional model from images `[n, h, w, channels]` to feature maps. Its layers and weights are
            shared with the detector, not copied.
        build: A function from the backbone to a dict of outputs, which builds the network. It is called after the other
            arguments have been checked.
        num_classes: Number of classes. Classes are 0..num_classes-1.
        loss_weights: A dict from the name of each part of the loss to its weight in the sum. `fit` logs the parts by
            these names, before they are weighted.
        suppression: The settings with which `predict` and `detect` suppress boxes.
        name: Name of the model.

    Input shape:
        float32 or uint8 `[n, h, w, channels]` in 0..255, of a size that `check_size` accepts.

    Raises:
        ValueError: If the size of the backbone does not fit, or if there are no classes. In `fit`, if truths have no
            boxes or other shapes than expected.
        tensorflow.errors.InvalidArgumentError: In `fit`, if boxes are relative or not finite, or if the model does not
            have a class.
    """

    # Height and width of the images must be multiples of this number: the largest stride of the backbone's feature
    # maps.
    LARGEST_STRIDE = 32
    SUPPRESSION = Suppression()

    def __init__(
        self,
        backbone: keras.Model,
        build: Callable[[keras.Model], dict],
        *,
        num_classes: int,
        loss_weights: dict[str, float],
        suppression: Suppression,
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
        """Only boxes with a larger score than this are in the results of `predict` and `detect`."""
        return self.suppression.score_threshold

    @property
    def iou_threshold(self) -> float:
        """`predict` and `detect` take two boxes of one class with a larger IoU than this for one object."""
        return self.suppression.iou_threshold

    @property
    def max_detections(self) -> int:
        """Maximum number of detections per image in the results of `predict` and `detect`."""
        return self.suppression.max_detections

    def decode(self, outputs: dict[str, Array], image_size: Sequence[Any]) -> tuple[Any, Any]:
        """Decodes the outputs to boxes and scores of all points (or anchors, or proposals), before suppression.

        Args:
            outputs: The outputs of the model.
            image_size: Height and width of the images that the model was given, in pixels.

        Returns:
            Boxes `[n, points, 4]`, xyxy in pixels of the images and clipped to them, and scores `[n, points,
            num_classes]` in 0..1.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement decode")

    def loss_parts(self, truths: dict[str, Any], outputs: dict[str, Any], image_size: Sequence[Any]) -> dict[str, Any]:
        """Computes the parts of the loss, which `loss_of` weights and adds up.

        Args:
            truths: A dict of `boxes [b, m, 4]`, `classes [b, m]` and the optional entries, checked by
                `zoo.detection.targets.check_truths`.
            outputs: The outputs of the model, as float32.
            image_size: Height and width of the images, in pixels; in a graph two scalar tensors.

        Returns:
            A dict of scalars with the names of `loss_weights`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement loss_parts")

    @classmethod
    def check_size(cls, height: int, width: int) -> None:
        """Checks whether the detector can take images of a size.

        Raises:
            ValueError: If it cannot: height and width must be multiples of `LARGEST_STRIDE`.
        """
        targets.grid_points((height, width), (cls.LARGEST_STRIDE,))

    def detect(self, images: Array) -> dict[str, np.ndarray]:
        """Detects the objects in some images.

        Args:
            images: A batch `[n, h, w, channels]` in 0..255, of the size that the model takes.

        Returns:
            A dict of `boxes`, float32 `[n, max_detections, 4]`, xyxy in pixels of these images; `classes`, int32 `[n,
            max_detections]`; `scores`, float32 `[n, max_detections]`; and `valid`, int32 `[n]`, the number of
            detections of each image. The rest is padding: boxes and scores of 0, classes of -1.
            `pipelines.restore_boxes` converts the boxes to pixels of the images before resizing.

        Raises:
            ValueError: If the images are not a batch, or if their size is not a multiple of the largest stride.
            tensorflow.errors.InvalidArgumentError: If scores are NaN, for example because weights are NaN.
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
        settings = {field.name: arguments.pop(field.name) for field in fields(Suppression)}
        return cls(backbone, suppression=Suppression(**settings), **arguments)


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
    """Returns a batch of `fit` as a pair (images, truths), and as a triple if it has sample weights."""
    if isinstance(data, dict):
        if "image" not in data:
            raise ValueError(f'expected batches with an "image", as pipelines.padded_batches makes, got {list(data)}')
        return data["image"], {name: data[name] for name in data if name in _TRUTHS}
    images, *rest = keras.utils.unpack_x_y_sample_weight(data)
    return _images_and_truths(images) if isinstance(images, dict) else (images, *rest)


_TRUTHS = ("boxes", "classes", "num_boxes", "valid", "crowd")
