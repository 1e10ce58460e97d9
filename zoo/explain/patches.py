"""The photos of a data set that excite a filter most, and the patches in them that do."""

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import Subject, checked_images
from zoo.explain.targets import filter_score

__all__ = ["Patch", "exciting_patches"]


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch of a photo that excites a filter.

    Attributes:
        index: Number of the photo in the data set.
        score: How much the filter is excited.
        place: Row and column in the layer's map.
        box: The patch that the filter sees there, xyxy in pixels: what its value depends on.
        image: The photo, as it was given, `[h, w, c]`.
    """

    index: int
    score: float
    place: tuple[int, int]
    box: tuple[int, int, int, int]
    image: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """The patch, `[height, width, c]`."""
        left, top, right, bottom = self.box
        return self.image[top:bottom, left:right]


def exciting_patches(
    model: keras.Model, batches: Iterable[np.ndarray], layer: str, filter_index: int, *, count: int = 9
) -> list[Patch]:
    """Finds the photos that excite a filter most, and where in them.

    What in such a patch excites the filter, `zoo.explain.deconvolution` or `guided_backpropagation` shows: give
    them `zoo.explain.up_to(model, layer)`, the photo, and `target=filter_score(filter_index, place=patch.place)`.

    Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4 and figure 2.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        batches: The photos in batches `[b, h, w, c]` in 0..255, of the size that the model takes; one array is a batch.
        layer: Name of a layer whose output is a map.
        filter_index: Number of a channel of that layer.
        count: Maximum number of photos, at least 1. Defaults to 9.

    Returns:
        One patch of each photo, the most exciting first.

    Raises:
        ValueError: The photos do not fit the model, it has no such layer or filter, or there are no photos.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 12, 1)), keras.layers.Conv2D(2, 3, kernel_initializer="ones",
    ...     name="conv")])
    >>> photos = np.zeros((3, 8, 12, 1), "uint8")
    >>> photos[1, 2:5, 6:9] = 255
    >>> best = exciting_patches(model, photos, "conv", 0, count=1)[0]
    >>> best.index, best.place, best.box
    (1, (2, 6), (6, 2, 9, 5))
    """
    if count < 1:
        raise ValueError(f"expected at least 1 photo, got count={count}")
    subject = Subject(model, [layer])
    most = subject.tapped.output["maps"][0].shape[-1]
    if not 0 <= filter_index < most:
        raise ValueError(f"the layer {layer} has the filters 0..{most - 1}, got {filter_index}")
    best: list[tuple[float, int, tuple[int, int], np.ndarray]] = []
    seen = 0
    for photos in [batches] if isinstance(batches, np.ndarray) else batches:
        photos = checked_images(photos, subject.flat)
        maps = np.asarray(subject(tf.convert_to_tensor(photos, tf.float32))[0][0], np.float32)[..., filter_index]
        flat_maps = maps.reshape(len(maps), -1)
        for number, place in enumerate(flat_maps.argmax(axis=1).tolist()):
            where = divmod(place, maps.shape[2])
            best.append((float(flat_maps[number, place]), seen + number, where, photos[number]))
        seen += len(photos)
        best = sorted(best, key=lambda one: (-one[0], one[1]))[:count]
    if not best:
        raise ValueError("expected at least one photo, got none")
    return [Patch(index, score, place, _seen_at(model, layer, image, filter_index, place), image)
            for score, index, place, image in best]  # fmt: skip


def _seen_at(model, layer: str, image: np.ndarray, filter_index: int, place: tuple[int, int]):
    """Returns the box of the pixels that the value of a filter at one place depends on."""
    subject = Subject(model, [layer])
    batch = tf.convert_to_tensor(image[None], tf.float32)
    target = filter_score(filter_index, place=place)
    with tf.GradientTape() as tape:
        tape.watch(batch)
        score = target(subject(batch)[0][0])
    used = np.any(subject.reached(tape.gradient(score, batch), "the images").numpy()[0] != 0, axis=-1)
    if not used.any():  # A ReLU that gives 0.
        return (0, 0, image.shape[1], image.shape[0])
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
