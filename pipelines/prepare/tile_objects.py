"""Objects that tiles cut: what several tiles found of one object becomes one object of the photo."""

from collections.abc import Iterable

import numpy as np

from pipelines.prepare.tiles import Tiling

__all__ = ["join_objects"]


def join_objects(tiling: Tiling, maps: Iterable[np.ndarray], *, agreement: float = 0.5) -> np.ndarray:
    """Joins the objects of tiles into those of the whole photo.

    Where two tiles overlap, an object of one and an object of the other are the same if the pixels that both have there
    are at least a part `agreement` of those that the smaller of them has there. What belongs together over several
    tiles is one object. A pixel that tiles disagree about belongs to the object of the tile that comes first, if it
    belongs to any.

    Args:
        tiling: How the photo was divided. Its `margin` is taken from every tile, since what is found there may be cut;
            tiles still overlap, since `overlap` is more than twice the margin.
        maps: For each tile, in the order of `tiling.windows`, the numbers of its objects, integers `[h, w]`; 0 is
            background.
        agreement: See above. Defaults to 0.5.

    Returns:
        Numbers of the objects, `int32 [h, w]`: 1, 2, 3 and so on, and 0 for background.

    Raises:
        ValueError: A map has another size than its tile, or there are fewer or more maps than tiles.

    Example, of an object that two tiles cut:

    >>> tiling = Tiling((4, 12), (8, 8), overlap=4, margin=0)
    >>> row = np.zeros((4, 12), int)
    >>> row[:, 3:10] = 1
    >>> join_objects(tiling, [7 * row[:, :8], 3 * row[:, 4:]])[0].tolist()
    [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    whole = np.zeros(tiling.size, np.int64)
    seen = np.zeros(tiling.size, bool)
    count = 0
    same: list[np.ndarray] = []
    for window, objects in zip(tiling.windows, maps, strict=True):
        if objects.shape != window.size:
            raise ValueError(f"expected a map of the size {window.size} of the tile, received {objects.shape}")
        counts = tiling.weights(window) > 0
        numbers, place = np.unique(np.where(counts, objects, 0), return_inverse=True)
        new = np.where(numbers > 0, count + np.cumsum(numbers > 0), 0)[place].reshape(objects.shape)
        known = window.of(whole)
        covered = window.of(seen) & counts
        same.append(_pairs(known[covered], new[covered], agreement))
        count += int((numbers > 0).sum())
        known[:] = np.where(known > 0, known, new)
        window.of(seen)[:] |= counts
    links = np.concatenate([*same, np.zeros((0, 2), np.int64)])
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count + 1, count + 1))
    _, component = connected_components(graph, directed=False)
    joined = np.where(whole > 0, component[whole] + 1, 0)
    numbers, place = np.unique(np.append(joined.reshape(-1), 0), return_inverse=True)
    return place[:-1].reshape(tiling.size).astype(np.int32)


def _pairs(known: np.ndarray, new: np.ndarray, agreement: float) -> np.ndarray:
    """Returns pairs of numbers, `int64 [p, 2]`, that stand for one object, by the pixels that both maps cover."""
    both = (known > 0) & (new > 0)
    if not both.any():
        return np.zeros((0, 2), np.int64)
    pairs, shared = np.unique(np.stack([known[both], new[both]], axis=1), axis=0, return_counts=True)
    areas = [np.bincount(objects)[numbers] for objects, numbers in zip((known, new), pairs.T, strict=True)]
    return pairs[shared >= agreement * np.minimum(*areas)]
