"""All images of a data set in one list, for any kind of data set."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.data import Data, Samples

__all__ = ["ImageList", "image_list"]


@dataclass(frozen=True)
class ImageList:
    """All images of a data set, one after the other.

    Attributes:
        samples: The images.
        splits: The split of each image: "train", "valid" or "test".
        paths: What findings call each image: the path of its file, or `split/name`.
        labels: What copies of an image have to agree in, or None for data with objects.
        counts: Number of images (or usable objects) of each class in each split.
    """

    samples: Samples
    splits: list[str]
    paths: list[str]
    labels: list[Any]
    counts: dict[str, list[int]]


def image_list(data: Data) -> ImageList:
    """Lists all images of a data set, split by split."""
    images: list[Any] = []
    names: list[str] = []
    splits: list[str] = []
    labels: list[Any] = []
    counts = {}
    for split, part in data.splits.items():
        new = list(part.images)
        names += part.names
        if isinstance(part, Samples):
            own = part.labels
            labels += [label.tobytes() for label in own]
        else:
            own = np.concatenate([np.zeros(0, np.int32), *(scene.classes[scene.usable] for scene in part)])
            labels += [None] * len(part)
        images += new
        splits += [split] * len(new)
        counts[split] = _count(own, len(data.class_names)) if data.kind not in ("numbers", "several") else []
    paths = [
        image if isinstance(image, str) else f"{split}/{name}"
        for image, name, split in zip(images, names, splits, strict=True)
    ]
    if len({image.shape for image in images if isinstance(image, np.ndarray)}) > 1 or (
        len({type(image) for image in images}) > 1
    ):  # Samples hold images of one kind, so pixels of several sizes, or mixed with files, are encoded as files
        images = [_encoded(image) for image in images]
    stacked: Any = np.stack(images) if images and isinstance(images[0], np.ndarray) else images
    return ImageList(Samples(stacked, np.zeros(len(images)), names), splits, paths, labels, counts)


def _count(labels: np.ndarray, num_classes: int) -> list[int]:
    """Counts how often each class occurs in class indices `[n]`, or in zeros and ones `[n, classes]`."""
    return (labels > 0).sum(0).tolist() if labels.ndim == 2 else np.bincount(labels, minlength=num_classes).tolist()


def _encoded(image: Any) -> bytes:
    if isinstance(image, np.ndarray):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "BMP")
        return buffer.getvalue()
    return Path(image).read_bytes() if isinstance(image, str) else image
