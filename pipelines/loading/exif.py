"""The EXIF orientation of image files: reading it from their bytes, and turning images upright.

Everything here is TensorFlow operations, so that it runs in tf.data and inside of an exported SavedModel. What counts
as the orientation is defined in `pipelines.prepare.orientation_tags`.
"""

from typing import Any

import tensorflow as tf

from pipelines.loading.graph_bytes import container, read_bytes, read_number, switch
from pipelines.prepare.orientation_tags import INTEGER_BYTES, MOST_BLOCKS, ORIENTATION
from pipelines.prepare.turning import TURNS

__all__ = ["orientation", "read_orientation", "upright"]

_ROWS = [TURNS[1], *TURNS.values()]  # Row 0 is for unknown values.


def upright(image: tf.Tensor, tag: Any) -> tf.Tensor:
    """Turns an image or a mask as its EXIF orientation says.

    Args:
        image: The stored image `[h, w, channels]`, of any dtype.
        tag: The orientation, a scalar integer from 1 to 8 as in the EXIF standard. Any other number changes nothing.

    Returns:
        `[h, w, channels]`, or `[w, h, channels]` for the tags 5 to 8.

    Example:

    >>> upright(tf.reshape(tf.range(6), [2, 3, 1]), 6)[..., 0].numpy().tolist()
    [[3, 0], [4, 1], [5, 2]]
    """
    tag = tf.convert_to_tensor(tag, tf.int32)

    def turn() -> tf.Tensor:
        swap, rows, columns = tf.unstack(tf.gather(_ROWS, tf.where(tag <= 8, tag, 0)))
        turned = tf.transpose(image, tf.where(swap, [1, 0, 2], [0, 1, 2]))
        return tf.reverse(turned, tf.boolean_mask([0, 1], tf.stack([rows, columns])))

    channels = image.shape[-1]
    return tf.ensure_shape(tf.cond(tag > 1, turn, lambda: image), [None, None, channels])


def orientation(contents: Any) -> tf.Tensor:
    """Reads the EXIF orientation of a JPEG, PNG or WebP file.

    Args:
        contents: The whole file, as a scalar string tensor or `bytes`.

    Returns:
        `int32 []`, 1 to 8. Files without an orientation, and files whose metadata are damaged, have 1 (upright).

    Example:

    >>> import tensorflow as tf
    >>> int(orientation(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8))))
    1
    """
    return _read_orientation_traced(tf.convert_to_tensor(contents, tf.string))


def read_orientation(contents: tf.Tensor) -> tf.Tensor:
    """Reads the EXIF orientation, as `orientation` does, for use inside of another function's graph."""
    contents = tf.ensure_shape(contents, [])
    # To search for the word takes a hundredth of the time of a walk through the blocks, and few files contain it.
    without = tf.strings.regex_replace(contents, "(?i)exif", "", replace_global=False)
    mentions_exif = tf.strings.length(without) < tf.strings.length(contents)

    finders = [lambda contents: tf.constant(0, tf.int64), _find_exif_in_jpeg, _find_exif_in_png, _find_exif_in_webp]

    def look_up(contents: tf.Tensor) -> tf.Tensor:
        kind = tf.math.mod(container(contents), len(finders))  # a BMP, which is 4, has no EXIF either
        start = switch(kind, finders, [contents], tf.TensorSpec([], tf.int64))
        return tf.cond(start > 0, lambda: _orientation_at(contents, start), lambda: tf.constant(1, tf.int32))

    without_tag = lambda contents: tf.constant(1, tf.int32)  # noqa: E731
    chosen = tf.cast(mentions_exif, tf.int32)
    return switch(chosen, [without_tag, look_up], [contents], tf.TensorSpec([], tf.int32))


_read_orientation_traced = tf.function(read_orientation, autograph=False)


