"""From the bytes of an image file to upright RGB pixels, inside the graph.

Everything here is TensorFlow operations without `py_function`, so that the same code runs in tf.data and inside an
exported SavedModel, and a photo is turned and coloured alike in both. TensorFlow's own `decode_image` ignores the
EXIF orientation, drops transparency, reads the palette indices of a BMP as grey levels, and writes past the end of
its buffer when it is given an animated WebP without transparency (seen in 2.21).

The one exception is `decode_any`, which leaves the graph for formats that TensorFlow does not know, and is for reading
data only.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

__all__ = ["MAX_PIXELS", "decode_any", "decode_image", "decode_with_pillow", "image_size", "orientation", "upright"]

# Larger images are refused before they are decoded: they would take 600 MB and more, which a file of a few kilobytes
# can ask for.
MAX_PIXELS = 200_000_000

_WHITE = (255, 255, 255)
_JPEG_RATIOS = (1, 2, 4, 8)


def decode_image(
    contents: Any,
    *,
    ratio: int = 1,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = _WHITE,
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
    if ratio not in _JPEG_RATIOS or (ratio != 1 and at_least is not None):
        raise ValueError(f"expected `ratio` of 1, 2, 4 or 8, and 1 with `at_least`; received {ratio!r}")
    if len(background) != 3 or not all(0 <= value <= 255 for value in background):
        raise ValueError(f"expected `background` as red, green and blue in 0..255, received {background!r}")
    enough = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    return _decode_traced(tf.convert_to_tensor(contents, tf.string), ratio, enough, tuple(background), int(max_pixels))


def _decode(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, background: tuple[int, ...], max_pixels: int
) -> tf.Tensor:
    contents = tf.ensure_shape(contents, [])
    size = _stored_size(contents)
    pixels = tf.cast(size[0], tf.int64) * tf.cast(size[1], tf.int64)
    small_enough = tf.debugging.Assert(
        pixels <= max_pixels, ["an image of", pixels, "pixels: expected at most", max_pixels]
    )
    tag = _read_orientation(contents)
    with tf.control_dependencies([small_enough]):
        contents = tf.identity(contents)
    image = _switch(
        _container(contents),
        [
            lambda contents, size, tag: _decode_other(contents),
            lambda contents, size, tag: _decode_jpeg(contents, ratio, at_least, size, tag),
            lambda contents, size, tag: _decode_png(contents, background),
            lambda contents, size, tag: _decode_webp(contents, background),
            lambda contents, size, tag: _decode_bmp(contents),
        ],
        [contents, size, tag],
        tf.TensorSpec([None, None, 3], tf.uint8),
    )
    return upright(image, tag)


# Traced once a process: building this graph takes longer than decoding a hundred photos.
_decode_traced = tf.function(_decode, autograph=False)


def _switch(index: tf.Tensor, branches: Sequence[Any], inputs: Sequence[tf.Tensor], output: tf.TensorSpec) -> tf.Tensor:
    """As `tf.switch_case`, of functions of `inputs`; only what is chosen is ever prepared for running.

    TensorFlow's own puts all branches into one graph, which has to be set up anew for each pass over a data set; with
    every format of image in it that took most of a second.
    """
    if tf.executing_eagerly():
        return branches[int(index)](*inputs)
    signature = [tf.TensorSpec(value.shape, value.dtype) for value in inputs]
    functions = [
        tf.function(branch, input_signature=signature, autograph=False).get_concrete_function() for branch in branches
    ]
    (result,) = tf.raw_ops.Case(
        branch_index=index, input=list(inputs), Tout=[output.dtype], branches=functions, output_shapes=[output.shape]
    )
    return tf.ensure_shape(result, output.shape)


def _decode_jpeg(
    contents: tf.Tensor, ratio: int, at_least: tuple[int, int] | None, size: tf.Tensor, tag: tf.Tensor
) -> tf.Tensor:
    def decode(ratio: int) -> tf.Tensor:
        return tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    if at_least is None:
        return decode(ratio)
    enough = tf.where(tag >= 5, at_least[::-1], at_least)  # the stored image lies on its side
    halvings = tf.constant(_JPEG_RATIOS[1:], tf.int32)
    fits = tf.reduce_all((size + halvings[:, None] - 1) // halvings[:, None] >= enough, axis=1)
    return tf.switch_case(
        tf.reduce_sum(tf.cast(fits, tf.int32)), [lambda ratio=ratio: decode(ratio) for ratio in _JPEG_RATIOS]
    )


def image_size(contents: Any) -> tf.Tensor:
    """Height and width of the upright image that `decode_image` would give, from the head of the file.

    Args:
        contents: scalar string tensor (or `bytes`), the whole file.

    Returns:
        `int32 [2]`; zeros for what is no JPEG, PNG, WebP, BMP or GIF.

    Raises:
        tf.errors.InvalidArgumentError: a JPEG whose head is damaged.

    Example:

    >>> image_size(tf.io.encode_png(tf.zeros([2, 3, 3], tf.uint8))).numpy().tolist()
    [2, 3]
    """
    return _image_size(tf.convert_to_tensor(contents, tf.string))


@tf.function(autograph=False)
def _image_size(contents: tf.Tensor) -> tf.Tensor:
    size = _stored_size(contents)
    return tf.where(_read_orientation(contents) >= 5, size[::-1], size)


def _stored_size(contents: tf.Tensor) -> tf.Tensor:
    """Height and width as the file's head gives them, before it is turned upright: `int32 [2]`."""

    def head(contents: tf.Tensor) -> tf.Tensor:
        return _bytes(contents, 0, 32)

    def webp(contents: tf.Tensor) -> tf.Tensor:
        # Three kinds: extended (sizes less 1 in 24 bits), lossless (less 1 in 14 bits each) and lossy (14 bits each).
        # https://developers.google.com/speed/webp/docs/riff_container, RFC 6386 section 9.1
        first = head(contents)
        extended = tf.stack([_number(first[27:30], little=True) + 1, _number(first[24:27], little=True) + 1])
        bits = _number(first[21:25], little=True)
        lossless = tf.stack([(bits // 2**14) % 2**14 + 1, bits % 2**14 + 1])
        lossy = tf.stack([_number(first[28:30], little=True) % 2**14, _number(first[26:28], little=True) % 2**14])
        kind = first[15]
        return tf.where(kind == ord("X"), extended, tf.where(kind == ord("L"), lossless, lossy))

    def signed(digits: tf.Tensor) -> tf.Tensor:
        number = _number(digits, little=True)
        return tf.minimum(number, 2**32 - number)  # a BMP that is stored from top to bottom has a negative height

    def gif(contents: tf.Tensor) -> tf.Tensor:
        size = tf.stack([_number(head(contents)[8:10], little=True), _number(head(contents)[6:8], little=True)])
        return tf.where(tf.strings.substr(contents, 0, 3) == b"GIF", size, 0)

    def jpeg(contents: tf.Tensor) -> tf.Tensor:
        return tf.io.extract_jpeg_shape(contents, tf.int64)[:2]

    def png(contents: tf.Tensor) -> tf.Tensor:
        return tf.stack([_number(head(contents)[20:24]), _number(head(contents)[16:20])])

    def bmp(contents: tf.Tensor) -> tf.Tensor:
        return tf.stack([signed(head(contents)[22:26]), signed(head(contents)[18:22])])

    size = _switch(_container(contents), [gif, jpeg, png, webp, bmp], [contents], tf.TensorSpec([2], tf.int64))
    return tf.cast(tf.minimum(size, 2**31 - 1), tf.int32)


def decode_any(
    contents: Any,
    *,
    at_least: Sequence[int] | None = None,
    background: Sequence[int] = _WHITE,
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
        return _decode_png(contents, background)

    def webp(contents: tf.Tensor) -> tf.Tensor:
        return _decode_webp(contents, background)

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
    ways = [*(jpeg(ratio) for ratio in _JPEG_RATIOS), png, webp, in_python]
    way, tag = tf.unstack(tf.ensure_shape(tf.numpy_function(look, [contents], tf.int32, stateful=False), [2]))
    return upright(_switch(way, ways, [contents], tf.TensorSpec([None, None, 3], tf.uint8)), tag)


_JPEG_WAY, _PNG_WAY, _WEBP_WAY, _PYTHON_WAY = 0, *range(len(_JPEG_RATIOS), len(_JPEG_RATIOS) + 3)
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
    return sum(-(-height // ratio) >= rows and -(-width // ratio) >= columns for ratio in _JPEG_RATIOS[1:]), tag


def decode_in_python(
    contents: bytes,
    *,
    at_least: tuple[int, int] | None = None,
    background: tuple[int, ...] = _WHITE,
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
        return _decode(tf.constant(contents), 1, at_least, background, max_pixels).numpy()
    return decode_with_pillow(contents, background=background, max_pixels=max_pixels)


def decode_with_pillow(
    contents: bytes, *, background: Sequence[int] = _WHITE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Any image that Pillow reads: upright, its first frame, transparency over `background`.

    Of 16-bit grey the upper 8 bits are kept. Greys of 32 bits and of floating point have no agreed range and are
    refused.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: too large, or of such greys.
        OSError: not an image, or damaged.
    """
    try:
        picture: Image.Image = Image.open(BytesIO(contents))
        if picture.width * picture.height > max_pixels:
            raise ValueError(f"an image of {picture.width * picture.height} pixels: expected at most {max_pixels}")
        picture.load()
    except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, about damaged heads
        raise OSError(f"damaged: {error}") from error
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"pixels of kind {picture.mode} (32 bits): expected 8 or 16 bits a channel; convert the image")
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*background, 255)), picture)
    return np.asarray(picture.convert("RGB"))


def _container(contents: tf.Tensor) -> tf.Tensor:
    """Which format the first bytes announce: 1 JPEG, 2 PNG, 3 WebP, 4 BMP, 0 any other."""
    known = tf.strings.substr(contents, 0, 2) == tf.constant([b"", b"\xff\xd8", b"\x89P", b"RI", b"BM"])
    return tf.argmax(tf.cast(known, tf.int32), output_type=tf.int32)


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    """A GIF's first frame, or TensorFlow's error about an unknown format."""
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _decode_png(contents: tf.Tensor, background: tuple[int, ...]) -> tf.Tensor:
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


def _decode_webp(contents: tf.Tensor, background: tuple[int, ...]) -> tf.Tensor:
    """The first frame, over the background.

    Frames of an animation are RGBA, but TensorFlow makes room for RGB when the header announces no transparency.
    So it is made to announce it: bits 1 and 4 of byte 20 say "animated" and "with alpha" when an extended header
    (`VP8X`) is there. https://developers.google.com/speed/webp/docs/riff_container
    """
    head = _bytes(contents, 12, 9)
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


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """8-bit (grey or palette), 24-bit and 32-bit BMP. The header is Windows' BITMAPINFOHEADER, little endian."""
    header = _bytes(contents, 0, 54)
    header_size, compression = _number(header[14:18], little=True), _number(header[30:34], little=True)
    readable = tf.debugging.Assert(
        (header_size >= 40) & ((compression == 0) | (compression == 3)),
        ["expected an uncompressed BMP file with a Windows header"],
    )
    with tf.control_dependencies([readable]):
        image = tf.io.decode_bmp(contents)

    def look_up() -> tf.Tensor:
        palette = tf.reshape(_bytes(contents, 14 + header_size, 4 * 256), [256, 4])  # blue, green, red, unused
        return tf.gather(tf.cast(palette[:, 2::-1], tf.uint8), tf.cast(image[..., 0], tf.int32))

    return tf.cond(tf.shape(image)[-1] == 1, look_up, lambda: image[..., :3])


def _over(background: tuple[int, ...], rgb: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """`uint8 [h, w, 3]` with opacities `uint8 [h, w, 1]`, composited over a colour: `uint8 [h, w, 3]`."""
    opacity = tf.cast(alpha, tf.float32) / 255
    behind = tf.constant(background, tf.float32)
    return tf.cast(tf.round(behind - (behind - tf.cast(rgb, tf.float32)) * opacity), tf.uint8)


# Orientation

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


def _read_orientation(contents: tf.Tensor) -> tf.Tensor:
    contents = tf.ensure_shape(contents, [])
    # A search for the word costs a hundredth of a walk through the blocks, and few files have it.
    without = tf.strings.regex_replace(contents, "(?i)exif", "", replace_global=False)
    mentions_exif = tf.strings.length(without) < tf.strings.length(contents)

    finders = [lambda contents: tf.constant(0, tf.int64), _find_exif_in_jpeg, _find_exif_in_png, _find_exif_in_webp]

    def look_up(contents: tf.Tensor) -> tf.Tensor:
        kind = tf.math.mod(_container(contents), len(finders))  # a BMP, 4, has none either
        start = _switch(kind, finders, [contents], tf.TensorSpec([], tf.int64))
        return tf.cond(start > 0, lambda: _orientation_at(contents, start), lambda: tf.constant(1, tf.int32))

    without_tag = lambda contents: tf.constant(1, tf.int32)  # noqa: E731
    chosen = tf.cast(mentions_exif, tf.int32)
    return _switch(chosen, [without_tag, look_up], [contents], tf.TensorSpec([], tf.int32))


_read_orientation_traced = tf.function(_read_orientation, autograph=False)


def _orientation_at(contents: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the TIFF structure at `start`: byte order, then a directory of 12-byte entries.

    Of an entry, bytes 0 and 1 are the tag and, for this one, 8 and 9 the value.
    """
    head = _bytes(contents, start, 8)
    little = head[0] == ord("I")  # "II" as in Intel; "MM" as in Motorola
    directory = start + _number(head[4:8], little=little)
    count = _number(_bytes(contents, directory, 2), little=little)
    entries = tf.reshape(_bytes(contents, directory + 2, 12 * tf.maximum(count, 1)), [-1, 12])
    tags, values = _number(entries[:, :2], little=little), _number(entries[:, 8:10], little=little)
    found = tf.reduce_max(tf.where(tags == 274, values, 0))
    return tf.where((found >= 1) & (found <= 8), tf.cast(found, tf.int32), 1)


# Where the TIFF structure begins, 0 if nowhere. Each walks from block to block up to where the pixels begin.


def _find_exif_in_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Segments are FF, a marker, and a big-endian length that counts itself. EXIF is in an APP1 segment (E1)."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = _bytes(contents, at, 10)
        found = tf.reduce_all(tf.gather(block, [0, 1, 4, 5, 6, 7, 8]) == [0xFF, 0xE1, *b"Exif\0"])
        is_padding = block[1] == 0xFF
        following = tf.where(is_padding, at + 1, at + 2 + _number(block[2:4]))
        ended = (block[0] != 0xFF) | (block[1] == 0xDA)  # start of scan
        return tf.where(found, at + 10, 0), following, ended

    return _walk(contents, 2, look)


def _find_exif_in_png(contents: tf.Tensor) -> tf.Tensor:
    """Chunks are a big-endian length, a type, the data, and a checksum of 4 bytes."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = _bytes(contents, at, 8)
        found = tf.reduce_all(block[4:] == list(b"eXIf"))
        return tf.where(found, at + 8, 0), at + 12 + _number(block[:4]), tf.reduce_all(block[4:] == list(b"IDAT"))

    return _walk(contents, 8, look)


def _find_exif_in_webp(contents: tf.Tensor) -> tf.Tensor:
    """Chunks are a type, a little-endian length, and data padded to an even length. EXIF comes after the image."""

    def look(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = _bytes(contents, at, 14)
        found = tf.reduce_all(block[:4] == list(b"EXIF"))
        # Some writers keep the six bytes that introduce EXIF in a JPEG.
        start = at + 8 + tf.where(tf.reduce_all(block[8:12] == list(b"Exif")), tf.constant(6, tf.int64), 0)
        length = _number(block[4:8], little=True)
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


def _bytes(contents: tf.Tensor, start: Any, count: Any) -> tf.Tensor:
    """`count` bytes from `start` as `int64 [count]`; zeros where the file has ended."""
    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(contents), tf.int64))
    piece = tf.strings.substr(contents, start, tf.cast(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=tf.cast(count, tf.int32)), tf.int64)


def _number(digits: tf.Tensor, *, little: Any = False) -> tf.Tensor:
    """The unsigned numbers that the bytes in the last axis spell; the most significant comes first unless `little`."""
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    places = tf.constant([256**place for place in reversed(range(digits.shape[-1]))], tf.int64)
    return tf.reduce_sum(digits * places, axis=-1)
