"""From what annotation files say to checked scenes: the part that all readers share."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.faults import Log
from pipelines.annotations.outlines import turn_outline
from pipelines.annotations.turning import turn_boxes, turned_size
from pipelines.data import Data, Samples, Scene
from pipelines.sources.splits import GroupBy, fractions_to_take, group_keys, split

__all__ = [
    "Draft",
    "Found",
    "assemble",
    "divide",
    "image_header",
    "make_scene",
]

# By how many pixels a box may overshoot without a word: rounding to six digits, in images of up to 10,000 pixels.
ROUNDING = 0.01


@dataclass(frozen=True, slots=True)
class Found:
    """An object as its annotation tells it; `box` is xyxy, in pixels, or in shares of the image in a relative draft."""

    class_name: str
    box: tuple[float, float, float, float]
    line: int | None
    difficult: bool = False
    crowd: bool = False
    outline: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """An image as its annotation tells it.

    `image` is where it should be; `source` and `line` say where that is written; `size` is the (height, width) that
    the annotation claims, if any; `mask` a `masks.MaskFile`, if any.
    """

    image: Path
    name: str
    source: Path
    objects: Sequence[Found] = ()
    line: int | None = None
    size: tuple[int, int] | None = None
    relative: bool = False
    number: int | str | None = None
    mask: Any = None


def image_header(path: Path) -> tuple[tuple[int, int], int]:
    """The stored (height, width) and the EXIF orientation, 1 to 8, from the first kilobytes of an image file.

    Raises:
        OSError: no such file, or not an image.
    """
    with Image.open(path) as image:
        tag = image.getexif().get(274, 1)
        return (image.height, image.width), tag if tag in range(1, 9) else 1


def assemble(
    drafts: Mapping[str, Sequence[Draft]],
    class_names: Sequence[str] | None,
    log: Log,
    *,
    valid: float,
    test: float,
    seed: int,
    group_by: GroupBy = None,
    class_ids: Sequence[int] | None = None,
) -> Data:
    """Check every draft against its image and class names, and divide what the source did not.

    Args:
        drafts: by split; "train", and as the source brings them along "valid" and "test".
        class_names: `None` takes every name that occurs, sorted.

    Raises:
        ValueError: no image is left to train on; or the first fault of a strict log.
    """
    if class_names is None:
        class_names = sorted(
            {found.class_name for part in drafts.values() for draft in part for found in draft.objects}
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    if len(numbers) < len(class_names):
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        raise ValueError(f"expected class names that differ, received {twice} more than once")
    seen: dict[str, Draft] = {}
    given: dict[str, list[Scene]] = {}
    for role, part in drafts.items():
        given[role] = [scene for draft in part if (scene := _scene(draft, numbers, log, seen)) is not None]
    return divide(given, class_names, log, valid=valid, test=test, seed=seed, group_by=group_by, class_ids=class_ids)


def divide(
    given: Mapping[str, Sequence[Scene]],
    class_names: Sequence[str],
    log: Log,
    *,
    valid: float,
    test: float,
    seed: int,
    group_by: GroupBy = None,
    class_ids: Sequence[int] | None = None,
) -> Data:
    """A data set of checked scenes; the splits that the source did not bring along are taken from "train".

    Raises:
        ValueError: no scene to train on.
    """
    pool = given.get("train", ())
    if not pool:
        first = f" First of {len(log.faults)} faults: {log.faults[0]}" if log.faults else ""
        raise ValueError(f"found no annotated images to train on.{first}")
    groups = group_keys({role: _as_samples(scenes) for role, scenes in given.items()}, group_by)
    valid, test = fractions_to_take(given, valid=valid, test=test)
    names = [scene.name for scene in pool]
    parts = split(names, [0] * len(pool), ["of scenes"], valid=valid, test=test, seed=seed, groups=groups)
    train, taken_valid, taken_test = ([pool[i] for i in part] for part in parts)
    return Data(
        tuple(class_names),
        tuple(train),
        tuple(given.get("valid", taken_valid)),
        tuple(given.get("test", taken_test)),
        log.faults,
        class_ids=None if class_ids is None else tuple(class_ids),
    )


def _scene(draft: Draft, numbers: Mapping[str, int], log: Log, seen: dict[str, Draft]) -> Scene | None:
    try:
        stored, tag = image_header(draft.image)
    except FileNotFoundError:
        log.add("missing image", draft.source, draft.line, f"there is no {draft.image}; left out")
        return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.add("unreadable image", draft.source, draft.line, f"{draft.image}: {error}; left out")
        return None
    key = os.path.realpath(draft.image)
    if key in seen:
        log.add(
            "duplicate", draft.source, draft.line, f"{draft.image} is annotated in {seen[key].source} already; left out"
        )
        return None
    seen[key] = draft
    size = turned_size(stored, tag)
    # Annotations that claim the size of the image as it is stored were made without regard to the tag.
    turn = tag if draft.size == stored != size else 1
    if draft.size is not None and draft.size not in (stored, size):
        log.add(
            "other size",
            draft.source,
            draft.line,
            f"speaks of an image of {draft.size[1]}x{draft.size[0]} pixels, {draft.image} has {size[1]}x{size[0]} "
            "(width x height); left out",
        )
        return None
    return make_scene(draft, str(draft.image), stored if turn != 1 else size, numbers, log, turn=turn)


def make_scene(
    draft: Draft, image: Any, size: tuple[int, int], numbers: Mapping[str, int], log: Log, *, turn: int = 1
) -> Scene:
    """The scene of an image that is there: its objects checked, cut at the edges, and turned.

    Args:
        draft: what the annotation says.
        image: a path, or the file's contents.
        size: (height, width) of the image as the annotation sees it.
        numbers: class index by class name.
        log: for the faults of objects.
        turn: the EXIF orientation, if the annotation was made without regard to it.
    """
    height, width = size
    boxes = np.array([found.box for found in draft.objects], np.float64).reshape(-1, 4)
    if draft.relative:
        # Nine decimals: far below float32, and what turns 1e-14 beside the edge back into the edge.
        boxes = np.round(boxes * [width, height, width, height], 9)
    kept = [i for i, box in enumerate(boxes.tolist()) if _is_good(box, draft, i, size, numbers, log)]
    boxes = np.clip(boxes[kept], 0, [width, height, width, height])
    chosen = [draft.objects[index] for index in kept]
    outlines = [_fitting(found, draft, size, log) for found in chosen]
    if draft.relative:
        outlines = [o if o is None else tuple(np.round(points * [width, height], 9) for points in o) for o in outlines]
    if turn != 1:
        boxes = turn_boxes(boxes, size, turn)
        outlines = [turn_outline(outline, size, turn) for outline in outlines]
    return Scene(
        image,
        draft.name,
        turned_size(size, turn),
        boxes=boxes,
        classes=[numbers[found.class_name] for found in chosen],
        difficult=[found.difficult for found in chosen],
        crowd=[found.crowd for found in chosen],
        outlines=outlines,
        attributes=[found.attributes for found in chosen],
        mask=None if draft.mask is None else dataclasses.replace(draft.mask, orientation=turn),
        number=draft.number,
    )


def _fitting(found: Found, draft: Draft, size: tuple[int, int], log: Log) -> Any:
    """The object's outline, unless it is drawn in run lengths on an image of another size."""
    outline = found.outline
    if isinstance(outline, Mapping) and tuple(outline["size"]) != size:
        what = f"{found.class_name!r} of {draft.name}: run lengths of (height, width) {tuple(outline['size'])}"
        log.add("other size", draft.source, found.line, f"{what}, the image has {size}; kept as a box", kept=True)
        return None
    return outline


