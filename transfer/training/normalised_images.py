"""Tells images that somebody has normalised already: the models of this project do that themselves."""

import warnings
from typing import Any

import keras
import numpy as np

__all__ = ["LooksNormalised", "warn_if_normalised"]

HIGHEST = 8.0  # of a value less ImageNet's mean, over its deviation, is 2.7; photos in 0..255 go far beyond
LOWEST = -1e-3  # photos in 0..255 have nothing below 0; what interpolation leaves of it is rounding


class LooksNormalised(UserWarning):
    """Images that do not look like ones in 0..255."""


def warn_if_normalised(images: Any, *, name: str = "the images", values: str | None = None) -> bool:
    """Warns where images look as if somebody had brought them to 0..1, -1..1 or another range already.

    A model that normalises, given what is normalised, sees nearly black pictures, and learns little without a word.

    Args:
        images: a batch, `[n, height, width, channels]`, that should be in 0..255.
        name: what the images are called in the warning.
        values: what the model makes of 0..255, as `transfer.models.normalisation.values_of` says it. Of a model that
        takes values
            as they come ("0..255") nothing is known, and nothing is said.

    Returns:
        Whether there was something to warn of. The warning, a `LooksNormalised`, names range and mean.

    Example:

    >>> warn_if_normalised(np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3)))
    False
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_if_normalised(np.linspace(-1, 1, 72).reshape(1, 4, 6, 3))
    True
    >>> print(str(caught[0].message)[:77])
    the images look normalised already: they are in -1..1 with a mean of 0, where
    """
    if values == "0..255":
        return False
    pixels = np.asarray(keras.ops.convert_to_numpy(images), "float64")
    if not pixels.size or not np.isfinite(pixels).all():
        return False
    low, high, mean = float(pixels.min()), float(pixels.max()), float(pixels.mean())
    # One value throughout is a blank picture in any range, unless it is one that 0..255 does not have.
    if low >= LOWEST and (high > HIGHEST or low == high):
        return False
    made = "" if values is None else f" (here {values})"
    warnings.warn(
        f"{name} look normalised already: they are in {low:.3g}..{high:.3g} with a mean of {round(mean, 3) + 0:.3g}, "
        f"where the model expects 0..255 and normalises by itself{made}. Leave out your own normalisation, such as "
        "preprocess_input or a division by 255",
        LooksNormalised,
        stacklevel=2,
    )
    return True
