"""Decoding of image files into upright RGB pixels, inside of the graph.

Everything here is TensorFlow operations without `py_function`. So the same code runs in tf.data and inside of an
exported SavedModel, and a photo is turned and coloured in the same way in both. TensorFlow's own `decode_image`
ignores the EXIF orientation, drops transparency, reads the palette indices of a BMP as grey levels, and writes past
the end of its buffer when it decodes an animated WebP without transparency (seen in 2.21).

`pipelines.decode_any` also reads formats that TensorFlow does not know, but it leaves the graph for them.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.loading.exif import read_orientation, upright
from pipelines.loading.graph_bytes import container, read_bytes, read_number, switch
from pipelines.loading.image_sizes import stored_size
from pipelines.prepare.pillow_decoding import BMP_MASKS, MAX_PIXELS, WHITE

__all__ = ["JPEG_RATIOS", "decode_file", "decode_image", "decode_jpeg", "decode_png", "decode_webp"]

JPEG_RATIOS = (1, 2, 4, 8)


def decode_image(
    contents: Any,
    *,
    ratio: int = 1,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF, BMP or WebP file into upright RGB.

    - The contents decide about the format, and never the name.
    - The EXIF orientation of JPEG, PNG and WebP is applied (`pipelines.orientation`, `pipelines.upright`). Other
      metadata, such as XMP, do not count (`pipelines.prepare.orientation_tags` says what does).
    - Grey and palette images become RGB. CMYK JPEGs do too, as Pillow converts them (without a colour profile).
    - Alpha channels and transparent palette entries of PNG and WebP are composited over `background`. A single colour
      that a PNG declares transparent keeps its colour; transparent pixels of a GIF are black; the fourth channel of a
      BMP is ignored.
    - Of 16-bit PNGs, the upper 8 bits are kept.
    - Of animations, the first frame is returned.
    - JPEGs are decoded with the accurate integer DCT, to exactly the pixels that Pillow returns.

    Args:
        contents: The whole file, as a scalar string tensor or `bytes`.
        ratio: 1, 2, 4 or 8. JPEGs are decoded at 1/ratio of their size, which is faster; other formats are decoded at
            full size.
        at_least: Height and width of the upright image that are enough. A JPEG is decoded at the smallest of 1, 1/2,
            1/4 and 1/8 of its size that is at least as large. `ratio` has to be 1.
        background: Red, green and blue in 0..255 behind transparent pixels. Defaults to white.
        max_pixels: Largest number of pixels. Larger images are refused before they are decoded.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: The file has none of these formats, or it is damaged or too large.
            (`pipelines.check` finds such files beforehand and states the reasons in words.)
        ValueError: An argument is out of its range.

    Example:

    >>> import tensorflow as tf
    >>> decode_image(tf.io.encode_png(tf.fill([2, 3, 3], tf.constant(7, tf.uint8)))).shape
    TensorShape([2, 3, 3])
    >>> photo = tf.io.encode_jpeg(tf.zeros([600, 800, 3], tf.uint8))
    >>> decode_image(photo, at_least=(224, 224)).shape
    TensorShape([300, 400, 3])
    """
    if ratio not in JPEG_RATIOS or (ratio != 1 and at_least is not None):
        raise ValueError(
            f"decode_image: expected `ratio` as 1, 2, 4 or 8, and as 1 together with `at_least`; received {ratio!r}"
        )
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise ValueError(
            f"decode_image: expected `background` as red, green and blue in 0..255, received {background!r}"
        )
    enough = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    return _decode_traced(tf.convert_to_tensor(contents, tf.string), ratio, enough, tuple(background), int(max_pixels))


def decode_file(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, background: tuple[int, ...], max_pixels: int
) -> tf.Tensor:
    """Decodes a file as `decode_image` does, for use inside of another function's graph, or operation by operation."""
    contents = tf.ensure_shape(contents, [])
    size = stored_size(contents)
    pixels = tf.cast(size[0], tf.int64) * tf.cast(size[1], tf.int64)
    small_enough = tf.debugging.Assert(
        pixels <= max_pixels, ["an image of", pixels, "pixels: expected at most", max_pixels]
    )
    tag = read_orientation(contents)
    with tf.control_dependencies([small_enough]):
        contents = tf.identity(contents)
    image = switch(
        container(contents),
        [
            lambda contents, size, tag: _decode_other(contents, size),
            lambda contents, size, tag: _decode_jpeg_at_least(contents, ratio, at_least, size, tag),
            lambda contents, size, tag: decode_png(contents, background),
            lambda contents, size, tag: decode_webp(contents, background),
            lambda contents, size, tag: _decode_bmp(contents, size),
        ],
        [contents, size, tag],
        tf.TensorSpec([None, None, 3], tf.uint8),
    )
    return upright(image, tag)


# TensorFlow builds this graph once in a process, which takes longer than to decode a hundred photos.
_decode_traced = tf.function(decode_file, autograph=False)


