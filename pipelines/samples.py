"""What the sources hand over: labelled images that are not decoded yet, in three splits, and what was left out."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Data", "Samples", "Skipped"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled images, in a fixed order, still encoded where they come from files.

    Args:
        images: one entry an image: file paths (`str`), or encoded bytes (`bytes`: the contents of a JPEG, PNG,
            GIF, BMP or WebP file), or decoded RGB images of one size as one `uint8 [n, h, w, 3]` array.
            Stored as a NumPy array of objects, or as that `uint8` array.
        labels: class indices `[n]`, stored as `int32`; or for several labels an image (0 or 1 each), and for numbers to
            be predicted, `[n, k]`, stored as `float32`.
        names: what each image is called in reports, for example `"bees/39747887.jpg"`.

    Raises:
        ValueError: the three differ in length, or `images` is none of the above.

    Example:

    >>> samples = Samples(["a/1.jpg", "b/2.jpg", "b/3.jpg"], [0, 1, 1], ["1", "2", "3"])
    >>> len(samples), samples[samples.labels == 1].names
    (3, ('2', '3'))
    """

    images: Any
    labels: Any
    names: Sequence[str]

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, np.ndarray) or images.dtype.kind == "U":
            images = _objects(images)
        is_pixels = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3
        is_encoded = images.dtype == object and {type(image) for image in images} in ({str}, {bytes}, set())
        if not (is_pixels or is_encoded):
            raise ValueError(
                "Samples: expected `images` as file paths, as encoded bytes, or as one uint8 array [n, h, w, 3]; "
                f"received {images.dtype} {list(images.shape)}"
            )
        labels = np.asarray(self.labels)
        labels = labels.astype(np.float32) if labels.ndim == 2 else labels.astype(np.int32).reshape(-1)
        if not len(images) == len(labels) == len(self.names):
            raise ValueError(
                "Samples: expected as many labels and names as images; "
                f"received {len(images)} images, {len(labels)} labels, {len(self.names)} names"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", tuple(self.names))

    @property
    def decoded(self) -> bool:
        """Whether `images` are pixels already."""
        return self.images.dtype == np.uint8

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Any) -> "Samples":
        """The samples at `indices`: a slice, an array of integers, or a mask of booleans `[n]`."""
        chosen = np.arange(len(self))[indices].reshape(-1)
        return Samples(self.images[chosen], self.labels[chosen], [self.names[i] for i in chosen])


@dataclass(frozen=True)
class Skipped:
    """One file that was left out: where it is, and why, in words."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Data:
    """A data set for one label an image, several, or numbers: its splits, and what was left out.

    `task` says what the labels of the samples are:

        "classes"  one of the classes; label `i` means `class_names[i]`
        "labels"   any number of labels; column `i` is 1 where `class_names[i]` holds, else 0
        "numbers"  numbers to be predicted; column `i` is that of the target `class_names[i]`
    """

    class_names: tuple[str, ...]
    train: Samples
    valid: Samples
    test: Samples
    skipped: tuple[Skipped, ...] = ()
    task: str = field(default="classes", kw_only=True)

    def __len__(self) -> int:
        return len(self.train) + len(self.valid) + len(self.test)


def _objects(items: Iterable[Any]) -> np.ndarray:
    """A one-dimensional array of Python objects: unlike NumPy's own strings, it keeps trailing zero bytes."""
    items = [str(item) if isinstance(item, (os.PathLike, np.str_)) else item for item in items]
    array = np.empty(len(items), object)
    array[:] = items
    return array
