"""Features, standardised and turned to the axes along which they vary.

Source: Jolliffe 2002, "Principal Component Analysis", chapter 3. Where there are more features than rows, the axes come
from the products of rows, which are fewer.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

__all__ = ["PrincipalAxes", "principal_axes"]

TINY = 1e-12  # share of the largest variance, below which an axis is rounding and nothing else


@dataclass(frozen=True)
class PrincipalAxes:
    """Standardised features on their principal axes.

    Attributes:
        rows: float64 `[n, r]`.
        mean: The mean of each feature, `[d]`.
        scale: One over the deviation of each feature, `[d]`; 0 for a constant one.
        axes: The axes, `[d, r]`, in the order of rising variance.
        variances: The variance along each axis, `[r]`.
    """

    rows: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    def leading(self, share: float) -> np.ndarray:
        """Returns the rows on the axes of the largest variances, which together have a share of all of it."""
        below = np.cumsum(self.variances) <= (1 - share) * self.variances.sum()
        return self.rows[:, ~below]

    def back(self, theta: np.ndarray) -> np.ndarray:
        """Returns the weights of the features as they came, `[d, k]`, from those of the axes, `[r, k]`."""
        return self.scale[:, None] * (self.axes @ theta)


def principal_axes(features: np.ndarray, weights: np.ndarray) -> PrincipalAxes:
    """Standardises features, and turns them to their principal axes.

    Args:
        features: float64 `[n, d]`.
        weights: How much each row counts, `[n]`.

    Example:

    >>> axes = principal_axes(np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]]), np.ones(3))
    >>> axes.rows.shape, axes.scale[1].item()
    ((3, 1), 0.0)
    """
    shares = weights / weights.sum()
    mean = shares @ features
    centred = features - mean
    deviation = np.sqrt(shares @ centred**2)
    # What float32 makes of a constant feature differs in its last bits.
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    standard = centred * scale
    n, d = standard.shape
    root = np.sqrt(shares)[:, None]
    weighted = standard * root
    if n < d:
        variances, left = scipy.linalg.eigh(weighted @ weighted.T, driver="evd")
        kept = variances > TINY * max(variances[-1], 1e-300)
        axes = weighted.T @ (left[:, kept] / np.sqrt(variances[kept]))
    else:
        variances, axes = scipy.linalg.eigh(weighted.T @ weighted, driver="evd")
        kept = variances > TINY * max(variances[-1], 1e-300)
        axes = axes[:, kept]
    return PrincipalAxes(standard @ axes, mean, scale, axes, variances[kept])
