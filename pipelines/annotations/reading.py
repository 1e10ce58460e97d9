"""One call for every annotated data set: recognising the format, reading and writing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipelines.annotations import coco, labelme, masks, via, voc, yolo
from pipelines.annotations.files import Keep
from pipelines.annotations.layouts import LAYOUTS, layout_of
from pipelines.data import Data, Fault, WrongKind
from pipelines.sources.image_files import has_class_folders
from pipelines.sources.scene_shards import read_shards
from pipelines.sources.splits import GroupBy

__all__ = ["read_scenes", "write_scenes"]


def read_scenes(
    spec: str | os.PathLike[str],
    *,
    layout: str | None = None,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
) -> Data:
    """List a data set of annotated images and divide it into train, valid and test. No image is decoded here.

    Args:
        spec: a folder of annotations in one of the formats of `pipelines.annotations`, or a file (`.json`, `.yaml`); or
            `"tfds:NAME"`, a data set of TensorFlow Datasets that has boxes ("tfds:voc/2007[train+validation]"), and
            `"tfds:FOLDER"`, one that `pipelines.write_shards` wrote. These define their classes and are not divided by
            group.
        layout: one of `LAYOUTS`; `None` recognises it.
        class_names: the classes to read, in order; `None` takes those that the data defines (or, where it defines
            none, those that occur, sorted by name). Objects of other classes are listed as faults.
        valid, test: fractions of the training images to take for splits that the data does not bring along, by their
            names, whatever is in them. Data with a validation split gets no test split.
        seed: decides which images are taken.
        group_by: keep together in one split: a function of the image's name, a regular expression, or "duplicates"
            (`pipelines.sources.splits.group_keys`).
        strict: raise a ValueError at the first fault in the data instead of listing it in `faults`.

    Returns:
        A `Data`. What becomes of faults is listed in `pipelines.annotations`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        WrongKind: a folder of class folders, or a table.
        ValueError: a layout that is not recognised, no annotated images, or a fault and `strict`.

    Example:

    >>> import tempfile
    >>> from pipelines import Scene, Data, write_scenes
    >>> import numpy as np
    >>> pixels = np.zeros([8, 9, 3], np.uint8)
    >>> scenes = tuple(Scene(pixels, f"{i}.png", (8, 9), boxes=[[1, 2, 5, 6]], classes=[0]) for i in range(5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_scenes(Data(("bee",), scenes), folder, layout="yolo")
    ...     data = read_scenes(folder)
    >>> data.class_names, len(data), data.train[0].boxes.tolist()
    (('bee',), 5, [[1.0, 2.0, 5.0, 6.0]])
    """
    if os.fspath(spec).startswith("tfds:"):
        return read_shards(os.fspath(spec).removeprefix("tfds:"), valid=valid, test=test, seed=seed)
    path = Path(spec).expanduser()
    if os.fspath(spec) == "sklearn:digits" or path.suffix.lower() in (".csv", ".tsv", ".npz"):
        raise _no_boxes(spec, "labels for whole images")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder. Expected a folder of images and annotations")
    chosen = layout or layout_of(path)
    if chosen is None and has_class_folders(path):
        raise _no_boxes(spec, "one folder of images for each class")
    if chosen not in LAYOUTS:
        found = f"received layout={layout!r}" if layout else "found none of them"
        raise ValueError(
            f"{path}: {found}. Expected Pascal VOC (Annotations/*.xml), YOLO (data.yaml, or images/ and labels/), COCO "
            "(JSON with images, annotations, categories), VGG Image Annotator or LabelMe JSON, or images/ and masks/; "
            f"`layout` names it: one of {', '.join(LAYOUTS)}"
        )
    reader = {"voc": voc, "yolo": yolo, "coco": coco, "via": via, "labelme": labelme, "masks": masks}[chosen]
    return reader.read(
        path, class_names=class_names, valid=valid, test=test, seed=seed, group_by=group_by, strict=strict
    )


def _no_boxes(spec: str | os.PathLike[str], contents: str) -> WrongKind:
    return WrongKind(
        f"{os.fspath(spec)}: holds {contents}, and images with annotated objects were asked for. "
        f"Read it with pipelines.read_data({os.fspath(spec)!r})",
        expected="boxes",
        actual="classes",
    )


def write_scenes(
    data: Data,
    folder: str | os.PathLike[str],
    *,
    layout: Literal["voc", "yolo", "coco"],
    images: Keep = "copy",
    strict: bool = False,
) -> tuple[Fault, ...]:
    """Write a data set so that other tools, and `read_scenes`, can read it.

    Args:
        data: what to write.
        folder: a new or empty folder.
        layout: "voc", "yolo" or "coco".
        images: "copy" the files, "link" to them, or "leave" them out.
        strict: raise a ValueError, before anything is written, where the format has no place for something.

    Returns:
        What the format has no place for, one fault a kind.

    Raises:
        ValueError: an unknown layout, a folder that is not empty, or a loss and `strict`.
    """
    writers = {"voc": voc.write, "yolo": yolo.write, "coco": coco.write}
    if layout not in writers:
        raise ValueError(f"write_scenes: expected `layout` as one of {', '.join(writers)}; received {layout!r}")
    return writers[layout](data, Path(folder), images=images, strict=strict)
