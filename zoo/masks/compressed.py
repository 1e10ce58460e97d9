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


def expand(texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the run lengths of compressed texts, one text after the other, and how many of them each has.

    Raises:
        ValueError: There are other characters, or a number is cut off or too large.

    Example:

    >>> counts, lengths = expand(["13", b"6"])
    >>> counts.tolist(), lengths.tolist()
    ([1, 3, 6], [2, 1])
    """
    try:
        encoded = b"".join([text.encode("latin-1") if isinstance(text, str) else text for text in texts])
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise ValueError(f"expected compressed run lengths, received the character {character!r}") from None
    # Characters below "0" become numbers over 63, too.
    pieces = np.frombuffer(encoded, np.uint8) - np.uint8(ord("0"))
    if pieces.max(initial=0) > 63:
        character = chr((int(pieces[(pieces > 63).argmax()]) + ord("0")) % 256)
        raise ValueError(f"expected compressed run lengths, received the character {character!r}")
    is_last = pieces < 32
    text_ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    filled = text_ends[np.diff(text_ends, prepend=0) > 0]
    if not is_last[filled - 1].all():
        raise ValueError("expected compressed run lengths, received text whose last number is cut off")

    last = np.flatnonzero(is_last)
    size = np.diff(last, prepend=-1)  # how many pieces each number has
    if size.max(initial=0) > _MOST_PIECES:
        raise ValueError("expected compressed run lengths, received a number of more than 60 bits")
    first = last - size + 1
    values = (pieces[first] & 31).astype(np.int64)
    longer, place = np.flatnonzero(size > 1), 1
    while len(longer):
        values[longer] += (pieces[first[longer] + place] & 31).astype(np.int64) << (5 * place)
        longer, place = longer[size[longer] > place + 1], place + 1
    negative = np.flatnonzero(pieces[last] & 16)
    values[negative] -= np.int64(1) << (5 * size[negative])

    starts = np.concatenate([[0], np.searchsorted(last, text_ends - 1, side="right")])
    _add_earlier(values, starts[:-1])
    return values, np.diff(starts)


def _add_earlier(values: np.ndarray, starts: np.ndarray) -> None:
    """Adds to each number of a text the one two before it, in place, from the fourth number of the text on.

    Every second number is summed up, from the beginning of each text; its first number has no part in that.
    """
    starts = starts[np.diff(starts, append=len(values)) > 0]
    firsts = values[starts]
    values[starts] = 0
    for parity in (0, 1):
        sums = np.cumsum(values[parity::2])
        begins = (starts - parity + 1) // 2
        before = np.concatenate([[0], sums])[begins]
        values[parity::2] = sums - np.repeat(before, np.diff(begins, append=len(sums)))
    values[starts] = firsts


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
