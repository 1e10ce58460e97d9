"""Recognises images that somebody has normalised already: the models of this project do that themselves."""

import warnings
from typing import Any

import keras
import numpy as np

from pipelines.prepare.pixel_range import ADVICE, LooksNormalised, normalised_range

__all__ = ["LooksNormalised", "warn_if_normalised"]


def warn_if_normalised(images: Any, *, name: str = "the images", values: str | None = None) -> bool:
    """Warns where images look as if somebody had brought them to 0..1, -1..1 or another range already.

    A model that normalises images itself sees nearly black pictures if they are normalised already, and learns little,
    without any error.

    Args:
        images: A batch `[n, height, width, channels]` whose values should be in 0..255.
        name: What the images are called in the warning. Defaults to "the images".
        values: The range that the model brings 0..255 to, as `transfer.models.normalisation.values_of` describes it. A
            model that takes values as they are ("0..255") may expect any range, so there is no warning then.

    Returns:
        Whether there was a warning. The warning, a `LooksNormalised`, names range and mean.

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
    found = normalised_range(np.asarray(keras.ops.convert_to_numpy(images), "float64"))
    if found is None:
        return False
    made = "" if values is None else f" (here {values})"
    warnings.warn(
        f"{name} look normalised already: they are in {found}, where the model expects 0..255 and normalises by "
        f"itself{made}. {ADVICE}",
        LooksNormalised,
        stacklevel=2,
    )
    return True
