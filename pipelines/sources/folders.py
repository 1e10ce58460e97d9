"""Folders with a sub-folder of images for each class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.annotations.layouts import recognise
from pipelines.data import Fault, Samples, WrongKind
from pipelines.sources.image_files import IMAGE_SUFFIXES, files_below, folders_in, images_in, is_image, listed
from pipelines.sources.listing import Listing
from pipelines.sources.split_names import split_in, split_of, splits_among

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
    parts, faults = _class_folders(folder)
    class_names = list(parts["train"])
    given = {}
    for role, classes in parts.items():
        unknown = [name for name in classes if name not in class_names]
        if unknown:
            raise ValueError(
                f"{_above(classes)}: holds classes that {_above(parts['train'])} does not: {listed(unknown)}. "
                "Every class needs images to train on: add them there, or remove these folders"
            )
        given[role], left_out = _list_classes(classes, class_names)
        faults += left_out
    _require_every_class(given["train"], class_names, _above(parts["train"]), faults)
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


def _class_folders(folder: Path) -> tuple[dict[str, dict[str, Path]], list[Fault]]:
    """Returns the folder of each class in each split, and what lies beside them.

    A folder without splits is all for training. Splits are folders of class folders, or folders in each class folder.

    Raises:
        ValueError: the folders are those of splits, of parts or of several data sets, and not of classes.
    """
    splits, others = _split_folders(folder)
    by_class = {} if splits else _splits_in_classes(folder)
    if by_class:
        return by_class, [Fault(str(image), "an image outside of the class folders") for image in images_in(folder)]
    splits = splits or {"train": folder}
    _refuse_parts(splits["train"])
    faults = [Fault(str(other), "not one of the folders train, val and test") for other in others]
    for place in dict.fromkeys([folder, *splits.values()]):
        faults += [Fault(str(image), "an image outside of the class folders") for image in images_in(place)]
    parts = {role: {child.name: child for child in folders_in(part)} for role, part in splits.items()}
    if not parts["train"]:
        raise ValueError(
            f"{splits['train']}: found {len(images_in(splits['train']))} images and no sub-folders. Expected the "
            "images of each class in a sub-folder named after it, for example ants/ and bees/"
        )
    return parts, faults


def _split_folders(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Returns the folder of each split, and the other folders; without splits both are empty.

    A sub-folder named `train` is a split only when it holds folders: pictures of railways may well have a class of
    that name. One with such a word in its name (`training_set`) is a split when the folders in it are named like those
    in its siblings.
    """
    children = folders_in(folder)
    inner = {child: _unwrapped(child) for child in children}
    exact = {child.name: child for child in children if split_of(child.name) and folders_in(child)}
    alike = {child.name: split_in(child.name) for child in children if _shared(child, inner)}
    try:
        chosen = splits_among(exact)
        others = splits_among([name for name, role in alike.items() if role not in chosen], split_in)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    names = {**others, **chosen}
    if not names:
        return {}, []
    if "train" not in names:
        raise ValueError(
            f"{folder}: found {listed(sorted(names.values()))}, but no train. Add a train folder with the same class "
            "folders, or pass a folder of class folders to have it divided"
        )
    roles = [role for role in ("train", "valid", "test") if role in names]
    return {role: inner[folder / names[role]] for role in roles}, [
        child for child in children if child.name not in names.values()
    ]


def _unwrapped(part: Path) -> Path:
    """Returns the folder of a split, or the one in it where archives repeat its name: `seg_train/seg_train`."""
    children = folders_in(part)
    if len(children) == 1 and split_in(part.name) is not None and split_in(children[0].name) == split_in(part.name):
        return part if images_in(part) or not folders_in(children[0]) else children[0]
    return part


def _shared(child: Path, inner: Mapping[Path, Path]) -> set[str]:
    """Returns the names of folders in `child` that its siblings, or folders in them, have too."""
    own = {path.name for path in folders_in(inner[child])}
    others = {path.name for sibling, place in inner.items() if sibling != child for path in folders_in(place)}
    return own & (others | {sibling.name for sibling in inner if sibling != child})


def _splits_in_classes(folder: Path) -> dict[str, dict[str, Path]]:
    """Returns the folder of each class in each split where every class folder holds its own splits: `ants/train`.

    Raises:
        ValueError: some class folders hold splits, and others do not.
    """
    classes = folders_in(folder)
    found: dict[str, dict[str, Path]] = {}
    for child in classes:
        inside = {path.name: path for path in folders_in(child) if images_in(path)}
        for role, name in splits_among(inside).items():
            found.setdefault(role, {})[child.name] = inside[name]
    if "train" not in found or len(found) < 2:
        return {}
    without = [child.name for child in classes if child.name not in found["train"] or images_in(child)]
    if without:
        raise ValueError(
            f"{folder}: {listed(found['train'])} hold folders for splits, such as train, and {listed(without)} do not "
            "hold all of their images in such folders. Put the images of every class into folders for its splits, or "
            "of none"
        )
    return {role: found[role] for role in ("train", "valid", "test") if role in found}


def _refuse_parts(folder: Path) -> None:
    """Raises an error for sub-folders that are no classes but splits, parts of the data, or data sets of their own."""
    children = folders_in(folder)
    with_images = [child.name for child in children if images_in(child) and split_in(child.name)]
    if {"train"} < {split_in(name) for name in with_images}:
        raise ValueError(
            f"{folder}: {listed(with_images)} are named like splits and hold images, not folders of classes. Expected "
            "the images of each class in a sub-folder of these, named after it, or a table that says the classes"
        )
    inner = {child: child for child in children}
    parts = {child: shared for child in children if len(shared := _shared(child, inner)) > 1}
    alike = [
        child.name
        for child, shared in parts.items()
        if 2 * len(shared) >= len(folders_in(child)) and not images_in(child)
    ]
    if alike:
        names = listed(sorted(set().union(*parts.values())))
        raise ValueError(
            f"{folder}: expected one folder for each class, and {listed(alike)} hold no images but folders whose names "
            f"occur again beside or in other folders: {names}. If these are the classes, then pass one of "
            f"{listed(alike)}, put the images of each class into one folder, or name the folders train, val and test. "
            f"If {listed(alike)} are classes, put their images straight into them"
        )


def _above(classes: Mapping[str, Path]) -> Path:
    """Returns the folder that holds the folders of classes, for messages."""
    return next(iter(classes.values())).parent


def _list_classes(classes: Mapping[str, Path], class_names: Sequence[str]) -> tuple[Samples, list[Fault]]:
    """Lists every image below the folders of classes, and the files that are none."""
    paths: list[str] = []
    labels: list[int] = []
    names: list[str] = []
    faults: list[Fault] = []
    for label, class_name in enumerate(class_names):
        if class_name not in classes:
            continue
        start = len(str(classes[class_name])) + 1
        for path in files_below(classes[class_name]):
            if is_image(path):
                paths.append(path)
                labels.append(label)
                names.append(f"{class_name}/{path[start:].replace(os.sep, '/')}")
            else:
                faults.append(Fault(path, f"not an image by its name: expected {', '.join(IMAGE_SUFFIXES)}"))
    return Samples(paths, labels, names), faults


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
