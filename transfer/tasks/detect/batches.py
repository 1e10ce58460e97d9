"""What detectors are shown in training: photos on a canvas, changed at random with their boxes, four in one at first.

Mosaics in the first part of the epochs, whose objects are small and cut off, and whole photos after that; changes of
geometry and colour that take the boxes along; several sizes if that is wanted.

Sources: Bochkovskiy et al. 2020, "YOLOv4", section 3.3 (mosaic); Ge et al. 2021, "YOLOX", section 2.1 (mosaic only at
first); Redmon and Farhadi 2017, "YOLO9000", section 2 (several sizes).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
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
    epoch_order,
    padded_batches,
)
from pipelines.loading.scene_batches import scene_reader
from pipelines.prepare.letterbox import FILL
from transfer.training.kept_samples import kept_in_memory

__all__ = ["AUGMENTATIONS", "FLIPS", "STRIDE", "augmentation", "training_batches"]

TRUTHS = {"boxes": tf.float32, "classes": tf.int32, "crowd": tf.bool}
STRIDE = 32  # Sizes of the canvas are multiples of it.

# Columns: translation and zoom as a share of the size; brightness, contrast and saturation; hue.
AUGMENTATIONS: dict[str, tuple[float, float, float, float] | None] = {
    "none": None,
    "light": (0.1, 0.2, 0.2, 0.02),
    "strong": (0.2, 0.5, 0.4, 0.05),
}
FLIPS = {"none": None, "horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}

Sample = dict[str, tf.Tensor]


def augmentation(policy: str, *, flip: str = "horizontal", seed: int = 0) -> list[keras.layers.Layer]:
    """Makes random changes that suit boxes: there is no rotation, around whose corners a box would be too large.

    | policy | translation | zoom | brightness, contrast, saturation | hue |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | 10% | 20% | 20% | 2% |
    | strong | 20% | 50% | 40% | 5% |

    Args:
        policy: One of these.
        flip: "none", "horizontal", "vertical" or "both"; half of the images are mirrored in each direction. Do not
            mirror what has a reading direction; mirror in both directions what has no upright, such as cells and aerial
            photos. Defaults to "horizontal".
        seed: Seed of the layers for those who call them by themselves.

    Returns:
        Layers for `pipelines.augment`.

    Raises:
        ValueError: The policy or the direction is unknown.

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
    mosaic_epochs: int = 0,
    layers: Sequence[keras.layers.Layer] = (),
    scales: Sequence[float] = (1.0,),
    seed: int = 0,
    start: tuple[int, int] = (0, 0),
) -> tf.data.Dataset:
    """Makes batches of photos and truths for `transfer.fine_tune`, of the next epoch each time they are gone through.

    What is drawn at random depends on the seed, the number of the epoch and the number of the batch alone.

    Args:
        scenes: The photos to learn from; those without objects are shown, too.
        size: Height and width of the canvas, in pixels. Photos are resized to fit (`pipelines.ResizePolicy("pad")`).
        batch_size: Number of photos in a batch; the last batch of an epoch may have fewer. Defaults to 8.
        mosaic_epochs: Number of epochs, from the first on, in which each image is made of four. Defaults to 0.
        layers: Random changes for `pipelines.augment`.
        scales: With more than one, each batch is resized by one of these factors, to multiples of 32 pixels.
        seed: Seed of the order and of the changes. Defaults to 0.
        start: The epoch and the batch to begin at, both from 0.

    Returns:
        A `tf.data.Dataset`, one epoch long, of images, float32 `[b, height, width, 3]` in 0..255, and truths: a dict of
        `boxes` (float32 `[b, m, 4]`, xyxy in pixels of these images), `classes` (int32 `[b, m]`, padded with -1),
        `crowd` (bool `[b, m]`) and `num_boxes` (int32 `[b]`).

    Raises:
        ValueError: There are no scenes, or a number is out of its range.

    Example:

    >>> scene = Scene(np.zeros((32, 64, 3), "uint8"), "left", (32, 64), [[0, 0, 32, 32]], [1])
    >>> images, truths = next(iter(training_batches([scene] * 3, (64, 96), batch_size=2)))
    >>> images.shape, truths["boxes"].numpy()[0].tolist()
    (TensorShape([2, 64, 96, 3]), [[0.0, 8.0, 48.0, 56.0]])
    """
    num_batches = math.ceil(len(scenes) / max(1, batch_size))
    first_epoch, first_batch = start
    if not len(scenes) or batch_size < 1:
        raise ValueError(
            f"expected at least one scene and a batch_size of 1 or more, got {len(scenes)} scenes and "
            f"batch_size={batch_size}"
        )
    if mosaic_epochs < 0 or not (first_epoch >= 0 and 0 <= first_batch <= num_batches):
        raise ValueError(
            f"expected mosaic_epochs of 0 or more and start as (epoch, batch of {num_batches}), got {mosaic_epochs} "
            f"and {start}"
        )
    epochs = itertools.count(first_epoch)

    def epoch() -> Iterator[tuple[np.ndarray, ...]]:
        number = next(epochs)
        order = epoch_order(np.zeros(len(scenes)), number, shuffle=True, seed=seed)
        draws = np.random.default_rng([seed, number, 1]).integers(2**31, size=num_batches)
        skipped = first_batch * batch_size if number == first_epoch else 0
        columns = order, np.repeat(draws, batch_size)[: len(order)], np.full(len(order), number < mosaic_epochs)
        yield tuple(column[skipped:] for column in columns)

    specs = [tf.TensorSpec([None], dtype) for dtype in (tf.int64, tf.int64, tf.bool)]
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=tuple(specs)).unbatch()
    load = _loader(scenes, size)
    sizes = [[max(STRIDE, round(scale * side / STRIDE) * STRIDE) for side in size] for scale in scales]
    mosaic = [Mosaic(fill_value=FILL)] if mosaic_epochs else []

    # Nothing here needs autograph, which would take seconds to rewrite all that is called.
    @tf.autograph.experimental.do_not_convert
    def sample(index: tf.Tensor, draw: tf.Tensor, in_mosaic: tf.Tensor) -> Sample:
        return load(index) | {"draw": draw, "in_mosaic": in_mosaic}

    @tf.autograph.experimental.do_not_convert
    def finish(batch: Sample) -> tuple[tf.Tensor, Sample]:
        draw, in_mosaic = batch["draw"][0], batch["in_mosaic"][0]
        names = ("image", *TRUTHS, "num_boxes")
        batch = {name: batch[name] for name in names} | {"image": tf.cast(batch["image"], tf.float32)}

        def changed(*before: keras.layers.Layer) -> Sample:
            made = augment(batch, [*before, *layers], draw)
            return {name: made[name] for name in names}

        if mosaic:
            batch = tf.cond(in_mosaic, lambda: changed(*mosaic), changed)
        elif layers:
            batch = changed()
        batch = _resized(batch, sizes, draw) if len(sizes) > 1 else batch
        return batch["image"], {name: batch[name] for name in names[1:]}

    batches = padded_batches(dataset.map(sample, tf.data.AUTOTUNE), batch_size).map(finish, tf.data.AUTOTUNE)
    if first_batch == 0:
        batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    return batches.prefetch(2)


