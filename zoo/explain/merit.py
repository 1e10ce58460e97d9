"""Figures of merit of maps: how fast does the answer fall when the most important pixels go, or rise when they come?"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from zoo.explain.subject import BATCH_SIZE, Subject
from zoo.explain.targets import Target, class_share, predicted_classes

__all__ = ["Curve", "deletion", "insertion"]

BLUR = 0.05  # Standard deviation of the blur for insertion, as a share of the shorter side.


@dataclass(frozen=True, eq=False)
class Curve:
    """The scores of images while their pixels go or come.

    Attributes:
        shares: Shares in 0..1 of the pixels that are gone, or have come, float `[steps + 1]`.
        scores: The scores there, float `[n, steps + 1]`.
    """

    shares: np.ndarray
    scores: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """The area under the curve of each image, float `[n]`."""
        return np.trapezoid(self.scores, self.shares, axis=1)


def deletion(
    model: keras.Model,
    images: np.ndarray,
    maps: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    steps: int = 20,
    batch_size: int = BATCH_SIZE,
) -> Curve:
    """Takes away the most important pixels first. A good map has a small area: the answer falls at once.

    Pixels that are gone have the image's mean colour.

    Source: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", section 4.1.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        maps: How important each pixel is, `[n, h, w]`.
        class_index: Index of the class whose probability is the score: one for each image, or one for all. Defaults to
            the classes that the model predicts for the images as they are.
        target: Another score of the model's outputs, which here are behind their softmax or sigmoid.
        steps: Number of equal parts in which the pixels go, at least 1. Defaults to 20.
        batch_size: Number of images at a time. Defaults to 32.

    Raises:
        ValueError: The images, the maps or the classes do not fit the model or each other.

    Example:

    >>> layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()]
    >>> model = keras.Sequential([keras.Input((4, 6, 1)), *layers])
    >>> deletion(model, np.ones((2, 4, 6, 1)), np.ones((2, 4, 6)), 0, steps=3).scores.shape
    (2, 4)
    """
    mean = np.asarray(images, np.float32).mean(axis=(1, 2), keepdims=True)
    gone = np.broadcast_to(mean, np.shape(images))
    return _curve(model, images, images, gone, maps, class_index, target, steps, batch_size)


def insertion(
    model: keras.Model,
    images: np.ndarray,
    maps: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    steps: int = 20,
    batch_size: int = BATCH_SIZE,
) -> Curve:
    """Brings the most important pixels into a blurred image first. A good map has a large area.

    The arguments are those of `deletion`.

    Source: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", section 4.1.

    Raises:
        ValueError: The images, the maps or the classes do not fit the model or each other.

    Example:

    >>> layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Softmax()]
    >>> model = keras.Sequential([keras.Input((4, 6, 1)), *layers])
    >>> insertion(model, np.ones((2, 4, 6, 1)), np.ones((2, 4, 6)), 0, steps=3).scores.shape
    (2, 4)
    """
    deviation = BLUR * min(np.shape(images)[1:3])
    blurred = gaussian_filter(np.asarray(images, np.float32), (0, deviation, deviation, 0))
    return _curve(model, images, blurred, images, maps, class_index, target, steps, batch_size)


def _curve(model, images, first, last, maps, class_index, target, steps: int, batch_size: int) -> Curve:
    """Goes from the first images to the last ones, the most important pixels first."""
    images, maps = np.asarray(images), np.asarray(maps)
    if maps.shape != images.shape[:3]:
        raise ValueError(f"expected one map [n, h, w] for each image, {images.shape[:3]}, got {maps.shape}")
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got steps={steps}")
    subject = Subject(model, squashed=True)
    first, last = np.asarray(first, np.float32), np.asarray(last, np.float32)
    shares = np.arange(steps + 1) / steps
    scores, done = [], 0
    for batch, own in subject.batches(images, class_index, target, fixed=True, batch_size=batch_size):
        part = slice(done, done + len(batch))
        done += len(batch)
        if target is None:
            classes = predicted_classes(subject(batch)[1]) if class_index is None else _of(class_index, part)
            own = class_share(np.asarray(classes))
        order = np.argsort(-maps[part].reshape(len(batch), -1), axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
        ranks = ranks.reshape(maps[part].shape)
        rows = []
        for share in shares:
            changed = (ranks < round(share * order.shape[1]))[..., None]
            mixed = np.where(changed, last[part], first[part])
            rows.append(subject.scores(tf.convert_to_tensor(mixed), own).numpy())
        scores.append(np.stack(rows, axis=1))
    return Curve(shares, np.concatenate(scores) if scores else np.zeros((0, steps + 1), np.float32))


def _of(class_index, part: slice):
    classes = np.asarray(class_index)
    return classes[part] if classes.ndim else classes
