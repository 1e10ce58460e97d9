"""Where the images of COCO files are, which name them by paths that often were those of another machine."""

import functools
from pathlib import Path

from pipelines.annotations.places import PathIndex, image_index, role_of
from pipelines.sources.split_names import split_in

__all__ = ["ImagePlaces", "own_role"]


def own_role(file: Path, root: Path) -> str | None:
    """Returns the split that a file of many images is of: by its own name, or else by its folders."""
    return split_in(file.stem) or role_of(file, root)


class ImagePlaces:
    """Where the images of COCO files are.

    Args:
        images: Folder that names are relative to, or None to search the images.
        root: Folder of the data.
    """

    def __init__(self, images: Path | None, root: Path) -> None:
        self._images = images
        self._root = root

    @functools.cached_property
    def index(self) -> PathIndex:
        """An index of all images, which is made when the first one is not at its place."""
        return image_index(self._images or self._root)

    @functools.cache  # noqa: B019 (there is one object for each data set)
    def folders(self, file: Path) -> tuple[Path, ...]:
        """Returns the folders in which images may be: first those with the name of the split, then the usual ones."""
        if self._images is not None:
            return (self._images,)
        role = own_role(file, self._root)
        words = [file.stem.removeprefix("instances_"), *({"valid": ("val", "valid")}.get(role or "", (role,)))]
        bases = (self._root, file.parent.parent if file.parent != self._root else self._root)
        usual = [base / "images" / word for base in bases for word in words if word]
        usual += [base / word for base in bases for word in words if word]
        usual += [file.parent / "images", *(base / "images" for base in bases), file.parent, self._root]
        return tuple(place for place in dict.fromkeys(usual) if place.is_dir())

    def find(self, name: str, file: Path) -> tuple[Path | None, bool]:
        """Returns the image that a file names, and whether it is in one of the folders; else it is found by name."""
        stated = next((path for folder in self.folders(file) if (path := folder / name).is_file()), None)
        if stated is not None:
            return stated, True
        return self.index.find(name, role=own_role(file, self._root)), False

    def candidates(self, name: str, file: Path) -> list[Path]:
        """Returns all images that the name may mean."""
        return self.index.candidates(name, role=own_role(file, self._root))

    def expected(self, name: str, file: Path) -> Path:
        """Returns the path at which an image was expected that is nowhere."""
        return self.folders(file)[0] / name
