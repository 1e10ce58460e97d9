"""Pillow decodes files to the pixels that TensorFlow gives."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines import decode_image
from pipelines.prepare.photos import decode

H, W = 37, 53


def picture(mode: str) -> Image.Image:
    draw = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(draw.integers(0, 65536, (H, W)).astype(np.uint16))
    rgba = Image.fromarray(draw.integers(0, 256, (H, W, 4), "uint8"), "RGBA")
    if mode == "P":
        return rgba.convert("RGB").quantize(17)
    return rgba.convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(tag: int) -> bytes:
    exif = Image.Exif()
    exif[274] = tag
    return encoded(picture("RGB"), "JPEG", exif=exif)


FILES = {
    "jpeg": encoded(picture("RGB"), "JPEG", quality=80),
    "progressive": encoded(picture("RGB"), "JPEG", progressive=True),
    "grey jpeg": encoded(picture("L"), "JPEG"),
    "cmyk": encoded(picture("CMYK"), "JPEG"),
    "png": encoded(picture("RGB"), "PNG"),
    "grey": encoded(picture("L"), "PNG"),
    "one bit": encoded(picture("1"), "PNG"),
    "16 bits": encoded(picture("I;16"), "PNG"),
    "alpha": encoded(picture("RGBA"), "PNG"),
    "grey and alpha": encoded(picture("LA"), "PNG"),
    "palette": encoded(picture("P"), "PNG"),
    "palette with transparency": encoded(picture("P"), "PNG", transparency=bytes(range(0, 255, 15))),
    "one transparent colour": encoded(picture("RGB"), "PNG", transparency=(1, 2, 3)),
    "gif": encoded(picture("P"), "GIF"),
    "animated gif": encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P").transpose(1)]),
    "bmp": encoded(picture("RGB"), "BMP"),
    "palette bmp": encoded(picture("P"), "BMP"),
    "webp": encoded(picture("RGB"), "WEBP", lossless=True),
    "webp alpha": encoded(picture("RGBA"), "WEBP", lossless=True, exact=True),
} | {f"turned {tag}": turned(tag) for tag in range(1, 9)}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_the_graph(name):
    np.testing.assert_array_equal(decode(FILES[name]), decode_image(FILES[name]).numpy())


@pytest.mark.parametrize("contents", [b"", b"text", FILES["jpeg"][:300], FILES["png"][:200], b"%!PS-Adobe-3.0 EPSF"])
def test_what_is_no_image_is_said(contents):
    with pytest.raises(ValueError, match="cannot be decoded; expected a whole JPEG"):
        decode(contents)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="too many pixels"):
        decode(bomb)
    with pytest.raises(ValueError, match="has 37 x 53 pixels; at most 1,000"):
        decode(FILES["png"], max_pixels=1000)
