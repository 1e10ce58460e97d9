"""Finding the images that annotations name, and writing images beside annotations."""

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
    """The images below a folder, found by name with or without suffix or folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = images_below(folder)
        self._by_name: dict[str, Path] = {}
        for path in self.paths:
            relative = path.relative_to(folder)
            for name in (relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem):
                self._by_name.setdefault(name, path)

    def find(self, name: str) -> Path | None:
        """The image called `name`, with the path below the folder or without it; with its suffix or without."""
        name = name.replace("\\", "/").strip()
        if not name:
            return None
        return self._by_name.get(name) or self._by_name.get(name.rsplit("/", 1)[-1])


def stems(scenes: Sequence[Scene]) -> list[str]:
    """The names without suffix, which is how VOC and YOLO pair images and annotations.

    Raises:
        ValueError: two are the same.
    """
    found: dict[str, str] = {}
    for scene in scenes:
        stem = os.path.splitext(scene.name)[0]
        if stem in found:
            raise ValueError(
                f"{found[stem]!r} and {scene.name!r}: this format keeps annotations by name without suffix, so two "
                "images need two names. Rename one"
            )
        found[stem] = scene.name
    return list(found)


def put_images(scenes: Sequence[Scene], folder: str | Path, places: Sequence[str], images: Keep) -> Path:
    """Copy or link each scene's image to its place below `folder`, which must be new or empty; returns the folder.

    Raises:
        ValueError: a folder that is not empty, names that lead out of it or are no image's, or pixels that would be
            changed by being written.
    """
    if images not in ("copy", "link", "leave"):
        raise ValueError(f'expected `images` as "copy", "link" or "leave", received {images!r}')
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: is not empty. Expected a new or empty folder, so that nothing is overwritten")
    for scene in scenes:
        suffix = Path(scene.name).suffix.lower()
        if suffix not in IMAGE_SUFFIXES:
            raise ValueError(f"{scene.name!r}: expected a name that ends in one of {', '.join(IMAGE_SUFFIXES)}")
        if isinstance(scene.image, np.ndarray) and suffix not in _LOSSLESS and images != "leave":
            raise ValueError(
                f"{scene.name!r}: its pixels would change in a {suffix} file. Give it a name that ends in .png"
            )
    root.mkdir(parents=True, exist_ok=True)
    if images == "leave":
        return root
    for scene, place in zip(scenes, places, strict=True):
        target = root / place
        if root.resolve() not in target.resolve().parents:
            raise ValueError(f"{scene.name!r}: leads out of {root}. Expected names without '..'")
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
    """One fault for each kind of information in `data` that is not among those that a format `holds`.

    `fits` tells of an object's outline that the format does hold it, though not every outline.

    Raises:
        ValueError: there is one, and `strict`.
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
        Fault(str(folder), f"this format has no place for {kind}: {count} written without", kind="lossy", kept=True)
        for kind, count in present.items()
        if count and kind not in holds
    )
    if strict and faults:
        raise ValueError(f"{faults[0]} (strict=True refuses to write with a loss; strict=False writes without)")
    return faults