def decode_jpeg(contents: tf.Tensor, ratio: int) -> tf.Tensor:
    """Decodes a JPEG at 1/ratio of its size, without turning it upright."""
    return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _decode_jpeg_at_least(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, size: tf.Tensor, tag: tf.Tensor
) -> tf.Tensor:
    if at_least is None:
        return decode_jpeg(contents, ratio)
    enough = tf.where(tag >= 5, at_least[::-1], at_least)  # the stored image lies on its side
    halvings = tf.constant(JPEG_RATIOS[1:], tf.int32)
    fits = tf.reduce_all((size + halvings[:, None] - 1) // halvings[:, None] >= enough, axis=1)
    return tf.switch_case(
        tf.reduce_sum(tf.cast(fits, tf.int32)),
        [lambda ratio=ratio: decode_jpeg(contents, ratio) for ratio in JPEG_RATIOS],
    )


def _decode_other(contents: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame of a GIF, or raises TensorFlow's error about an unknown format.

    TensorFlow does not look at the size of the whole picture, and cuts off the edge of frames that are smaller.
    """
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    filled = tf.debugging.Assert(
        tf.reduce_all(tf.shape(image)[:2] == size), ["expected a GIF whose frame fills the picture"]
    )
    with tf.control_dependencies([filled]):
        return tf.identity(image)


def decode_png(contents: tf.Tensor, background: tuple[int, ...]) -> tf.Tensor:
    """Decodes any PNG and composites it over the background.

    It asks TensorFlow for the file's own number of channels. With `channels=4`, TensorFlow fills the alpha channel of
    images of less than 8 bits with the largest value of that number of bits, which is nearly transparent.
    """
    image = tf.io.decode_png(contents, channels=0)
    return tf.switch_case(
        tf.shape(image)[-1] - 1,
        [
            lambda: tf.repeat(image, 3, axis=-1),
            lambda: _over(background, tf.repeat(image[..., :1], 3, axis=-1), image[..., 1:]),
            lambda: image,
            lambda: _over(background, image[..., :3], image[..., 3:]),
        ],
    )


def decode_webp(contents: tf.Tensor, background: tuple[int, ...]) -> tf.Tensor:
    """Decodes the first frame of a WebP and composites it over the background.

    Frames of an animation are RGBA, but TensorFlow reserves memory for RGB if the header announces no transparency.
    Therefore the header is changed to announce it: in an extended header (`VP8X`), bits 1 and 4 of byte 20 mean
    "animated" and "with alpha". https://developers.google.com/speed/webp/docs/riff_container
    """
    head = read_bytes(contents, 12, 9)
    flags = tf.cast(head[8], tf.uint8)
    animated = tf.reduce_all(head[:4] == list(b"VP8X")) & (tf.bitwise.bitwise_and(flags, 0b10) > 0)

    def announce_alpha() -> tf.Tensor:
        all_bytes = tf.constant([bytes([value]) for value in range(256)])
        changed = tf.gather(all_bytes, tf.cast(tf.bitwise.bitwise_or(flags, 0b10000), tf.int32))
        size = tf.strings.length(contents)
        return tf.strings.join([tf.strings.substr(contents, 0, 20), changed, tf.strings.substr(contents, 21, size)])

    frames = tf.io.decode_webp(tf.cond(animated, announce_alpha, lambda: contents))
    frame = frames[0]
    return tf.cond(tf.shape(frame)[-1] == 4, lambda: _over(background, frame[..., :3], frame[..., 3:]), lambda: frame)


def _decode_bmp(contents: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP of 8 bits (grey or palette), 24 or 32 bits with a Windows header (BITMAPINFOHEADER)."""
    header = read_bytes(contents, 0, 54)
    header_size, compression = read_number(header[14:18], little=True), read_number(header[30:34], little=True)
    usual_order = tf.reduce_all(read_bytes(contents, 54, 12) == list(BMP_MASKS))
    readable = tf.debugging.Assert(
        (header_size >= 40) & ((compression == 0) | ((compression == 3) & usual_order)),
        ["expected an uncompressed BMP file with a Windows header"],
    )
    height, width = tf.unstack(tf.cast(size, tf.int64))
    row = (width * read_number(header[28:30], little=True) + 31) // 32 * 4
    length = read_number(header[10:14], little=True) + row * height  # TensorFlow refuses bytes behind the pixels
    with tf.control_dependencies([readable]):
        image = tf.io.decode_bmp(tf.strings.substr(contents, tf.constant(0, tf.int64), length))

    def look_up() -> tf.Tensor:
        palette = tf.reshape(read_bytes(contents, 14 + header_size, 4 * 256), [256, 4])  # blue, green, red, unused
        return tf.gather(tf.cast(palette[:, 2::-1], tf.uint8), tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.shape(image)[-1] == 1, look_up, lambda: image[..., :3])


def _over(background: tuple[int, ...], rgb: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """Composites an image over a colour.

    Args:
        background: Red, green and blue of the colour, 0..255.
        rgb: The image `uint8 [h, w, 3]`.
        alpha: Its opacities `uint8 [h, w, 1]`.

    Returns:
        `uint8 [h, w, 3]`.
    """
    opacity = tf.cast(alpha, tf.float32) / 255
    behind = tf.constant(background, tf.float32)
    return tf.cast(tf.round(behind - (behind - tf.cast(rgb, tf.float32)) * opacity), tf.uint8)
