"""Recognises pixels that somebody has normalised already: the models of this project do that themselves."""

import numpy as np

__all__ = ["ADVICE", "LooksNormalised", "normalised_range"]

HIGHEST = 8.0  # A value less ImageNet's mean, over its deviation, is 2.7 at most; photos in 0..255 go far beyond.
LOWEST = -1e-3  # Photos in 0..255 have nothing below 0, apart from the rounding of interpolation.
ADVICE = "Leave out your own normalisation, such as preprocess_input or a division by 255"


class LooksNormalised(UserWarning):
    """A warning about images whose values do not look as if they were in 0..255."""


def normalised_range(pixels: np.ndarray) -> str | None:
    """Returns the range and the mean of pixels that are not in 0..255, and None for those that seem to be.

    Args:
        pixels: Numbers of any shape.

    Example:

    >>> normalised_range(np.linspace(-1, 1, 72))
    '-1..1 with a mean of 0'
    >>> normalised_range(np.linspace(0, 255, 72))
    """
    if not pixels.size or not np.isfinite(pixels).all():
        return None
    low, high, mean = float(pixels.min()), float(pixels.max()), float(pixels.mean(dtype=np.float64))
    # One value throughout is a blank picture in any range, unless it is a value that 0..255 does not have.
    if low >= LOWEST and (high > HIGHEST or low == high):
        return None
    return f"{low:.3g}..{high:.3g} with a mean of {round(mean, 3) + 0:.3g}"
