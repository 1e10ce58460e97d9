"""Which detection belongs to which track: similarities, gates, and the assignment with the largest sum."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from zoo import boxes

__all__ = ["GATE", "assign", "cosine_similarity", "direction_similarity", "enlarge", "overlap"]

# The 95% quantile of chi-square with four degrees of freedom: Wojke et al. 2017, section 2.2.
GATE = float(chi2.ppf(0.95, df=4))


def assign(similarity: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Assigns rows to columns one to one, so that the sum of what their similarities exceed `least` by is the largest.

    Pairs that have no other candidate are taken at once, and the Hungarian method solves the rest. This changes nothing
    about the result, and most of the work is gone.

    Args:
        similarity: float `[n, m]`. What must not be paired is -inf.
        least: Pairs of a smaller similarity are not assigned.

    Returns:
        Rows and columns of the pairs, int `[k]` each.

    >>> rows, columns = assign(np.array([[0.9, 0.8], [0.7, 0.1], [0.2, 0.2]]), 0.3)
    >>> rows.tolist(), columns.tolist()  # 0.8 + 0.7 is more than 0.9 + 0.1
    ([0, 1], [1, 0])
    """
    possible = similarity >= least
    per_row, per_column = np.count_nonzero(possible, axis=1), np.count_nonzero(possible, axis=0)
    rows = np.flatnonzero(per_row == 1)
    columns = possible[rows].argmax(axis=1) if len(rows) else np.zeros(0, np.intp)
    alone = per_column[columns] == 1
    rows, columns = rows[alone], columns[alone]
    if len(rows) == np.count_nonzero(per_row):
        return rows, columns
    per_row[rows] = per_column[columns] = 0
    other_rows, other_columns = np.flatnonzero(per_row), np.flatnonzero(per_column)
    rest = np.ix_(other_rows, other_columns)
    # A pair at the limit still counts for more than none.
    gain = np.where(possible[rest], similarity[rest] - least + 1e-6, 0)
    chosen_rows, chosen_columns = linear_sum_assignment(gain, maximize=True)
    good = gain[chosen_rows, chosen_columns] > 0
    return (
        np.concatenate([rows, other_rows[chosen_rows[good]]]),
        np.concatenate([columns, other_columns[chosen_columns[good]]]),
    )


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes the IoU, float64 `[n, m]`, of boxes xyxy `[n, 4]` and `[m, 4]`."""
    # The coordinates lie next to each other in memory: for hundreds of boxes this is twice as fast.
    return boxes.overlap_matrix(np.asfortranarray(a, np.float64), np.asfortranarray(b, np.float64))


def enlarge(corners: np.ndarray, share: float) -> np.ndarray:
    """Enlarges boxes by a share of their sides, to all four sides.

    Source: Yang et al. 2023, "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by
    Buffering the Matching Space", section 3.2.

    Args:
        corners: Boxes xyxy, float `[n, 4]`.
        share: How much of the width is added at the left and at the right, and of the height above and below.

    >>> enlarge(np.array([[10.0, 20, 30, 60]]), 0.5).tolist()
    [[0.0, 0.0, 40.0, 80.0]]
    """
    if not share:
        return corners
    margin = share * (corners[:, 2:] - corners[:, :2])
    return np.concatenate([corners[:, :2] - margin, corners[:, 2:] + margin], axis=1)


def cosine_similarity(galleries: np.ndarray, counts: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Computes the largest cosine similarity of each detection to the pictures that a track was seen in.

    Source: Wojke et al. 2017, equation 3 (there as a distance: 1 minus this).

    Args:
        galleries: Unit vectors, float `[n, budget, features]`.
        counts: How many of each track's vectors are set, int `[n]`.
        embeddings: Unit vectors, float `[m, features]`.

    Returns:
        float `[n, m]`, in -1..1; -1 for a track without any picture.
    """
    if not galleries.size or not embeddings.size:
        return np.full((len(galleries), len(embeddings)), -1.0)
    similarity = galleries @ embeddings.T
    unset = np.arange(galleries.shape[1]) >= counts[:, None]
    similarity[unset] = -1
    return similarity.max(axis=1)


def direction_similarity(observed: np.ndarray, latest: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Computes how well the way to a detection continues the direction of a track, pair by pair.

    Source: Cao et al. 2023, "Observation-Centric SORT", section 4.2 (observation-centric momentum).

    Args:
        observed: An earlier observed box of the track, xyxy `[k, 4]`.
        latest: Its last observed box, xyxy `[k, 4]`.
        corners: Box of the detection, xyxy `[k, 4]`.

    Returns:
        float64 `[k]`: 0.5 for the same direction, -0.5 for the opposite one, and 0 for tracks that have not moved.
    """
    origin = boxes.centres(observed)
    past, ahead = boxes.centres(latest) - origin, boxes.centres(corners) - origin
    lengths = np.linalg.norm(past, axis=1) * np.linalg.norm(ahead, axis=1)
    cosine = np.divide((past * ahead).sum(axis=1), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return 0.5 - np.arccos(np.clip(cosine, -1, 1)) / np.pi
