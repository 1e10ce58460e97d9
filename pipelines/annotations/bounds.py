"""Keeping to the folder of the data: what a stranger's annotations name elsewhere are files of whoever reads them."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Data, Fault

__all__ = ["ADVICE", "folder_of", "is_outside", "kept_inside"]

_ANNOTATIONS = ("annotations", "annotation", "anns", "ann", "labels", "label")  # Images are beside such folders.
ADVICE = "if the data are your own, and this is as it should be, say so with outside=True (--outside)"


def folder_of(path: Path) -> Path:
    """Returns the folder that annotations may name files of: of a file, the one above folders such as annotations."""
    if path.is_dir():
        return path
    folder = Path(os.path.abspath(path)).parent
    while folder.name.lower() in _ANNOTATIONS:
        folder = folder.parent
    return folder


def is_outside(path: str | Path, folder: Path) -> bool:
    """Returns whether a path leads out of a folder. Links inside of it are the choice of whoever made them.

    >>> is_outside("data/../secret.txt", Path("data")), is_outside("data/images/1.jpg", Path("data"))
    (True, False)
    """
    inside, place = os.path.abspath(folder), os.path.abspath(path)
    return place != inside and not place.startswith(inside.rstrip(os.sep) + os.sep)


def kept_inside(data: Data, folder: Path) -> Data:
    """Leaves out images that annotations name outside of the folder of the data; each is listed as a fault."""
    kept: dict[str, Any] = {}
    faults: list[Fault] = []
    for split, scenes in data.splits.items():
        outside = np.array([isinstance(image, str) and is_outside(image, folder) for image in scenes.images], bool)
        faults += [
            Fault(str(image), f"it lies outside of {folder}, and is left out; {ADVICE}", kind="refused")
            for image in scenes[outside].images
        ]
        kept[split] = scenes[~outside]
    return replace(data, **kept, faults=(*data.faults, *faults)) if faults else data
