"""Looking at what a generator has learned: grids of samples, and the way from one sample to another."""

from collections.abc import Sequence

import numpy as np

from zoo.explain.feature_grids import as_grid
from zoo.generative.adversarial_training import GAN

__all__ = ["interpolated", "sample_grid"]


def sample_grid(
    gan: GAN, rows: int = 8, columns: int = 8, *, labels: Sequence[int] | None = None, seed: int = 0
) -> np.ndarray:
    """Makes a picture of samples beside each other.

    Args:
        gan: The GAN.
        rows: Number of rows. Defaults to 8.
        columns: Number of samples in a row. Defaults to 8.
        labels: The class of each row, for a class-conditional GAN. Defaults to the classes in their order.
        seed: Decides the noise.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`.

    Raises:
        ValueError: There are not as many labels as rows, or the GAN has no classes.

    Example:

    >>> from zoo.generative import dcgan
    >>> sample_grid(dcgan((8, 8, 1), width=4, latent=5), 2, 3).shape
    (17, 26)
    """
    if gan.conditional:
        classes = gan.num_classes
        labels = [row % classes for row in range(rows)] if labels is None else labels
        if len(labels) != rows:
            raise ValueError(f"expected one label for each of {rows} rows, got {len(labels)}")
        images = gan.sample(labels=np.repeat(labels, columns), seed=seed)
    else:
        images = gan.sample(rows * columns, seed=seed) if labels is None else gan.sample(labels=labels)
    return as_grid(images[..., 0] if images.shape[-1] == 1 else images, columns=columns)


def interpolated(
    gan: GAN, start: np.ndarray, end: np.ndarray, *, steps: int = 8, label: int | None = None
) -> np.ndarray:
    """Makes the images on the way from one point of the noise to another, along the sphere that noise lies on.

    Source: White 2016, "Sampling Generative Networks", section 2.1 (spherical interpolation).

    Args:
        gan: The GAN.
        start, end: Noise, `[latent]`.
        steps: Number of images with both ends, at least 2. Defaults to 8.
        label: The class, for a class-conditional GAN.

    Returns:
        uint8 `[steps, h, w, c]`.

    Raises:
        ValueError: The noise has another size, there are fewer than 2 steps, or the class is missing.

    Example:

    >>> from zoo.generative import dcgan
    >>> interpolated(dcgan((8, 8, 1), width=4, latent=2), np.array([1.0, 0]), np.array([0, 1.0]), steps=3).shape
    (3, 8, 8, 1)
    """
    start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
    if start.shape != (gan.latent,) or end.shape != (gan.latent,) or steps < 2:
        raise ValueError(
            f"expected start and end of the shape ({gan.latent},) and 2 steps or more, got {start.shape}, {end.shape} "
            f"and {steps}"
        )
    if gan.conditional != (label is not None):
        raise ValueError(f"expected a label if the GAN has classes, and only then; got label={label}")
    cosine = np.dot(start, end) / max(np.linalg.norm(start) * np.linalg.norm(end), 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    shares = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    if np.sin(angle) < 1e-6:  # The same direction, or the opposite one.
        noise = (1 - shares) * start + shares * end
    else:
        noise = (np.sin((1 - shares) * angle) * start + np.sin(shares * angle) * end) / np.sin(angle)
    given = [noise.astype(np.float32)]
    if label is not None:
        given.append(np.full(steps, label, "int32"))
    images = gan.sampler(given if label is not None else given[0], training=False)
    return np.clip(np.rint(np.asarray(images)), 0, 255).astype(np.uint8)
