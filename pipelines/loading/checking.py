"""Finding the files that cannot be decoded, before a training run trips over one."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.loading.batches import as_dataset, read
from pipelines.loading.decoding import MAX_PIXELS, decode_any, decode_image
from pipelines.samples import Data, Samples, Skipped

__all__ = ["check", "check_data", "look"]

Progress = Callable[[int, int], None]

# JPEGs are decoded at an eighth of their size: every byte is still read, so damage is still found.
_RATIO = 8


def check(
    samples: Samples, *, any_format: bool = False, progress: Progress | None = None
) -> tuple[Samples, tuple[Skipped, ...]]:
    """Decode every image once, in parallel, and leave out those that cannot be decoded.

    Args:
        samples: images that are decoded already are returned as they are.
        any_format: take TIFF and what else `pipelines.decode_any` reads, which `pipelines.batches` can train on, though
            an exported model will not take such files. Otherwise what `pipelines.decode_image` does.
        progress: called now and then with the number of images done and the number of all.

    Returns:
        The samples that can be decoded, in their order, and for each of the others its path (or its name, where the
        images are not files) and the reason in words.

    Example:

    >>> import tensorflow as tf
    >>> image = tf.io.encode_jpeg(tf.zeros([4, 5, 3], tf.uint8)).numpy()
    >>> good, skipped = check(Samples([image, b"", image[:200]], [0, 0, 1], ["a", "b", "c"]))
    >>> good.names, [skip.reason for skip in skipped]
    (('a',), ['an empty file (0 bytes)', 'damaged: Truncated File Read'])
    """
    if samples.decoded or len(samples) == 0:
        return samples, ()

    decode = decode_any if any_format else lambda contents: decode_image(contents, ratio=_RATIO)
    readable = np.zeros(len(samples), bool)
    # The shape is asked for because TensorFlow does not run what no result depends on.
    for indices, _ in look(samples, lambda contents: tf.shape(decode(contents)), progress=progress):
        readable[indices] = True
    skipped = []
    for index in np.flatnonzero(~readable).tolist():
        image = samples.images[index]
        skipped.append(Skipped(image if isinstance(image, str) else samples.names[index], _reason(image, any_format)))
    if skipped and progress is not None:
        progress(len(samples), len(samples))
    return samples[readable], tuple(skipped)


def look(
    samples: Samples, function: Callable[[tf.Tensor], Any], *, progress: Progress | None = None
) -> Iterator[tuple[np.ndarray, Any]]:
    """Apply a function to the contents of every image file, in parallel, and leave out those that it fails on.

    Args:
        samples: encoded images.
        function: from a scalar string tensor to tensors, in the graph.
        progress: called now and then with the number of images done and the number of all.

    Yields:
        The numbers `[b]` of some of the samples, in no particular order, and what the function gave for them.
    """
    dataset = tf.data.Dataset.zip(tf.data.Dataset.range(len(samples)), as_dataset(samples.images))

    @tf.autograph.experimental.do_not_convert
    def apply(index: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return index, function(read(image, samples))

    dataset = dataset.map(apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    dataset = dataset.ignore_errors().batch(32)  # one element at a time: an error would take its batch along
    done = 0
    for indices, results in dataset.as_numpy_iterator():
        yield indices, results
        done += len(indices)
        if progress is not None:
            progress(done, len(samples))


def check_data(data: Data, *, any_format: bool = False, progress: Progress | None = None) -> Data:
    """`check` every split of a data set; what is left out is added to `data.skipped`.

    Args:
        data: what `pipelines.read_data` returned.
        any_format: see `check`.
        progress: called now and then with the number of images done and the number of all, over all splits.

    Raises:
        ValueError: a class has no readable image left to train on, or a split has none left at all.

    Example:

    >>> from pipelines import read_data
    >>> len(check_data(read_data("sklearn:digits")))
    1797
    """
    checked: list[Samples] = []
    skipped = list(data.skipped)
    done_before = 0
    for name, samples in (("train", data.train), ("valid", data.valid), ("test", data.test)):

        def report(done: int, _: int, done_before: int = done_before) -> None:
            if progress is not None:
                progress(done_before + done, len(data))

        good, bad = check(samples, any_format=any_format, progress=report)
        if len(samples) and not len(good):
            raise ValueError(
                f"{len(bad)} of {len(samples)} images of the {name} split cannot be read: none is left. "
                f"First: {bad[0].path}: {bad[0].reason}"
            )
        lost = np.setdiff1d(samples.labels, good.labels)
        if len(lost) and name == "train" and data.task == "classes":
            classes = ", ".join(repr(data.class_names[label]) for label in lost)
            raise ValueError(
                f"{len(bad)} of {len(samples)} images of the {name} split cannot be read, which leaves none of "
                f"{classes}. First: {bad[0].path}: {bad[0].reason}. Replace these files, or add images to these classes"
            )
        checked.append(good)
        skipped += bad
        done_before += len(samples)
    train, valid, test = checked
    return replace(data, train=train, valid=valid, test=test, skipped=tuple(skipped))


def _reason(image: str | bytes, any_format: bool = False) -> str:
    """Why this file cannot be decoded, in words."""
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
        (decode_any if any_format else decode_image)(image)
    except tf.errors.OpError as error:
        message = re.sub(r"\{\{.*?\}\}|\[Op:.*|\s+", " ", error.message).strip()
        return f"damaged or of an unusual kind: {message}"
    return "could not be decoded at the first attempt; can be now"
