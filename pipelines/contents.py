"""What stands for the contents of images, and of whole data sets: hashes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipelines.annotations.outlines import DrawnMask
from pipelines.data import Data, Samples, Scene

__all__ = ["data_fingerprint", "digest", "digests"]


def digest(image: Any) -> bytes:
    """Computes a hash of an image's contents, 16 bytes.

    Args:
        image: The path of a file, the contents of a file, or pixels.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(image, str):
        with open(image, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    contents = image.tobytes() if isinstance(image, np.ndarray) else image
    return hashlib.blake2b(contents, digest_size=16).digest()


def digests(images: Iterable[Any]) -> list[bytes]:
    """Computes a hash of the contents of each image; it is empty for a file that cannot be read."""
    return [_digest_or_nothing(image) for image in images]


def _digest_or_nothing(image: Any) -> bytes:
    try:
        return digest(image)
    except OSError:
        return b""


def data_fingerprint(data: Data) -> str:
    """Computes what stands for a data set: 32 hexadecimal digits, the same wherever its images lie.

    It depends on the names of the classes, the annotations and the contents of all images, split by split and in their
    order.

    Raises:
        OSError: an image cannot be read.

    Example:

    >>> samples = Samples(np.zeros((2, 4, 6, 3), "uint8"), [0, 1], "ab")
    >>> one, other = Data(("x", "y"), samples), Data(("x", "z"), samples)
    >>> data_fingerprint(one) == data_fingerprint(one), data_fingerprint(one) == data_fingerprint(other)
    (True, False)
    """
    total = hashlib.blake2b(digest_size=16)
    names = [data.kind, *data.class_names, *(repr(target) for target in data.targets)]
    total.update("\0".join(names).encode(errors="surrogateescape"))
    for part in data.splits.values():
        total.update(f"\0{len(part)}\0".encode())
        if isinstance(part, Samples):
            total.update(part.labels.tobytes())
        else:
            for scene in part:
                total.update(_annotation(scene))
        for image in part.images:
            total.update(digest(image))
    return total.hexdigest()


def _annotation(scene: Scene) -> bytes:
    """Returns a hash of all that training could learn from a scene, except its image."""
    total = hashlib.blake2b(digest_size=16)
    for column in (scene.boxes, scene.classes, scene.crowd, scene.difficult):
        total.update(column.tobytes())
    for outline in scene.outlines or ():
        text = outline if outline is None or isinstance(outline, Mapping) else [np.asarray(x).tolist() for x in outline]
        total.update(json.dumps(text, default=str).encode())
    for mask in (scene.mask, scene.instances):
        if isinstance(mask, np.ndarray):
            total.update(mask.tobytes())
        elif isinstance(mask, DrawnMask):
            continue  # the outlines say it all
        elif mask is not None:  # a file, and which of its values are which classes
            total.update(digest(mask.path) + repr(mask.codes).encode())
    return total.digest()