def _loader(scenes: Sequence[Scene], size: tuple[int, int]) -> Callable[[tf.Tensor], Sample]:
    """Returns the function from the number of a scene to its photo on the canvas, uint8, and its truths, in a graph."""
    read = scene_reader(scenes)
    policy = ResizePolicy("pad", size, pad_value=FILL)  # The values of its images are whole numbers.
    specs = {"image": tf.TensorSpec([*size, 3], tf.uint8)}
    specs |= {name: tf.TensorSpec([None, 4] if name == "boxes" else [None], dtype) for name, dtype in TRUTHS.items()}
    return kept_in_memory(lambda index: policy(read(index)), specs, len(scenes))


def _resized(batch: Sample, sizes: Sequence[Sequence[int]], draw: tf.Tensor) -> Sample:
    """Resizes a batch to one of the sizes, and its boxes with it."""
    place = tf.random.stateless_uniform([], tf.stack([draw, 1]), 0, len(sizes), tf.int32)
    new, old = tf.gather(tf.constant(sizes), place), tf.shape(batch["image"])[1:3]
    factor = tf.cast(new, tf.float32) / tf.cast(old, tf.float32)
    images = tf.ensure_shape(tf.image.resize(batch["image"], new), [None, None, None, 3])
    return batch | {"image": images, "boxes": batch["boxes"] * tf.tile(factor[::-1], [2])}
