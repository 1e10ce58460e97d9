"""Confidence intervals of accuracy, precision, recall and F1: how sure a share is that was counted."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

__all__ = ["LEVEL", "Interval", "f1_intervals", "share_interval"]

LEVEL = 0.95  # The level of confidence.
RESAMPLES = 2000  # Number of draws of a bootstrap.


class Interval(NamedTuple):
    """An interval of confidence.

    Attributes:
        low: Its low end.
        high: Its high end. Both are NaN where an interval is not defined.
    """

    low: float
    high: float

    def as_list(self) -> list[float] | None:
        """Returns both ends as JSON can hold them: None where they are NaN."""
        return None if np.isnan(self.low) else [self.low, self.high]


def share_interval(hits: int, total: int, *, level: float = LEVEL) -> Interval:
    """Computes Wilson's interval for a share of independent draws. It stays inside 0..1, and holds for few draws, too.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; computed by SciPy.

    Args:
        hits: Number of draws that count.
        total: Number of all draws.
        level: Level of confidence, in (0, 1). Defaults to 0.95.

    Example:

    >>> low, high = share_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if total == 0:
        return Interval(np.nan, np.nan)
    result = binomtest(int(hits), int(total)).proportion_ci(level, method="wilson")
    return Interval(float(result.low), float(result.high))


def f1_intervals(
    hits: np.ndarray, predicted: np.ndarray, support: np.ndarray, total: int, *, level: float = LEVEL, seed: int = 0
) -> list[Interval]:
    """Computes bootstrap intervals for F1, which is no share of independent draws, since its denominator varies.

    A bootstrap draws as many images again, with replacement. All that F1 needs of an image is whether it is of the
    class and whether the class was predicted, so that drawing images is drawing from these four kinds.

    Where all answers about a class are right, or none is, each draw gives the same. F1 is then computed of Wilson's
    interval for the share of right answers among the images that are of the class or were predicted to be.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; the percentile interval.

    Args:
        hits: Number of images of each class for which it was predicted, `[k]`.
        predicted: Number of images for which each class was predicted, `[k]`.
        support: Number of images of each class, `[k]`.
        total: Number of all images.
        level: Level of confidence, in (0, 1). Defaults to 0.95.
        seed: Seed of the draws. Defaults to 0.

    Example:

    >>> [(low, high)] = f1_intervals(np.array([9]), np.array([10]), np.array([10]), 20)
    >>> round(low, 2), round(high, 2)
    (0.71, 1.0)
    """
    kinds = np.stack([hits, predicted - hits, support - hits], axis=-1)
    shares = np.concatenate([kinds, total - kinds.sum(axis=-1, keepdims=True)], axis=-1) / total
    intervals = []
    for index, share in enumerate(shares):
        if not share[:3].any():
            intervals.append(Interval(np.nan, np.nan))
            continue
        if share[0] == 0 or not share[1:3].any():
            intervals.append(_f1_of_one_kind(int(hits[index]), int(kinds[index].sum()), level))
            continue
        drawn = np.random.default_rng([seed, index]).multinomial(total, share, size=RESAMPLES)
        right, wrong = 2 * drawn[:, 0], drawn[:, 1] + drawn[:, 2]
        scores = right / np.maximum(right + wrong, 1)
        low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
        intervals.append(Interval(float(low), float(high)))
    return intervals


def _f1_of_one_kind(hits: int, total: int, level: float) -> Interval:
    """Returns the interval of F1, which is `2 j / (1 + j)` for a share `j` of right answers."""
    low, high = (2 * share / (1 + share) for share in share_interval(hits, total, level=level))
    return Interval(low, high)
