"""The recipe that detectors are trained by: what they are shown, the optimizer, and the training itself.

AdamW with a warm-up and a cosine; averaged weights; mosaics in the first part of the epochs, whose objects are small
and cut off, and whole photos after that; changes of geometry and colour that take the boxes along; several sizes if
that is wanted. Each piece is a function of its own, for those who write another recipe.

Sources: Bochkovskiy et al. 2020, "YOLOv4", section 3.3 (mosaic); Ge et al. 2021, "YOLOX", section 2.1 (averaged
weights, mosaic only at first); Redmon and Farhadi 2017, "YOLO9000", section 2 (several sizes).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import (
    Mosaic,
    RandomBrightness,
    RandomContrast,
    RandomFlip,
    RandomHue,
    RandomSaturation,
    RandomTranslation,
    RandomZoom,
    ResizePolicy,
    Scene,
    augment,
    padded_batches,
    scene_dataset,
)
from pipelines.prepare.letterbox import FILL
from transfer.measuring.boxes import measure
from transfer.models.backbones import backbone as make_backbone
from transfer.training.guard import Guard, TrainingDiverged
from transfer.training.progress import Progress
from zoo import detection
from zoo.surgery.feature_maps import features

__all__ = [
    "AUGMENTATIONS",
    "FLIPS",
    "Training",
    "augmentation",
    "canvas_size",
    "new_detector",
    "optimizer",
    "train",
    "training_batches",
]

# What a detector learns from; padding has to be in every one of them.
_LEARNED_FROM = ("image", "boxes", "classes", "crowd", "num_boxes")
STRIDE = 32  # that canvas sizes are multiples of
CACHE_BYTES = 2**30  # of resized images, that are kept in memory

FROZEN = "c2"  # up to here, trunks stay as they are

# Columns: translation and zoom as a share of the size; brightness, contrast and saturation; hue.
AUGMENTATIONS: dict[str, tuple[float, float, float, float] | None] = {
    "none": None,
    "light": (0.1, 0.2, 0.2, 0.02),
    "strong": (0.2, 0.5, 0.4, 0.05),
}
FLIPS = {"none": None, "horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}


def canvas_size(scenes: Sequence[Scene], longer: int = 320) -> tuple[int, int]:
    """The canvas on which most of the photos leave the least grey: multiples of 32 pixels, `longer` at most.

    Args:
        scenes: of which the median shape counts.
        longer: its longer side, in pixels, rounded down to a multiple of 32.

    Returns:
        Height and width.

    >>> canvas_size([Scene(b"", "a", (480, 640))], 400)
    (288, 384)
    """
    ratio = float(np.median([scene.size[1] / scene.size[0] for scene in scenes]))
    most = max(STRIDE, longer // STRIDE * STRIDE)
    other = max(STRIDE, round(most * min(ratio, 1 / ratio) / STRIDE) * STRIDE)
    return (other, most) if ratio >= 1 else (most, other)


def new_detector(
    name: str,
    backbone: str,
    num_classes: int,
    size: tuple[int, int],
    *,
    any_size: bool = False,
    weights: str | None = "imagenet",
    frozen: str | None = FROZEN,
) -> tuple[keras.Model, str | None]:
    """A detector on a pretrained trunk, whose batch norms are frozen, and whose first layers are.

    The first layers see edges and colours, which are the same everywhere, and work on the largest maps: leaving them as
    they are saves a fifth of the time of a step.

    Args:
        name: one of `zoo.detection.list_detectors()`.
        backbone: one of `transfer.list_backbones()`.
        num_classes: how many.
        size: height and width of its images, in pixels.
        any_size: make one that takes images of any size, to train with several.
        weights: of the backbone.
        frozen: the trunk's layers up to its map of this level ("c2" is at stride 4) stay as they are; None: all learn.
            Without weights, nothing is frozen.

    Returns:
        The detector, and the licence of the backbone's weights.

    Raises:
        ValueError: an unknown detector or backbone; the message shows near ones. A size that is no multiple of the
            detector's largest stride.
        FileNotFoundError: weights that cannot be had.
    """
    trunk = make_backbone(backbone, image_size=size, weights=weights)
    if weights is not None:
        first = features(trunk.model, (frozen,)).layers if frozen else ()
        for layer in trunk.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization) or layer in first:
                layer.trainable = False
    if any_size:
        canvas = keras.Input((None, None, 3), name=trunk.model.input.name)
        open_trunk = keras.models.clone_model(trunk.model, input_tensors=canvas)
        open_trunk.set_weights(trunk.model.get_weights())
        return detection.create(name, backbone=open_trunk, num_classes=num_classes), trunk.licence
    model = detection.create(name, backbone=trunk.model, num_classes=num_classes, image_size=size)
    return model, trunk.licence


def augmentation(policy: str, *, flip: str = "horizontal", seed: int = 0) -> list[keras.layers.Layer]:
    """Random changes that suit boxes: no rotation, around whose corners a box would be too large.

    | policy | translation | zoom | brightness, contrast, saturation | hue |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | 10% | 20% | 20% | 2% |
    | strong | 20% | 50% | 40% | 5% |

    Args:
        policy: one of these.
        flip: "none", "horizontal", "vertical" or "both"; half of the images are mirrored in each direction. Not what
            has a reading direction; in both what has no upright, such as cells and aerial photos.
        seed: of the layers when they are called as such.

    Returns:
        Layers for `pipelines.augment`.

    Raises:
        ValueError: an unknown policy or direction.

    >>> [type(layer).__name__ for layer in augmentation("none", flip="both")]
    ['RandomFlip']
    """
    if policy not in AUGMENTATIONS:
        raise ValueError(f"a detector's augmentation is one of {', '.join(AUGMENTATIONS)}; got {policy!r}")
    if flip not in FLIPS:
        raise ValueError(f"flip is one of {', '.join(FLIPS)}; got {flip!r}")
    direction, ranges = FLIPS[flip], AUGMENTATIONS[policy]
    layers = [RandomFlip(direction, seed=seed)] if direction else []
    if ranges is None:
        return layers
    translation, zoom, colour, hue = ranges
    grey: dict[str, Any] = {"fill_mode": "constant", "fill_value": FILL}
    return [
        *layers,
        RandomZoom((-zoom, zoom), **grey, seed=seed + 1),
        RandomTranslation(translation, translation, **grey, seed=seed + 2),
        RandomBrightness(colour, seed=seed + 3),
        RandomContrast(colour, seed=seed + 4),
        RandomSaturation((0.5 - colour / 2, 0.5 + colour / 2), seed=seed + 5),
        RandomHue(hue, seed=seed + 6),
    ]


def training_batches(
    scenes: Sequence[Scene],
    size: tuple[int, int],
    *,
    batch_size: int = 8,
    epochs: int = 1,
    mosaic_epochs: int = 0,
    layers: Sequence[keras.layers.Layer] = (),
    scales: Sequence[float] = (1.0,),
    seed: int = 0,
) -> tf.data.Dataset:
    """All batches of a training, one epoch after the other, for `model.fit(..., steps_per_epoch=...)`.

    What is drawn for a step depends on the seed and the number of the step alone.

    Args:
        scenes: to learn from; images without objects are shown, too.
        size: height and width of the canvas; photos are resized to fit (`pipelines.ResizePolicy("pad")`).
        batch_size: images in a step; the last one of an epoch may have fewer.
        epochs: how many.
        mosaic_epochs: in so many of them, from the first on, each image is made of four.
        layers: changes for `pipelines.augment`.
        scales: with more than one, each batch is resized by one of them, to multiples of 32 pixels.
        seed: of the order and of the changes.

    Returns:
        Batches as `pipelines.padded_batches` makes them, of float32 images.

    Raises:
        ValueError: no scenes, or a number out of its range.
    """
    _check_batch_size(batch_size)
    if not 0 <= mosaic_epochs <= epochs:
        raise ValueError(f"expected 0 <= mosaic_epochs <= epochs, got {mosaic_epochs} and {epochs}")
    policy = ResizePolicy("pad", size, pad_value=FILL)

    def prepared(sample):
        resized = policy(sample)
        resized["image"] = tf.cast(resized["image"], tf.uint8)  # they are whole numbers
        return {name: resized[name] for name in _LEARNED_FROM if name in resized}

    fits = len(scenes) * size[0] * size[1] * 3 <= CACHE_BYTES
    dataset = scene_dataset(scenes, shuffle=not fits, seed=seed).map(prepared, tf.data.AUTOTUNE)
    if fits:
        dataset = dataset.cache().shuffle(len(scenes), seed=seed)
    mosaic = Mosaic(fill_value=FILL)
    mosaic_steps = mosaic_epochs * math.ceil(len(scenes) / batch_size)
    sizes = [[max(STRIDE, round(scale * side / STRIDE) * STRIDE) for side in size] for scale in scales]

    def changed(step, batch):
        batch = batch | {"image": tf.cast(batch["image"], tf.float32)}
        number = step + seed * 2**32

        def with_layers(*before):
            made = augment(batch, [*before, *layers], number)
            return {name: made[name] for name in batch}

        if mosaic_steps:
            batch = tf.cond(step < mosaic_steps, lambda: with_layers(mosaic), with_layers)
        elif layers:
            batch = with_layers()
        return _resized(batch, sizes, number) if len(sizes) > 1 else batch

    batches = padded_batches(dataset, batch_size).repeat(epochs)
    # Nothing here needs autograph, which would take seconds to rewrite all that is called.
    changed = tf.autograph.experimental.do_not_convert(changed)
    return batches.enumerate().map(changed, tf.data.AUTOTUNE).prefetch(2)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of 1 or more, got {batch_size}")


def _resized(batch: dict[str, tf.Tensor], sizes: Sequence[Sequence[int]], number: tf.Tensor) -> dict[str, tf.Tensor]:
    """The batch at one of the sizes, boxes with it."""
    place = tf.random.stateless_uniform([], tf.stack([number, 1]), 0, len(sizes), tf.int32)
    new, old = tf.gather(tf.constant(sizes), place), tf.shape(batch["image"])[1:3]
    factor = tf.cast(new, tf.float32) / tf.cast(old, tf.float32)
    images = tf.ensure_shape(tf.image.resize(batch["image"], new), [None, None, None, 3])
    return batch | {"image": images, "boxes": batch["boxes"] * tf.tile(factor[::-1], [2])}


def optimizer(
    steps: int,
    *,
    learning_rate: float = 1e-3,
    warm_up: float = 0.05,
    weight_decay: float = 0.05,
    ema: float | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW, its rate rising at first and then falling along half a cosine, its gradients bounded, averaging weights.

    Args:
        steps: batches in all.
        learning_rate: the highest.
        warm_up: share in [0, 1) of the steps over which the rate rises.
        weight_decay: share of the rate by which kernels shrink in each step; not biases, nor what batch norms learn.
        ema: in [0, 1): momentum of the averaged weights, which are what is measured and kept; 0 is none. Unless told,
            the average is over about a tenth of the steps.

    Raises:
        ValueError: a value out of its range.

    >>> float(optimizer(1000).ema_momentum), optimizer(1000, ema=0).use_ema
    (0.99, False)
    """
    if not 0 <= warm_up < 1 or not 0 <= (ema or 0) < 1:
        raise ValueError(f"warm_up and ema are in [0, 1), got warm_up={warm_up} and ema={ema}")
    if not 0 < learning_rate < math.inf or not 0 <= weight_decay < math.inf:
        raise ValueError(
            f"expected a learning rate over 0 and a weight decay of 0 or more, got {learning_rate} and {weight_decay}"
        )
    rising = round(warm_up * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20 if rising else learning_rate,
        max(1, steps - rising),
        warmup_target=learning_rate if rising else None,
        warmup_steps=rising,
    )
    momentum = max(0.0, 1 - 10 / max(1, steps)) if ema is None else ema
    made = keras.optimizers.AdamW(
        schedule, weight_decay, clipnorm=10.0, use_ema=momentum > 0, ema_momentum=min(momentum, 0.9999)
    )
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


