"""Which images are the same, or nearly: by their bytes, and by a perceptual hash of what they show.

The hash is the sign pattern of an image's coarse frequencies ("pHash": C. Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010, section 3.1): copies that were saved again, resized, or made a little brighter
differ in few of its 64 bits. Images whose hashes are near are then compared as thumbnails, which tells copies from
pictures that only have their coarse layout in common.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.contents import digests
from pipelines.data import Samples

__all__ = [
    "Fingerprints",
    "duplicate_pairs",
    "fingerprints",
    "group",
    "near_duplicates",
    "near_pairs",
    "perceptual_hashes",
    "same_pairs",
]

Progress = Callable[[int, int], None]

MAX_DISTANCE = 10  # bits of 64 in which the hashes of copies may differ
MIN_CORRELATION = 0.88  # of the grey levels of their thumbnails
SMALLEST = 24  # pixels; thumbnails of smaller images, as handwritten digits, are alike without being copies
SIDE = 32  # of the grey image that is hashed
_THUMBNAIL = 16


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What `fingerprints` keeps of `n` images.

    Attributes:
        hashes: `uint64 [n]`.
        thumbnails: `uint8 [n, 16, 16]`, grey.
        spread: `int16 [n]`, largest less smallest value of a channel; 0 for an image of one colour, -1 for one that
            cannot be decoded.
        comparable: `bool [n]`, decoded, large enough, and not plain.
    """

    hashes: np.ndarray
    thumbnails: np.ndarray
    spread: np.ndarray
    comparable: np.ndarray


def fingerprints(samples: Samples, *, progress: Progress | None = None) -> Fingerprints:
    """Decode every image once, JPEGs at a fraction of their size, and keep its hash and a thumbnail.

    Args:
        samples: of any kind.
        progress: called now and then with the number of images done and the number of all.

    Example:

    >>> from pipelines import read_data
    >>> found = fingerprints(read_data("sklearn:digits").valid)
    >>> found.hashes.dtype, bool(found.comparable.any())  # too small to be compared
    (dtype('uint64'), False)
    """
    n = len(samples)
    hashes, thumbnails = np.zeros(n, np.uint64), np.zeros([n, _THUMBNAIL, _THUMBNAIL], np.uint8)
    spread, smallest = np.full(n, -1, np.int16), np.zeros(n, np.int32)
    for indices, (grey, spreads, sides) in _grey(samples, progress):
        hashes[indices] = perceptual_hashes(grey)
        thumbnails[indices] = np.round(grey.reshape(-1, _THUMBNAIL, 2, _THUMBNAIL, 2).mean((2, 4)))
        spread[indices], smallest[indices] = spreads, sides
    comparable = (smallest >= SMALLEST) & (thumbnails.std(axis=(1, 2)) > 4)
    return Fingerprints(hashes, thumbnails, spread, comparable)


def _grey(samples: Samples, progress: Progress | None) -> Iterable[tuple[np.ndarray, Any]]:
    """Numbers of samples, with their `float32 [b, 32, 32]` grey images, spreads `[b]` and shorter sides `[b]`."""
    import tensorflow as tf

    from pipelines.loading.checking import look
    from pipelines.loading.python_decoding import decode_any

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
        # Twice the size of what is hashed, so that it does not matter at which fraction a copy was decoded.
        yield from look(
            samples, lambda contents: shrink(decode_any(contents, at_least=(2 * SIDE, 2 * SIDE))), progress=progress
        )


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """The signs of the 8x8 lowest frequencies, against their median: `float [n, 32, 32]` to `uint64 [n]`.

    >>> grey = np.random.default_rng(0).uniform(0, 255, [1, 32, 32])
    >>> bool(perceptual_hashes(grey)[0] == perceptual_hashes(0.5 * grey + 40)[0])
    True
    """
    positions = np.arange(SIDE)
    cosines = np.cos(np.pi / SIDE * (positions + 0.5) * np.arange(8)[:, None])  # DCT-II
    frequencies = (cosines @ grey @ cosines.T).reshape(-1, 64)
    frequencies[:, 0] = 0  # the mean brightness says nothing of what is shown
    above = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def near_pairs(hashes: np.ndarray, *, max_distance: int = MAX_DISTANCE, chosen: np.ndarray | None = None) -> np.ndarray:
    """All pairs of hashes that differ in few bits.

    Two hashes that differ in at most d bits agree in at least one of d + 1 parts, so only those with an equal part are
    compared (M. Norouzi et al., "Fast search in Hamming space with multi-index hashing", 2012).

    Args:
        hashes: `uint64 [n]`.
        max_distance: in bits.
        chosen: `[m]`, compare only the hashes at these places; they should be different from each other.

    Returns:
        `int64 [k, 2]`, each pair once.

    Example:

    >>> near_pairs(np.array([0b1111, 0b0111, 2**40 - 1], np.uint64), max_distance=1).tolist()
    [[0, 1]]
    """
    places = np.arange(len(hashes)) if chosen is None else np.asarray(chosen)
    edges = np.linspace(0, 64, max_distance + 2).astype(int)
    found = [np.empty([0, 2], np.int64)]
    for low, high in itertools.pairwise(edges):
        parts = (hashes[places] >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = places[np.argsort(parts, kind="stable")]
        for bucket in np.split(order, np.flatnonzero(np.diff(np.sort(parts))) + 1):
            for start in range(0, len(bucket) - 1, 1024):  # in pieces, for the memory of a large bucket
                rows = bucket[start : start + 1024]
                distances = np.bitwise_count(hashes[rows, None] ^ hashes[bucket[None, start:]])
                first, second = np.nonzero(np.triu(distances <= max_distance, 1))
                found.append(np.stack([rows[first], bucket[start + second]], axis=1))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs, axis=0)


