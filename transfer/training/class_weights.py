"""How much an image counts by its class, in every way in which people say it."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

__all__ = ["ClassWeight", "numbered_weights"]

# The weights by the number or the name of the class; or one weight for each class, in order.
ClassWeight: TypeAlias = Mapping[int, float] | Mapping[str, float] | Sequence[float] | np.ndarray


def numbered_weights(weights: ClassWeight, num_classes: int, names: Sequence[str] = ()) -> dict[int, float]:
    """Returns the weight of each class by its number.

    Args:
        weights: The weights by the number or the name of the class, where a class that is not there counts as 1; or one
            weight for each class, in order, as `pipelines.class_weights` computes them.
        num_classes: Number of classes.
        names: The names of the classes, in order, where they are known.

    Raises:
        ValueError: A key stands for no class, a class is there twice, there are not as many weights as classes, or a
            weight is no finite number of 0 or more.

    Example:

    >>> numbered_weights({"bee": 2.0}, 2, ["ant", "bee"]), numbered_weights(np.array([0.5, 1.5]), 2)
    ({1: 2.0}, {0: 0.5, 1: 1.5})
    """
    if isinstance(weights, Mapping):
        pairs = [(_number(key, num_classes, list(names)), value) for key, value in weights.items()]
    else:
        values = np.asarray(weights)
        if values.shape != (num_classes,):
            raise ValueError(
                f"class_weight is one weight for each of {num_classes} classes, in order, or a dict from the number or "
                f"the name of a class to its weight; got {list(values.shape)} of {type(weights).__name__}"
            )
        pairs = list(enumerate(values.tolist()))
    numbered = dict(pairs)
    if len(numbered) < len(pairs):
        raise ValueError(f"class_weight has a class twice, by its number and its name: {', '.join(map(str, weights))}")
    for number, value in pairs:
        if not isinstance(value, Real) or not 0 <= value < np.inf:
            raise ValueError(f"the weight of a class is a finite number of 0 or more, got {value!r} for class {number}")
    return {number: float(value) for number, value in pairs}


def _number(key: Any, num_classes: int, names: list[str]) -> int:
    if isinstance(key, str) and key in names:
        if names.count(key) > 1:
            raise ValueError(f"class_weight has {key!r}, and {names.count(key)} classes have this name; give a number")
        return names.index(key)
    text = isinstance(key, str) and key.strip().isdecimal()
    is_number = isinstance(key, Integral) or (isinstance(key, Real) and float(key).is_integer())
    if not isinstance(key, bool) and (text or is_number) and 0 <= int(key) < num_classes:
        return int(key)
    known = f", or one of the names {', '.join(names[:20])}" if names else ""
    if isinstance(key, str) and not names:
        known = ". The names of the classes are not known here: give numbers, or objective=SingleLabel(class_names=...)"
    raise ValueError(f"class_weight has a weight for {key!r}; expected a number in 0..{num_classes - 1}{known}")