@dataclass(frozen=True)
class Training:
    """What a training was like.

    Attributes:
        rows: of each epoch `epoch`, `loss` and its parts, `learning_rate`, `seconds`, and `valid_map50` and
            `valid_map`, None in epochs after which nothing was measured.
        seconds: of all epochs.
    """

    rows: tuple[dict[str, Any], ...]
    seconds: float


def train(
    model: keras.Model,
    scenes: Sequence[Scene],
    valid: Sequence[Scene] = (),
    *,
    size: tuple[int, int],
    epochs: int = 40,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
    warm_up: float = 0.05,
    weight_decay: float = 0.05,
    ema: float | None = None,
    mosaic: float = 0.5,
    augment: str = "light",
    flip: str = "horizontal",
    scales: Sequence[float] = (1.0,),
    validations: int = 10,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> Training:
    """Trains a detector, in place. The weights of the last epoch are kept: validation data choose nothing.

    Args:
        model: of `zoo.detection.create`, or of `new_detector`.
        scenes: to learn from.
        valid: to measure on in between.
        size: height and width of the canvas.
        epochs, batch_size, seed: see `training_batches`.
        learning_rate, warm_up, weight_decay, ema: see `optimizer`.
        mosaic: share of the epochs, from the first on, whose images are made of four.
        augment, flip: see `augmentation`.
        scales: factors on the size, of which each batch gets one; the model has to take any size if there are several.
        validations: how often at most `valid` is measured; always after the last epoch.
        callbacks: of Keras.
        progress: whether to show a bar on stderr or in a notebook.

    Raises:
        ValueError: a value out of its range, no scenes, none with an object, or several scales for a model of one size.
        transfer.TrainingDiverged: the loss is no number any more.
        transfer.FrozenWeightsChanged: a frozen layer is not what it was.

    Example:

        model, _ = new_detector("yolo_tiny", "efficientnet_lite0", len(data.class_names), (288, 384))
        train(model, data.train, data.valid, size=(288, 384))
    """
    if not any(len(scene) for scene in scenes):
        raise ValueError(
            f"none of the {len(scenes)} training images has an object, so there is nothing to learn; see the faults "
            "that were listed for boxes that were left out"
        )
    _check_batch_size(batch_size)
    if not 0 <= mosaic <= 1:
        raise ValueError(f"mosaic is a share of the epochs in 0..1, got {mosaic}")
    if len(scales) > 1 and model.input_shape[1] is not None:
        raise ValueError(f"several sizes need a model that takes any; this one takes {model.input_shape[1:3]}")
    keras.utils.set_random_seed(seed)
    steps = math.ceil(len(scenes) / batch_size)
    batches = training_batches(
        scenes,
        size,
        batch_size=batch_size,
        epochs=epochs,
        mosaic_epochs=round(mosaic * epochs),
        layers=augmentation(augment, flip=flip, seed=seed),
        scales=scales,
        seed=seed,
    )
    chosen = optimizer(epochs * steps, learning_rate=learning_rate, warm_up=warm_up, weight_decay=weight_decay, ema=ema)
    model.compile(chosen)
    rows: list[dict[str, Any]] = []
    after = _measured_epochs(epochs, validations) if len(valid) else set()
    note = _Note(rows, lambda: measure(model, valid, size=size).summary(), after)
    averaging = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if chosen.use_ema else []
    start = time.perf_counter()
    with Progress(epochs, enabled=progress) as bar:
        model.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=steps,
            callbacks=[Guard(), *averaging, note, bar.callback("train"), *callbacks],
            shuffle=False,  # the data set does
            verbose=0,
        )
    return Training(tuple(rows), time.perf_counter() - start)


def _measured_epochs(epochs: int, times: int) -> set[int]:
    """Epochs after which to measure, counted from 0; evenly spread, the last among them."""
    return {round((i + 1) * epochs / min(times, epochs)) - 1 for i in range(min(times, epochs))} | {epochs - 1}


class _Note(keras.callbacks.Callback):
    """Keeps a row for each epoch, measures after some, and stops a training that has come apart."""

    def __init__(self, rows: list[dict[str, Any]], measured: Callable[[], dict[str, float]], after: set[int]):
        super().__init__()
        self.rows, self.measured, self.after = rows, measured, after

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise TrainingDiverged(
                f"the loss became {logs['loss']} in step {batch + 1} of epoch {len(self.rows) + 1}; take a lower "
                "learning rate (--learning-rate)"
            )

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        rate = self.model.optimizer.learning_rate
        row = {"epoch": epoch + 1, **logs, "learning_rate": float(keras.ops.convert_to_numpy(rate)), "seconds": seconds}
        found = self.measured() if epoch in self.after else {}
        row |= {f"valid_{name}": found.get(name) for name in ("map50", "map")}
        self.rows.append(row)
        if found:
            logs["valid_map50"] = found["map50"]
