"""Which values of indexed masks are classes, and which are left at edges by anti-aliasing or by a lossy format."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["MaskValues", "count_values", "grey_classes", "lossy_levels"]

# Values that fill no square of 3x3 pixels anywhere are edges if there are at least so many of them, and more of them
# than of the others. Classes of nothing but tiny objects are few.
MANY_EDGES = 10
# Between black and white, such values are edges from this value on, however few they are: classes count from 1.
HIGH_EDGE = 32
BLACK, WHITE = 0, 255

# In a lossy file, levels are so far apart, and hold so many of all pixels.
_APART = 24
_LEAST_SHARE = 0.005
_EXPLAINED = 0.8


@dataclass(frozen=True)
class MaskValues:
    """The values of the pixels of some masks.

    Attributes:
        counts: Number of pixels of each value.
        solid: Values that fill a square of 3x3 pixels somewhere.
    """

    counts: Counter[int]
    solid: frozenset[int]

    @property
    def edges(self) -> frozenset[int]:
        """The values that occur at edges alone, where they are no classes.

        They are no classes if there are many of them, or if nothing but black and white is solid. Black and white
        themselves are no edges: thin white lines are objects.
        """
        thin = frozenset(self.counts) - self.solid - {BLACK, WHITE}
        if len(thin) >= MANY_EDGES and len(thin) > len(self.solid):
            return thin
        if thin and self.solid <= {BLACK, WHITE} and {BLACK, WHITE} <= set(self.counts) and max(thin) >= HIGH_EDGE:
            return thin
        return frozenset()

    @property
    def classes(self) -> frozenset[int]:
        """The other values."""
        return frozenset(self.counts) - self.edges

    def sentence(self) -> str:
        """Returns what there is to say about edges, with counts."""
        pixels = sum(self.counts[value] for value in self.edges)
        listed = ", ".join(f"{value}: {self.counts[value]}" for value in sorted(self.classes))
        share = 100 * pixels / self.counts.total()
        return (
            f"{len(self.edges)} values of the masks are no classes: {pixels} pixels ({share:.2g}%) have them, at edges "
            "alone, as anti-aliasing and lossy formats "
            f"make them. They are ignored. The other values and their numbers of pixels are {listed}"
        )


def count_values(masks: Iterable[np.ndarray]) -> MaskValues:
    """Counts the values of masks `int [h, w]`.

    >>> values = count_values([np.repeat(np.arange(3), 3)[None].repeat(3, axis=0)])
    >>> sorted(values.counts.items()), sorted(values.solid), sorted(values.edges)
    ([(0, 9), (1, 9), (2, 9)], [0, 1, 2], [])
    """
    counts: Counter[int] = Counter()
    solid: set[int] = set()
    for mask in masks:
        values, numbers = np.unique(mask, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        if not solid.issuperset(values.tolist()):
            rows = (mask[:-2] == mask[1:-1]) & (mask[2:] == mask[1:-1])
            middle = mask[1:-1, 1:-1]
            inner = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
            inner &= (mask[1:-1, :-2] == middle) & (mask[1:-1, 2:] == middle)
            solid.update(np.unique(middle[inner]).tolist())
    return MaskValues(counts, frozenset(solid))


def grey_classes(values: Iterable[int]) -> list[int] | None:
    """Returns the values of classes that are shades of grey far apart, such as 0, 127, 255; None if they are indices.

    White is a class, and not to be ignored, where the shades divide the range from black to white evenly.

    >>> grey_classes([0, 127, 255]), grey_classes([0, 1, 2, 255]), grey_classes([0, 38, 75, 255])
    ([0, 127, 255], None, [0, 38, 75])
    """
    found = sorted(values)
    below = [value for value in found if value != WHITE]
    if len(below) < 2 or max(below) < HIGH_EDGE or max(below) + 1 < 8 * len(below):
        return None
    even = np.linspace(BLACK, WHITE, len(found))
    return found if np.abs(np.array(found) - even).max() <= 1 else below


def lossy_levels(counts: Mapping[int, int]) -> list[int]:
    """Returns the values that the classes of masks had before a lossy format changed them.

    They are the most frequent values that are far from more frequent ones. Of masks that are nearly all black and
    white, they are black and white.

    Raises:
        ValueError: The values cannot be told apart.

    >>> lossy_levels({0: 700, 1: 40, 3: 20, 250: 30, 255: 210})
    [0, 255]
    """
    values, numbers = np.array(list(counts), np.int64), np.array(list(counts.values()), np.float64)
    total = numbers.sum()
    ends = numbers[(values <= BLACK + _APART) | (values >= WHITE - _APART)].sum()
    has_both = (values <= BLACK + _APART).any() and (values >= WHITE - _APART).any()
    if has_both and ends >= _EXPLAINED * total:
        return [BLACK, WHITE]
    levels: list[int] = []
    for at in np.argsort(-numbers, kind="stable").tolist():
        if numbers[at] >= _LEAST_SHARE * total and all(abs(values[at] - level) > _APART for level in levels):
            levels.append(int(values[at]))
    near = np.abs(values[:, None] - np.array(levels)).min(axis=1) <= _APART / 2
    if len(levels) < 2 or numbers[near].sum() < _EXPLAINED * total:
        shown = ", ".join(f"{value} ({counts[value]} pixels)" for value in sorted(counts, key=lambda v: -counts[v])[:8])
        raise ValueError(
            f"the masks are in a lossy format (JPEG), which changed their values, and classes cannot be told apart: "
            f"{len(counts)} values, most often {shown}. Expected masks as PNG"
        )
    return sorted(levels)
