"""KITTI text: one file for each image, with a type and 14 numbers for each object.

The format is described in the development kit at https://www.cvlibs.net/datasets/kitti/eval_object.php. The box is in
pixels of the image. The other numbers (truncation, occlusion, size and place in space, and a score) are kept as
attributes. `DontCare` marks regions in which objects were not annotated. They are read as no objects, and listed.

An image has the name of its text file. It belongs to the split of the folders of the two (`training/image_2` and
`training/label_2`, or `train/images` and `train/labels`).
"""

from collections.abc import Iterator
from pathlib import Path

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import read_text
from pipelines.annotations.entries import Entry, EntryReader
from pipelines.annotations.faults import Log

__all__ = ["read"]

_IGNORED = "DontCare"
_BOX = ("xmin", "ymin", "xmax", "ymax")
_NUMBERS = (
    *("truncated", "occluded", "alpha", *_BOX),
    *("height_3d", "width_3d", "length_3d", "x_3d", "y_3d", "z_3d", "rotation_y", "score"),
)


def _entries(path: Path, log: Log) -> Iterator[Entry]:
    text = read_text(path, log)
    if text is None:
        return
    objects = []
    ignored = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        if words[0] == _IGNORED:
            ignored.append(number)
            continue
        try:
            if len(words) not in (len(_NUMBERS), len(_NUMBERS) + 1):
                raise ValueError
            values = dict(zip(_NUMBERS, map(float, words[1:]), strict=False))
        except ValueError:
            reason = f"expected a type and 14 numbers, or 15 with a score, received {line.strip()[:60]!r}"
            log.add("broken", path, number, f"{reason}; the line is left out")
            continue
        x1, y1, x2, y2 = (values.pop(key) for key in _BOX)
        objects.append(Found(words[0], (x1, y1, x2, y2), number, attributes=values))
    if ignored:
        reason = f"{len(ignored)} regions are marked as {_IGNORED}, not annotated; they are left out"
        log.add("left out", path, ignored[0], reason)
    yield Entry(path.stem, path, objects)


read = EntryReader("kitti", _entries).read
