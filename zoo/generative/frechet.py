"""How far made images are from real ones, by the features of a network; and whether a generator repeats itself."""

from collections.abc import Callable

import keras
import numpy as np
from scipy.linalg import sqrtm

__all__ = ["closest_pair", "frechet_distance"]

BATCH_SIZE = 64


def frechet_distance(
    real: np.ndarray, made: np.ndarray, features: keras.Model | Callable[[np.ndarray], np.ndarray]
) -> float:
    """Computes the Fréchet distance of two sets of images: that of normal distributions fitted to their features.

    With the features of Inception v3 it is the FID. With those of another network its values are others, and only
    values with the same network, and as many images, can be compared.

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    equation 6.

    Args:
        real: Real images `[n, h, w, c]` in 0..255. More images than features make a sound estimate.
        made: Made images `[m, h, w, c]`.
        features: A model, such as `transfer.backbone(...).model`, or a function, from images to features `[n, d]` or
            maps `[n, h, w, d]`, which are averaged over all places. A model that takes images of another size, or RGB
            for grey ones, is given resized and repeated ones.

    Returns:
        The distance, at least 0, and 0 for the same set.

    Raises:
        ValueError: There are fewer than 2 images in a set.

    Example:

    >>> images = np.random.default_rng(0).uniform(0, 255, (20, 4, 4, 1))
    >>> round(abs(frechet_distance(images, images + 3, lambda batch: batch.mean(axis=(1, 2)))), 3)
    9.0
    """
    if min(len(real), len(made)) < 2:
        raise ValueError(f"expected 2 images or more in each set, got {len(real)} real ones and {len(made)} made ones")
    (first, spread), (second, other) = (_moments(images, features) for images in (real, made))
    root = np.real(sqrtm(spread @ other))
    distance = np.sum((first - second) ** 2) + np.trace(spread) + np.trace(other) - 2 * np.trace(root)
    return max(float(distance), 0.0)


def _moments(images: np.ndarray, features) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean `[d]` and the covariance `[d, d]` of the features of images."""
    parts = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = np.asarray(images[start : start + BATCH_SIZE], np.float32)
        values = features(_fitted(batch, features), training=False) if isinstance(features, keras.Model) else None
        values = np.asarray(features(batch) if values is None else values, np.float64)
        parts.append(values.mean(axis=(1, 2)) if values.ndim == 4 else values)
    values = np.concatenate(parts)
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def _fitted(batch: np.ndarray, model: keras.Model) -> np.ndarray:
    height, width, channels = model.input_shape[1:]
    if channels == 3 and batch.shape[-1] == 1:
        batch = np.repeat(batch, 3, axis=-1)
    size = (height or batch.shape[1], width or batch.shape[2])
    return batch if size == batch.shape[1:3] else np.asarray(keras.ops.image.resize(batch, size))


def closest_pair(images: np.ndarray) -> tuple[tuple[int, int], float]:
    """Finds the two images that differ least: a generator that repeats itself makes two that hardly differ.

    Args:
        images: Images `[n, h, w, c]` in 0..255, at least 2.

    Returns:
        Their two places, and the root mean square difference of their values, in 0..255.

    Raises:
        ValueError: There are fewer than 2 images.

    Example:

    >>> closest_pair(np.array([0, 100, 103]).reshape(3, 1, 1, 1))
    ((1, 2), 3.0)
    """
    if len(images) < 2:
        raise ValueError(f"expected 2 images or more, got {len(images)}")
    rows = np.asarray(images, np.float64).reshape(len(images), -1)
    squares = np.stack([np.mean((rows - row) ** 2, axis=1) for row in rows])
    np.fill_diagonal(squares, np.inf)
    first, second = np.unravel_index(np.argmin(squares), squares.shape)
    return (int(first), int(second)), float(np.sqrt(squares[first, second]))
