"""Making checked scenes from the contents of annotation files, as all readers do."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.drafts import Draft, Found
from pipelines.annotations.faults import Log
from pipelines.annotations.labels import with_labels
from pipelines.annotations.outlines import turn_outline
from pipelines.data import Data, Samples, Scene
from pipelines.prepare.orientation_tags import stored_layout
from pipelines.prepare.turning import turn_boxes, turned_size
from pipelines.sources.splits import GroupBy, fractions_to_take, group_keys, split

__all__ = [
    "Draft",
    "Found",
    "assemble",
    "divide",
    "image_header",
    "make_scene",
    "note_suspicious_boxes",
]

# Number of pixels by which a box may overshoot without a fault. Rounding to six digits causes it, in images of up to
# 10,000 pixels.
ROUNDING = 0.01


def image_header(path: Path) -> tuple[tuple[int, int], int]:
    """Reads the stored height and width and the EXIF orientation, 1 to 8, from the first kilobytes of an image file.

    Raises:
        OSError: There is no such file, or it is not an image.
    """
    with open(path, "rb") as file:
        return stored_layout(Image.open(file), file)


def assemble(
    drafts: Mapping[str, Sequence[Draft]],
    class_names: Sequence[str] | None,
    log: Log,
    *,
    valid: float,
    test: float,
    seed: int,
    group_by: GroupBy = None,
    class_ids: Sequence[int | str] | None = None,
) -> Data:
    """Checks every draft against its image and the class names, and makes the splits that the source does not have.

    Args:
        drafts: Drafts of each split: "train", and "valid" and "test" if the source has them.
        class_names: Names of the classes. With None they are all names that occur, sorted.
        log: Log to which faults are added.
        valid: Fraction of the images to take for validation, if the source has no validation split.
        test: Fraction of the images to take for testing, if the source has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        class_ids: Identifiers of the classes in the source.

    Raises:
        ValueError: There is no image to train on, class names are not different, or there is a fault and the log is
            strict.
    """
    drafts = with_labels(drafts, log)
    if class_names is None:
        class_names = sorted(
            {found.class_name for part in drafts.values() for draft in part for found in draft.objects}
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    if len(numbers) < len(class_names):
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        raise ValueError(f"expected different class names, received {twice} more than once")
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
    class_ids: Sequence[int | str] | None = None,
) -> Data:
    """Makes a data set of checked scenes. Splits that the source does not have are taken from "train".

    Args:
        given: Scenes of each split that the source has.
        class_names: Names of the classes.
        log: Log whose faults the data set lists.
        valid: Fraction of the images to take for validation, if the source has no validation split.
        test: Fraction of the images to take for testing, if the source has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        class_ids: Identifiers of the classes in the source.

    Raises:
        ValueError: There is no scene to train on.
    """
    pool = given.get("train", ())
    if not pool:
        first = f" First of {len(log.faults)} faults: {log.faults[0]}" if log.faults else ""
        raise ValueError(f"found no annotated images to train on.{first}")
    groups = group_keys({role: _as_samples(scenes) for role, scenes in given.items()}, group_by)
    valid, test = fractions_to_take(given, valid=valid, test=test)
    names = [scene.name for scene in pool]
    parts = split(names, [0] * len(pool), None, valid=valid, test=test, seed=seed, groups=groups)
    train, taken_valid, taken_test = ([pool[i] for i in part] for part in parts)
    return Data(
        tuple(class_names),
        tuple(train),
        tuple(given.get("valid", taken_valid)),
        tuple(given.get("test", taken_test)),
        log.faults,
        class_ids=None if class_ids is None else tuple(class_ids),
        notes=log.notes,
    )


def _scene(draft: Draft, numbers: Mapping[str, int], log: Log, seen: dict[str, Draft]) -> Scene | None:
    try:
        stored, tag = image_header(draft.image)
    except FileNotFoundError:
        log.add("missing image", draft.source, draft.line, f"there is no {draft.image}; the annotation is left out")
        return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.add("unreadable image", draft.source, draft.line, f"{draft.image} cannot be read ({error}); it is left out")
        return None
    key = os.path.realpath(draft.image)
    if key in seen:
        objects = f" with {len(draft.objects)} object{'s' * (len(draft.objects) != 1)}" if draft.objects else ""
        reason = f"{seen[key].source} annotates {draft.image} already; this annotation{objects} is left out"
        log.add("duplicate", draft.source, draft.line, reason)
        return None
    size = turned_size(stored, tag)
    # An annotation with the size of the image as it is stored was made without regard to the tag.
    turn = tag if draft.size == stored != size else 1
    if draft.size is not None and draft.size not in (stored, size):
        log.add(
            "other size",
            draft.source,
            draft.line,
            f"the annotation is of an image of {draft.size[1]}x{draft.size[0]} pixels (width x height), and "
            f"{draft.image} has {size[1]}x{size[0]}; it is left out",
        )
        return None
    seen[key] = draft  # An annotation that was left out hides none that comes later.
    return make_scene(draft, str(draft.image), stored if turn != 1 else size, numbers, log, turn=turn)


def make_scene(
    draft: Draft, image: Any, size: tuple[int, int], numbers: Mapping[str, int], log: Log, *, turn: int = 1
) -> Scene:
    """Makes the scene of an image: checks its objects, cuts them at the edges, and turns them.

    Args:
        draft: The image and its objects, as the annotation describes them.
        image: Path of the image, or the contents of its file.
        size: Height and width of the image to which the annotation refers.
        numbers: Class index of each class name.
        log: Log to which faults of objects are added.
        turn: EXIF orientation, if the annotation was made without regard to it. Defaults to 1.
    """
    height, width = size
    boxes = np.array([found.box for found in draft.objects], np.float64).reshape(-1, 4)
    if draft.relative:
        # Nine decimals are far more exact than float32, and make a coordinate 1e-14 beside the edge equal to the edge.
        boxes = np.round(boxes * [width, height, width, height], 9)
    kept = [i for i, box in enumerate(boxes.tolist()) if _is_good(box, draft, i, size, numbers, log)]
    boxes = np.clip(boxes[kept], 0, [width, height, width, height])
    chosen = [draft.objects[index] for index in kept]
    note_suspicious_boxes(boxes, chosen, draft, log)
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


def note_suspicious_boxes(boxes: np.ndarray, objects: Sequence[Found], draft: Draft, log: Log) -> None:
    """Lists boxes that are there several times, and images whose boxes are all smaller than a pixel; all are kept.

    Args:
        boxes: Boxes `float64 [n, 4]` in pixels.
        objects: The objects with these boxes.
        draft: The image.
        log: Log to which the faults are added.
    """
    copies: dict[tuple, list[Found]] = {}
    for box, found in zip(boxes.tolist(), objects, strict=True):
        copies.setdefault((found.class_name, *box), []).append(found)
    for (name, *box), same in copies.items():
        if len(same) > 1:
            shown = ", ".join(f"{number:.6g}" for number in box)
            reason = f"{name!r} has the box [{shown}] of {draft.name} {len(same)} times; all are kept"
            log.add("repeated", draft.source, same[1].line, reason, kept=True)
    if len(boxes) and (boxes[:, 2:] - boxes[:, :2] < 1).all():
        reason = (
            f"all {len(boxes)} boxes of {draft.name} are smaller than a pixel; the numbers may be fractions of the "
            "width and height, where pixels are expected. They are kept as they are, and nothing can be learned from "
            "them"
        )
        log.add("tiny", draft.source, objects[0].line, reason, kept=True)


def _fitting(found: Found, draft: Draft, size: tuple[int, int], log: Log) -> Any:
    """Returns the object's outline, or None if it is run lengths of an image of another size."""
    outline = found.outline
    if isinstance(outline, Mapping) and tuple(outline["size"]) != size:
        reason = f"{found.class_name!r} of {draft.name}: the run lengths have (height, width) {tuple(outline['size'])} "
        reason += f"and the image has {size}; the object is kept as a box"
        log.add("other size", draft.source, found.line, reason, kept=True)
        return None
    return outline


