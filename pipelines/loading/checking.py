"""Finding the files that cannot be decoded, before a training run fails on one."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.data import Data, Fault, Samples, Scenes
from pipelines.loading.decoding import decode_image
from pipelines.loading.python_decoding import decode_now
from pipelines.prepare.memory_bound import PIXELS_AT_ONCE, MemoryBound
from pipelines.prepare.photo_sizes import declared_size
from pipelines.prepare.pillow_decoding import MAX_PIXELS

__all__ = ["check", "check_data"]

Progress = Callable[[int, int], None]
P = TypeVar("P", Samples, Scenes)

_AT_ONCE = 64  # Number of images after which progress is told.

# JPEGs are decoded at an eighth of their size: every byte is still read, so damage is still found.
_RATIO = 8


def check(part: P, *, any_format: bool = False, progress: Progress | None = None) -> tuple[P, tuple[Fault, ...]]:
    """Decodes every image of a split once, in parallel, and leaves out those that cannot be decoded.

    Args:
        part: The samples or scenes. Images that are decoded already count as readable.
        any_format: Whether to take TIFF and what else `pipelines.decode_any` reads, which `pipelines.batches` can train
            on, though an exported model does not take such files. By default, what `pipelines.decode_image` takes.
        progress: A function that is called now and then with the number of images done and the number of all.

    Returns:
        The samples or scenes that can be decoded, in their order, and a fault for each of the others: its path (or its
        name, where the image is not a file) and the reason in words.

    Example:

    >>> import tensorflow as tf
    >>> image = tf.io.encode_jpeg(tf.zeros([4, 5, 3], tf.uint8)).numpy()
    >>> good, faults = check(Samples([image, b"", image[:200]], [0, 0, 1], ["a", "b", "c"]))
    >>> good.names, [fault.reason for fault in faults]
    (('a',), ['an empty file (0 bytes)', 'damaged: Truncated File Read'])
    """
    decode = partial(decode_now if any_format else decode_image, ratio=_RATIO)
    readable = np.ones(len(part), bool)
    encoded = [index for index, image in enumerate(part.images) if isinstance(image, str | bytes)]
    readable[encoded] = list(_decodes([part.images[index] for index in encoded], decode, progress))
    faults = []
    for index in np.flatnonzero(~readable).tolist():
        image = part.images[index]
        path = image if isinstance(image, str) else part.names[index]
        faults.append(Fault(path, _reason(image, any_format), kind="unreadable image"))
    if faults and progress is not None:
        progress(len(part), len(part))
    return part[readable] if faults else part, tuple(faults)


def _decodes(images: Sequence[str | bytes], decode: Callable[[bytes], Any], report: Progress | None) -> Iterator[bool]:
    """Says of every image, in their order, whether it can be decoded.

    Images are decoded on threads, and not in a graph, which takes longer to set up than to decode a hundred photos.
    """

    unpacking = MemoryBound(PIXELS_AT_ONCE)

    def attempt(image: str | bytes) -> bool:
        try:
            contents = Path(image).read_bytes() if isinstance(image, str) else image
            height, width = declared_size(contents)
            with unpacking(height * width):
                decode(contents)
        except (OSError, ValueError, tf.errors.OpError):
            return False
        return True

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), _AT_ONCE):
            chunk = images[start : start + _AT_ONCE]
            yield from pool.map(attempt, chunk)
            if report is not None:
                report(start + len(chunk), len(images))


def _report(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def check_data(data: Data, *, any_format: bool | None = None, progress: Progress | None = None) -> Data:
    """Checks every split of a data set with `check`; what is left out is added to `data.faults`.

    Args:
        data: What `pipelines.read_data` or `pipelines.read_scenes` returned.
        any_format: See `check`. By default, scenes may be of any format, and samples of those that an exported model
            takes.
        progress: A function that is called now and then with the number of images done and the number of all, over all
            splits.

    Raises:
        ValueError: a class has no readable image left to train on, or a split has none left at all.

    Example:

    >>> from pipelines import read_data
    >>> len(check_data(read_data("sklearn:digits")))
    1797
    """
    any_format = data.kind == "boxes" if any_format is None else any_format
    checked: dict[str, Any] = {}
    faults = list(data.faults)
    done = 0
    for name, part in data.splits.items():
        report = None if progress is None else partial(_report, progress, done, len(data))
        good, bad = check(part, any_format=any_format, progress=report)
        if len(part) and not len(good):
            raise ValueError(
                f"{len(bad)} of {len(part)} images of the {name} split cannot be read: none is left. First: {bad[0]}"
            )
        lost = np.setdiff1d(part.labels, good.labels) if data.kind == "classes" and name == "train" else ()
        if len(lost):
            classes = ", ".join(repr(data.class_names[label]) for label in lost)
            raise ValueError(
                f"{len(bad)} of {len(part)} images of the {name} split cannot be read, which leaves none of "
                f"{classes}. First: {bad[0]}. Replace these files, or add images to these classes"
            )
        checked[name] = good
        faults += bad
        done += len(part)
    return replace(data, **checked, faults=tuple(faults))


def _reason(image: str | bytes, any_format: bool = False) -> str:
    """Returns why a file cannot be decoded, in words."""
    if isinstance(image, str):
        try:
            with open(image, "rb") as file:
                image = file.read()
        except OSError as error:
            return f"cannot be opened: {(error.strerror or str(error)).lower()}"
    if not image:
        return "an empty file (0 bytes)"
    try:
        picture = Image.open(BytesIO(image))
        if picture.width * picture.height <= MAX_PIXELS:
            picture.load()
    except Image.UnidentifiedImageError:
        return f"not an image: begins with {image[:16]!r}"
    except Exception as error:  # Pillow's decoders raise whatever their format's code does
        return f"damaged: {error}"
    if picture.width * picture.height > MAX_PIXELS:
        return f"too large: {picture.width} x {picture.height} pixels, expected at most {MAX_PIXELS / 1e6:.0f} million"
    if not any_format and picture.format not in ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP"):
        return f"a {picture.format} image: expected JPEG, PNG, GIF, BMP or WebP; convert it"
    try:
        (decode_now if any_format else decode_image)(image)
    except (tf.errors.OpError, ValueError, OSError) as error:
        message = re.sub(r"\{\{.*?\}\}|\[Op:.*|\s+", " ", getattr(error, "message", str(error))).strip()
        return f"damaged or of an unusual kind: {message}"
    return "could not be decoded at the first attempt; can be now"
