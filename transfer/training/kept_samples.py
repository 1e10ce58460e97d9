"""Samples that are read once and kept in memory, where they fit there."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["kept_in_memory"]

LIMIT = 2**30  # bytes of images and masks that are kept

Sample = dict[str, tf.Tensor]


def kept_in_memory(
    read: Callable[[tf.Tensor], Sample], specs: Mapping[str, tf.TensorSpec], count: int
) -> Callable[[tf.Tensor], Sample]:
    """Returns a function that reads each sample once and then knows it, if all of them fit into memory.

    Args:
        read: The function from the number of a sample to the sample, in a graph.
        specs: The parts of a sample that are handed on, with their types and shapes. Those whose shape is known decide
            on whether the samples fit.
        count: Number of samples.
    """
    an_image = sum(math.prod(spec.shape) * spec.dtype.size for spec in specs.values() if spec.shape.is_fully_defined())
    dtypes = [spec.dtype for spec in specs.values()]
    nothing = [np.zeros([0] * spec.shape.rank, spec.dtype.as_numpy_dtype) for spec in specs.values()]
    kept: dict[int, list[np.ndarray]] = {}

    def values(index: tf.Tensor) -> list[tf.Tensor]:
        sample = read(index)
        return [tf.cast(sample[name], spec.dtype) for name, spec in specs.items()]

    def fetch(index: np.ndarray) -> list[np.ndarray]:
        return kept.get(int(index), nothing)

    def keep(index: np.ndarray, *made: np.ndarray) -> list[np.ndarray]:
        kept[int(index)] = [np.array(value) for value in made]
        return kept[int(index)]

    def load(index: tf.Tensor) -> Sample:
        if count * an_image <= LIMIT:
            known = tf.numpy_function(fetch, [index], dtypes)
            found: Any = tf.cond(
                tf.size(known[0]) > 0,
                lambda: known,
                lambda: tf.numpy_function(keep, [index, *values(index)], dtypes),
            )
        else:
            found = values(index)
        return {
            name: tf.ensure_shape(value, spec.shape) for (name, spec), value in zip(specs.items(), found, strict=True)
        }

    return load
