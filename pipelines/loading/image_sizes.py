"""Reading the size of an image from the head of its file, without decoding it."""

from typing import Any

import tensorflow as tf

from pipelines.loading.exif import read_orientation
from pipelines.loading.graph_bytes import container, read_bytes, read_number, switch

__all__ = ["image_size", "stored_size"]


def image_size(contents: Any) -> tf.Tensor:
    """Reads the height and width of the upright image that `decode_image` would return.

    Args:
        contents: The whole file, as a scalar string tensor or `bytes`.

    Returns:
        `int32 [2]`, height and width in pixels; zeros for files that are no JPEG, PNG, WebP, BMP or GIF.

    Raises:
        tf.errors.InvalidArgumentError: The head of a JPEG is damaged.

    Example:

    >>> image_size(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8))).numpy().tolist()
    [2, 3]
    """
    return _image_size(tf.convert_to_tensor(contents, tf.string))


@tf.function(autograph=False)
def _image_size(contents: tf.Tensor) -> tf.Tensor:
    size = stored_size(contents)
    return tf.where(read_orientation(contents) >= 5, size[::-1], size)


def stored_size(contents: tf.Tensor) -> tf.Tensor:
    """Reads the height and width of the image as it is stored, before it is turned upright: `int32 [2]`."""

    def head(contents: tf.Tensor) -> tf.Tensor:
        return read_bytes(contents, 0, 32)

    def webp(contents: tf.Tensor) -> tf.Tensor:
        # There are three kinds: extended (size minus 1 in 24 bits), lossless (size minus 1 in 14 bits), lossy (14).
        # https://developers.google.com/speed/webp/docs/riff_container, RFC 6386 section 9.1
        first = head(contents)
        extended = tf.stack([read_number(first[27:30], little=True) + 1, read_number(first[24:27], little=True) + 1])
        bits = read_number(first[21:25], little=True)
        lossless = tf.stack([(bits // 2**14) % 2**14 + 1, bits % 2**14 + 1])
        lossy = tf.stack(
            [read_number(first[28:30], little=True) % 2**14, read_number(first[26:28], little=True) % 2**14]
        )
        kind = first[15]
        return tf.where(kind == ord("X"), extended, tf.where(kind == ord("L"), lossless, lossy))

    def signed(digits: tf.Tensor) -> tf.Tensor:
        number = read_number(digits, little=True)
        return tf.minimum(number, 2**32 - number)  # a BMP that is stored from top to bottom has a negative height

    def gif(contents: tf.Tensor) -> tf.Tensor:
        size = tf.stack([read_number(head(contents)[8:10], little=True), read_number(head(contents)[6:8], little=True)])
        return tf.where(tf.strings.substr(contents, 0, 3) == b"GIF", size, 0)

    def jpeg(contents: tf.Tensor) -> tf.Tensor:
        return tf.io.extract_jpeg_shape(contents, tf.int64)[:2]

    def png(contents: tf.Tensor) -> tf.Tensor:
        return tf.stack([read_number(head(contents)[20:24]), read_number(head(contents)[16:20])])

    def bmp(contents: tf.Tensor) -> tf.Tensor:
        return tf.stack([signed(head(contents)[22:26]), signed(head(contents)[18:22])])

    size = switch(container(contents), [gif, jpeg, png, webp, bmp], [contents], tf.TensorSpec([2], tf.int64))
    return tf.cast(tf.minimum(size, 2**31 - 1), tf.int32)
