"""The fingerprints of images: a perceptual hash, a thumbnail and the range of the values.

The hash is the sign pattern of an image's coarse frequencies ("pHash": C. Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010, section 3.1). Copies that were saved again, resized, or made a little brighter
differ in few of its 64 bits.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.data import Samples
from pipelines.loading.batches import as_dataset, read
from pipelines.loading.python_decoding import decode_any

__all__ = ["THUMBNAIL", "Fingerprints", "Progress", "compute_fingerprints", "perceptual_hashes"]

Progress = Callable[[int, int], None]

SMALLEST = 24  # pixels: smaller images, such as handwritten digits, look alike without being copies
SIDE = 32  # pixels: height and width of the grey image that is hashed
THUMBNAIL = 16  # pixels: height and width of a thumbnail


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The fingerprints of `n` images.

    Attributes:
        hashes: Perceptual hashes `uint64 [n]`.
        thumbnails: Grey thumbnails `uint8 [n, 16, 16]`.
        spread: The largest difference between two values of a channel, `int16 [n]`. It is 0 for an image of a single
            colour, and -1 for an image that cannot be decoded.
        comparable: `bool [n]`, true for images that could be decoded, are large enough, and do not have a single
            colour.
    """

    hashes: np.ndarray
    thumbnails: np.ndarray
    spread: np.ndarray
    comparable: np.ndarray


def compute_fingerprints(samples: Samples, *, progress: Progress | None = None) -> Fingerprints:
    """Decodes every image once, JPEGs at a fraction of their size, and computes its fingerprint.

    Args:
        samples: Images of any kind.
        progress: Function that is called now and then with the number of images that are done and of all images.

    Example:

    >>> from pipelines import read_data
    >>> digits = compute_fingerprints(read_data("sklearn:digits").valid)
    >>> digits.hashes.dtype, bool(digits.comparable.any())  # they are too small to be compared
    (dtype('uint64'), False)
    """
    n = len(samples)
    hashes, thumbnails = np.zeros(n, np.uint64), np.zeros([n, THUMBNAIL, THUMBNAIL], np.uint8)
    spread, smallest = np.full(n, -1, np.int16), np.zeros(n, np.int32)
    for indices, (grey, spreads, sides) in _grey_images(samples, progress):
        hashes[indices] = perceptual_hashes(grey)
        thumbnails[indices] = np.round(grey.reshape(-1, THUMBNAIL, 2, THUMBNAIL, 2).mean((2, 4)))
        spread[indices], smallest[indices] = spreads, sides
    comparable = (smallest >= SMALLEST) & (thumbnails.std(axis=(1, 2)) > 4)
    return Fingerprints(hashes, thumbnails, spread, comparable)


def _grey_images(samples: Samples, progress: Progress | None) -> Iterable[tuple[np.ndarray, Any]]:
    """Yields numbers of images `[b]`, with their grey images `float32 [b, 32, 32]`, spreads `[b]` and shorter sides."""

    def shrink(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        grey = tf.image.rgb_to_grayscale(tf.cast(image, tf.float32))
        small = tf.image.resize(grey, [SIDE, SIDE], "area")[..., 0]
        values = tf.cast(image, tf.int16)
        spread = tf.reduce_max(tf.reduce_max(values, [-3, -2]) - tf.reduce_min(values, [-3, -2]), -1)
        side = tf.broadcast_to(tf.reduce_min(tf.shape(image)[-3:-1]), tf.shape(spread))
        return small, spread, side

    if samples.decoded:
        for start in range(0, len(samples), 256):
            part = slice(start, start + 256)
            yield np.arange(len(samples))[part], [part.numpy() for part in shrink(samples.images[part])]
            if progress is not None:
                progress(min(start + 256, len(samples)), len(samples))
    elif len(samples):
        # At twice the size that is hashed, it does not matter at which fraction of its size a copy was decoded.
        yield from _look(
            samples, lambda contents: shrink(decode_any(contents, at_least=(2 * SIDE, 2 * SIDE))), progress=progress
        )


def _look(
    samples: Samples, function: Callable[[tf.Tensor], Any], *, progress: Progress | None
) -> Iterator[tuple[np.ndarray, Any]]:
    """Applies a function to the contents of every image file, in a graph, and leaves out those that it fails on.

    Yields:
        The numbers `[b]` of some of the samples, in no particular order, and what the function returned for them.
    """
    dataset = tf.data.Dataset.zip(tf.data.Dataset.range(len(samples)), as_dataset(samples.images))

    @tf.autograph.experimental.do_not_convert
    def apply(index: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return index, function(read(image, samples))

    dataset = dataset.map(apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    dataset = dataset.ignore_errors().batch(32)  # one element at a time: an error would take its batch along
    done = 0
    for indices, results in dataset.as_numpy_iterator():
        yield indices, results
        done += len(indices)
        if progress is not None:
            progress(done, len(samples))


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """Computes the perceptual hashes of grey images: which of the 8x8 lowest frequencies are above their median.

    Args:
        grey: Grey images `float [n, 32, 32]`.

    Returns:
        `uint64 [n]`.

    Example:

    >>> grey = np.random.default_rng(0).uniform(0, 255, [1, 32, 32])
    >>> bool(perceptual_hashes(grey)[0] == perceptual_hashes(0.5 * grey + 40)[0])
    True
    """
    positions = np.arange(SIDE)
    cosines = np.cos(np.pi / SIDE * (positions + 0.5) * np.arange(8)[:, None])  # DCT-II
    frequencies = (cosines @ grey @ cosines.T).reshape(-1, 64)
    frequencies[:, 0] = 0  # the mean brightness does not depend on the objects in the image
    above = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").astype(np.uint64).reshape(-1)
