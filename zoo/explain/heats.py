"""Attributions of pixels as a map that can be laid over a photo."""

import numpy as np

__all__ = ["as_heat"]


def as_heat(attributions: np.ndarray, *, percentile: float = 99.0) -> np.ndarray:
    """Returns how much each place matters, for people to look at.

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3.1: the largest absolute value
    of the channels, capped at a percentile.

    Args:
        attributions: Numbers of any sign for each pixel and channel `[n, h, w, c]`.
        percentile: Percentile of each image, above which all values look alike. Defaults to 99.

    Returns:
        float32 `[n, h, w]` in 0..1.

    Raises:
        ValueError: The attributions are not `[n, h, w, c]`.

    >>> as_heat(np.array([[[[0.0, 0.0], [1.0, -2.0]]]]), percentile=100).tolist()
    [[[0.0, 1.0]]]
    """
    attributions = np.asarray(attributions, np.float32)
    if attributions.ndim != 4:
        raise ValueError(f"attributions are [n, height, width, channels], got {attributions.shape}")
    strength = np.abs(attributions).max(axis=-1)
    if not strength.size:
        return strength
    most = np.percentile(strength, percentile, axis=(1, 2), keepdims=True).astype(np.float32)
    most = np.where(most > 0, most, strength.max(axis=(1, 2), keepdims=True))
    return np.clip(np.divide(strength, most, out=np.zeros_like(strength), where=most > 0), 0, 1)
