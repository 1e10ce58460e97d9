"""From samples to batches that a model can be trained on or evaluated with.

The steps follow each other in this order:

1. `epoch_order` decides in numbers which images make an epoch and in which order, so that this depends on the seed, the
   worker and the position alone.
2. Images are read, decoded and cropped one by one and in parallel, since they differ in size.
3. The crops are kept as `uint8`, which loses nothing, because their values are whole numbers.
4. Crops are put into batches.
5. The batches are augmented, since one operation on a batch costs far less than one operation on each of its images.
"""

import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.augmenting.transforms import Transform
from pipelines.augmenting.transforms import augment as apply_layers
from pipelines.data import Samples
from pipelines.loading.adapters import adapt
from pipelines.loading.python_decoding import decode_any

__all__ = [
    "DISK_CACHE_BYTES",
    "MEMORY_CACHE_BYTES",
    "Resumable",
    "as_dataset",
    "batches",
    "class_weights",
    "epoch_order",
    "read",
]

# Crops are kept in memory between epochs when all of them together take no more than this,
MEMORY_CACHE_BYTES = 2**30
# and on disk when they take no more than this and no more than half of what is free there.
DISK_CACHE_BYTES = 2**36

_BALANCES = (None, "even", "oversample")
_CACHES = (True, False, "memory", "disk")


