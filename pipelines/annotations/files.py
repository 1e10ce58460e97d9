"""The image files of annotations: finding them by name, and writing them beside annotations."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pipelines.data import Data, Fault, Scene
from pipelines.sources.image_files import IMAGE_SUFFIXES, images_below

__all__ = ["ImageIndex", "Keep", "note_lossy", "put_images", "stems"]

_LOSSLESS = (".png", ".bmp", ".dib", ".tif", ".tiff")

Keep = Literal["copy", "link", "leave"]


class ImageIndex:
    """An index of the images below a folder by their names.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = images_below(folder)
        self._by_name: dict[str, Path] = {}
        for path in self.paths:
            relative = path.relative_to(folder)
            for name in (relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem):
                self._by_name.setdefault(name, path)

    def find(self, name: str) -> Path | None:
        """Returns the image of a name, which may lack its folders and its suffix, or None if there is no such image."""
        name = name.replace("\\", "/").strip()
        if not name:
            return None
        return self._by_name.get(name) or self._by_name.get(name.rsplit("/", 1)[-1])


def stems(scenes: Sequence[Scene]) -> list[str]:
    """Returns the names of the images without suffix, by which VOC and YOLO pair images and annotations.

    Raises:
        ValueError: Two names are equal without their suffix.
    """
    found: dict[str, str] = {}
    for scene in scenes:
        stem = os.path.splitext(scene.name)[0]
        if stem in found:
            raise ValueError(
                f"{found[stem]!r} and {scene.name!r}: this format stores annotations by name without suffix, so both "
                "images would have the same annotations. Rename one"
            )
        found[stem] = scene.name
    return list(found)


def put_images(scenes: Sequence[Scene], folder: str | Path, places: Sequence[str], images: Keep) -> Path:
    """Copies the image of each scene, or links to it.

    Args:
        scenes: The scenes.
        folder: A folder that is new or empty.
        places: Path of each image below the folder.
        images: "copy" copies the files, "link" links to them, and "leave" does nothing.

    Returns:
        The folder.

    Raises:
        ValueError: The folder is not empty, a name leads out of it or does not belong to an image, or a lossy format
            would change pixels.
    """
    if images not in ("copy", "link", "leave"):
        raise ValueError(f'expected `images` as "copy", "link" or "leave", received {images!r}')
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: the folder is not empty. Expected a new or empty one; nothing is overwritten")
    for scene in scenes:
        suffix = Path(scene.name).suffix.lower()
        if suffix not in IMAGE_SUFFIXES:
            raise ValueError(f"{scene.name!r}: expected a name that ends in one of {', '.join(IMAGE_SUFFIXES)}")
        if isinstance(scene.image, np.ndarray) and suffix not in _LOSSLESS and images != "leave":
            raise ValueError(
                f"{scene.name!r}: the pixels would change in a {suffix} file. Give the image a name that ends in .png"
            )
    root.mkdir(parents=True, exist_ok=True)
    if images == "leave":
        return root
    for scene, place in zip(scenes, places, strict=True):
        target = root / place
        if root.resolve() not in target.resolve().parents:
            raise ValueError(f"{scene.name!r}: the name leads out of {root}. Expected names without '..'")
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(scene.image, np.ndarray):
            Image.fromarray(scene.image).save(target)
        elif isinstance(scene.image, bytes):
            target.write_bytes(scene.image)
        elif images == "link":
            target.symlink_to(os.path.abspath(scene.image))
        else:
            shutil.copyfile(scene.image, target)
    return root


def note_lossy(
    data: Data,
    folder: str | Path,
    *,
    holds: set[str],
    strict: bool,
    fits: Callable[[Scene, int], bool] = lambda scene, index: False,
) -> tuple[Fault, ...]:
    """Returns a fault for each kind of information in a data set that a format has no place for.

    Args:
        data: The data set.
        folder: Folder to which it will be written.
        holds: Kinds of information that the format has a place for.
        strict: Whether to raise the first fault.
        fits: Function that takes a scene and the number of an object, and tells whether the format has a place for the
            outline of this object, although it has none for every outline.

    Raises:
        ValueError: There is such a fault, and `strict`.
    """
    scenes = [scene for part in data.splits.values() for scene in part]
    present = {
        "outlines": sum(
            outline is not None and not fits(scene, index)
            for scene in scenes
            for index, outline in enumerate(scene.outlines or ())
        ),
        "crowd": sum(int(scene.crowd.sum()) for scene in scenes),
        "difficult": sum(int(scene.difficult.sum()) for scene in scenes),
        "attributes": sum(bool(entry) for scene in scenes for entry in scene.attributes or ()),
        "identities": sum(int((scene.identities >= 0).sum()) for scene in scenes),
        "masks": sum(scene.mask is not None or scene.instances is not None for scene in scenes),
        "time stamps": sum(scene.seconds is not None for scene in scenes),
    }
    faults = tuple(
        Fault(
            str(folder),
            f"this format has no place for {kind} ({count} of them); they are not written",
            kind="lossy",
            kept=True,
        )
        for kind, count in present.items()
        if count and kind not in holds
    )
    if strict and faults:
        raise ValueError(f"{faults[0]} (strict=True writes nothing then; strict=False writes the rest)")
    return faults
