"""Decoding that leaves the graph."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.loading.decoding import JPEG_RATIOS, decode_file, decode_png, decode_webp
from pipelines.loading.exif import upright
from pipelines.loading.graph_bytes import switch
from pipelines.loading.pillow_decoding import MAX_PIXELS, WHITE, decode_with_pillow

__all__ = ["decode_any", "decode_in_python"]


def decode_any(
    contents: Any,
    *,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """As `decode_image`, and through Pillow what TensorFlow has no operation for: TIFF and whatever Pillow reads.

    For reading data. It cannot be exported, since Pillow runs in Python.

    Args:
        contents, at_least, background, max_pixels: see `decode_image`.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: not an image, damaged, or too large.

    Example:

    >>> from io import BytesIO
    >>> buffer = BytesIO()
    >>> Image.new("RGB", (3, 2)).save(buffer, "TIFF")
    >>> decode_any(buffer.getvalue()).shape
    TensorShape([2, 3, 3])
    """
    enough = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    return _decode_any(tf.convert_to_tensor(contents, tf.string), enough, tuple(background), int(max_pixels))


@tf.function(autograph=False)
def _decode_any(
    contents: tf.Tensor, at_least: tuple[int, int] | None, background: tuple[int, ...], max_pixels: int
) -> tf.Tensor:
    def jpeg(ratio: int) -> Any:
        return lambda contents: tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    def png(contents: tf.Tensor) -> tf.Tensor:
        return decode_png(contents, background)

    def webp(contents: tf.Tensor) -> tf.Tensor:
        return decode_webp(contents, background)

    def look(contents: bytes) -> np.ndarray:
        return np.array(_way(contents, at_least, max_pixels), np.int32)

    def decode(contents: bytes) -> np.ndarray:
        try:
            return decode_in_python(contents, at_least=at_least, background=background, max_pixels=max_pixels)
        except (OSError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(" ".join(str(error).split())) from error  # which TensorFlow takes for an invalid argument

    def in_python(contents: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(decode, [contents], tf.uint8, stateful=False)

    contents = tf.ensure_shape(contents, [])
    ways = [*(jpeg(ratio) for ratio in JPEG_RATIOS), png, webp, in_python]
    way, tag = tf.unstack(tf.ensure_shape(tf.numpy_function(look, [contents], tf.int32, stateful=False), [2]))
    return upright(switch(way, ways, [contents], tf.TensorSpec([None, None, 3], tf.uint8)), tag)


_JPEG_WAY, _PNG_WAY, _WEBP_WAY, _PYTHON_WAY = 0, *range(len(JPEG_RATIOS), len(JPEG_RATIOS) + 3)
_WAYS = {b"\xff\xd8": _JPEG_WAY, b"\x89P": _PNG_WAY, b"RI": _WEBP_WAY, b"BM": _PYTHON_WAY, b"GI": _PYTHON_WAY}


def _way(contents: bytes, at_least: tuple[int, int] | None, max_pixels: int) -> tuple[int, int]:
    """How `decode_any` decodes a file, and how it turns what comes out: numbers of a way and of an orientation.

    Looking at heads of files in Python takes a tenth of the time of as many operations in a graph, and a graph that
    knows all formats is set up anew for each pass over a data set, in a third of a second. What is unusual, or wrong,
    is left to `decode_image`.
    """
    way = _WAYS.get(contents[:2], _PYTHON_WAY)
    if way == _PYTHON_WAY or (way != _JPEG_WAY and b"exif" in contents.lower()):
        return _PYTHON_WAY, 1
    try:
        with Image.open(BytesIO(contents)) as picture:
            width, height = picture.size
            tag = picture.getexif().get(274, 1) if way == _JPEG_WAY else 1
    except Exception:  # Pillow's readers raise whatever their format's code does
        return _PYTHON_WAY, 1
    if width * height > max_pixels or tag not in range(1, 9):
        return _PYTHON_WAY, 1
    if way != _JPEG_WAY or at_least is None:
        return way, tag
    rows, columns = at_least if tag < 5 else at_least[::-1]  # the stored image lies on its side
    return sum(-(-height // ratio) >= rows and -(-width // ratio) >= columns for ratio in JPEG_RATIOS[1:]), tag


def decode_in_python(
    contents: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    background: tuple[int, ...] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """As `decode_any`, for Python that TensorFlow calls from a graph.

    Operation by operation, on the thread that calls. A graph in there may wait for one of TensorFlow's few threads,
    all of which may be waiting for such calls to return.

    Raises:
        tf.errors.InvalidArgumentError, ValueError, OSError: not an image, damaged, or too large.

    Example:

    >>> decode_in_python(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8)).numpy()).shape
    (2, 3, 3)
    """
    if contents[:2] in _WAYS:
        return decode_file(tf.constant(contents), 1, at_least, background, max_pixels).numpy()
    return decode_with_pillow(contents, background=background, max_pixels=max_pixels)
