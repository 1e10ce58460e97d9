"""Which values of indexed masks are classes, and which are left at edges by anti-aliasing or by a lossy format."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["MaskValues", "count_values"]

# Values that fill no square of 3x3 pixels anywhere are edges if there are at least so many of them, and more of them
# than of the others. Classes of nothing but tiny objects are few.
MANY_EDGES = 10


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
        """The values that occur at edges alone, where there are so many of them that they are no classes."""
        thin = frozenset(self.counts) - self.solid
        return thin if len(thin) >= MANY_EDGES and len(thin) > len(self.solid) else frozenset()

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
