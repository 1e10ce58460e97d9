"""Text and numbers that stand for numbers, identifiers and flags: one conversion for all readers."""

import contextlib
import math
from pathlib import Path
from typing import Any

from pipelines.annotations.faults import Log

__all__ = ["flag", "identifier", "read_flag", "stated_size", "whole_number"]

_FLAGS = {"true": True, "yes": True, "y": True, "t": True, "on": True, "1": True} | {
    "false": False, "no": False, "n": False, "f": False, "off": False, "0": False, "": False, "none": False,
    "null": False,
}  # fmt: skip


def flag(value: Any) -> bool:
    """Returns whether a value means yes: a bool, a number, or a word in any capitalisation; `None` means no.

    >>> flag("0"), flag("True"), flag(1.0), flag(None), flag("yes")
    (False, True, True, False, True)

    Raises:
        ValueError: The value means neither.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _FLAGS:
            return _FLAGS[word]
        try:
            return flag(float(word))
        except ValueError:
            pass
    raise ValueError(f"expected yes or no (true or false, 1 or 0), received {value!r}")


def whole_number(value: Any) -> int:
    """Returns an integer from an integer, from a float without a fraction, or from the text of either.

    >>> whole_number(" 7"), whole_number(7.0), whole_number("7.0")
    (7, 7, 7)

    Raises:
        ValueError: The value is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return int(value)
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    raise ValueError(f"expected a whole number, received {value!r}")


def identifier(value: Any) -> int | str:
    """Returns an identifier in one spelling: 7, 7.0, "7" and "7.0" are the integer 7; other text stays as it is.

    >>> identifier("7"), identifier(7.0), identifier("0a1b-77")
    (7, 7, '0a1b-77')

    Raises:
        ValueError: The value is neither a whole number nor text that is not empty.
    """
    try:
        return whole_number(value)
    except ValueError:
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise


def read_flag(value: Any, name: str, path: Path, line: int | None, log: Log) -> bool:
    """Returns a flag of an object. What is neither yes nor no is listed as a fault, and means no."""
    try:
        return flag(value)
    except ValueError as error:
        log.add("broken", path, line, f"{name}: {error}; it is read as no", kept=True)
        return False


def stated_size(height: Any, width: Any, path: Path, line: int | None, log: Log) -> tuple[int, int] | None:
    """Returns the height and width of an image that its annotation states, or None if it states none.

    Some tools write zeros, or nothing. Other values that are no sizes are listed as faults.
    """
    if height in (None, "", 0) and width in (None, "", 0):
        return None
    try:
        size = whole_number(height), whole_number(width)
    except ValueError as error:
        log.add("broken", path, line, f"height and width of the image: {error}; they are not compared", kept=True)
        return None
    return size if min(size) > 0 else None
