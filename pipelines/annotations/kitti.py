"""KITTI text: one file for each image, with a type and 14 numbers for each object.

The format is described in the development kit at https://www.cvlibs.net/datasets/kitti/eval_object.php. The box is in
pixels of the image. The other numbers (truncation, occlusion, size and place in space, and a score) are kept as
attributes. `DontCare` marks regions in which objects were not annotated. They are read as no objects, and listed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.annotations.assembling import Found
from pipelines.annotations.documents import read_text
from pipelines.annotations.entries import Entry, read_entries
from pipelines.annotations.faults import Log
from pipelines.data import Data
from pipelines.sources.splits import GroupBy

__all__ = ["read"]

_IGNORED = "DontCare"
_BOX = ("xmin", "ymin", "xmax", "ymax")
_NUMBERS = (
    *("truncated", "occluded", "alpha", *_BOX),
    *("height_3d", "width_3d", "length_3d", "x_3d", "y_3d", "z_3d", "rotation_y", "score"),
)


def read(
    source: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """Reads KITTI's annotations.

    An image has the name of its text file. It belongs to the split of the folders of the two (`training/image_2` and
    `training/label_2`, or `train/images` and `train/labels`).

    Args:
        source: A folder with text files and with the images, for example `image_2` and `label_2`.
        class_names: Names of the classes to read, in order. Defaults to all that occur, sorted by name.
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.

    Returns:
        A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no annotated images to train on, or there is a fault and `strict`.
    """
    log = Log(strict=strict)
    return read_entries(
        source,
        "kitti",
        _entries,
        class_names=class_names,
        log=log,
        valid=valid,
        test=test,
        seed=seed,
        group_by=group_by,
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
