"""Folders with a sub-folder of images for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.annotations.layouts import recognise
from pipelines.data import Fault, Samples, WrongKind
from pipelines.sources.image_files import IMAGE_SUFFIXES, files_below, folders_in, images_in, is_image, listed
from pipelines.sources.listing import Listing
from pipelines.sources.split_names import split_of, splits_among

__all__ = ["list_folder"]


def list_folder(folder: Path, *, kind: str = "classes") -> Listing:
    """Lists a folder of class folders, or of splits that hold such folders.

    Args:
        folder: The folder.
        kind: Kind of data that is expected, for the error about annotated images.

    Raises:
        FileNotFoundError: there is no such folder.
        WrongKind: the folder holds annotated images.
        ValueError: fewer than two classes, a class without images to train on, or a class or split that does not fit.
    """
    if not folder.exists():
        raise FileNotFoundError(
            f"{folder}: no such folder. Expected a folder with one sub-folder of images for each class"
        )
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: is a file. Expected a folder with one sub-folder of images for each class, "
            '"tfds:NAME" or "sklearn:digits"'
        )
    _refuse_annotated(folder, kind)
    parts, others = _split_folders(folder)
    faults = [Fault(str(other), "not one of the folders train, val and test") for other in others]
    for place in dict.fromkeys([folder, *parts.values()]):
        faults += [Fault(str(image), "an image outside of the class folders") for image in images_in(place)]
    class_names = [child.name for child in folders_in(parts["train"])]
    if not class_names:
        raise ValueError(
            f"{parts['train']}: found {len(images_in(parts['train']))} images and no sub-folders. Expected the images "
            "of each class in a sub-folder named after it, for example ants/ and bees/"
        )
    given = {}
    for role, part in parts.items():
        unknown = [child.name for child in folders_in(part) if child.name not in class_names]
        if unknown:
            raise ValueError(
                f"{part}: holds classes that {parts['train']} does not: {listed(unknown)}. "
                "Every class needs images to train on: add them there, or remove these folders"
            )
        given[role], left_out = _list_classes(part, class_names)
        faults += left_out
    _require_every_class(given["train"], class_names, parts["train"], faults)
    if len(class_names) < 2:
        raise ValueError(
            f"{folder}: expected two or more classes, found one ({class_names[0]!r}). Add a folder for each further "
            "class; or, if that folder is the one that holds the class folders, pass it instead"
        )
    # The name without the class: renaming a class folder then moves nothing.
    own_names = [name.split("/", 1)[-1] for name in given["train"].names]
    return Listing(str(folder), class_names, given, faults, own_names=own_names)


def _refuse_annotated(folder: Path, kind: str) -> None:
    """Raises an error for folders that hold annotations, whose sub-folders would otherwise pass for classes."""
    recognition = recognise(folder)
    if recognition is not None:
        raise WrongKind(
            f"{folder}: holds annotated images (layout {recognition.layout!r}: {recognition.reason}), not one folder "
            f"for each class. Read it with pipelines.read_scenes({str(folder)!r}). If the folders are classes all the "
            "same, move the annotations elsewhere",
            expected=kind,
            actual="boxes",
        )


def _split_folders(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Returns the folder of each split, and the other folders; a folder without splits is all for training.

    A sub-folder named `train` is a split only when it holds folders: pictures of railways may well have a class of
    that name.
    """
    children = folders_in(folder)
    candidates = {child.name: child for child in children if split_of(child.name) and folders_in(child)}
    try:
        parts = {role: candidates[name] for role, name in splits_among(candidates).items()}
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if not parts:
        return {"train": folder}, []
    if "train" not in parts:
        names = listed(sorted(part.name for part in parts.values()))
        raise ValueError(
            f"{folder}: found {names}, but no train. Add a train folder with the same class folders, or "
            "pass a folder of class folders to have it divided"
        )
    return parts, [child for child in children if child not in parts.values()]


def _list_classes(part: Path, class_names: Sequence[str]) -> tuple[Samples, list[Fault]]:
    """Lists every image below the class folders of `part`, and the files that are none."""
    paths: list[str] = []
    labels: list[int] = []
    faults: list[Fault] = []
    for label, class_name in enumerate(class_names):
        for path in files_below(part / class_name):
            if is_image(path):
                paths.append(path)
                labels.append(label)
            else:
                faults.append(Fault(path, f"not an image by its name: expected {', '.join(IMAGE_SUFFIXES)}"))
    start = len(str(part)) + 1
    return Samples(paths, labels, [path[start:].replace(os.sep, "/") for path in paths]), faults


def _require_every_class(train: Samples, class_names: Sequence[str], place: Path, faults: Sequence[Fault]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if not empty:
        return
    found = f" First of {len(faults)} files left out: {faults[0]}" if faults else ""
    if len(empty) == len(class_names):
        raise ValueError(
            f"{place}: found no images in {len(class_names)} sub-folder{'s' * (len(class_names) != 1)}. "
            f"Expected files named {', '.join(IMAGE_SUFFIXES)}.{found}"
        )
    raise ValueError(
        f"{place}: {len(empty)} of {len(class_names)} classes have no images: {listed(empty)}. "
        f"Put images into these folders, or remove them.{found}"
    )
