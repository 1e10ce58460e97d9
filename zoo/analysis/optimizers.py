"""The memory that an optimizer takes for each variable, measured on variables of a few values."""

from collections.abc import Iterable
from functools import cache
from math import prod
from typing import Any

import keras

__all__ = ["slot_bytes"]

# The sizes of the axes of the tiny variables. They differ, so that the size of a slot's axis tells which axis of the
# variable it is.
STAND_IN = (2, 3, 5, 7, 11, 13)


def slot_bytes(optimizer: str | keras.Optimizer, variables: Iterable[Any]) -> int:
    """Returns the bytes that an optimizer adds to those of the variables it trains (moments, averages, accumulators).

    A new optimizer of the same configuration is built on tiny variables. So the result is right for every optimizer,
    also for those whose slots have other shapes than their variables.

    Args:
        optimizer: A name that Keras knows, or an optimizer, which does not change.
        variables: The variables that it trains.

    Raises:
        ValueError: If Keras does not know the name.

    Example: for a 1000 x 1000 matrix Adam has two moments; Adafactor has one, and the means of rows and columns.

    >>> matrix = keras.Variable(keras.ops.zeros((1000, 1000)))
    >>> slot_bytes("sgd", [matrix]), slot_bytes("adam", [matrix]), slot_bytes("adafactor", [matrix])
    (0, 8000000, 4008000)
    """
    configuration = keras.optimizers.serialize(keras.optimizers.get(optimizer))
    slots = cache(lambda rank: _slots(configuration, rank))
    total = 0
    for variable in variables:
        sizes = dict(zip(STAND_IN, variable.shape, strict=False))
        total += sum(prod(sizes[axis] for axis in shape) * width for shape, width in slots(len(variable.shape)))
    return total


def _slots(configuration: dict, rank: int) -> list[tuple[tuple[int, ...], int]]:
    """Returns shape (in axes of the variable) and bytes per value of each slot of a variable with `rank` axes."""
    optimizer = keras.optimizers.deserialize(configuration)
    stand_in = keras.Variable(keras.ops.zeros(STAND_IN[:rank]))
    own = {id(variable) for variable in optimizer.variables}
    optimizer.build([stand_in])
    slots = [variable for variable in optimizer.variables if id(variable) not in own and len(variable.shape) > 0]
    return [(tuple(slot.shape), keras.ops.convert_to_numpy(slot).dtype.itemsize) for slot in slots]
