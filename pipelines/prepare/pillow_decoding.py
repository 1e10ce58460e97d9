"""Decoding of images with Pillow, without TensorFlow: the same pixels that `pipelines.decode_image` gives.

It serves formats that TensorFlow cannot read, and places where TensorFlow is not installed or takes too long to load.
A test holds every format that both read to the graph's result, pixel for pixel.
"""

import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from pipelines.prepare.orientation_tags import stored_layout
from pipelines.prepare.turning import turn_array

__all__ = ["BMP_MASKS", "MAX_PIXELS", "WHITE", "TooManyPixels", "decode_with_pillow", "open_upright"]

# Larger images are refused before they are decoded. They would take 600 MB of memory or more, and a file of a few
# kilobytes can announce such a size.
MAX_PIXELS = 200_000_000

WHITE = (255, 255, 255)

# Where a BMP that states it has its red, green and blue, if these have their usual order.
BMP_MASKS = b"\0\0\xff\0" + b"\0\xff\0\0" + b"\xff\0\0\0"


class TooManyPixels(ValueError):
    """An image is larger than is accepted.

    Attributes:
        size: Its height and width in pixels.
    """

    def __init__(self, size: tuple[int, int], max_pixels: int) -> None:
        super().__init__(f"an image of {size[0] * size[1]} pixels: expected at most {max_pixels}")
        self.size = size


def decode_with_pillow(
    contents: bytes,
    *,
    background: Sequence[int] = WHITE,
    max_pixels: int | None = MAX_PIXELS,
    formats: list[str] | None = None,
) -> np.ndarray:
    """Decodes an image of any format that Pillow reads into upright RGB, as `pipelines.decode_image` describes it.

    Grey of 32 bits and of floating point is refused, because it has no agreed range.

    Args:
        contents: The whole file.
        background: Red, green and blue in 0..255. Defaults to white.
        max_pixels: Largest number of pixels. Larger images are refused before they are decoded. With None, it is
            Pillow's own limit of 179 million.
        formats: Pillow's names of the formats that are accepted. Defaults to all.

    Returns:
        `uint8 [h, w, 3]`.

    Raises:
        ValueError: The image is too large (`TooManyPixels`), or its pixels are of a kind that is not read.
        OSError: The file is not an image, or it is damaged.

    Example:

    >>> buffer = BytesIO()
    >>> Image.new("RGB", (3, 2)).save(buffer, "TIFF")
    >>> decode_with_pillow(buffer.getvalue()).shape
    (2, 3, 3)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about large images and odd metadata
            picture: Image.Image = Image.open(BytesIO(_checked_png(contents)), formats=formats)
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                raise TooManyPixels((picture.height, picture.width), max_pixels)
            _, tag = stored_layout(picture, contents)
            _check_kind(picture, contents)
            picture.load()
    except (SyntaxError, Image.DecompressionBombError) as error:  # Pillow raises these for damaged heads
        raise OSError(f"damaged: {error}") from error
    pixels = _rgb(picture, background)
    upright = pixels if picture.format == "TIFF" else turn_array(pixels, tag)  # Pillow turns a TIFF by itself
    return np.ascontiguousarray(upright)


def open_upright(image: str | bytes, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Opens an image and turns it upright, and keeps its kind of colours, such as its transparency.

    Args:
        image: Path of the file, or its contents.
        at_least: Width and height that are enough; a JPEG is then decoded at a fraction of its size.
    """
    if isinstance(image, str):
        with open(image, "rb") as file:
            image = file.read()
    picture: Image.Image = Image.open(BytesIO(image))
    _, tag = stored_layout(picture, image)
    if at_least is not None:
        picture.draft("RGB", at_least)
    picture.load()
    return picture if picture.format == "TIFF" or tag == 1 else picture.transpose(_TRANSPOSES[tag])


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _check_kind(picture: Image.Image, contents: bytes) -> None:
    """Refuses BMPs and GIFs that `pipelines.decode_image` refuses.

    Raises:
        ValueError: The file is of an unusual kind.
    """
    if picture.format == "BMP":
        start, header, bits, compression = (
            int.from_bytes(contents[a:b], "little") for a, b in ((10, 14), (14, 18), (28, 30), (30, 34))
        )
        usual_order = compression == 0 or (compression == 3 and contents[54:66] == BMP_MASKS)
        whole = len(contents) >= start + (picture.width * bits + 31) // 32 * 4 * picture.height
        if header < 40 or bits not in (8, 24, 32) or not usual_order or not whole:
            raise ValueError("expected a whole, uncompressed BMP file of 8, 24 or 32 bits with a Windows header")
    if isinstance(picture, GifImageFile):
        fills = picture.dispose_extent == (0, 0, *picture.size)  # where its frame is in the picture, xyxy
        if not fills and not picture.is_animated:
            raise ValueError("expected a GIF whose frame fills the picture")


def _rgb(picture: Image.Image, background: Sequence[int]) -> np.ndarray:
    if picture.mode.startswith("I;16"):  # the upper 8 of the 16 bits are kept
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of kind {picture.mode} (32 bits): expected 8 or 16 bits a channel; convert the image")
    if isinstance(picture, GifImageFile):
        return _gif_rgb(picture)
    see_through = picture.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    if not see_through and not (picture.mode == "P" and "transparency" in picture.info):
        return np.asarray(picture.convert("RGB"))
    pixels = np.asarray(picture.convert("RGBA"))
    rgb, alpha = pixels[..., :3], pixels[..., 3:]
    if picture.format == "BMP":
        return rgb
    opacity = alpha.astype(np.float32) / np.float32(255)
    behind = np.array(background, np.float32)
    return np.rint(behind - (behind - rgb.astype(np.float32)) * opacity).astype(np.uint8)


def _gif_rgb(picture: GifImageFile) -> np.ndarray:
    """Returns the first frame of a GIF on black, `uint8 [h, w, 3]`."""
    pixels = np.asarray(picture.convert("RGBA"))
    seen = np.zeros(pixels.shape[:2], bool)
    left, top, right, bottom = picture.dispose_extent or (0, 0, *picture.size)
    seen[top:bottom, left:right] = True
    return np.where(seen[..., None] & (pixels[..., 3:] > 0), pixels[..., :3], 0).astype(np.uint8)


def _checked_png(contents: bytes) -> bytes:
    """Returns a PNG without the chunks that libpng leaves out, which Pillow would refuse the whole file for.

    These are damaged chunks that a picture does not need. A file of another format is returned as it is.

    Raises:
        OSError: A chunk that a picture needs is damaged or missing, which Pillow would not always say.
    """
    if contents[:8] != b"\x89PNG\r\n\x1a\n":
        return contents
    kept, at, name = [contents[:8]], 8, b""
    while name != b"IEND":
        end = at + 12 + int.from_bytes(contents[at : at + 4], "big")
        name, checksum = contents[at + 4 : at + 8], int.from_bytes(contents[end - 4 : end], "big")
        if end > len(contents):
            raise OSError("damaged: the file is cut off")
        if zlib.crc32(memoryview(contents)[at + 4 : end - 4]) == checksum:
            kept.append(contents[at:end])
        elif name[:1].isupper():
            raise OSError(f"damaged: wrong checksum of {name!r}")
        at = end
    return b"".join(kept)