def batches(
    samples: Samples,
    crop: Callable[[Any], Any],
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    augment: Sequence[Any] | None = None,
    seed: int = 0,
    cache: bool | str = True,
    scaled: bool | None = None,
    balance: str | Mapping[int, float] | Sequence[float] | np.ndarray | None = None,
    drop_remainder: bool = False,
    shard: tuple[int, int] | None = None,
    start: tuple[int, int] = (0, 0),
) -> tf.data.Dataset:
    """Makes batches of images and labels.

    Args:
        samples: What `pipelines.read_data` returned, best after `pipelines.check_data`: an image that cannot be decoded
            is an error here.
        crop: A function from one decoded image `uint8 [h, w, 3]` to `float32 [H, W, 3]` of one size for all, whole
            numbers in 0..255: an `EvaluationCrop` or a `ResizePolicy`.
        batch_size: Number of images in a batch. Defaults to 32.
        shuffle: Whether each epoch has a new order, over all samples.
        augment: Layers from `pipelines.augmentation`, which are applied to each batch. Layers that mix images mix
            labels, too.
        seed: Decides the orders and the augmentation of each epoch. Two data sets of the same arguments give the
            same batches, epoch by epoch, however many threads work on them. (Layers of keras_cv keep a state of their
            own, which their own seed decides.)
        cache: Whether crops are kept between epochs. `True`, the default, keeps them in memory if all of them take no
            more than 1 GiB (`MEMORY_CACHE_BYTES`: 7,000 crops of 224x224); else in a temporary file, if they take no
            more than 64 GiB and half of the free space; else images are decoded anew each epoch. "memory" and "disk"
            keep them there at any size, and `False` keeps none.
        scaled: Whether large JPEGs are decoded at the smallest of 1, 1/2, 1/4 and 1/8 of their size that the crop (by
            its `needs`) only has to shrink. That is several times faster, and can move the crop by up to half a pixel.
            By default it is done where `shuffle` or `augment` is given, which means for training; a model is evaluated
            on exactly what an exported model makes of the file.
        balance: What is done about classes of different sizes. `None`, the default, does nothing. "even" shows each
            class equally often in an epoch of as many images as there are. "oversample" shows each as often as the
            largest class. Images of small classes then come several times in an epoch, each time augmented anew. A
            weight for each class (see `class_weights`) becomes a third entry of each batch, Keras' `sample_weight`.
        drop_remainder: Whether images that do not fill the last batch are left out. With `shard`, every worker then
            gets the same number of batches.
        shard: Number of this worker, from 0, and the number of workers. Each gets its own part of every epoch.
        start: Epoch and batch to begin at, both from 0, as if everything before had been taken already. See
            `Resumable`.

    Returns:
        A `tf.data.Dataset`, one epoch long, of images `float32 [b, H, W, 3]` in 0..255 and labels: class numbers
        `int32 [b]`, or what the samples or layers that mix images give; and with weights a third entry `float32 [b]`.

    Raises:
        ValueError: there are no samples, or an argument is out of its range.

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
    if cache not in _CACHES:
        raise ValueError(f'batches: expected `cache` as True, False, "memory" or "disk"; received {cache!r}')
    weights = None if balance is None or isinstance(balance, str) else balance
    order = {"shuffle": shuffle, "seed": seed, "balance": None if weights is not None else balance, "shard": shard}
    length = len(epoch_order(samples.labels, 0, **order))  # type: ignore[arg-type]
    num_batches = length // batch_size if drop_remainder else math.ceil(length / batch_size)
    if drop_remainder and shard is not None:
        num_batches = len(samples) // shard[1] // batch_size if order["balance"] is None else num_batches
    first_epoch, first_batch = start
    if not (first_epoch >= 0 and 0 <= first_batch <= num_batches):
        raise ValueError(f"batches: expected `start` as (epoch, batch of {num_batches}), received {start!r}")
    epochs = itertools.count(first_epoch)

    def epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        number = next(epochs)
        indices = epoch_order(samples.labels, number, **order)[: num_batches * batch_size]  # type: ignore[arg-type]
        rng = np.random.default_rng([seed, number, 1 + (shard[0] if shard else 0)])
        seeds = np.repeat(rng.integers(2**31, size=num_batches), batch_size)[: len(indices)]
        skipped = first_batch * batch_size if number == first_epoch else 0
        yield indices[skipped:], seeds[skipped:]

    numbers = tf.TensorSpec([None], tf.int64)
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=(numbers, numbers)).unbatch()
    if first_batch == 0:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(min(length, num_batches * batch_size)))
    scaled = bool(shuffle or augment) if scaled is None else scaled
    load = _loader(samples, crop, cache, scaled)

    @tf.autograph.experimental.do_not_convert
    def begin(index: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return load(index), index, seed

    dataset = dataset.map(begin, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size)
    labels = tf.constant(samples.labels)
    weight_of = None if weights is None else _weights(samples.labels, weights)

    @tf.autograph.experimental.do_not_convert
    def finish(pixels: tf.Tensor, indices: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = {"image": tf.cast(pixels, tf.float32), "label": tf.gather(labels, indices)}
        if augment:
            batch = apply_layers(batch, augment, seeds[0])
        result = (batch["image"], batch["label"])
        return result if weight_of is None else (*result, tf.gather(weight_of, indices))

    # Layers with a state of their own have to take the batches one after the other.
    free = all(isinstance(layer, Transform) or adapt(layer).is_stateless for layer in augment or ())
    return dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE if free else 1).prefetch(tf.data.AUTOTUNE)


def epoch_order(
    labels: np.ndarray,
    epoch: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    balance: str | None = None,
    shard: tuple[int, int] | None = None,
) -> np.ndarray:
    """Computes which samples make an epoch of `batches`, and in which order.

    Args:
        labels: Labels `[n]`, or `[n, k]` without `balance`.
        epoch: Number of the epoch, from 0.
        shuffle: Whether each epoch has a new order.
        seed: Decides the orders.
        balance: `None`, "even" or "oversample"; see `batches`.
        shard: Number of this worker and the number of workers.

    Returns:
        Numbers of the samples, `int64 [m]`.

    Raises:
        ValueError: an unknown `balance`, or one for labels that are no class numbers; a `shard` out of range.

    Example:

    >>> epoch_order(np.array([0, 0, 0, 0, 0, 1]), 0, balance="even").tolist()
    [0, 5, 1, 5, 2, 5]
    """
    labels = np.asarray(labels)
    if balance not in _BALANCES:
        raise ValueError(f'expected `balance` as None, "even" or "oversample"; received {balance!r}')
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise ValueError(f"expected `shard` as (number of the worker, from 0; number of workers), received {shard!r}")
    rng = np.random.default_rng([seed, epoch])
    if balance is None:
        order = rng.permutation(len(labels)) if shuffle else np.arange(len(labels))
    else:
        if labels.ndim != 1:
            raise ValueError(f"balance={balance!r} expected one class number for each image, received {labels.shape}")
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        most = max(map(len, members)) if balance == "oversample" else math.ceil(len(labels) / len(members))
        columns = []
        for own in members:
            rounds = [rng.permutation(own) if shuffle else own for _ in range(math.ceil(most / len(own)))]
            columns.append(np.concatenate(rounds)[:most])
        order = np.stack(columns, axis=1).reshape(-1)
        order = order if balance == "oversample" else order[: len(labels)]
        order = rng.permutation(order) if shuffle else order
    return order if shard is None else order[shard[0] :: shard[1]]


def class_weights(labels: Any, num_classes: int) -> np.ndarray:
    """Computes how much each image of a class has to count for all classes to count alike.

    Args:
        labels: Class numbers `[n]`.
        num_classes: Number of classes.

    Returns:
        `float32 [num_classes]`. The mean over all images is 1; a class without images has 0.

    Example:

    >>> class_weights([0, 0, 0, 0, 1, 1, 1, 1], 2).tolist(), class_weights([0, 0, 0, 2], 3)[1:].tolist()
    ([1.0, 1.0], [0.0, 2.0])
    """
    counts = np.bincount(np.asarray(labels), minlength=num_classes)
    present = np.count_nonzero(counts)
    return np.divide(len(labels), present * counts, out=np.zeros(num_classes), where=counts > 0).astype(np.float32)


def _weights(labels: np.ndarray, weights: Mapping[int, float] | Sequence[float] | np.ndarray) -> tf.Tensor:
    """Returns the weight of each sample."""
    if labels.ndim != 1:
        raise ValueError(f"batches: weights expected one class number for each image, received {labels.shape}")
    table = dict(weights) if isinstance(weights, Mapping) else dict(enumerate(weights))
    missing = sorted(set(labels.tolist()) - set(table))
    if missing:
        raise ValueError(f"batches: expected a weight for each class, received none for {missing}")
    return tf.constant([table[label] for label in labels.tolist()], tf.float32)


class Resumable:
    """Batches, epoch by epoch, that know their position, so that another process can continue from it.

    Args:
        make: A function from (epoch, batch) to a data set that begins there and continues with the next epoch when it
            is iterated again: `lambda start: batches(..., start=start)`.
        state: What `state()` of an earlier object returned. `None` begins at the beginning.

    Example:

    >>> from pipelines import EvaluationCrop, read_data
    >>> digits, crop = read_data("sklearn:digits").valid, EvaluationCrop(size=(8, 8), fraction=1.0)
    >>> make = lambda start: batches(digits, crop, shuffle=True, start=start)
    >>> loader = Resumable(make)
    >>> for number, batch in enumerate(loader):
    ...     if number == 1:
    ...         break
    >>> loader.state()
    {'epoch': 0, 'batch': 2}
    """

    def __init__(
        self, make: Callable[[tuple[int, int]], tf.data.Dataset], state: Mapping[str, int] | None = None
    ) -> None:
        state = {"epoch": 0, "batch": 0} if state is None else state
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        """Yields the remaining batches of the epoch; the next iteration begins with the next epoch."""
        for batch in self._make((self._epoch, self._batch)):
            self._batch += 1  # before the caller gets the batch, which then counts as taken
            yield batch
        self._epoch, self._batch = self._epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Returns the epoch, and how many of its batches were taken, as JSON can hold them."""
        return {"epoch": self._epoch, "batch": self._batch}