def _as_samples(scenes: Sequence[Scene]) -> Samples:
    return Samples([scene.image for scene in scenes], np.zeros(len(scenes)), [scene.name for scene in scenes])


def _is_good(
    box: Sequence[float], draft: Draft, index: int, size: tuple[int, int], numbers: Mapping[str, int], log: Log
) -> bool:
    """Tells whether to keep the object, and adds its faults to the log."""
    found = draft.objects[index]
    what = f"{found.class_name!r}, object {index + 1} of {draft.name}"

    def fault(kind: str, reason: str, *, kept: bool = False) -> None:
        log.add(
            kind,
            draft.source,
            found.line,
            f"{what}: {reason}; the object is {'cut at the edge' if kept else 'left out'}",
            kept=kept,
        )

    height, width = size
    x1, y1, x2, y2 = box
    shown = f"[{x1:.6g}, {y1:.6g}, {x2:.6g}, {y2:.6g}]"
    if found.class_name not in numbers:
        fault("unknown class", f"the class is not one of {', '.join(map(repr, numbers))}")
    elif not all(map(math.isfinite, box)):
        fault("not a number", f"the box {shown} has coordinates that are not finite")
    elif not _has_area(box):
        fault("no area", f"the box {shown} has x2 <= x1 or y2 <= y1")
    elif not _has_area(np.clip(box, 0, [width, height, width, height])):
        fault("outside", f"the box {shown} is outside of the image of {width}x{height} pixels")
    else:
        if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            fault("clipped", f"the box {shown} crosses the edge of the image of {width}x{height} pixels", kept=True)
        return True
    return False


def _has_area(box: Sequence[float] | np.ndarray) -> bool:
    """Tells whether the box has an area after its coordinates are rounded to `float32`, as in a `Scene`."""
    with np.errstate(over="ignore"):
        x1, y1, x2, y2 = np.asarray(box).astype(np.float32)
    return bool(x2 > x1 and y2 > y1)
