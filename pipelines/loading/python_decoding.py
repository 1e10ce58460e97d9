"""Decoding of any image format, for reading data.

TensorFlow has no operation for some formats, such as TIFF. For these, `decode_any` leaves the graph and decodes with
Pillow. So it cannot be exported; `pipelines.decode_image` can.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.loading.decoding import JPEG_RATIOS, decode_file, decode_image, decode_jpeg, decode_png, decode_webp
from pipelines.loading.exif import upright
from pipelines.loading.graph_bytes import switch
from pipelines.prepare.orientation_tags import read_tag
from pipelines.prepare.pillow_decoding import MAX_PIXELS, WHITE, decode_with_pillow

__all__ = ["decode_any", "decode_in_python", "decode_now", "image_pixels"]


def decode_any(
    contents: Any,
    *,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """Decodes a file as `pipelines.decode_image` does, or with Pillow if TensorFlow has no operation for its format.

    It is meant for reading data. It cannot be exported, because Pillow runs in Python.

    Args:
        contents: The whole file, as a scalar string tensor or `bytes`.
        at_least: Height and width of the upright image that are enough. A JPEG is decoded at the smallest of 1, 1/2,
            1/4 and 1/8 of its size that is at least as large.
        background: Red, green and blue in 0..255 behind transparent pixels. Defaults to white.
        max_pixels: Largest number of pixels. Larger images are refused before they are decoded.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: The file is not an image, or it is damaged or too large.

    Example:

    >>> from io import BytesIO
    >>> buffer = BytesIO()
    >>> Image.new("RGB", (3, 2)).save(buffer, "TIFF")
    >>> decode_any(buffer.getvalue()).shape
    TensorShape([2, 3, 3])
    """
    enough = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    return _decode_any(tf.convert_to_tensor(contents, tf.string), enough, tuple(background), int(max_pixels))


def decode_now(contents: bytes, *, ratio: int = 1, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes a file as `decode_any` does, at once, on any thread, and never from inside of a graph.

    Args:
        contents: The whole file.
        ratio: 1, 2, 4 or 8. JPEGs are decoded at 1/ratio of their size.
        at_least: Height and width of the upright image that are enough. `ratio` has to be 1.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError, ValueError, OSError: The file is not an image, or it is damaged or too large.

    Example:

    >>> decode_now(tf.io.encode_jpeg(tf.zeros([16, 24, 3], tf.uint8)).numpy(), ratio=8).shape
    (2, 3, 3)
    """
    if contents[:2] in _DECODERS:
        return decode_image(contents, ratio=ratio, at_least=at_least).numpy()
    return decode_with_pillow(contents)


def image_pixels(image: np.ndarray | str | bytes) -> np.ndarray:
    """Returns the upright pixels of an image of a data set, of whatever format it is.

    Args:
        image: A file's path, the contents of a file, or pixels, as a split's `images` and a scene's `image` hold them.

    Returns:
        `uint8 [h, w, 3]`; pixels are returned as they are.

    Raises:
        tf.errors.InvalidArgumentError, ValueError, OSError: There is no such file, or it is damaged or no image.

    Example:

    >>> image_pixels(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8)).numpy()).shape
    (2, 3, 3)
    """
    if isinstance(image, np.ndarray):
        return image
    return decode_now(Path(image).read_bytes() if isinstance(image, str) else image)


@tf.function(autograph=False)
def _decode_any(
    contents: tf.Tensor, at_least: tuple[int, int] | None, background: tuple[int, ...], max_pixels: int
) -> tf.Tensor:
    def jpeg(ratio: int) -> Any:
        return lambda contents: decode_jpeg(contents, ratio)

    def png(contents: tf.Tensor) -> tf.Tensor:
        return decode_png(contents, background)

    def webp(contents: tf.Tensor) -> tf.Tensor:
        return decode_webp(contents, background)

    def choose(contents: bytes) -> np.ndarray:
        return np.array(_choose_decoder(contents, at_least, max_pixels), np.int32)

    def decode(contents: bytes) -> np.ndarray:
        try:
            return decode_in_python(contents, at_least=at_least, background=background, max_pixels=max_pixels)
        except (OSError, tf.errors.InvalidArgumentError) as error:
            # TensorFlow turns a ValueError into an InvalidArgumentError.
            raise ValueError(" ".join(str(error).split())) from error

    def in_python(contents: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(decode, [contents], tf.uint8, stateful=False)

    contents = tf.ensure_shape(contents, [])
    decoders = [*(jpeg(ratio) for ratio in JPEG_RATIOS), png, webp, in_python]
    number, tag = tf.unstack(tf.ensure_shape(tf.numpy_function(choose, [contents], tf.int32, stateful=False), [2]))
    return upright(switch(number, decoders, [contents], tf.TensorSpec([None, None, 3], tf.uint8)), tag)


# Numbers of the decoders of `decode_any`; JPEG has one for each ratio.
_JPEG, _PNG, _WEBP, _PYTHON = 0, *range(len(JPEG_RATIOS), len(JPEG_RATIOS) + 3)
_DECODERS = {b"\xff\xd8": _JPEG, b"\x89P": _PNG, b"RI": _WEBP, b"BM": _PYTHON, b"GI": _PYTHON}


def _choose_decoder(contents: bytes, at_least: tuple[int, int] | None, max_pixels: int) -> tuple[int, int]:
    """Chooses how `decode_any` decodes a file: returns the number of a decoder, and the EXIF orientation to apply.

    To look at heads of files in Python takes a tenth of the time of the same operations in a graph; and a graph that
    knows all formats is set up again for each pass over a data set, which takes a third of a second. Files that are
    unusual or damaged are left to `decode_in_python`.
    """
    decoder = _DECODERS.get(contents[:2], _PYTHON)
    if decoder == _PYTHON:
        return _PYTHON, 1
    try:
        with Image.open(BytesIO(contents)) as picture:
            width, height = picture.size
    except Exception:  # Pillow's readers raise whatever their format's code does
        return _PYTHON, 1
    if width * height > max_pixels:
        return _PYTHON, 1
    tag = read_tag(contents)
    if decoder != _JPEG or at_least is None:
        return decoder, tag
    rows, columns = at_least if tag < 5 else at_least[::-1]  # the stored image lies on its side
    return sum(-(-height // ratio) >= rows and -(-width // ratio) >= columns for ratio in JPEG_RATIOS[1:]), tag


def decode_in_python(
    contents: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    background: tuple[int, ...] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decodes a file as `decode_any` does, in Python code that TensorFlow calls from a graph.

    It runs TensorFlow operation by operation, on the calling thread. A graph would wait for one of TensorFlow's few
    threads, and all of them may be waiting for such calls to return.

    Args:
        contents: The whole file.
        at_least: Height and width of the upright image that are enough.
        background: Red, green and blue in 0..255 behind transparent pixels. Defaults to white.
        max_pixels: Largest number of pixels. Larger images are refused before they are decoded.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError, ValueError, OSError: The file is not an image, or it is damaged or too large.

    Example:

    >>> decode_in_python(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8)).numpy()).shape
    (2, 3, 3)
    """
    if contents[:2] in _DECODERS:
        return decode_file(tf.constant(contents), 1, at_least, background, max_pixels).numpy()
    return decode_with_pillow(contents, background=background, max_pixels=max_pixels)
