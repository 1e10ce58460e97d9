"""Occlusion: how much a score loses where the image is covered."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import BATCH_SIZE, Subject, checked_scores
from zoo.explain.targets import Target

__all__ = ["occlusion_maps"]


def occlusion_maps(
    model: keras.Model,
    images: np.ndarray,
    class_index: int | Sequence[int] | None = None,
    *,
    target: Target | None = None,
    patch: int | tuple[int, int] | None = None,
    strides: int | tuple[int, int] | None = None,
    fill: float | Sequence[float] | None = None,
    batch_size: int = BATCH_SIZE,
) -> np.ndarray:
    """Computes how much a score falls when a place of the image is covered. It needs no gradients.

    A patch slides over the image. Each pixel gets the mean fall of the score over the patches that cover it.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        class_index: Index of the class to explain: one for each image, or one for all images. Defaults to the classes
            that the model predicts for the images as they are.
        target: What to explain instead of a class; see `zoo.explain.targets`.
        patch: Height and width of the patch in pixels, or one number for a square. Defaults to a sixth of the image's
            sides.
        strides: Step of the patch in pixels, down and to the right. Defaults to half of the patch.
        fill: The values of the patch in 0..255, one or one for each channel. Defaults to the image's mean colour.
        batch_size: Number of covered images at a time. Defaults to 32.

    Returns:
        float32 `[n, h, w]`, in units of the score: positive where the score falls, negative where it rises.

    Raises:
        ValueError: The images or the classes do not fit the model, or the patch does not fit the images.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 6, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
    >>> occlusion_maps(model, np.ones((3, 4, 6, 1)), 0, patch=2).shape
    (3, 4, 6)
    """
    subject = Subject(model)
    results = []
    for batch, own in subject.batches(images, class_index, target, fixed=True, batch_size=batch_size):
        height, width = batch.shape[1:3]
        size = _pair(patch or (-(-height // 6), -(-width // 6)))
        step = _pair(strides or (max(1, size[0] // 2), max(1, size[1] // 2)))
        if not (1 <= size[0] <= height and 1 <= size[1] <= width and min(step) >= 1):
            raise ValueError(
                f"expected a patch within the images of {height}x{width} pixels that moves by at least 1 pixel, got "
                f"patch={patch} and strides={strides}"
            )
        if fill is None:
            cover = tf.reduce_mean(batch, axis=(1, 2), keepdims=True)
        else:
            cover = tf.constant(np.broadcast_to(np.asarray(fill, np.float32), batch.shape[-1:]))
        before = subject.scores(batch, own).numpy()
        falls, counts = np.zeros(batch.shape[:3], np.float32), np.zeros((height, width), np.float32)
        places = []
        for top in _starts(height, size[0], step[0]):
            for left in _starts(width, size[1], step[1]):
                place = np.zeros((height, width), bool)
                place[top : top + size[0], left : left + size[1]] = True
                places.append(place)
        # All images of the batch are covered at one place, so that each keeps its target; several such batches are
        # looked at together where there are few images.
        number = len(batch)
        together = max(1, batch_size // number)
        for start in range(0, len(places), together):
            group = places[start : start + together]
            covered = tf.concat([tf.where(place[None, :, :, None], cover, batch) for place in group], axis=0)
            outputs = subject(covered)[1]
            for place, begin in zip(group, range(0, len(covered), number), strict=True):
                part = slice(begin, begin + number)
                scores = own(keras.tree.map_structure(lambda values, part=part: values[part], outputs))
                falls[:, place] += (before - checked_scores(scores, batch).numpy())[:, None]
                counts[place] += 1
        results.append(falls / np.maximum(counts, 1))
    return np.concatenate(results) if results else np.zeros(np.shape(images)[:3], np.float32)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _starts(length: int, size: int, step: int) -> list[int]:
    """Returns where patches begin, so that the last one ends with the image."""
    return sorted({*range(0, length - size + 1, step), length - size})
