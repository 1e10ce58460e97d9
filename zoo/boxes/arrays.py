"""Boxes as arrays of NumPy or as tensors: what every formula of this package begins with."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["SHORTEST_SIDE", "Array", "as_floats", "coordinates", "ratio", "sides"]

# An np.ndarray (or what becomes one), or a tensor of Keras' backend.
Array: TypeAlias = Any

# Where a side is a divisor, or where its logarithm is taken, it counts as at least this long. So padding (boxes of
# zeros) gives finite numbers, which a loss can mask.
SHORTEST_SIDE = 1e-6


def as_floats(*arrays: Array) -> tuple[Any, ...]:
    """Returns the library that computes with these arrays (NumPy or `keras.ops`), and the arrays as its floats.

    >>> library, boxes = as_floats([[0, 0, 4, 3]])
    >>> library.__name__, boxes.dtype.name
    ('numpy', 'float32')
    """
    host = np.ndarray | np.generic | int | float | Sequence
    tensors = [array for array in arrays if not isinstance(array, host)]
    if not tensors:
        return np, *(_host_floats(array) for array in arrays)
    import keras

    dtype = keras.backend.standardize_dtype(tensors[0].dtype)
    if "float" not in dtype:
        dtype = keras.backend.floatx()
    return keras.ops, *(keras.ops.cast(array, dtype) for array in arrays)


def _host_floats(array: Array) -> np.ndarray:
    if isinstance(array, np.ndarray | np.generic) and np.issubdtype(array.dtype, np.floating):
        return np.asarray(array)
    return np.asarray(array, np.float32)


def coordinates(boxes: Array) -> tuple[Array, ...]:
    """Returns boxes `[..., 4]` as four arrays `[...]`.

    Raises:
        ValueError: If the last axis is not 4.
    """
    shape = boxes.shape
    # A tensor in tf.data may have an unknown rank.
    if getattr(shape, "rank", 0) is not None and (len(shape) == 0 or shape[-1] not in (4, None)):
        raise ValueError(f"expected boxes [..., 4], got the shape {tuple(shape)}")
    return tuple(boxes[..., i] for i in range(4))


def sides(library: Any, boxes: Array) -> tuple[Array, Array]:
    """Returns the widths and heights `[...]` of xyxy boxes `[..., 4]`; a negative one counts as 0."""
    x1, y1, x2, y2 = coordinates(boxes)
    return library.maximum(x2 - x1, 0), library.maximum(y2 - y1, 0)


def ratio(library: Any, part: Array, whole: Array) -> Array:
    """Returns part / whole, and 0 where both are 0. NaN stays NaN, so that a loss shows it."""
    return part / library.where(whole == 0, library.ones_like(whole), whole)