def _orientation_at(contents: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Reads the orientation in the TIFF structure at `start`: a byte order, then a directory of 12-byte entries.

    Bytes 0 and 1 of an entry are its tag, 2 and 3 its type, 4 to 7 the number of its values; 8 to 11 hold the value.
    """
    introduced = tf.reduce_all(read_bytes(contents, start, 4) == list(b"Exif"))
    start += tf.where(introduced, tf.constant(6, tf.int64), 0)
    head = read_bytes(contents, start, 8)
    little = head[0] == ord("I")  # "II" as in Intel; "MM" as in Motorola
    valid = tf.reduce_any(tf.reduce_all(head[:4] == [list(b"II*\0"), list(b"MM\0*")], axis=1))
    directory = start + read_number(head[4:8], little=little)
    count = read_number(read_bytes(contents, directory, 2), little=little)
    entries = tf.reshape(read_bytes(contents, directory + 2, 12 * tf.maximum(count, 1)), [-1, 12])
    is_orientation = read_number(entries[:, :2], little=little) == ORIENTATION
    entry = entries[tf.argmax(tf.cast(is_orientation, tf.int32))]
    kind = tf.minimum(read_number(entry[2:4], little=little), len(INTEGER_BYTES))
    widths = tf.constant([*INTEGER_BYTES, 0], tf.int64)
    kept = tf.range(4, dtype=tf.int64) < widths[kind]
    value = read_number(tf.where(kept, entry[8:12], 0), little=little)
    value = tf.where(little, value, value // 256 ** (4 - widths[kind]))
    valid &= (count > 0) & tf.reduce_any(is_orientation) & (read_number(entry[4:8], little=little) == 1)
    return tf.where(valid & (value >= 1) & (value <= 8), tf.cast(value, tf.int32), 1)


# Each of these functions walks from block to block, and returns the position of the TIFF
# structure, or 0 if there is none.


def _find_exif_in_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Finds EXIF in a JPEG. Its segments are FF, a marker, and a big-endian length that includes itself; APP1 is E1."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 10)
        found = tf.reduce_all(tf.gather(block, [0, 1, 4, 5, 6, 7, 8]) == [0xFF, 0xE1, *b"Exif\0"])
        is_padding = block[1] == 0xFF
        following = tf.where(is_padding, at + 1, at + 2 + read_number(block[2:4]))
        ended = (block[0] != 0xFF) | (block[1] == 0xDA)  # start of scan
        return tf.where(found, at + 10, 0), following, ended

    return _walk(contents, 2, look)


def _find_exif_in_png(contents: tf.Tensor) -> tf.Tensor:
    """Finds EXIF in a PNG. Its chunks are a big-endian length, a type, the data, and a checksum of 4 bytes."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 8)
        found = tf.reduce_all(block[4:] == list(b"eXIf"))  # It may come after the pixels.
        ended = tf.reduce_any(tf.reduce_all(block[4:] == [list(b"IEND"), [0] * 4], axis=1))
        return tf.where(found, at + 8, 0), at + 12 + read_number(block[:4]), ended

    return _walk(contents, 8, look)


def _find_exif_in_webp(contents: tf.Tensor) -> tf.Tensor:
    """Finds EXIF in a WebP, where it comes after the image.

    Its chunks are a type, a little-endian length, and data that are padded to an even length.
    """

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 8)
        found = tf.reduce_all(block[:4] == list(b"EXIF"))
        length = read_number(block[4:8], little=True)
        return tf.where(found, at + 8, 0), at + 8 + length + length % 2, tf.reduce_all(block[:4] == 0)

    return _walk(contents, 12, look)


def _walk(contents: tf.Tensor, start: int, look: Any) -> tf.Tensor:
    """Walks through the blocks of a file until one holds EXIF, and returns the position of its TIFF structure or 0.

    Args:
        contents: The whole file, a scalar string tensor.
        start: Position of the first block.
        look: Function that takes the position of a block, and returns the position of the TIFF structure in it (or
            0), the position of the next block, and whether to stop.
    """
    size = tf.strings.length(contents)

    def step(at: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found, following, ended = look(at)
        return tf.where(ended, tf.cast(size, tf.int64), following), found

    def is_open(at: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (at < tf.cast(size, tf.int64)) & (found == 0)

    at, found = tf.constant(start, tf.int64), tf.constant(0, tf.int64)
    return tf.while_loop(is_open, step, (at, found), maximum_iterations=MOST_BLOCKS)[1]
