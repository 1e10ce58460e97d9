"""Which flower, and where: one class and one box for each image, by the same fine-tuning as classification.

    model = transfer.localiser(transfer.backbone("efficientnet_lite0"), num_classes=5)
    train = transfer.localisation_batches(data.train, model.input_shape[1:3], shuffle=True)
    valid = transfer.localisation_batches(data.valid, model.input_shape[1:3])
    transfer.fine_tune(model, train, valid, objective=transfer.Localisation())

`zoo.detection.SlidingWindow` makes a detector of several objects of such a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import ResizePolicy, Scene, padded_batches, scene_dataset
from pipelines.prepare.letterbox import FILL
from transfer.models.backbones import Backbone
from transfer.models.heads import Head
from transfer.tasks.detect.batches import training_batches
from zoo import heads as tops
from zoo.boxes import clip, convert, decode_sqrt
from zoo.detection.one_object import LocationIoU, LocationLoss, ObjectAccuracy

__all__ = ["Localisation", "localisation_batches", "localiser", "relative_boxes"]

POOLINGS = ("average", "max", "both", "none")


def localiser(
    backbone: Backbone,
    num_classes: int,
    *,
    objectness: bool = False,
    pooling: str = "none",
    hidden: Sequence[int] = (128,),
    dropout: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """A model that tells what is in an image and where.

    Args:
        backbone: what `transfer.backbone` returns.
        num_classes: at least 2.
        objectness: a third output that says whether there is an object at all.
        pooling: "none" keeps where things are on the last map, for a box that is exact; "average", "max" and "both"
            forget it, with a smaller head. A map has 7 x 7 places at 224 pixels.
        hidden: widths of dense layers in each head. Without one, each step of Adam moves the sum of some ten thousand
            inputs by much more than a box is off, and the box is not learned.
        dropout: rate before each dense layer.
        seed: of the first weights and of the dropout.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to a list: class probabilities `[n, num_classes]`; box
        `[n, 4]`, about 0..1, centre x and y and the square roots of width and height, as shares of the image
        (`relative_boxes` makes boxes of them); and `[n, 1]`, the probability of an object, where asked.

    Raises:
        ValueError: an unknown pooling, a map without a fixed size and no pooling, or as of `transfer.Head`.

    Example:

    >>> from transfer.models.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> model = localiser(trunk, 5, objectness=True)
    >>> [tuple(output.shape) for output in model.outputs]
    [(None, 5), (None, 4), (None, 1)]
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}")
    maps = backbone.model.output
    if pooling == "none" and None in maps.shape[1:3]:
        raise ValueError(f"without pooling, the backbone needs a fixed image size; its map is {tuple(maps.shape)}")
    x = keras.layers.Flatten(name="flatten")(maps) if pooling == "none" else tops.pooled(maps, pooling)
    heads = {
        "label": Head(num_classes, hidden=hidden, dropout=dropout),
        # Linear, since a sigmoid that has gone too far learns no more; it begins near the middle of the image.
        "box": Head(4, "linear", hidden, dropout, mean=0.5, deviation=0.2),
    }
    if objectness:
        heads["objectness"] = Head(1, "sigmoid", hidden, dropout)
    outputs = [
        # Named, since Keras names losses and metrics after these layers.
        keras.layers.Identity(name=name, dtype="float32")(head(x, seed=seed + i, prefix=f"{name}_"))
        for i, (name, head) in enumerate(heads.items())
    ]
    return keras.Model(backbone.model.input, outputs, name=backbone.model.name)