def _as_samples(scenes: Sequence[Scene]) -> Samples:
    return Samples([scene.image for scene in scenes], np.zeros(len(scenes)), [scene.name for scene in scenes])


def _is_good(
    box: Sequence[float], draft: Draft, index: int, size: tuple[int, int], numbers: Mapping[str, int], log: Log
) -> bool:
    """Whether to keep the object; what is wrong with it, or has to be cut off, goes into the log."""
    found = draft.objects[index]
    what = f"{found.class_name!r}, object {index + 1} of {draft.name}"

    def fault(kind: str, reason: str, *, kept: bool = False) -> None:
        log.add(
            kind, draft.source, found.line, f"{what}: {reason}; {'cut at the edge' if kept else 'left out'}", kept=kept
        )

    height, width = size
    x1, y1, x2, y2 = box
    shown = f"[{x1:.6g}, {y1:.6g}, {x2:.6g}, {y2:.6g}]"
    if found.class_name not in numbers:
        fault("unknown class", f"expected one of {', '.join(map(repr, numbers))}")
    elif not all(map(math.isfinite, box)):
        fault("not a number", f"box {shown}")
    elif not _has_area(box):
        fault("no area", f"box {shown} has x2 <= x1 or y2 <= y1")
    elif not _has_area(np.clip(box, 0, [width, height, width, height])):
        fault("outside", f"box {shown} is outside of the image of {width}x{height} pixels")
    else:
        if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            fault("clipped", f"box {shown} reaches over the edge of the image of {width}x{height} pixels", kept=True)
        return True
    return False


def _has_area(box: Sequence[float] | np.ndarray) -> bool:
    """Whether there is something between the sides once they are `float32`, as in a `Scene`."""
    with np.errstate(over="ignore"):
        x1, y1, x2, y2 = np.asarray(box).astype(np.float32)
    return bool(x2 > x1 and y2 > y1)
