"""From samples to batches that a model can be trained on or evaluated with.

The order of the steps, and why: images are read, decoded and cropped one by one and in parallel, since they differ in
size; cached as `uint8`, which loses nothing (a crop's values are whole numbers); shuffled; put into batches; and only
then augmented, since one operation on a batch costs far less than as many operations on images.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.changes import augment as apply_layers
from pipelines.decoding import decode_any
from pipelines.samples import Samples

__all__ = ["MEMORY_CACHE_BYTES", "as_dataset", "batches", "read"]

# Crops are kept in memory between epochs when all of them together take no more than this.
MEMORY_CACHE_BYTES = 2**30


def batches(
    samples: Samples,
    crop: Callable[[Any], Any],
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    augment: Sequence[Any] | None = None,
    seed: int = 0,
    cache: bool = True,
) -> tf.data.Dataset:
    """Batches of images and labels.

    Args:
        samples: from `pipelines.read_data`, and best through `pipelines.check`: an image that cannot be decoded is an
            error here.
        crop: from one decoded image `uint8 [h, w, 3]` to `float32 [H, W, 3]` of one size for all, whole numbers in
            0..255: an `EvaluationCrop`.
        batch_size: images in a batch; the last batch of an epoch holds the rest.
        shuffle: in a new order each epoch, over all samples.
        augment: layers from `pipelines.augmentation`, applied to each batch.
        seed: decides the orders and the augmentation of each epoch. Two data sets of the same arguments give the
            same batches, epoch by epoch, however many threads work on them.
        cache: keep the crops in memory, if all of them take no more than 1 GiB (`MEMORY_CACHE_BYTES`: 7,000 crops of
            224x224); beyond that, images are decoded anew each epoch.

    Returns:
        A `tf.data.Dataset` of `(float32 [b, H, W, 3] in 0..255, int32 [b])`, one epoch long.

    Raises:
        ValueError: there are no samples, or `batch_size` is below 1.

    Example:

    >>> from pipelines import EvaluationCrop, read_data
    >>> digits = read_data("sklearn:digits").valid
    >>> dataset = batches(digits, EvaluationCrop(size=(32, 24), fraction=1.0), batch_size=4)
    >>> images, labels = next(iter(dataset))
    >>> images.shape, images.dtype, labels.shape
    (TensorShape([4, 32, 24, 3]), tf.float32, TensorShape([4]))
    """
    if len(samples) == 0:
        raise ValueError("batches: expected at least one sample, received none")
    if batch_size < 1:
        raise ValueError(f"batches: expected a batch_size of 1 or more, received {batch_size}")

    def load(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = image if samples.decoded else decode_any(read(image, samples))
        return tf.cast(crop(pixels), tf.uint8), label

    dataset = tf.data.Dataset.zip(as_dataset(samples.images), tf.data.Dataset.from_tensor_slices(samples.labels))
    loaded = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    bytes_of_all = len(samples) * int(np.prod(loaded.element_spec[0].shape))
    reorder = shuffle and len(samples) > 1
    if cache and bytes_of_all <= MEMORY_CACHE_BYTES:
        dataset = loaded.cache()
        if reorder:
            dataset = dataset.shuffle(len(samples), seed=seed)
    else:
        if reorder:
            dataset = dataset.shuffle(len(samples), seed=seed)  # paths weigh less than pixels
        dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size)
    dataset = dataset.map(lambda images, labels: (tf.cast(images, tf.float32), labels))
    if augment:
        seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)

        def change(batch: tuple[tf.Tensor, tf.Tensor], batch_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return apply_layers(batch[0], augment, batch_seed), batch[1]

        dataset = tf.data.Dataset.zip(dataset, seeds).map(change, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def as_dataset(images: np.ndarray) -> tf.data.Dataset:
    """`Samples.images` one by one: scalar strings (paths or contents), or `uint8 [h, w, 3]`."""
    if images.dtype == object:
        # As the file system spells them: names on Linux are bytes, and need not be UTF-8.
        images = tf.constant([os.fsencode(image) for image in images], tf.string)
    return tf.data.Dataset.from_tensor_slices(images)


def read(image: tf.Tensor, samples: Samples) -> tf.Tensor:
    """The contents of an image file, for samples that are paths or contents already."""
    return tf.io.read_file(image) if isinstance(samples.images[0], str) else image
