"""Reading the pixels of an image out of nested lists. Types and lengths are checked before anything is converted.

NumPy's own conversion looks for a type that holds all values. Among them may be text, and then every value takes as
much memory as the longest one.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["json_memory", "pixels_of_lists"]

# How many bytes a value of a parsed document takes at most, for each of the signs that it needs: a list in a list has
# one sign and 88 bytes, a number 32, an empty dict two signs and 72, a dict with one key three and 192.
VALUE = 80
CHARACTER = 9  # Text takes 4 bytes a character at most, twice while it is parsed, besides the body itself.


def json_memory(body: bytes) -> int:
    """Returns how many bytes it takes at most to parse a JSON document.

    Each value stands behind one of a few signs, so that counting these bounds the number of values.

    >>> json_memory(b"[[1, 2], 3]")
    419
    """
    return CHARACTER * len(body) + VALUE * sum(body.count(sign) for sign in (b"[", b"{", b",", b":"))


def pixels_of_lists(entry: Any, most: int) -> np.ndarray:
    """Converts an image out of a JSON document.

    Args:
        entry: The image: lists `[h][w][3]` of numbers in 0..255.
        most: Maximum number of pixels.

    Returns:
        The pixels `[h, w, 3]`: uint8 where all numbers are whole, and float32 otherwise.

    Raises:
        ValueError: The entry is anything else.
        OverflowError: It has too many pixels.

    >>> pixels_of_lists([[[1, 2, 3], [4, 5, 6]]], 100).tolist()
    [[[1, 2, 3], [4, 5, 6]]]
    """
    shape = _shape(entry)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"expected numbers [h][w][3], got the shape {shape}")
    height, width, _ = shape
    if height * width > most:
        raise OverflowError(f"has {height} x {width} pixels, more than are taken")
    if any(type(row) is not list or len(row) != width for row in entry):
        raise ValueError(f"expected numbers [h][w][3], got rows that are not all of {width} pixels, as the first is")
    if any(type(pixel) is not list or len(pixel) != 3 for pixel in chain.from_iterable(entry)):
        raise ValueError("expected numbers [h][w][3], got pixels that are not all of 3 numbers")
    kinds = set(map(type, _values(entry)))
    if others := kinds - {int, float}:
        raise ValueError(f"expected numbers [h][w][3], got {', '.join(sorted(kind.__name__ for kind in others))}")
    low, high = min(_values(entry)), max(_values(entry))
    if not (low >= 0 and high <= 255):
        raise ValueError(f"expected values in 0..255, got {_short(low)} to {_short(high)}")
    dtype = np.float32 if float in kinds else np.uint8
    return np.fromiter(_values(entry), dtype, count=3 * height * width).reshape(height, width, 3)


def _shape(entry: Any) -> list[int]:
    """Returns the lengths of nested lists as the first of each has them, up to one level more than an image has."""
    lengths: list[int] = []
    while isinstance(entry, list) and len(lengths) < 4:
        lengths.append(len(entry))
        entry = entry[0] if entry else None
    return lengths


def _values(image: list[list[list[Any]]]) -> Iterator[Any]:
    return chain.from_iterable(chain.from_iterable(image))


def _short(number: float) -> str:
    """Returns a number in few characters, however long it is."""
    try:
        return f"{number:g}"
    except OverflowError:  # It is a whole number that no float can be.
        return "a number of more than 300 digits"
