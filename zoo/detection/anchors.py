"""Anchors: boxes of a few shapes in every cell of every feature map, which a network shifts and resizes.

A level is a map at some stride. Its cells divide the image evenly, and all cells have the same shapes. Anchors are in
the order of a convolution's output: level by level, row by row, cell by cell, shape by shape. Papers call them anchors
(Faster R-CNN, RetinaNet), default boxes or priors (SSD).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.boxes import Array

__all__ = ["VARIANCES", "anchor_grid", "anchor_shapes", "cluster_shapes", "map_sizes", "ssd_scales", "ssd_shapes"]

# RetinaNet has three sizes within an octave, since sizes double from level to level, and three ratios.
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
# The variances of `zoo.boxes.encode` for all detectors with anchors; those of SSD.
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def map_sizes(image_size: Sequence[Any], strides: Sequence[int]) -> list[tuple[Any, Any]]:
    """Returns (height, width) of each map: the size of the image over the stride, rounded up, as "same" padding has it.

    The last two maps of SSD300, which "valid" convolutions make, count as strides 100 and 300.

    Args:
        image_size: Height and width of the image, in pixels.
        strides: The stride of each map.

    >>> map_sizes((300, 300), (8, 16, 32, 64, 100, 300))
    [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
    """
    height, width = image_size
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def anchor_grid(image_size: Sequence[Any], strides: Sequence[int], shapes: Sequence[Array]) -> Array:
    """Returns the anchors of an image.

    Source: Liu et al. 2016, "SSD", section 2.2. The centres are at ((i + 0.5) / |f|, (j + 0.5) / |f|) of the image,
    where |f| is the size of the map. So the first one is half a stride from the edge where the stride divides the size
    of the image.

    Args:
        image_size: Height and width of the image, in pixels: two numbers, or (in a graph that takes all sizes) two
            scalar tensors. With tensors the result is a tensor, too.
        strides: The stride of each map.
        shapes: For each map the (width, height) of its anchors in pixels, `[a, 2]`.

    Returns:
        float32 `[n, 4]`, xyxy, absolute pixels; not clipped to the image.

    Raises:
        ValueError: If there is not one set of shapes for each stride.

    Example, with a map of 2 x 3 cells and two anchors in each:

    >>> anchors = anchor_grid((32, 48), [16], [[(8, 8), (20, 10)]])
    >>> anchors.shape, anchors[:3].tolist()
    ((12, 4), [[4.0, 4.0, 12.0, 12.0], [-2.0, 3.0, 18.0, 13.0], [20.0, 4.0, 28.0, 12.0]])
    """
    if len(strides) != len(shapes):
        raise ValueError(f"expected shapes for each of {len(strides)} strides, got {len(shapes)}")
    library = _library(*image_size)
    levels = []
    for cells, sizes in zip(map_sizes(image_size, strides), shapes, strict=True):
        rows, columns = (_centres(library, side, count) for side, count in zip(image_size, cells, strict=True))
        centres = library.reshape(library.stack(library.meshgrid(columns, rows), axis=-1), (-1, 1, 2))
        half = library.array(sizes, dtype="float32") / 2
        levels.append(library.reshape(library.concatenate([centres - half, centres + half], axis=-1), (-1, 4)))
    return library.concatenate(levels)


def anchor_shapes(size: float, *, octaves: Sequence[float] = OCTAVES, ratios: Sequence[float] = RATIOS) -> np.ndarray:
    """Returns anchors of every size with every ratio of width to height. The ratio does not change the area.

    Source: Ren et al. 2015, "Faster R-CNN", section 3.1.1; Lin et al. 2017, "Focal Loss for Dense Object Detection",
    section 4 (Anchors), from which the default sizes and ratios are.

    Args:
        size: Side of the square, in pixels.
        octaves: Factors of the size. Defaults to three sizes within an octave.
        ratios: Ratios of width to height. Defaults to 0.5, 1 and 2.

    Returns:
        (width, height), float32 `[len(octaves) * len(ratios), 2]`.

    Raises:
        ValueError: If a number is not over 0.

    >>> anchor_shapes(32, octaves=[1], ratios=[0.25, 1, 4]).tolist()
    [[16.0, 64.0], [32.0, 32.0], [64.0, 16.0]]
    >>> len(anchor_shapes(32))
    9
    """
    if min(size, *octaves, *ratios) <= 0:
        raise ValueError(f"expected sizes and ratios over 0, got {size}, {tuple(octaves)} and {tuple(ratios)}")
    sides = [(size * octave * ratio**0.5, size * octave / ratio**0.5) for octave in octaves for ratio in ratios]
    return np.array(sides, np.float32)


def ssd_scales(count: int, *, smallest: float = 0.2, largest: float = 0.9, first: float | None = 0.1) -> list[float]:
    """Computes the scale of each of the maps of SSD, and the one that would come next.

    Source: Liu et al. 2016, "SSD", equation 4; conv4_3, the first map, has a scale of its own (section 3.1).

    Args:
        count: Number of maps.
        smallest: Scale of the first map that the equation counts, as a fraction of the image. Defaults to 0.2.
        largest: Scale of the last map, as a fraction of the image. Defaults to 0.9.
        first: Scale of the map before those, or None if there is no such map. Defaults to 0.1.

    Returns:
        `count + 1` fractions of the image.

    Raises:
        ValueError: If the equation has fewer than two maps.

    >>> [round(scale, 3) for scale in ssd_scales(6)]
    [0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075]
    """
    regular = count - (first is not None)
    if regular < 2:
        raise ValueError(f"expected maps for two scales or more, got {regular}")
    step = (largest - smallest) / (regular - 1)
    scales = [smallest + step * k for k in range(regular + 1)]
    return scales if first is None else [first, *scales]


def ssd_shapes(scale: float, following: float, ratios: Sequence[float]) -> np.ndarray:
    """Returns the priors of a cell.

    They are a square, a square of the size between this map and the next, and for each ratio a wide and a high box.

    Source: Liu et al. 2016, "SSD", section 2.2 (Choosing scales and aspect ratios for default boxes).

    Args:
        scale: Scale of this map, as a fraction of the image: see `ssd_scales`.
        following: Scale of the next map, as a fraction of the image.
        ratios: Ratios over 1. SSD300 has (2,) on its first and last two maps, (2, 3) on the others.

    Returns:
        (width, height) as fractions of the image, float32 `[2 + 2 * len(ratios), 2]`.

    >>> ssd_shapes(0.25, 0.36, [4]).tolist()
    [[0.25, 0.25], [0.30000001192092896, 0.30000001192092896], [0.5, 0.125], [0.125, 0.5]]
    """
    between = math.sqrt(scale * following)
    sides = [(scale * ratio**0.5, scale / ratio**0.5) for ratio in ratios]
    turned = [pair for longer, shorter in sides for pair in ((longer, shorter), (shorter, longer))]
    return np.array([(scale, scale), (between, between), *turned], np.float32)


def cluster_shapes(sizes: Array, count: int, *, seed: int = 0, rounds: int = 300) -> tuple[np.ndarray, float]:
    """Finds shapes of anchors that suit a data set: k-means, in which the distance is 1 - IoU.

    With the Euclidean distance most clusters would be for large boxes, where a few pixels are a large difference. The
    IoU is that of boxes with the same centre, so that only their shape counts.

    Source: Redmon & Farhadi 2017, "YOLO9000: Better, Faster, Stronger", section 2 (Dimension Clusters). The first
    shapes are drawn far from each other, as in Arthur & Vassilvitskii 2007, "k-means++".

    Args:
        sizes: (width, height) of the objects, `[n, 2]`, in pixels of the images that the detector sees.
        count: Number of shapes.
        seed: Seed of the random choice of the first shapes. Defaults to 0.
        rounds: Maximum number of iterations. Defaults to 300.

    Returns:
        (width, height), float32 `[count, 2]`, by growing area; and the mean IoU of each object with its best shape.

    Raises:
        ValueError: If the sizes are not `[n, 2]` or not over 0, or if there are fewer different sizes than shapes.

    Example, with two kinds of objects, high ones and wide ones:

    >>> shapes, overlap = cluster_shapes([(10, 40), (12, 44), (60, 20), (56, 24), (62, 22)], 2)
    >>> shapes.round().tolist(), round(overlap, 2)
    ([[11.0, 42.0], [59.0, 22.0]], 0.89)
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2:
        raise ValueError(f"expected sizes [n, 2] (width, height), got {sizes.shape}")
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError("expected widths and heights over 0; leave boxes without area out")
    different = len(np.unique(sizes, axis=0))
    if not 1 <= count <= different:
        raise ValueError(f"expected 1 shape to {different}, as many as there are different sizes, got {count}")
    rng = np.random.default_rng(seed)
    shapes = sizes[rng.integers(len(sizes), size=1)]
    while len(shapes) < count:
        distance = 1 - _shape_overlap(sizes, shapes).max(axis=1)
        shapes = np.concatenate([shapes, sizes[rng.choice(len(sizes), size=1, p=distance**2 / (distance**2).sum())]])
    nearest = np.full(len(sizes), -1)
    for _ in range(rounds):
        previous, nearest = nearest, _shape_overlap(sizes, shapes).argmax(axis=1)
        if (nearest == previous).all():
            break
        # A cluster that has lost all its members stays where it is.
        shapes = np.stack([sizes[nearest == k].mean(0) if (nearest == k).any() else shapes[k] for k in range(count)])
    shapes = shapes[np.argsort(shapes.prod(axis=1), kind="stable")]
    return shapes.astype(np.float32), float(_shape_overlap(sizes, shapes).max(axis=1).mean())


def _shape_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes the IoU `[n, k]` of boxes with the same centre, of sizes `[n, 2]` and `[k, 2]`."""
    shared = np.minimum(a[:, None], b).prod(axis=-1)
    return shared / (a.prod(axis=1)[:, None] + b.prod(axis=1) - shared)


def _centres(library: Any, side: Any, count: Any) -> Array:
    """Returns the centres `[count]` of `count` cells that divide `side` pixels."""
    size = library.array(side, dtype="float32") / library.array(count, dtype="float32")
    return (library.arange(count, dtype="float32") + 0.5) * size


def _library(*sides: Any) -> Any:
    if all(isinstance(side, int | np.integer) for side in sides):
        return np
    from keras import ops

    return ops
