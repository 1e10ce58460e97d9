"""What networks for segmentation are shown in training: random windows of photos and their masks, changed together.

A photo lies on the canvas as it will when the network is used. One warp then mirrors, turns, zooms and cuts out a
window, of the photo and, with the nearest pixel, of its mask; colours change besides. So windows show the photo at
about its full resolution, and their cost does not depend on the size of the photos.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomHue,
    RandomRotation,
    RandomSaturation,
    RandomZoom,
    ResizePolicy,
    Scene,
    augment,
    epoch_order,
)
from pipelines.loading.scene_batches import scene_reader
from pipelines.prepare.letterbox import FILL
from transfer.training.kept_samples import kept_in_memory
from zoo.metrics.segmentation import IGNORE

__all__ = ["AUGMENTATIONS", "augmentation", "training_batches", "validation_batches"]

# Columns: zoom as a share of the size; rotation as a share of a full turn; brightness, contrast and saturation; hue.
AUGMENTATIONS: dict[str, tuple[float, float, float, float] | None] = {
    "none": None,
    "light": (0.3, 0.03, 0.2, 0.02),
    "strong": (0.5, 0.1, 0.4, 0.05),
}
FLIPS = {"none": None, "horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}


def augmentation(policy: str, crop: tuple[int, int], *, flip: str = "horizontal") -> list[keras.layers.Layer]:
    """Makes random changes for photos and masks, the last of geometry being a window of one size.

    | policy | zoom | rotation | brightness, contrast, saturation | hue |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | 30% | 11 degrees | 20% | 2% |
    | strong | 50% | 36 degrees | 40% | 5% |

    Args:
        policy: One of these.
        crop: Height and width of the window, in pixels.
        flip: "none", "horizontal", "vertical" or "both"; half of the images are mirrored in each direction. Defaults to
            "horizontal".

    Returns:
        Layers for `pipelines.augment`.

    Raises:
        ValueError: The policy or the direction is unknown.

    >>> [type(layer).__name__ for layer in augmentation("none", (64, 96))]
    ['RandomFlip', 'RandomCrop']
    """
    if policy not in AUGMENTATIONS:
        raise ValueError(f"the augmentation of masks is one of {', '.join(AUGMENTATIONS)}; got {policy!r}")
    if flip not in FLIPS:
        raise ValueError(f"flip is one of {', '.join(FLIPS)}; got {flip!r}")
    direction, ranges = FLIPS[flip], AUGMENTATIONS[policy]
    mirror = [RandomFlip(direction)] if direction else []
    window = RandomCrop(*crop)
    if ranges is None:
        return [*mirror, window]
    zoom, rotation, colour, hue = ranges
    return [
        *mirror,
        RandomRotation(rotation),
        RandomZoom((-zoom, zoom)),
        window,
        RandomBrightness(colour),
        RandomContrast(colour),
        RandomSaturation((0.5 - colour / 2, 0.5 + colour / 2)),
        RandomHue(hue),
    ]


def training_batches(
    scenes: Sequence[Scene],
    size: tuple[int, int],
    layers: Sequence[keras.layers.Layer],
    *,
    batch_size: int = 8,
    crops: int = 1,
    seed: int = 0,
) -> tf.data.Dataset:
    """Makes batches of windows and their masks for `transfer.fine_tune`, of the next epoch each time they are gone
    through.

    What is drawn at random depends on the seed, the number of the epoch and the number of the batch alone.

    Args:
        scenes: The photos to learn from, with masks.
        size: Height and width of the canvas, in pixels.
        layers: Random changes, among them a window (`augmentation`).
        batch_size: Number of windows in a batch; the last batch of an epoch may have fewer. Defaults to 8.
        crops: Number of windows of each photo in an epoch. Defaults to 1.
        seed: Seed of the order and of the changes. Defaults to 0.

    Returns:
        A `tf.data.Dataset`, one epoch long, of images, float32 `[b, height, width, 3]` in 0..255, and class numbers,
        uint8 `[b, height, width]`, 255 where there is none.

    Example:

    >>> mask = np.full((32, 64), 1, np.uint8)
    >>> scene = Scene(np.zeros((32, 64, 3), "uint8"), "left", (32, 64), mask=mask)
    >>> images, masks = next(iter(training_batches([scene] * 3, (64, 64), augmentation("none", (64, 32)))))
    >>> images.shape, np.unique(masks, return_counts=True)
    (TensorShape([3, 64, 32, 3]), (array([  1, 255], dtype=uint8), array([3072, 3072])))
    """
    number_of_samples = len(scenes) * crops
    num_batches = math.ceil(number_of_samples / batch_size)
    epochs = itertools.count()

    def epoch() -> Iterator[tuple[np.ndarray, ...]]:
        number = next(epochs)
        passes = range(number * crops, (number + 1) * crops)
        labels = np.zeros(len(scenes))
        order = np.concatenate([epoch_order(labels, one, shuffle=True, seed=seed) for one in passes])
        draws = np.random.default_rng([seed, number, 1]).integers(2**31, size=num_batches)
        yield order, np.repeat(draws, batch_size)[: len(order)]

    specs = tuple(tf.TensorSpec([None], tf.int64) for _ in range(2))
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=specs).unbatch()
    load = _loader(scenes, size)

    # Nothing here needs autograph, which would take seconds to rewrite all that is called.
    @tf.autograph.experimental.do_not_convert
    def sample(index: tf.Tensor, draw: tf.Tensor) -> dict[str, tf.Tensor]:
        return load(index) | {"draw": draw}

    @tf.autograph.experimental.do_not_convert
    def finish(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        shown = {name: batch[name] for name in ("image", "mask")}
        changed = augment(shown, layers, batch["draw"][0], mask_fill_value=IGNORE)
        return changed["image"], changed["mask"]

    batches = dataset.map(sample, tf.data.AUTOTUNE).batch(batch_size).map(finish, tf.data.AUTOTUNE)
    return batches.apply(tf.data.experimental.assert_cardinality(num_batches)).prefetch(2)


def validation_batches(scenes: Sequence[Scene], size: tuple[int, int], *, batch_size: int = 8) -> tf.data.Dataset:
    """Makes batches of whole photos on the canvas and their masks, in their order.

    Returns:
        A `tf.data.Dataset` of what `training_batches` gives, at the size of the canvas.
    """
    load = _loader(scenes, size)

    @tf.autograph.experimental.do_not_convert
    def sample(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loaded = load(index)
        return tf.cast(loaded["image"], tf.float32), loaded["mask"]

    return tf.data.Dataset.range(len(scenes)).map(sample, tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _loader(scenes: Sequence[Scene], size: tuple[int, int]) -> Callable[[tf.Tensor], dict[str, Any]]:
    """Returns the function from the number of a scene to its photo and its mask on the canvas, uint8, in a graph."""
    read = scene_reader(scenes, "classes")
    policy = ResizePolicy("pad", size, pad_value=FILL, mask_pad_value=IGNORE)
    specs = {"image": tf.TensorSpec([*size, 3], tf.uint8), "mask": tf.TensorSpec([*size], tf.uint8)}
    return kept_in_memory(lambda index: policy(read(index)), specs, len(scenes))
