"""Training data in every form that Keras takes, as the one that a fine-tuning goes through."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["BATCH_SIZE", "as_dataset"]

BATCH_SIZE = 32  # of arrays, which have no batches yet; it is Keras' own default.
KEPT = 2 * 10**9  # bytes of images that may be kept of a generator, which can be gone through only once


def as_dataset(
    data: Any, name: str, *, dtype: str = "float32", shuffle: bool = False, seed: int = 0
) -> tf.data.Dataset:
    """Returns a data set of batches of (images, labels), or of (images, labels, weights), whatever the data come as.

    Args:
        data: A `tf.data.Dataset` of batches; arrays as a tuple (images, labels) or (images, labels, weights); a
            `keras.utils.PyDataset`; a list of batches, or another iterable that can be gone through again and again; a
            function without arguments that returns an iterator over batches; or a generator, which is read once, and
            kept.
        name: What the data are called, for messages.
        shuffle: Whether arrays are shuffled anew in each epoch; other data have an order of their own.
        seed: Decides on that order.

    Raises:
        ValueError: The data are none of these, hold no batch, or batches have other structures than the first.

    Example:

    >>> data = as_dataset((np.zeros((40, 4, 6, 3), "uint8"), np.arange(40) % 2), "train")
    >>> [(images.shape[0], images.dtype.name) for images, _ in data]
    [(32, 'float32'), (8, 'float32')]
    """
    if isinstance(data, tf.data.Dataset):
        dataset = data
    elif isinstance(data, tuple) and len(data) in (2, 3) and _is_array(data[0]):
        dataset = _of_arrays(data, name, shuffle, seed)
    else:
        dataset = _of_batches(data, name)
    names = getattr(data, "class_names", None)
    dataset = _with_float32(dataset)
    if names is not None:
        dataset.class_names = names
    return dataset


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _of_arrays(data: tuple[Any, ...], name: str, shuffle: bool, seed: int) -> tf.data.Dataset:
    arrays = keras.tree.map_structure(np.asarray, _lists_as_arrays(data))
    counts = {len(array) for array in keras.tree.flatten(arrays)}
    if len(counts) != 1:
        raise ValueError(f"{name} has to have as many labels as images; got arrays of {sorted(counts)}")
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    if shuffle:
        dataset = dataset.shuffle(max(counts.pop(), 1), seed=seed, reshuffle_each_iteration=True)
    return dataset.batch(BATCH_SIZE)


def _lists_as_arrays(data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the labels and the weights as arrays where they are lists of numbers."""
    return tuple(np.asarray(part) if isinstance(part, list) else part for part in data)


def _of_batches(data: Any, name: str) -> tf.data.Dataset:
    """Makes a data set of what gives batches one after the other."""
    number: int | None = None
    if isinstance(data, keras.utils.PyDataset):
        number = data.num_batches
        if number is None:
            raise ValueError(f"{name} is a {type(data).__name__} without an end; give it a length (__len__)")
        begin = _passes_of(data)
    elif isinstance(data, Iterator):
        kept = _kept(data, name)
        number, begin = len(kept), kept.__iter__
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict) and not _is_array(data):
        number = len(data) if isinstance(data, Sized) else None
        begin = data.__iter__
    elif callable(data) and not isinstance(data, keras.Model):
        begin = data
    else:
        raise ValueError(
            f"{name} is a {type(data).__name__}; expected batches of (images, labels) as a tf.data.Dataset, a "
            "keras.utils.PyDataset, a list, a generator or a function that returns one, or arrays as a tuple (images, "
            "labels)"
        )
    first = next(iter(begin()), None)
    if first is None:
        raise ValueError(f"{name} has to be a finite number of batches of (images, labels); it is empty")
    spec = keras.tree.map_structure(_spec, _batch(first, name))
    dataset = tf.data.Dataset.from_generator(lambda: (_batch(batch, name) for batch in begin()), output_signature=spec)
    return dataset if number is None else dataset.apply(tf.data.experimental.assert_cardinality(number))


def _passes_of(data: keras.utils.PyDataset) -> Callable[[], Iterator[Any]]:
    def one_pass() -> Iterator[Any]:
        for index in range(data.num_batches or 0):
            yield data[index]
        data.on_epoch_end()

    return one_pass


def _kept(batches: Iterator[Any], name: str) -> list[Any]:
    """Reads what can be gone through only once."""
    kept: list[Any] = []
    size = 0
    for batch in batches:
        kept.append(_batch(batch, name))
        size += kept[-1][0].nbytes
        if size > KEPT:
            raise ValueError(
                f"{name} is a generator, which can be gone through only once, and gave {KEPT / 1e9:.0f} GB of images "
                "without an end; give a function that returns a new generator for each epoch"
            )
    return kept


def _batch(batch: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(batch, Sequence) or len(batch) not in (2, 3):
        got = f"{len(batch)} parts" if isinstance(batch, Sequence) else f"a {type(batch).__name__}"
        raise ValueError(f"a batch of {name} has to be (images, labels) or (images, labels, weights); got {got}")
    return tuple(keras.tree.map_structure(np.asarray, _lists_as_arrays(tuple(batch))))


def _spec(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec((None, *array.shape[1:]), array.dtype)


def _with_float32(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Casts images, and leaves data of another structure to whoever checks it."""
    spec = dataset.element_spec
    is_batch = isinstance(spec, tuple) and len(spec) in (2, 3) and isinstance(spec[0], tf.TensorSpec)
    if not is_batch or spec[0].dtype == tf.float32 or not (spec[0].dtype.is_floating or spec[0].dtype.is_integer):
        return dataset
    return dataset.map(lambda images, *rest: (tf.cast(images, tf.float32), *rest))
