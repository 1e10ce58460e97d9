"""COCO's compressed run lengths: text that holds the numbers of pixels that are off, on, off and so on.

From the fourth number on, a difference is stored: the run length minus the one two before it. A number is stored in
pieces of five bits, the lowest first, one character for each piece, counted from "0". The sixth bit of a character says
that more pieces follow; the fifth bit of the last piece is the sign. This is what `rleToString` in COCO's maskApi.c
writes. (pycocotools reads it too, but returns uninitialised memory if the runs do not fill the image.)
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

__all__ = ["compress", "expand"]

# Pieces of five bits of the largest number that int64 holds for certain.
_MOST_PIECES = 12


def expand(texts: Sequence[str | bytes]) -> list[np.ndarray]:
    """Returns the run lengths of compressed texts, int64 `[k]` each.

    Raises:
        ValueError: There are other characters, or a number is cut off or too large.

    Example:

    >>> [counts.tolist() for counts in expand(["13", b"6"])]
    [[1, 3], [6]]
    """
    try:
        encoded = [text.encode("latin-1") if isinstance(text, str) else bytes(text) for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected compressed run lengths, received the character {error.object[error.start]!r}"
        ) from None
    pieces = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - ord("0")
    wrong = (pieces < 0) | (pieces > 63)
    if wrong.any():
        character = chr(int(pieces[wrong.argmax()]) + ord("0"))
        raise ValueError(f"expected compressed run lengths, received the character {character!r}")
    is_last = (pieces & 32) == 0
    text_ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    filled = text_ends[np.diff(text_ends, prepend=0) > 0]
    if not is_last[filled - 1].all():
        raise ValueError("expected compressed run lengths, received text whose last number is cut off")

    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    place = np.arange(len(pieces)) - np.repeat(first, last - first + 1)
    if place.max(initial=0) >= _MOST_PIECES:
        raise ValueError("expected compressed run lengths, received a number of more than 60 bits")
    values = np.add.reduceat((pieces & 31) << (5 * place), first) if len(first) else np.zeros(0, np.int64)
    values -= np.where(pieces[last] & 16, np.int64(1) << (5 * (place[last] + 1)), 0)

    bounds = np.concatenate([[0], np.searchsorted(last, text_ends - 1, side="right")])
    lengths = np.diff(bounds)
    position = np.arange(len(values)) - np.repeat(bounds[:-1], lengths)
    text = np.repeat(np.arange(len(lengths)), lengths)
    for chain in (position % 2 == 1, (position % 2 == 0) & (position > 0)):
        values[chain] = _running_sums(values[chain], text[chain])
    return [values[start:end] for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


def compress(counts: np.ndarray, lengths: np.ndarray) -> list[str]:
    """Returns the compressed texts of run lengths.

    Args:
        counts: The run lengths of all masks, one mask after the other, int64 `[r]`.
        lengths: How many of them each mask has, int `[n]`.

    Example:

    >>> compress(np.array([1, 3, 6]), np.array([2, 1]))
    ['13', '6']
    """
    starts = np.cumsum(lengths) - lengths
    position = np.arange(len(counts)) - np.repeat(starts, lengths)
    values = counts.astype(np.int64)
    later = np.flatnonzero(position > 2)
    values[later] -= counts[later - 2]
    # A number needs so many pieces that what is left over is the sign alone.
    magnitude = np.where(values < 0, ~values, values)
    needed = np.ones(len(values), np.int64)
    while (more := magnitude >> (5 * needed - 1) > 0).any():
        needed += more
    piece = np.arange(needed.max(initial=1))
    characters = ((values[:, None] >> (5 * piece)) & 31) + 32 * (piece < needed[:, None] - 1) + ord("0")
    text = characters[piece < needed[:, None]].astype(np.uint8).tobytes().decode("ascii")
    ends = np.concatenate([[0], np.cumsum(needed)])[np.concatenate([starts, [len(counts)]])].tolist()
    return [text[start:end] for start, end in pairwise(ends)]


def _running_sums(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Returns the running sum of the values within each group of neighbours."""
    if not len(values):
        return values
    sums = np.cumsum(values)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.concatenate([[0], sums])[first]
    return sums - np.repeat(before, np.diff(np.append(first, len(values))))
