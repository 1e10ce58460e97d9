"""Exact and near copies among images.

Images whose perceptual hashes differ in few bits are compared as thumbnails, which distinguishes copies from pictures
that only have their coarse layout in common.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from pipelines.auditing.fingerprints import THUMBNAIL, Fingerprints, Progress, compute_fingerprints
from pipelines.contents import digests
from pipelines.data import Samples

__all__ = ["duplicate_pairs", "group", "near_duplicates", "near_pairs", "same_pairs"]

MAX_DISTANCE = 10  # largest number of bits, of 64, in which the hashes of copies differ
MIN_CORRELATION = 0.88  # smallest correlation between the thumbnails of copies


def near_pairs(hashes: np.ndarray, *, max_distance: int = MAX_DISTANCE, chosen: np.ndarray | None = None) -> np.ndarray:
    """Finds all pairs of hashes that differ in few bits.

    Two hashes that differ in at most d bits agree in at least one of d + 1 parts, so only hashes with an equal part are
    compared (M. Norouzi et al., "Fast search in Hamming space with multi-index hashing", 2012).

    Args:
        hashes: Hashes `uint64 [n]`.
        max_distance: Largest number of bits in which the hashes of a pair may differ. Defaults to 10.
        chosen: Numbers `[m]` of the hashes to compare, which should differ from each other. Defaults to all.

    Returns:
        `int64 [k, 2]`, the numbers of the two hashes of each pair. Each pair is there once.

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
    """Numbers the groups of images that pairs, or chains of pairs, connect.

    Args:
        n: Number of images.
        pairs: Numbers of the images of each pair, `int64 [k, 2]`.

    Returns:
        `int64 [n]`, the group of each image, from 0.

    Example:

    >>> group(4, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def duplicate_pairs(fingerprints: Fingerprints, *, max_distance: int = MAX_DISTANCE) -> np.ndarray:
    """Returns pairs `int64 [k, 2]` that connect all images that show the same, as `near_duplicates` defines it."""
    places = np.flatnonzero(fingerprints.comparable)
    if not len(places):
        return np.empty([0, 2], np.int64)
    _, first, which = np.unique(fingerprints.hashes[places], return_index=True, return_inverse=True)
    same = np.stack([places[first[which]], places], axis=1)  # each image, and the first one with the same hash
    near = near_pairs(fingerprints.hashes, max_distance=max_distance, chosen=places[first])
    pairs = np.concatenate([same[same[:, 0] != same[:, 1]], near])
    # In pieces, because images of one layout (screenshots, scans) can make millions of pairs
    alike = [_alike(fingerprints.thumbnails, pairs[start : start + 65536]) for start in range(0, len(pairs), 65536)]
    return pairs[np.concatenate([np.empty(0, bool), *alike])]


def _alike(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns `bool [k]`, true for pairs whose thumbnails are correlated."""
    first, second = (thumbnails[pairs[:, side]].reshape(-1, THUMBNAIL**2).astype(np.float32) for side in (0, 1))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) >= MIN_CORRELATION * norms


def near_duplicates(
    samples: Samples, *, max_distance: int = MAX_DISTANCE, progress: Progress | None = None
) -> np.ndarray:
    """Finds groups of images that show the same, for example to keep copies of training images out of the test set.

    It finds exact copies of any images. Of images with at least 24 pixels in height and width, it also finds copies
    that were saved in another quality, size or format, that were changed a little in brightness or contrast, or that
    were cut by a few percent at the edges. It does not find mirrored or turned copies.

    Args:
        samples: `n` images of any kind. Images that cannot be decoded are compared by their bytes only.
        max_distance: Largest number of bits, 0 to 32, in which the perceptual hashes of copies may differ. A larger
            number finds more copies, and more pairs that are none. Defaults to 10.
        progress: Function that is called now and then with the number of images that are done and of all images.

    Returns:
        `int64 [n]`, the group of each image. Images of one group may be connected by a chain of copies.

    Raises:
        ValueError: `max_distance` is out of its range.

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
    fingerprints = compute_fingerprints(samples, progress=progress)
    pairs = [same_pairs(digests(samples.images)), duplicate_pairs(fingerprints, max_distance=max_distance)]
    return group(len(samples), np.concatenate(pairs))


def same_pairs(keys: Sequence[bytes]) -> np.ndarray:
    """Returns pairs `int64 [k, 2]` of each entry with the first entry of the same key. Empty keys are not compared.

    >>> same_pairs([b"a", b"b", b"", b"a", b""]).tolist()
    [[0, 3]]
    """
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(key, index), index) for index, key in enumerate(keys) if key]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