def _loader(
    samples: Samples, crop: Callable[[Any], Any], cache: bool | str, scaled: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from the number of a sample to its crop, `uint8 [H, W, 3]`, in the graph."""
    images = _constant(samples.images)
    at_least = getattr(crop, "needs", None) if scaled else None

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
    def decode(index: tf.Tensor) -> tf.Tensor:
        image = images[index]
        pixels = image if samples.decoded else decode_any(read(image, samples), at_least=at_least)
        return tf.cast(crop(pixels), tf.uint8)

    shape = decode.get_concrete_function().output_shapes
    store = _store((len(samples), *shape.as_list()), cache)
    if store is None:
        return decode
    is_kept = np.zeros(len(samples), bool)

    def fetch(index: np.ndarray) -> np.ndarray:
        return store[index] if is_kept[index] else np.zeros([0, 0, 3], np.uint8)

    def keep(index: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        store[index] = pixels
        is_kept[index] = True
        return pixels

    def load(index: tf.Tensor) -> tf.Tensor:
        kept = tf.numpy_function(fetch, [index], tf.uint8)
        pixels = tf.cond(
            tf.size(kept) > 0,
            lambda: kept,
            lambda: tf.numpy_function(keep, [index, decode(index)], tf.uint8),
        )
        return tf.ensure_shape(pixels, shape)

    return load


def _store(shape: tuple[int, ...], cache: bool | str) -> np.ndarray | None:
    """Returns room for all crops, in memory or in a file that disappears with the process; `None` if none are kept."""
    size = math.prod(shape)
    if cache is True:
        cache = "memory" if size <= MEMORY_CACHE_BYTES else "disk"
        if cache == "disk" and size > min(DISK_CACHE_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2):
            return None
    if not cache:
        return None
    if cache == "memory":
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _constant(images: np.ndarray) -> tf.Tensor:
    if images.dtype == object:
        # As the file system spells them: names on Linux are bytes, and need not be UTF-8.
        return tf.constant([os.fsencode(image) for image in images], tf.string)
    return tf.constant(images)


def as_dataset(images: np.ndarray) -> tf.data.Dataset:
    """Returns a data set of `Samples.images` one by one: scalar strings (paths or contents), or `uint8 [h, w, 3]`."""
    return tf.data.Dataset.from_tensor_slices(_constant(images))


def read(image: tf.Tensor, samples: Samples) -> tf.Tensor:
    """Returns the contents of an image file, for samples that are paths or contents."""
    return tf.io.read_file(image) if isinstance(samples.images[0], str) else image
