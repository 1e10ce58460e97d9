"""Outlines of objects, which are polygons or COCO's run lengths, and masks that are drawn from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.data import Scene
from pipelines.prepare.turning import turn_array, turn_points
from zoo.masks import RunLengths

__all__ = [
    "DrawnMask",
    "class_mask",
    "from_runs",
    "instance_masks",
    "outline_box",
    "outline_mask",
    "read_polygons",
    "read_runs",
    "to_runs",
    "turn_outline",
]


def outline_mask(outline: Any, size: tuple[int, int]) -> np.ndarray:
    """Draws the pixels that an outline covers: those whose centres are inside.

    Args:
        outline: Polygons (`[k, 2]` each, x and y; together they are one object), or COCO's run lengths
            `{"size": [h, w], "counts": list, str or bytes}`.
        size: Height and width of the image.

    Returns:
        `bool [h, w]`.

    Raises:
        ValueError: The run lengths have another size, or do not fill it.

    Example:

    >>> outline_mask([np.array([[1, 0], [3, 0], [3, 2], [1, 2]])], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    if isinstance(outline, Mapping):
        if tuple(outline["size"]) != tuple(size):
            raise ValueError(f"expected run lengths of (height, width) {tuple(size)}, received {outline['size']}")
        return from_runs(outline)
    from skimage.draw import polygon

    mask = np.zeros(size, bool)
    for points in outline:
        # scikit-image puts the coordinates (0, 0) at the centre of a pixel, and not at its corner.
        rows, columns = polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, size)
        mask[rows, columns] = True
    return mask


def instance_masks(scene: Scene) -> np.ndarray:
    """Returns one mask for each object, `bool [n, h, w]`.

    It is taken from `scene.instances`, or else drawn from the object's outline, or else from its box.

    >>> scene = Scene("a.png", "a.png", (3, 4), boxes=[[1, 0, 3, 2]], classes=[0])
    >>> int(instance_masks(scene).sum())
    4
    """
    if scene.instances is not None:
        return scene.instances == np.arange(1, len(scene) + 1)[:, None, None]
    return np.array([_object_mask(scene, i) for i in range(len(scene))], bool).reshape(-1, *scene.size)


def _object_mask(scene: Scene, index: int) -> np.ndarray:
    """Draws one object by its outline, or else by its box, `bool [h, w]`."""
    outline = (scene.outlines or ())[index]
    if outline is not None:
        return outline_mask(outline, scene.size)
    mask = np.zeros(scene.size, bool)
    x1, y1, x2, y2 = np.round(scene.boxes[index]).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask


def class_mask(scene: Scene, *, background: int | None = 0, ignore: int = 255) -> np.ndarray:
    """Returns the class of each pixel, `uint8 [h, w]`.

    Args:
        scene: Scene whose `mask` is returned. If it has none, its objects are drawn in their order.
        background: Value of pixels without an object. Classes count from `background + 1`. With None, classes count
            from 0, and pixels without an object have the value `ignore`. Defaults to 0.
        ignore: Value of the pixels of crowds, which are not countable objects. Defaults to 255.

    Example:

    >>> scene = Scene("a.png", "a.png", (1, 4), boxes=[[1, 0, 3, 1]], classes=[4])
    >>> class_mask(scene).tolist()
    [[0, 5, 5, 0]]
    """
    if scene.mask is not None:
        return scene.mask if isinstance(scene.mask, np.ndarray) else scene.mask.read()
    first = 0 if background is None else background + 1
    mask = np.full(scene.size, ignore if background is None else background, np.uint8)
    for index, (number, crowd) in enumerate(zip(scene.classes, scene.crowd, strict=True)):
        # One object at a time: hundreds of masks of a large photo would take gigabytes.
        pixels = _object_mask(scene, index) if scene.instances is None else scene.instances == index + 1
        mask[pixels] = ignore if crowd else first + number
    return mask


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """The class of each pixel of a scene whose objects have outlines, drawn when it is needed.

    Args:
        scene: The scene. Pixels without an object have the class 0, and the classes of objects count from 1.
    """

    scene: Scene

    def read(self) -> np.ndarray:
        """Draws the class of each pixel, `uint8 [h, w]`; crowds have 255."""
        return class_mask(replace(self.scene, mask=None))


def outline_box(polygons: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    """Returns the smallest box (xyxy) around polygons.

    >>> outline_box([np.array([[1.0, 5.0], [3.0, 2.0]])])
    (1.0, 2.0, 3.0, 5.0)
    """
    points = np.concatenate(polygons)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def to_runs(mask: np.ndarray) -> dict[str, Any]:
    """Returns COCO's uncompressed run lengths of a mask `bool [h, w]`.

    They are the numbers of pixels that are off, on, off and so on, column by column.

    >>> to_runs(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': [1, 3]}
    """
    return RunLengths.from_masks(np.asarray(mask, bool)[None]).to_coco(compressed=False)[0]


def from_runs(runs: Mapping[str, Any]) -> np.ndarray:
    """Returns the mask `bool [h, w]` of COCO's run lengths, which are compressed (a string) or not (numbers).

    Raises:
        ValueError: The run lengths do not add up to the size.

    Example:

    >>> from_runs({"size": [2, 2], "counts": [1, 3]}).tolist()
    [[False, True], [True, True]]
    """
    return RunLengths.from_coco([runs]).masks()[0]


def read_polygons(polygons: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """Returns polygons `float64 [k, 2]` from lists of points, or from lists of x, y, x, y and so on.

    Raises:
        ValueError, TypeError: A polygon has fewer than three points, or coordinates that are not finite numbers.
    """
    made = tuple(np.array(points, np.float64).reshape(-1, 2) for points in polygons)
    if any(len(points) < 3 or not np.isfinite(points).all() for points in made):
        raise ValueError("expected polygons of three or more points with finite coordinates")
    return made


def read_runs(runs: Mapping[str, Any]) -> dict[str, Any]:
    """Checks run lengths from JSON, and returns them.

    Raises:
        KeyError, TypeError, ValueError: They are not COCO's run lengths, or do not fill their size.
    """
    RunLengths.from_coco([runs])
    height, width = (int(side) for side in runs["size"])
    return {"size": [height, width], "counts": runs["counts"]}


def turn_outline(outline: Any, size: tuple[int, int], tag: int) -> Any:
    """Turns an outline of an image as it is stored into an outline of the upright image."""
    if outline is None:
        return None
    if isinstance(outline, Mapping):
        return to_runs(turn_array(from_runs(outline), tag))
    return tuple(turn_points(points, size, tag) for points in outline)
