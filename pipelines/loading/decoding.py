"""From the bytes of an image file to upright RGB pixels, inside the graph.

Everything here is TensorFlow operations without `py_function`, so that the same code runs in tf.data and inside an
exported SavedModel, and a photo is turned and coloured alike in both. TensorFlow's own `decode_image` ignores the
EXIF orientation, drops transparency, reads the palette indices of a BMP as grey levels, and writes past the end of
its buffer when it is given an animated WebP without transparency (seen in 2.21).

The one exception is `decode_any`, which leaves the graph for formats that TensorFlow does not know, and is for reading
data only.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.loading.exif import read_orientation, upright
from pipelines.loading.graph_bytes import container, read_bytes, read_number, switch
from pipelines.loading.image_sizes import stored_size
from pipelines.loading.pillow_decoding import MAX_PIXELS, WHITE

__all__ = ["JPEG_RATIOS", "decode_file", "decode_image", "decode_png", "decode_webp"]

JPEG_RATIOS = (1, 2, 4, 8)


def decode_image(
    contents: Any,
    *,
    ratio: int = 1,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """Decode one JPEG, PNG, GIF, BMP or WebP file into upright RGB.

    - The format is told by the contents, never by a name.
    - The EXIF orientation of JPEG, PNG and WebP is applied (`orientation`, `upright`).
    - Grey and palette images become RGB; CMYK JPEGs too, as Pillow converts them (without a colour profile).
    - Alpha channels and palettes' transparency of PNG and WebP are composited over `background`. A single colour that
      a PNG declares transparent keeps its colour, a GIF's transparent pixels are black, a BMP's fourth channel is
      ignored.
    - Of 16-bit PNGs the upper 8 bits are kept.
    - Of animations the first frame is returned.
    - JPEGs are decoded with the accurate integer DCT, to the very pixels that Pillow gives.

    Args:
        contents: scalar string tensor (or `bytes`), the whole file.
        ratio: 1, 2, 4 or 8. JPEGs are decoded at 1/ratio of their size, which is faster; other formats at full size.
        at_least: (height, width) of the upright image that are enough. JPEGs are then decoded at the largest of these
            ratios that leaves both; `ratio` has to be 1.
        background: red, green and blue in 0..255, for what is transparent.
        max_pixels: images of more are refused before they are decoded.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: not one of these formats, damaged, or too large. (`pipelines.check` finds such
            files beforehand and says why in words.)
        ValueError: an argument out of its range.

    Example:

    >>> import tensorflow as tf
    >>> decode_image(tf.io.encode_png(tf.fill([2, 3, 3], tf.constant(7, tf.uint8)))).shape
    TensorShape([2, 3, 3])
    >>> photo = tf.io.encode_jpeg(tf.zeros([600, 800, 3], tf.uint8))
    >>> decode_image(photo, at_least=(224, 224)).shape
    TensorShape([300, 400, 3])
    """
    if ratio not in JPEG_RATIOS or (ratio != 1 and at_least is not None):
        raise ValueError(f"expected `ratio` of 1, 2, 4 or 8, and 1 with `at_least`; received {ratio!r}")
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise ValueError(f"expected `background` as red, green and blue in 0..255, received {background!r}")
    enough = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    return _decode_traced(tf.convert_to_tensor(contents, tf.string), ratio, enough, tuple(background), int(max_pixels))


def decode_file(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, background: tuple[int, ...], max_pixels: int
) -> tf.Tensor:
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
            lambda contents, size, tag: decode_other(contents),
            lambda contents, size, tag: decode_jpeg(contents, ratio, at_least, size, tag),
            lambda contents, size, tag: decode_png(contents, background),
            lambda contents, size, tag: decode_webp(contents, background),
            lambda contents, size, tag: decode_bmp(contents),
        ],
        [contents, size, tag],
        tf.TensorSpec([None, None, 3], tf.uint8),
    )
    return upright(image, tag)


# Traced once a process: building this graph takes longer than decoding a hundred photos.
_decode_traced = tf.function(decode_file, autograph=False)


def decode_jpeg(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, size: tf.Tensor, tag: tf.Tensor
) -> tf.Tensor:
    def decode(ratio: int) -> tf.Tensor:
        return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    if at_least is None:
        return decode(ratio)
    enough = tf.where(tag >= 5, at_least[::-1], at_least)  # the stored image lies on its side
    halvings = tf.constant(JPEG_RATIOS[1:], tf.int32)
    fits = tf.reduce_all((size + halvings[:, None] - 1) // halvings[:, None] >= enough, axis=1)
    return tf.switch_case(
        tf.reduce_sum(tf.cast(fits, tf.int32)), [lambda ratio=ratio: decode(ratio) for ratio in JPEG_RATIOS]
    )


def decode_other(contents: tf.Tensor) -> tf.Tensor:
    """A GIF's first frame, or TensorFlow's error about an unknown format."""
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def decode_png(contents: tf.Tensor, background: tuple[int, ...]) -> tf.Tensor:
    """Any PNG, over the background.

    The file's own number of channels is asked for: with `channels=4`, TensorFlow fills the alpha of images of less
    than 8 bits with the largest value of so many bits, which is next to invisible.
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
    """The first frame, over the background.

    Frames of an animation are RGBA, but TensorFlow makes room for RGB when the header announces no transparency.
    So it is made to announce it: bits 1 and 4 of byte 20 say "animated" and "with alpha" when an extended header
    (`VP8X`) is there. https://developers.google.com/speed/webp/docs/riff_container
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


def decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """8-bit (grey or palette), 24-bit and 32-bit BMP. The header is Windows' BITMAPINFOHEADER, little endian."""
    header = read_bytes(contents, 0, 54)
    header_size, compression = read_number(header[14:18], little=True), read_number(header[30:34], little=True)
    readable = tf.debugging.Assert(
        (header_size >= 40) & ((compression == 0) | (compression == 3)),
        ["expected an uncompressed BMP file with a Windows header"],
    )
    with tf.control_dependencies([readable]):
        image = tf.io.decode_bmp(contents)

    def look_up() -> tf.Tensor:
        palette = tf.reshape(read_bytes(contents, 14 + header_size, 4 * 256), [256, 4])  # blue, green, red, unused
        return tf.gather(tf.cast(palette[:, 2::-1], tf.uint8), tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.shape(image)[-1] == 1, look_up, lambda: image[..., :3])


def _over(background: tuple[int, ...], rgb: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """`uint8 [h, w, 3]` with opacities `uint8 [h, w, 1]`, composited over a colour: `uint8 [h, w, 3]`."""
    opacity = tf.cast(alpha, tf.float32) / 255
    behind = tf.constant(background, tf.float32)
    return tf.cast(tf.round(behind - (behind - tf.cast(rgb, tf.float32)) * opacity), tf.uint8)
