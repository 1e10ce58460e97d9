"""Reading and writing of annotated data sets of any format."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pipelines.annotations import (
    box_tables,
    coco,
    createml,
    cvat,
    imglab,
    kitti,
    labelme,
    masks,
    openimages,
    via,
    voc,
    yolo,
)
from pipelines.annotations.bounds import folder_of, kept_inside
from pipelines.annotations.files import Keep
from pipelines.annotations.layouts import LAYOUTS, Recognition, recognise
from pipelines.data import Data, Fault, WrongKind
from pipelines.sources.image_files import has_class_folders
from pipelines.sources.scene_shards import read_shards
from pipelines.sources.splits import GroupBy

__all__ = ["read_scenes", "write_scenes"]


def read_scenes(
    spec: str | os.PathLike[str],
    *,
    layout: str | None = None,
    prefer: str | None = None,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
    outside: bool = False,
) -> Data:
    """Lists a data set of annotated images, and divides it into train, valid and test. No image is decoded.

    Args:
        spec: One of these:

            - a folder of annotations in one of the formats of `pipelines.annotations`, or a file of annotations
              (`.json`, `.xml`, `.csv`) or a description (`.yaml`);
            - `"tfds:NAME"`, a data set of TensorFlow Datasets that has boxes ("tfds:voc/2007[train+validation]");
            - `"tfds:FOLDER"`, a data set that `pipelines.write_shards` has written. Data sets of TensorFlow Datasets
              define their classes, and are not divided by group.
        layout: "voc", "yolo", "coco", "via", "labelme", "masks", "cvat", "imglab", "createml", "openimages", "csv" or
            "kitti". Defaults to the format that is recognised.
        prefer: Format that is read where several are recognised, as `SegmentationClass/` beside XML files in Pascal
            VOC's folder is with "masks". Defaults to the one that is recognised first.
        class_names: Names of the classes to read, in order. Defaults to the classes that the data defines, or else to
            those that occur, sorted by name. Objects of other classes are listed as faults.
        valid: Fraction of the training images to take for validation, if the data has no validation split. They are
            chosen by their names alone. Defaults to 0.15.
        test: Fraction of the training images to take for testing, if the data has neither a test split nor a
            validation split. Defaults to 0.15.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split. A function from an image's name to its group, a regular
            expression, or "duplicates" (`pipelines.sources.splits.group_keys`).
        strict: Whether to raise a ValueError at the first fault in the data, instead of listing it in `faults`.
        outside: Whether annotations may name files outside of the folder of the data. Defaults to False: data from a
            stranger could name files of whoever reads them.

    Returns:
        A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

    Raises:
        FileNotFoundError: There is no such file or folder.
        WrongKind: The folder has one folder for each class, or the file is a table.
        ValueError: The format is not recognised, there are no annotated images, a description names lists or folders
            outside of the folder of the data and `outside` is not given, or there is a fault and `strict`.

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
    if os.fspath(spec) == "sklearn:digits" or path.suffix.lower() == ".npz":
        raise _no_boxes(spec, "labels for whole images")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder. Expected a folder of images and annotations")
    recognition = _preferred(recognise(path), prefer) if layout is None else Recognition(layout, "it was named")
    chosen = None if recognition is None else recognition.layout
    if chosen is None and path.suffix.lower() in (".csv", ".tsv"):
        raise _no_boxes(spec, "labels for whole images")
    if chosen is None and has_class_folders(path):
        raise _no_boxes(spec, "one folder of images for each class")
    if recognition is None or chosen not in LAYOUTS:
        found = f"received layout={layout!r}" if layout else "the format of the annotations is not recognised"
        raise ValueError(
            f"{path}: {found}. Expected Pascal VOC (Annotations/*.xml), YOLO (data.yaml, or images/ and labels/), COCO "
            "(JSON with images, annotations, categories), VGG Image Annotator, LabelMe or CreateML JSON, CVAT or dlib "
            "XML, tables of boxes, KITTI, or images/ and masks/; "
            f"the argument `layout` (--layout) names the format: one of {', '.join(LAYOUTS)}"
        )
    options: dict[str, Any] = {"outside": outside} if chosen == "yolo" else {}  # Its descriptions name lists, too.
    data = _READERS[chosen].read(
        path, class_names=class_names, valid=valid, test=test, seed=seed, group_by=group_by, strict=strict, **options
    )
    data = data if outside else kept_inside(data, folder_of(path))
    return replace(data, notes=(f"The annotations are read as {recognition}.", *data.notes))


def _preferred(recognition: Recognition | None, layout: str | None) -> Recognition | None:
    """Returns what was recognised, with one of the other formats first if it is preferred."""
    others = () if recognition is None else recognition.others
    wanted = next((other for other in others if other.layout == layout), None)
    if recognition is None or wanted is None:
        return recognition
    rest = (replace(recognition, others=()), *(other for other in others if other is not wanted))
    return replace(wanted, others=rest)


_READERS: dict[str, Any] = {
    "voc": voc,
    "yolo": yolo,
    "coco": coco,
    "via": via,
    "labelme": labelme,
    "masks": masks,
    "cvat": cvat,
    "imglab": imglab,
    "createml": createml,
    "openimages": openimages,
    "csv": box_tables,
    "kitti": kitti,
}


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
    """Writes a data set so that other tools, and `read_scenes`, can read it.

    Args:
        data: Data set with boxes.
        folder: A folder that is new or empty.
        layout: "voc", "yolo" or "coco".
        images: "copy" copies the files, "link" links to them, and "leave" writes the annotations alone.
        strict: Whether to raise a ValueError, before anything is written, if information would be lost.

    Returns:
        A fault for each kind of information that the format has no place for.

    Raises:
        ValueError: The layout is unknown, the folder is not empty, or information would be lost and `strict`.
    """
    writers = {"voc": voc.write, "yolo": yolo.write, "coco": coco.write}
    if layout not in writers:
        raise ValueError(f"write_scenes: expected `layout` as one of {', '.join(writers)}; received {layout!r}")
    return writers[layout](data, Path(folder), images=images, strict=strict)
