"""Numbers of NumPy and names that are numbers as Python's own, which JSON, Keras and Pillow ask for.

NumPy is not imported here: the command line reads settings, and its help has to be there at once.
"""

from collections.abc import Iterable
from typing import Any

__all__ = ["as_python", "read_names"]


def as_python(value: Any) -> Any:
    """Returns a number of NumPy as one of Python, also in a list or a tuple, and anything else as it is.

    >>> import numpy as np
    >>> as_python((np.int64(224), 224)), as_python(np.float32(0.5)), as_python("c5")
    ((224, 224), 0.5, 'c5')
    """
    if isinstance(value, list | tuple):
        return type(value)(map(as_python, value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def read_names(names: Iterable[Any]) -> tuple[str, ...]:
    """Returns names of classes, labels or numbers as text; people also name them by numbers.

    >>> read_names([0, 1.5, "bee"])
    ('0', '1.5', 'bee')
    """
    return tuple(str(name) for name in names)
