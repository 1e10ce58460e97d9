"""How sure a share that was counted is: confidence intervals of accuracy, precision, recall and F1."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

__all__ = ["LEVEL", "Interval", "f1_intervals", "share_interval"]

LEVEL = 0.95  # of confidence
RESAMPLES = 2000


class Interval(NamedTuple):
    """From `low` to `high`; both are NaN where there is nothing to say."""

    low: float
    high: float

    def as_list(self) -> list[float] | None:
        """For JSON, which knows no NaN."""
        return None if np.isnan(self.low) else [self.low, self.high]


def share_interval(hits: int, total: int, *, level: float = LEVEL) -> Interval:
    """Wilson's interval for a share of independent draws: it stays inside 0..1, and is honest for few of them.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; computed by SciPy.

    Args:
        hits: how often it was so, of `total` times.
        level: of confidence, in (0, 1).

    Example:

    >>> low, high = share_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if total == 0:
        return Interval(np.nan, np.nan)
    found = binomtest(int(hits), int(total)).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def f1_intervals(
    hits: np.ndarray, called: np.ndarray, support: np.ndarray, total: int, *, level: float = LEVEL, seed: int = 0
) -> list[Interval]:
    """Bootstrap intervals for F1, which is no share of independent draws: its own denominator varies.

    Images are drawn again with replacement as often as there are of them. All that F1 needs of an image is whether it
    is of the class and whether it was called so, so that drawing images is drawing from these four kinds.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; the percentile interval.

    Args:
        hits: of each class, how many images are of it and were called so, `[k]`.
        called, support: how many were called so, and how many are of it, `[k]`.
        total: number of images.
        level: of confidence, in (0, 1).
        seed: of the draws.

    Example:

    >>> [(low, high)] = f1_intervals(np.array([9]), np.array([10]), np.array([10]), 20)
    >>> round(low, 2), round(high, 2)
    (0.71, 1.0)
    """
    kinds = np.stack([hits, called - hits, support - hits], axis=-1)
    shares = np.concatenate([kinds, total - kinds.sum(axis=-1, keepdims=True)], axis=-1) / total
    found = []
    for index, share in enumerate(shares):
        if not share[:3].any():
            found.append(Interval(np.nan, np.nan))
            continue
        drawn = np.random.default_rng([seed, index]).multinomial(total, share, size=RESAMPLES)
        right, wrong = 2 * drawn[:, 0], drawn[:, 1] + drawn[:, 2]
        scores = right / np.maximum(right + wrong, 1)
        low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
        found.append(Interval(float(low), float(high)))
    return found
