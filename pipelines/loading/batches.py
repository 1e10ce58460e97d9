"""From samples to batches that a model can be trained on or evaluated with.

The order of the steps, and why: which images make an epoch, and in which order, is decided beforehand, in numbers
(`epoch_order`), so that the seed, the worker and the position alone decide it. Images are read, decoded and cropped one
by one and in parallel, since they differ in size; kept as `uint8`, which loses nothing (a crop's values are whole
numbers); put into batches; and only then augmented, since one operation on a batch costs far less than as many
operations on images.
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
    balance: str | None = None,
    weights: Mapping[int, float] | Sequence[float] | None = None,
    drop_remainder: bool = False,
    shard: tuple[int, int] | None = None,
    start: tuple[int, int] = (0, 0),
) -> tf.data.Dataset:
    """Batches of images and labels.

    Args:
        samples: from `pipelines.read_data`, and best through `pipelines.check`: an image that cannot be decoded is an
            error here.
        crop: from one decoded image `uint8 [h, w, 3]` to `float32 [H, W, 3]` of one size for all, whole numbers in
            0..255: an `EvaluationCrop` or a `ResizePolicy`.
        batch_size: images in a batch.
        shuffle: in a new order each epoch, over all samples.
        augment: layers from `pipelines.augmentation`, applied to each batch; what mixes images mixes labels, too.
        seed: decides the orders and the augmentation of each epoch. Two data sets of the same arguments give the
            same batches, epoch by epoch, however many threads work on them. (Layers of keras_cv keep a state of their
            own, which is set off by their own seed.)
        cache: keep the crops between epochs: in memory, if all of them take no more than 1 GiB
            (`MEMORY_CACHE_BYTES`: 7,000 crops of 224x224); else in a temporary file, up to 64 GiB and half of the free
            space; beyond that, images are decoded anew each epoch. "memory" or "disk" insists; False keeps none.
        scaled: decode large JPEGs at the smallest of 1, 1/2, 1/4 and 1/8 of their size that the crop (by its `needs`)
            only has to shrink. That is several times faster, and can move the crop by up to half a pixel. None: when
            `shuffle` or `augment` is given, so when training; what a model is evaluated on is exactly what an exported
            model makes of the file.
        balance: "even" shows each class equally often in an epoch of as many images as there are; "oversample" shows
            each as often as the largest class. Images of small classes then come several times in an epoch, each time
            augmented anew.
        weights: one for each class (see `class_weights`), for a third entry of each batch: Keras' `sample_weight`.
        drop_remainder: leave out what does not fill a last batch. With `shard`, every worker then gets as many batches.
        shard: (number of this worker, number of workers): each gets its own part of every epoch.
        start: (epoch, batch) to begin at, both from 0, as if everything before had been taken already. See `Resumable`.

    Returns:
        A `tf.data.Dataset` of `(float32 [b, H, W, 3] in 0..255, labels)`, one epoch long: `int32 [b]` class numbers, or
        what the samples or layers that mix images give; with `weights` also `float32 [b]`.

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
    order = {"shuffle": shuffle, "seed": seed, "balance": balance, "shard": shard}
    length = len(epoch_order(samples.labels, 0, **order))  # type: ignore[arg-type]
    num_batches = length // batch_size if drop_remainder else math.ceil(length / batch_size)
    if drop_remainder and shard is not None:
        num_batches = len(samples) // shard[1] // batch_size if balance is None else num_batches
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
    """The samples of an epoch, by number, in their order: what `batches` goes by.

    Args:
        labels: `[n]`, or `[n, k]` without `balance`.
        epoch: from 0.
        shuffle, seed, balance, shard: of `batches`.

    Returns:
        `int64 [m]`.

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
    """How much each image of a class has to count for all classes to count alike: `float32 [num_classes]`.

    The mean over all images is 1; a class without images has 0.

    >>> class_weights([0, 0, 0, 0, 1, 1, 1, 1], 2).tolist(), class_weights([0, 0, 0, 2], 3)[1:].tolist()
    ([1.0, 1.0], [0.0, 2.0])
    """
    counts = np.bincount(np.asarray(labels), minlength=num_classes)
    present = np.count_nonzero(counts)
    return np.divide(len(labels), present * counts, out=np.zeros(num_classes), where=counts > 0).astype(np.float32)


def _weights(labels: np.ndarray, weights: Mapping[int, float] | Sequence[float]) -> tf.Tensor:
    if labels.ndim != 1:
        raise ValueError(f"batches: `weights` expected one class number for each image, received {labels.shape}")
    table = dict(weights) if isinstance(weights, Mapping) else dict(enumerate(weights))
    missing = sorted(set(labels.tolist()) - set(table))
    if missing:
        raise ValueError(f"batches: expected a weight for each class, received none for {missing}")
    return tf.constant([table[label] for label in labels.tolist()], tf.float32)


class Resumable:
    """Batches, epoch by epoch, that know where they are, to go on there in another process.

    Args:
        make: from (epoch, batch) to a data set that begins there and goes on with the next epoch when it is iterated
            again: `lambda start: batches(..., start=start)`.
        state: what `state()` of an earlier one gave; None begins at the beginning.

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
        """The rest of the epoch; once it is through, the next iteration is of the next epoch."""
        for batch in self._make((self._epoch, self._batch)):
            self._batch += 1  # before the batch is handed out: whoever has it has taken it
            yield batch
        self._epoch, self._batch = self._epoch + 1, 0

    def state(self) -> dict[str, int]:
        """The epoch, and how many of its batches were taken, as JSON can hold them."""
        return {"epoch": self._epoch, "batch": self._batch}


def _loader(
    samples: Samples, crop: Callable[[Any], Any], cache: bool | str, scaled: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the number of a sample to its crop, `uint8 [H, W, 3]`, in the graph."""
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
        found = tf.numpy_function(fetch, [index], tf.uint8)
        pixels = tf.cond(
            tf.size(found) > 0,
            lambda: found,
            lambda: tf.numpy_function(keep, [index, decode(index)], tf.uint8),
        )
        return tf.ensure_shape(pixels, shape)

    return load


def _store(shape: tuple[int, ...], cache: bool | str) -> np.ndarray | None:
    """Room for all crops, in memory or in a file that is gone when the process is; None for none."""
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
    """`Samples.images` one by one: scalar strings (paths or contents), or `uint8 [h, w, 3]`."""
    return tf.data.Dataset.from_tensor_slices(_constant(images))


def read(image: tf.Tensor, samples: Samples) -> tf.Tensor:
    """The contents of an image file, for samples that are paths or contents already."""
    return tf.io.read_file(image) if isinstance(samples.images[0], str) else image
