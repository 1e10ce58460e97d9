"""Maps whose values are objects, and masks of one object each: both become objects with run lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.annotations.drafts import Draft, Found
from pipelines.annotations.faults import Log
from zoo.masks import RunLengths

__all__ = ["holds_instances", "instance_draft", "objects_draft"]

# Of Pascal VOC's maps of objects: the value of pixels between objects.
_VOID = 255
# Number of files that are looked into, and the share of values that cover one connected region in a map of objects.
_TRIES = 5
_CONNECTED = 0.8


def holds_instances(masks: Sequence[Path]) -> bool:
    """Tells whether 16-bit files are maps of objects: nearly every value covers one connected region.

    Masks of 8 bits are taken for masks of classes, unless their folder says otherwise.
    """
    from scipy.ndimage import label  # here, since other masks are read without it

    regions = []
    for path in masks[:_TRIES]:
        try:
            with Image.open(path) as image:
                if not image.mode.startswith("I"):
                    return False
                values = np.asarray(image)
        except OSError:
            continue
        regions += [label(values == value, np.ones((3, 3)))[1] for value in np.unique(values[values > 0])[:50]]
    return len(regions) > 1 and np.mean(np.array(regions) == 1) >= _CONNECTED


def instance_draft(image: Path, name: str, path: Path, class_name: str, log: Log) -> Draft | None:
    """Reads a map `[h, w]` of 0 for background and one value for each object; None if it cannot be read."""
    try:
        with Image.open(path) as opened:
            values = np.asarray(opened).astype(np.int64)
            is_palette = opened.mode == "P"
        if values.ndim != 2:
            raise ValueError("expected one channel whose values are the numbers of objects")
    except (OSError, ValueError) as error:
        log.add("broken", path, None, f"the file cannot be read as a map of objects ({error}); it is left out")
        return None
    if is_palette:
        values[values == _VOID] = 0
    numbers, place = np.unique(values, return_inverse=True)
    objects = np.cumsum(numbers > 0) * (numbers > 0)
    masks = RunLengths.from_instances(objects[place].reshape(values.shape), int(objects.max(initial=0)))
    return _draft(image, name, path, masks, class_name, values.shape)


def objects_draft(image: Path, name: str, paths: Sequence[Path], class_name: str, log: Log) -> Draft | None:
    """Reads masks of one object each; those that cannot be read, are empty, or have another size are left out."""
    parts: list[RunLengths] = []
    size: tuple[int, int] | None = None
    for path in paths:
        try:
            with Image.open(path) as opened:
                pixels = np.asarray(opened.convert("L")) > 127 if opened.mode != "1" else np.asarray(opened)
        except OSError as error:
            log.add("broken", path, None, f"the file cannot be read as a mask of an object ({error}); it is left out")
            continue
        size = size or pixels.shape
        if pixels.shape != size:
            shown = (
                f"{pixels.shape[1]}x{pixels.shape[0]} pixels (width x height) and others of {name} {size[1]}x{size[0]}"
            )
            log.add("other size", path, None, f"the mask has {shown}; the object is left out")
        elif not pixels.any():
            log.add("no area", path, None, "no pixel of the mask is over 127; the object is left out")
        else:
            parts.append(RunLengths.from_masks(pixels[None]))
    if size is None:
        return None
    return _draft(image, name, paths[0].parent, RunLengths.concatenate(parts), class_name, size)


def _draft(image: Path, name: str, source: Path, masks: RunLengths, class_name: str, size: tuple[int, ...]) -> Draft:
    x1, y1, x2, y2 = masks.boxes().T
    boxes = zip(x1.tolist(), y1.tolist(), x2.tolist(), y2.tolist(), strict=True)
    objects = [Found(class_name, box, None, outline=runs) for box, runs in zip(boxes, masks.to_coco(), strict=True)]
    return Draft(image, name, source, objects, size=(int(size[0]), int(size[1])))