def group(n: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers of groups `int64 [n]`, the same for what a pair, or a chain of pairs, connects; counted from 0.

    >>> group(4, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def duplicate_pairs(found: Fingerprints, *, max_distance: int = MAX_DISTANCE) -> np.ndarray:
    """Pairs `int64 [k, 2]` that connect all images that show the same; see `near_duplicates`."""
    places = np.flatnonzero(found.comparable)
    if not len(places):
        return np.empty([0, 2], np.int64)
    _, first, which = np.unique(found.hashes[places], return_index=True, return_inverse=True)
    same = np.stack([places[first[which]], places], axis=1)  # each with the first of the same hash
    near = near_pairs(found.hashes, max_distance=max_distance, chosen=places[first])
    pairs = np.concatenate([same[same[:, 0] != same[:, 1]], near])
    # In pieces, since images of one layout (screenshots, scans) can make millions of pairs.
    alike = [_alike(found.thumbnails, pairs[start : start + 65536]) for start in range(0, len(pairs), 65536)]
    return pairs[np.concatenate([np.empty(0, bool), *alike])]


def _alike(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = (thumbnails[pairs[:, side]].reshape(-1, _THUMBNAIL**2).astype(np.float32) for side in (0, 1))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) >= MIN_CORRELATION * norms


def near_duplicates(
    samples: Samples, *, max_distance: int = MAX_DISTANCE, progress: Progress | None = None
) -> np.ndarray:
    """Groups of images that show the same: for splitting so that no copy of a training image is tested on.

    Found are exact copies (of any images), and images of at least 24 pixels a side that were saved again in another
    quality, size or format, changed a little in brightness or contrast, or cut by a few percent at the edges. Not
    found are mirrored or turned copies.

    Args:
        samples: `n` images of any kind. Those that cannot be decoded are only compared by their bytes.
        max_distance: bits, 0 to 32, in which perceptual hashes of copies may differ. More finds more, right and wrong.
        progress: called now and then with the number of images done and the number of all.

    Returns:
        `int64 [n]`: images of the same number belong together, also if only a chain of copies connects them.

    Raises:
        ValueError: `max_distance` out of its range.

    Example:

    >>> import tensorflow as tf
    >>> pixels = tf.cast(tf.random.stateless_uniform([6, 8, 3], [1, 2]) * 255, tf.uint8)
    >>> photo = tf.cast(tf.image.resize(pixels, [120, 160]), tf.uint8)
    >>> jpeg, png = tf.io.encode_jpeg(photo, quality=60).numpy(), tf.io.encode_png(photo[::2, ::2]).numpy()
    >>> other = tf.io.encode_png(photo[::-1]).numpy()
    >>> near_duplicates(Samples([jpeg, other, png], [0, 0, 0], ["a", "b", "c"])).tolist()
    [0, 1, 0]
    """
    if not 0 <= max_distance <= 32:
        raise ValueError(f"near_duplicates: expected `max_distance` in 0..32 bits, received {max_distance!r}")
    found = fingerprints(samples, progress=progress)
    pairs = [same_pairs(digests(samples.images)), duplicate_pairs(found, max_distance=max_distance)]
    return group(len(samples), np.concatenate(pairs))


def same_pairs(keys: Sequence[bytes]) -> np.ndarray:
    """Pairs `int64 [k, 2]` of each with the first of the same key; empty keys are not compared."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(key, index), index) for index, key in enumerate(keys) if key]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
