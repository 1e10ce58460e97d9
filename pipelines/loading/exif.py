"""The EXIF orientation of image files."""

from typing import Any

import tensorflow as tf

from pipelines.loading.graph_bytes import container, read_bytes, read_number, switch

__all__ = ["orientation", "read_orientation", "upright"]

# For each value of the tag, how to make the stored image upright: swap rows and columns, then reverse the order of
# the rows, then of the columns. EXIF 2.32, 4.6.4, tag 274; 0 stands for values that the standard does not know.
_TURNS = [
    (False, False, False),
    (False, False, False),  # 1
    (False, False, True),  # 2: mirrored
    (False, True, True),  # 3: upside down
    (False, True, False),  # 4: upside down and mirrored
    (True, False, False),  # 5: on its left side and mirrored
    (True, False, True),  # 6: to be turned clockwise
    (True, True, True),  # 7: on its right side and mirrored
    (True, True, False),  # 8: to be turned anticlockwise
]


def upright(image: tf.Tensor, tag: Any) -> tf.Tensor:
    """Turn an image, or a mask, as its EXIF orientation says.

    Args:
        image: `[h, w, channels]`.
        tag: scalar integer, 1 to 8 as in the EXIF standard; anything else leaves the image as it is.

    Returns:
        `[h, w, channels]`, or `[w, h, channels]` for the tags 5 to 8.
    """
    tag = tf.convert_to_tensor(tag, tf.int32)

    def turn() -> tf.Tensor:
        swap, rows, columns = tf.unstack(tf.gather(_TURNS, tf.where(tag <= 8, tag, 0)))
        turned = tf.transpose(image, tf.where(swap, [1, 0, 2], [0, 1, 2]))
        return tf.reverse(turned, tf.boolean_mask([0, 1], tf.stack([rows, columns])))

    channels = image.shape[-1]
    return tf.ensure_shape(tf.cond(tag > 1, turn, lambda: image), [None, None, channels])


def orientation(contents: Any) -> tf.Tensor:
    """The EXIF orientation of a JPEG, PNG or WebP file: scalar `int32`, 1 to 8, and 1 where there is none.

    Args:
        contents: scalar string tensor (or `bytes`), the whole file. Damaged metadata counts as none.

    Example:

    >>> import tensorflow as tf
    >>> int(orientation(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8))))
    1
    """
    return _read_orientation_traced(tf.convert_to_tensor(contents, tf.string))


def read_orientation(contents: tf.Tensor) -> tf.Tensor:
    contents = tf.ensure_shape(contents, [])
    # A search for the word costs a hundredth of a walk through the blocks, and few files have it.
    without = tf.strings.regex_replace(contents, "(?i)exif", "", replace_global=False)
    mentions_exif = tf.strings.length(without) < tf.strings.length(contents)

    finders = [lambda contents: tf.constant(0, tf.int64), _find_exif_in_jpeg, _find_exif_in_png, _find_exif_in_webp]

    def look_up(contents: tf.Tensor) -> tf.Tensor:
        kind = tf.math.mod(container(contents), len(finders))  # a BMP, 4, has none either
        start = switch(kind, finders, [contents], tf.TensorSpec([], tf.int64))
        return tf.cond(start > 0, lambda: _orientation_at(contents, start), lambda: tf.constant(1, tf.int32))

    without_tag = lambda contents: tf.constant(1, tf.int32)  # noqa: E731
    chosen = tf.cast(mentions_exif, tf.int32)
    return switch(chosen, [without_tag, look_up], [contents], tf.TensorSpec([], tf.int32))


_read_orientation_traced = tf.function(read_orientation, autograph=False)


def _orientation_at(contents: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the TIFF structure at `start`: byte order, then a directory of 12-byte entries.

    Of an entry, bytes 0 and 1 are the tag and, for this one, 8 and 9 the value.
    """
    head = read_bytes(contents, start, 8)
    little = head[0] == ord("I")  # "II" as in Intel; "MM" as in Motorola
    directory = start + read_number(head[4:8], little=little)
    count = read_number(read_bytes(contents, directory, 2), little=little)
    entries = tf.reshape(read_bytes(contents, directory + 2, 12 * tf.maximum(count, 1)), [-1, 12])
    tags, values = read_number(entries[:, :2], little=little), read_number(entries[:, 8:10], little=little)
    found = tf.reduce_max(tf.where(tags == 274, values, 0))
    return tf.where((found >= 1) & (found <= 8), tf.cast(found, tf.int32), 1)


# Where the TIFF structure begins, 0 if nowhere. Each walks from block to block up to where the pixels begin.


def _find_exif_in_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Segments are FF, a marker, and a big-endian length that counts itself. EXIF is in an APP1 segment (E1)."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 10)
        found = tf.reduce_all(tf.gather(block, [0, 1, 4, 5, 6, 7, 8]) == [0xFF, 0xE1, *b"Exif\0"])
        is_padding = block[1] == 0xFF
        following = tf.where(is_padding, at + 1, at + 2 + read_number(block[2:4]))
        ended = (block[0] != 0xFF) | (block[1] == 0xDA)  # start of scan
        return tf.where(found, at + 10, 0), following, ended

    return _walk(contents, 2, look)


def _find_exif_in_png(contents: tf.Tensor) -> tf.Tensor:
    """Chunks are a big-endian length, a type, the data, and a checksum of 4 bytes."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 8)
        found = tf.reduce_all(block[4:] == list(b"eXIf"))
        return tf.where(found, at + 8, 0), at + 12 + read_number(block[:4]), tf.reduce_all(block[4:] == list(b"IDAT"))

    return _walk(contents, 8, look)


def _find_exif_in_webp(contents: tf.Tensor) -> tf.Tensor:
    """Chunks are a type, a little-endian length, and data padded to an even length. EXIF comes after the image."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = read_bytes(contents, at, 14)
        found = tf.reduce_all(block[:4] == list(b"EXIF"))
        # Some writers keep the six bytes that introduce EXIF in a JPEG.
        start = at + 8 + tf.where(tf.reduce_all(block[8:12] == list(b"Exif")), tf.constant(6, tf.int64), 0)
        length = read_number(block[4:8], little=True)
        return tf.where(found, start, 0), at + 8 + length + length % 2, tf.constant(False)

    return _walk(contents, 12, look)


def _walk(contents: tf.Tensor, start: int, look: Any) -> tf.Tensor:
    """Apply `look(position) -> (found, next position, whether to stop)` block by block, until it finds something."""
    size = tf.strings.length(contents)

    def step(at: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found, following, ended = look(at)
        return tf.where(ended, tf.cast(size, tf.int64), following), found

    def is_open(at: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (at < tf.cast(size, tf.int64)) & (found == 0)

    at, found = tf.constant(start, tf.int64), tf.constant(0, tf.int64)
    # The bound is for files made up of empty blocks to keep a server busy; cameras write a few dozen.
    return tf.while_loop(is_open, step, (at, found), maximum_iterations=2000)[1]