@dataclass(frozen=True)
class Localisation:
    """What `localiser` is trained for: labels are `(classes, boxes)`, or `(classes, boxes, objectness)`.

    Classes are int `[n]`; boxes float `[n, 4]`, `rel_xyxy`: corners as shares of width and height; objectness float
    `[n, 1]`. Images without an object have class -1, a box of zeros and objectness 0, and teach only the last. The best
    epoch is that of the largest sum of accuracy and mean IoU, then of the lowest loss.

    Args:
        class_weight, box_weight, objectness_weight: of the losses in the sum that is minimised.
        box_loss: "square_root", or an overlap: see `zoo.detection.one_object.LocationLoss`.
        objectness: whether the model has that output.

    Raises:
        ValueError: a weight that is not positive, or an unknown loss.

    Example:

    >>> Localisation().loss_weights()
    [0.8, 0.2]
    """

    class_weight: float = 0.8
    box_weight: float = 0.2
    objectness_weight: float = 1.0
    box_loss: str = "square_root"
    objectness: bool = False

    def __post_init__(self) -> None:
        for name in ("class_weight", "box_weight", "objectness_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is a positive number, got {getattr(self, name)}")
        LocationLoss(self.box_loss)

    @property
    def _names(self) -> tuple[str, ...]:
        return ("label", "box", "objectness") if self.objectness else ("label", "box")

    @property
    def columns(self) -> tuple[str, ...]:
        own = ["loss", "label_loss", "label_accuracy", "box_loss", "box_iou"]
        own += ["objectness_loss", "objectness_accuracy"] if self.objectness else []
        return *own, *(f"val_{name}" for name in own)

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        return (("label_accuracy", "Accuracy of the class"), ("box_iou", "Overlap of the box (IoU)"), ("loss", "Loss"))

    def loss(self) -> list[keras.losses.Loss]:
        losses = [
            keras.losses.SparseCategoricalCrossentropy(ignore_class=-1),
            LocationLoss(self.box_loss),
            keras.losses.BinaryCrossentropy(),
        ]
        return losses[: len(self._names)]

    def loss_weights(self) -> list[float]:
        return [self.class_weight, self.box_weight, self.objectness_weight][: len(self._names)]

    def metrics(self) -> list[list[keras.metrics.Metric]]:
        metrics = [[ObjectAccuracy()], [LocationIoU()], [keras.metrics.BinaryAccuracy(name="accuracy")]]
        return metrics[: len(self._names)]

    def goodness(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        return row["val_label_accuracy"] + row["val_box_iou"], -row["val_loss"]

    def check_labels(self, spec: Any, model: keras.Model, name: str) -> None:
        wanted = f"labels ({', '.join(_SHAPES[each] for each in self._names)})"
        widths = [output.shape[-1] for output in model.outputs]
        if len(widths) != len(self._names) or widths[1:] != [4, 1][: len(widths) - 1]:
            raise ValueError(
                f"{model.name} has outputs of {widths} numbers; expected those of transfer.localiser with "
                f"objectness={self.objectness}"
            )
        if not isinstance(spec, tuple | list) or len(spec) != len(self._names):
            raise ValueError(f"{name} has to have {wanted}, as localisation_batches makes them; got {spec}")
        for each, part in zip(self._names, spec, strict=True):
            rank, last = (1, None) if each == "label" else (2, 4 if each == "box" else 1)
            shape = part.shape
            if shape.rank != rank or (last and shape[-1] not in (last, None)) or part.dtype.is_integer != (rank == 1):
                raise ValueError(f"{name} has to have {wanted}; got {shape} of {part.dtype.name} for {each!r}")

    def check_values(self, labels: Any, model: keras.Model, name: str) -> None:
        classes, boxes = (np.asarray(each) for each in labels[:2])
        k = model.outputs[0].shape[-1]
        if classes.size and (classes.min() < -1 or classes.max() >= k):
            raise ValueError(
                f"the classes of {name} have to be in 0..{k - 1}, or -1 without an object; got "
                f"{classes.min()}..{classes.max()}"
            )
        if not np.isfinite(boxes).all():
            raise ValueError(f"the boxes of {name} have to be finite numbers; got NaN or infinity among them")
        if boxes.size and (boxes.min() < -0.01 or boxes.max() > 1.01):
            raise ValueError(
                f"the boxes of {name} have to be shares of width and height, in 0..1; got {boxes.min():g}.."
                f"{boxes.max():g}, which look like pixels. zoo.boxes.convert(..., 'xyxy', 'rel_xyxy') converts them"
            )


_SHAPES = {"label": "classes int [n]", "box": "boxes float [n, 4]", "objectness": "objectness float [n, 1]"}


def localisation_batches(
    scenes: Sequence[Scene],
    size: tuple[int, int],
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    layers: Sequence[keras.layers.Layer] = (),
    seed: int = 0,
    objectness: bool = False,
) -> tf.data.Dataset:
    """Makes batches of images and of what `Localisation` learns from them: the largest object of each image.

    Photos are resized to fit onto a grey canvas (`pipelines.Letterbox`), as they are when the model is asked.

    Args:
        scenes: What `pipelines.read_scenes` returned for a split, or a `pipelines.SyntheticScenes`.
        size: Height and width of the model's images, in pixels.
        batch_size: Number of images in a batch. Defaults to 32.
        shuffle: Whether the images come in a new order in each epoch. The order and the changes depend on the seed and
            on the number of the epoch alone.
        layers: Layers of `pipelines` that change images and boxes at random, such as `pipelines.RandomFlip`. They take
            part only with `shuffle`.
        seed: Seed of the order and of the changes. Defaults to 0.
        objectness: Whether images without an object take part, and a third label says so.

    Returns:
        A data set, one epoch long, of images, float32 `[b, height, width, 3]` in 0..255, and labels, `(classes, boxes)`
        or `(classes, boxes, objectness)`: see `Localisation`.

    Raises:
        ValueError: There are no scenes, or one without objects where `objectness` is not asked for; the message counts
            them.

    Example:

    >>> scene = Scene(np.zeros((8, 16, 3), "uint8"), "left", (8, 16), [[0, 0, 8, 8]], [1])
    >>> images, (classes, boxes) = next(iter(localisation_batches([scene], (8, 16))))
    >>> images.shape, classes.numpy().tolist(), boxes.numpy().tolist()
    (TensorShape([1, 8, 16, 3]), [1], [[0.0, 0.0, 0.5, 1.0]])
    """
    empty = sum(not len(scene.boxes) for scene in scenes)
    if empty and not objectness:
        raise ValueError(
            f"{empty} of {len(scenes)} images have no object, so no class and no box; leave them out, or train with "
            "objectness=True"
        )

    @tf.autograph.experimental.do_not_convert
    def labelled(images: tf.Tensor, truths: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        boxes, classes = truths["boxes"], truths["classes"]
        areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        # Rows of padding have no area; a batch in which no image has an object has no row at all.
        boxes, classes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), tf.pad(classes, [[0, 0], [0, 1]], constant_values=-1)
        largest = tf.argmax(tf.pad(areas, [[0, 0], [0, 1]], constant_values=1e-6), axis=1)
        box, label = (tf.gather(values, largest, batch_dims=1) for values in (boxes, classes))
        box = convert(box, "xyxy", "rel_xyxy", image_size=size)
        present = tf.cast(label >= 0, tf.float32)[:, None]
        return images, (label, box, present) if objectness else (label, box)

    if shuffle:
        batches = training_batches(scenes, size, batch_size=batch_size, layers=layers, seed=seed)
    else:
        resized = scene_dataset(scenes).map(ResizePolicy("pad", size, pad_value=FILL), tf.data.AUTOTUNE)
        batches = padded_batches(resized, batch_size).map(lambda batch: (tf.cast(batch["image"], tf.float32), batch))
    return batches.map(labelled, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def relative_boxes(codes: Any, image_size: Sequence[Any]) -> np.ndarray:
    """Boxes in pixels, of the four numbers that a `localiser` gives.

    Args:
        codes: `[n, 4]`, its second output.
        image_size: (height, width) of the image, or of what the boxes are to be drawn on.

    Returns:
        float32 `[n, 4]`, xyxy, within the image.

    >>> relative_boxes(np.array([[0.25, 0.5, 0.5, 1.0]]), (8, 16)).tolist()
    [[2.0, 0.0, 6.0, 8.0]]
    """
    return np.asarray(clip(decode_sqrt(np.asarray(codes, "float32"), image_size), image_size), "float32")
