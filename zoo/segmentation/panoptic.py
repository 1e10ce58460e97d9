"""From a map of classes and a list of objects to one map of (class, instance).

Sources: Kirillov et al. 2019, "Panoptic Segmentation" (things by falling score, each without the pixels that are taken;
things before stuff); Kirillov et al. 2019, "Panoptic Feature Pyramid Networks", section 3 (stuff regions
under a minimum area are void).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zoo.masks import RunLengths, as_run_lengths

__all__ = ["VOID", "fuse", "segments"]

# The class of pixels that belong to no segment.
VOID = 255


def fuse(
    semantic: np.ndarray,
    masks: Any,
    classes: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    *,
    things: Iterable[int],
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    smallest_stuff: int = 64 * 64,
    void: int = VOID,
) -> tuple[np.ndarray, np.ndarray]:
    """Fuses a semantic output and an instance output of one image.

    Objects are placed by falling score (of equals the first one first). Each gets those of its pixels that no better
    object has; one that keeps less than `overlap_threshold` of its pixels is left out, and takes none. Every other
    pixel gets the class of the semantic output, if it is stuff and all such pixels of the class are `smallest_stuff` or
    more; the others are void, among them pixels of things that no object has.

    Args:
        semantic: Class of each pixel, integers `[h, w]`.
        masks: n masks of objects: `zoo.masks.RunLengths`, COCO's run lengths, or bool `[n, h, w]`.
        classes: Class of each object in the numbers of `semantic`, int `[n]`.
        scores: Score of each object, float `[n]`.
        things: Numbers of the classes of things; all others are stuff.
        score_threshold: Score below which an object is left out. Defaults to 0.5.
        overlap_threshold: Fraction of its pixels that an object keeps at least. Defaults to 0.5, as published.
        smallest_stuff: Number of pixels that a class of stuff has at least, or it is void. Defaults to 4096, as
            published for COCO.
        void: Class of pixels without a segment. Defaults to 255.

    Returns:
        The class map, `uint8 [h, w]`, and the instance map, `int32 [h, w]`: 1, 2, 3 and so on in the order of the
        objects' scores, and 0 for stuff and void.

    Raises:
        ValueError: Lengths or sizes differ, or an object has the class of stuff.

    Example. The better object takes the pixels of both, and the third one keeps too few of its own:

    >>> masks = np.array([[[1, 1, 1, 0, 0, 0]], [[0, 0, 1, 1, 0, 0]], [[1, 1, 0, 0, 0, 0]]], bool)
    >>> semantic = np.array([[7, 7, 7, 7, 7, 0]])
    >>> fused = fuse(semantic, masks, [7, 8, 7], [0.9, 0.8, 0.7], things=[7, 8], smallest_stuff=1)
    >>> [part.tolist() for part in fused]
    [[[7, 7, 7, 8, 255, 0]], [[1, 1, 1, 2, 0, 0]]]
    """
    semantic = np.asarray(semantic)
    classes, scores = np.asarray(classes, np.int64).reshape(-1), np.asarray(scores, np.float64).reshape(-1)
    runs = as_run_lengths([masks])
    things = sorted({int(number) for number in things})
    _check(semantic, runs, classes, scores, things, void)
    height, width = semantic.shape
    # Column by column, as runs are numbered.
    class_map = np.full(width * height, void, np.uint8)
    instance_map = np.zeros(width * height, np.int32)
    count = 0
    for row in np.argsort(-scores, kind="stable").tolist():
        if scores[row] < score_threshold:
            break
        pixels = _pixels(runs, row)
        free = pixels[instance_map[pixels] == 0]
        if not len(free) or len(free) < overlap_threshold * len(pixels):
            continue
        count += 1
        class_map[free], instance_map[free] = classes[row], count

    rest = semantic.T.reshape(-1)
    is_stuff = (instance_map == 0) & ~np.isin(rest, [*things, void])
    for number in np.unique(rest[is_stuff]).tolist():
        pixels = is_stuff & (rest == number)
        if pixels.sum() >= smallest_stuff:
            class_map[pixels] = number
    both = (np.ascontiguousarray(flat.reshape(width, height).T) for flat in (class_map, instance_map))
    return next(both), next(both)


def segments(class_map: np.ndarray, instance_map: np.ndarray, *, void: int = VOID) -> list[dict[str, Any]]:
    """Lists the segments of a panoptic map.

    Args:
        class_map: Classes, integers `[h, w]`.
        instance_map: Instances, integers `[h, w]`.
        void: Class of pixels without a segment. Defaults to 255.

    Returns:
        For each segment a dict of `class`, `instance`, `area` (in pixels) and `box` (xyxy), sorted by class and
        instance.

    >>> segments(np.array([[0, 4, 4, 255]]), np.array([[0, 1, 1, 0]]))  # doctest: +NORMALIZE_WHITESPACE
    [{'class': 0, 'instance': 0, 'area': 1, 'box': [0.0, 0.0, 1.0, 1.0]},
     {'class': 4, 'instance': 1, 'area': 2, 'box': [1.0, 0.0, 3.0, 1.0]}]
    """
    class_map, instance_map = np.asarray(class_map, np.int64), np.asarray(instance_map, np.int64)
    codes = np.where(class_map == void, -1, class_map << 32 | instance_map)
    numbers, place = np.unique(codes, return_inverse=True)
    runs = RunLengths.from_instances(place.reshape(codes.shape) + 1, len(numbers))
    return [
        {"class": code >> 32, "instance": code & (1 << 32) - 1, "area": area, "box": box}
        for code, area, box in zip(numbers.tolist(), runs.areas().tolist(), runs.boxes().tolist(), strict=True)
        if code >= 0
    ]


def _pixels(runs: RunLengths, row: int) -> np.ndarray:
    """Returns the numbers of the pixels of one mask."""
    one = runs[[row]]
    lengths = one.ends - one.starts
    return np.arange(lengths.sum()) + np.repeat(one.starts - (np.cumsum(lengths) - lengths), lengths)


def _check(
    semantic: np.ndarray, runs: RunLengths, classes: np.ndarray, scores: np.ndarray, things: list[int], void: int
) -> None:
    if semantic.ndim != 2 or semantic.dtype.kind not in "bui":
        raise ValueError(
            f"expected the class of each pixel, integers [h, w], received {semantic.dtype} of the shape "
            f"{semantic.shape}; take the argmax of scores first"
        )
    if not len(runs) == len(classes) == len(scores):
        raise ValueError(
            f"expected a class and a score for each mask, received {len(runs)} masks, {len(classes)} classes and "
            f"{len(scores)} scores"
        )
    wrong = np.flatnonzero((runs.sizes != semantic.shape).any(axis=1))
    if len(wrong):
        raise ValueError(
            f"expected masks of the size (h, w) {semantic.shape} of the class map, received "
            f"{runs.sizes[wrong[0]].tolist()}"
        )
    stuff = sorted(set(classes.tolist()) - set(things))
    if stuff:
        raise ValueError(f"expected objects of the things {things}, received objects of the classes {stuff}")
    if void in things or semantic.min(initial=0) < 0 or semantic.max(initial=0) > 255:
        raise ValueError(
            f"expected classes in 0..255 other than void, {void}, received things {things} and classes "
            f"{semantic.min()}..{semantic.max()}"
        )
