"""What an object looks like within its box: polygons and COCO's run lengths, drawn into masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.annotations.turning import turn_array, turn_points
from pipelines.scenes import Scene

__all__ = ["class_mask", "from_runs", "instance_masks", "outline_box", "outline_mask", "to_runs", "turn_outline"]


def outline_mask(outline: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels that an outline covers: those whose centres lie inside.

    Args:
        outline: polygons (`[k, 2]` each, x and y; together they are one object), or COCO's run lengths
            `{"size": [h, w], "counts": list, str or bytes}`. Compressed counts need the extra `coco`.
        size: (height, width).

    Returns:
        `bool [h, w]`.

    Raises:
        ValueError: run lengths of another size.
        ImportError: compressed run lengths without pycocotools.

    Example:

    >>> outline_mask([np.array([[1, 0], [3, 0], [3, 2], [1, 2]])], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    if isinstance(outline, Mapping):
        mask = from_runs(outline)
        if mask.shape != tuple(size):
            raise ValueError(
                f"expected run lengths of an image of (height, width) {tuple(size)}, received {mask.shape}"
            )
        return mask
    from skimage.draw import polygon

    mask = np.zeros(size, bool)
    for points in outline:
        # A pixel's centre lies half a pixel from its corner, which is where it is counted from.
        rows, columns = polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, size)
        mask[rows, columns] = True
    return mask


def instance_masks(scene: Scene) -> np.ndarray:
    """One mask an object, `bool [n, h, w]`: from `scene.instances`, else its outline, else its box.

    >>> scene = Scene("a.png", "a.png", (3, 4), boxes=[[1, 0, 3, 2]], classes=[0])
    >>> int(instance_masks(scene).sum())
    4
    """
    if scene.instances is not None:
        return scene.instances == np.arange(1, len(scene) + 1)[:, None, None]
    masks = np.zeros((len(scene), *scene.size), bool)
    for mask, outline, box in zip(masks, scene.outlines or (), scene.boxes, strict=True):
        if outline is None:
            x1, y1, x2, y2 = np.round(box).astype(int)
            mask[y1:y2, x1:x2] = True
        else:
            mask[:] = outline_mask(outline, scene.size)
    return masks


def class_mask(scene: Scene, *, background: int | None = 0, ignore: int = 255) -> np.ndarray:
    """The class of each pixel, `uint8 [h, w]`.

    Args:
        scene: with a `mask`, which is returned as it is; else drawn from its objects, in their order.
        background: where there is no object; classes count from `background + 1`. With `None` they count from 0 and
            pixels without object are `ignore`.
        ignore: for crowds, which stand for no countable object.

    >>> scene = Scene("a.png", "a.png", (1, 4), boxes=[[1, 0, 3, 1]], classes=[4])
    >>> class_mask(scene).tolist()
    [[0, 5, 5, 0]]
    """
    if scene.mask is not None:
        return scene.mask if isinstance(scene.mask, np.ndarray) else scene.mask.read()
    first = 0 if background is None else background + 1
    mask = np.full(scene.size, ignore if background is None else background, np.uint8)
    for pixels, number, crowd in zip(instance_masks(scene), scene.classes, scene.crowd, strict=True):
        mask[pixels] = ignore if crowd else first + number
    return mask


def outline_box(polygons: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    """The smallest box around polygons, xyxy.

    >>> outline_box([np.array([[1.0, 5.0], [3.0, 2.0]])])
    (1.0, 2.0, 3.0, 5.0)
    """
    points = np.concatenate(polygons)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def to_runs(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths of `bool [h, w]`: column by column, how many are off, on, off, ...

    >>> to_runs(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': [1, 3]}
    """
    pixels = np.asarray(mask, bool).T.reshape(-1)
    changes = np.flatnonzero(np.diff(pixels)) + 1
    bounds = np.concatenate([[0] if not pixels[:1].any() else [0, 0], changes, [len(pixels)]])
    return {"size": list(mask.shape), "counts": np.diff(bounds).tolist()}


def from_runs(runs: Mapping[str, Any]) -> np.ndarray:
    """The mask `bool [h, w]` of COCO's run lengths, compressed (a string) or not (a list of numbers).

    Raises:
        ValueError: run lengths that do not add up to the size.
        ImportError: compressed run lengths without pycocotools.

    >>> from_runs({"size": [2, 2], "counts": [1, 3]}).tolist()
    [[False, True], [True, True]]
    """
    height, width = (int(side) for side in runs["size"])
    counts = runs["counts"]
    if isinstance(counts, str | bytes):
        try:
            from pycocotools import mask as coco_mask
        except ImportError as error:
            raise ImportError(
                'compressed run lengths need pycocotools: install it with pip install "transfer-zoo[coco]"'
            ) from error
        encoded = counts.encode() if isinstance(counts, str) else counts
        return coco_mask.decode({"size": [height, width], "counts": encoded}).astype(bool)
    counts = np.asarray(counts, np.int64)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(f"expected run lengths that add up to {height}x{width} pixels, received {counts.sum()}")
    on = np.arange(len(counts)) % 2 == 1
    return np.repeat(on, counts).reshape(width, height).T


def turn_outline(outline: Any, size: tuple[int, int], tag: int) -> Any:
    """An outline of a stored image, in the upright image (see `turning`)."""
    if outline is None:
        return None
    if isinstance(outline, Mapping):
        return to_runs(turn_array(from_runs(outline), tag))
    return tuple(turn_points(points, size, tag) for points in outline)
