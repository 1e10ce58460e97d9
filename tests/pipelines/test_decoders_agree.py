"""Every decoder gives the same pixels for a file, whatever its container, metadata and size, or all refuse it."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import decode_any, decode_image, image_size, orientation
from pipelines.annotations.assembling import image_header
from pipelines.auditing.heads import read_heads
from pipelines.data import Samples
from pipelines.loading.python_decoding import decode_in_python
from pipelines.prepare.orientation_tags import read_tag
from pipelines.prepare.photos import decode
from pipelines.prepare.pillow_decoding import decode_with_pillow, open_upright

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "1", "P", "LA", "RGBA", "I;16"),
    "GIF": ("RGB", "L", "P"),
    "BMP": ("RGB", "L", "P", "RGBA", "1"),
    "WEBP": ("RGB", "RGBA"),
}
OPTIONS = {
    "JPEG": ({}, {"progressive": True}, {"quality": 95, "subsampling": 0}),
    "PNG": ({}, {"compress_level": 0}, {"bits": 4}),
    "GIF": ({}, {"interlace": False}, {"transparency": 3}),
    "BMP": ({},),
    "WEBP": ({"lossless": True}, {"lossless": True, "exact": True}, {"quality": 60}),
}


def picture(size, mode):
    draw = np.random.default_rng(size[0] * 100 + size[1])
    if mode == "I;16":
        return Image.fromarray(draw.integers(0, 65536, size).astype(np.uint16))
    rgba = Image.fromarray(draw.integers(0, 256, (*size, 4), "uint8"), "RGBA")
    return rgba.convert("RGB").quantize(9) if mode == "P" else rgba.convert(mode)


def encoded(image, kind, **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif_block(order, entries, *, head=None, cut=None):
    """A TIFF structure whose entries are (tag, type, count, value as 4 bytes)."""
    block = head or {"<": b"II*\0", ">": b"MM\0*"}[order]
    block += struct.pack(f"{order}IH", 8, len(entries))
    for tag, kind, count, value in entries:
        block += struct.pack(f"{order}HHI", tag, kind, count) + value
    return (block + bytes(4))[:cut]


def with_blocks(contents, kind, exif=None, xmp=None, *, late=False, introduced=False):
    """Puts EXIF and XMP into a file: into the places that are usual, or others that its format allows."""
    if exif is not None and (introduced or kind == "JPEG"):
        exif = b"Exif\0\0" + exif
    if kind == "JPEG":
        blocks = [block for block in (exif, xmp and b"http://ns.adobe.com/xap/1.0/\0" + xmp) if block is not None]
        segments = [b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block for block in blocks]
        at = 20 if late else 2  # behind or before JFIF
        return contents[:at] + b"".join(segments[:: -1 if late else 1]) + contents[at:]
    if kind == "PNG":
        text = xmp and b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
        for name, data in ((b"eXIf", exif), (b"iTXt", text)):
            if data is not None:
                chunk = len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
                at = contents.rindex(b"IEND") - 4 if late else 33
                contents = contents[:at] + chunk + contents[at:]
        return contents
    if kind == "WEBP":
        for name, data in ((b"EXIF", exif), (b"XMP ", xmp)):
            if data is not None:
                contents += name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
        return contents[:4] + (len(contents) - 8).to_bytes(4, "little") + contents[8:]
    return contents


def results(contents):
    """What each decoder gives: the pixels, or None where it refuses the file."""
    decoders = {
        "graph": lambda: decode_image(contents).numpy(),
        "reading": lambda: decode_any(contents).numpy(),
        "python": lambda: decode_in_python(contents),
        "photos": lambda: decode(contents),
        "pillow": lambda: decode_with_pillow(contents),
    }
    found = {}
    for name, decoder in decoders.items():
        try:
            found[name] = decoder()
        except (tf.errors.InvalidArgumentError, ValueError, OSError):
            found[name] = None
    return found


def assert_all_agree(contents):
    found = results(contents)
    expected = found.pop("graph")
    for name, pixels in found.items():
        assert (pixels is None) == (expected is None), name
        if expected is not None:
            np.testing.assert_array_equal(pixels, expected, name)
    return expected


@st.composite
def files(draw):
    kind = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[kind]))
    options = draw(st.sampled_from(OPTIONS[kind]))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    if mode != "P":
        options = {name: value for name, value in options.items() if name not in ("bits", "transparency")}
    contents = encoded(picture(size, mode), kind, **options)
    order = draw(st.sampled_from("<>"))
    value = st.one_of(
        st.integers(0, 9).map(lambda number: struct.pack(f"{order}HH", number, 0)),  # SHORT, as it should be
        st.integers(0, 9).map(lambda number: struct.pack(f"{order}I", number)),
        st.integers(0, 9).map(lambda number: bytes([number, 0, 0, 0])),
        st.binary(min_size=4, max_size=4),
    )
    kinds = st.one_of(st.sampled_from([1, 3, 4]), st.integers(0, 300))
    tags = st.sampled_from([274, 274, 271, 40_000])
    entries = draw(st.lists(st.tuples(tags, kinds, st.sampled_from([1, 1, 1, 0, 2]), value), max_size=3))
    head = draw(st.sampled_from([None, None, None, b"II\0*", b"MM*\0", b"XX*\0"]))
    cut = draw(st.sampled_from([None, None, None, 0, 4, 9, 20]))
    return with_blocks(
        contents,
        kind,
        draw(st.one_of(st.none(), st.just(exif_block(order, entries, head=head, cut=cut)))),
        draw(st.sampled_from([None, XMP])),
        late=draw(st.booleans()),
        introduced=draw(st.booleans()),
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(files())
def test_all_decoders_give_the_same_pixels(contents):
    expected = assert_all_agree(contents)
    assert read_tag(contents) == int(orientation(contents))
    if expected is not None:
        assert image_size(contents).numpy().tolist() == list(expected.shape[:2])
        assert read_heads(Samples([contents], [0], ["a"]))[0].size == expected.shape[:2]
        assert open_upright(contents).size == expected.shape[1::-1]


def frames(mode, kind, **options):
    first = picture((20, 30), mode)
    return encoded(first, kind, save_all=True, append_images=[first.transpose(0)], duration=50, **options)


def gif(size, place):
    """A GIF whose frame of 20 x 30 is at (left, top) = `place` of a picture of `size`."""
    contents = bytearray(encoded(picture((20, 30), "P"), "GIF", interlace=False))
    at = contents.index(b",\0\0\0\0")
    contents[6:10] = struct.pack("<HH", size[1], size[0])
    contents[at + 1 : at + 5] = struct.pack("<HH", *place)
    return bytes(contents)


def gif_whose_second_frame_is_larger():
    small, large = gif((20, 30), (5, 7)), encoded(picture((40, 50), "P"), "GIF", interlace=False)
    small_frame, large_frame = (part[part.index(b",") :] for part in (small, large))
    return large[: large.index(b",")] + small_frame[:-1] + large_frame


def png(bits, colours, channels, *chunks, damage=0):
    """A PNG of 9 x 7 written byte by byte, with other chunks before its pixels, the last one damaged if asked for."""
    row = (9 * bits * channels + 7) // 8
    pixels = np.random.default_rng(0).integers(0, 256, (7, row), dtype=np.uint8)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in pixels))
    contents = b"\x89PNG\r\n\x1a\n"
    head = (b"IHDR", struct.pack(">IIBBBBB", 9, 7, bits, colours, 0, 0, 0))
    for name, body in (head, *chunks, (b"IDAT", data), (b"IEND", b"")):
        checksum = zlib.crc32(name + body) ^ (damage if chunks and name == chunks[-1][0] else 0)
        contents += len(body).to_bytes(4, "big") + name + body + checksum.to_bytes(4, "big")
    return contents


BMP = encoded(picture((7, 9), "RGB"), "BMP")
UNUSUAL = {
    "GIF, animated": frames("P", "GIF"),
    "GIF, animated with transparency": frames("P", "GIF", transparency=3, disposal=2),
    "GIF, a frame that fills the picture": gif((20, 30), (0, 0)),
    "GIF, a larger second frame": gif_whose_second_frame_is_larger(),
    "PNG, animated": frames("RGBA", "PNG"),
    "WebP, animated": frames("RGBA", "WEBP", quality=50),
    "MPO": frames("RGB", "MPO"),
    "JPEG, 4:2:2": encoded(picture((21, 33), "RGB"), "JPEG", subsampling="4:2:2"),
    "JPEG, restart markers": encoded(picture((21, 33), "RGB"), "JPEG", restart_marker_blocks=2),
    "JPEG, kept as RGB": encoded(picture((21, 33), "RGB"), "JPEG", keep_rgb=True),
    "JPEG, CMYK": encoded(picture((90, 120), "CMYK"), "JPEG", quality=97),
    "PNG, 2 bits and a transparent level": png(2, 0, 1, (b"tRNS", b"\0\1")),
    "PNG, 16 bits grey and alpha": png(16, 4, 2),
    "PNG, 16 bits with gamma": png(16, 2, 3, (b"gAMA", (45455).to_bytes(4, "big"))),
    "PNG, 16 bits and alpha": png(16, 6, 4),
    "PNG, a damaged comment": png(8, 2, 3, (b"tEXt", b"a\0b"), damage=1),
    "BMP, top row first": BMP[:22] + (2**32 - 7).to_bytes(4, "little") + BMP[26:],
    "BMP, bytes behind the pixels": BMP + b"\0\0",
    "JPEG, bytes behind the pixels": encoded(picture((7, 9), "RGB"), "JPEG") + b"video",
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_all_decoders_agree_on_unusual_files(name):
    assert assert_all_agree(UNUSUAL[name]) is not None


@pytest.mark.parametrize(
    "contents",
    [
        gif((40, 50), (5, 7)),
        png(8, 2, 3, (b"PLTE", bytes(3)), damage=1),
        png(8, 2, 3)[:-1],
        png(8, 2, 3)[:-12],
        BMP[:-1],
        BMP[:200],
        UNUSUAL["MPO"][:500],
    ],
)
def test_all_decoders_refuse_the_same_damaged_files(contents):
    assert assert_all_agree(contents) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("type_", "value", "counts"),
    [(3, b"\0\6\0\0", True), (4, b"\0\0\0\6", True), (1, b"\6\0\0\0", True), (2, b"6\0\0\0", False)],
)
def test_an_orientation_is_an_integer_of_any_width(kind, type_, value, counts):
    contents = with_blocks(encoded(picture((6, 9), "L"), kind), kind, exif_block(">", [(274, type_, 1, value)]))
    assert assert_all_agree(contents).shape == ((9, 6, 3) if counts else (6, 9, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_counts_nowhere(kind, tmp_path):
    plain = encoded(picture((6, 9), "L"), kind, **({"xmp": XMP} if kind == "TIFF" else {}))
    contents = with_blocks(plain, kind, xmp=XMP)
    (tmp_path / "a").write_bytes(contents)
    assert decode_any(contents).shape == decode_with_pillow(contents).shape == (6, 9, 3)
    assert open_upright(str(tmp_path / "a")).size == (9, 6)
    assert image_header(tmp_path / "a") == ((6, 9), 1)
    if kind != "TIFF":
        assert assert_all_agree(contents).shape == (6, 9, 3)


@pytest.mark.parametrize("tag", [1, 6, 8])
@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "PNG"])
def test_the_header_of_a_file_says_how_it_is_stored_and_turned(kind, tag, tmp_path):
    exif = Image.Exif()
    exif[274] = tag
    contents = encoded(picture((16, 24), "RGB"), kind, exif=exif)
    (tmp_path / "a").write_bytes(contents)
    assert image_header(tmp_path / "a") == ((16, 24), tag)
    size = (16, 24) if tag == 1 else (24, 16)
    assert decode_any(contents).shape[:2] == size
    assert read_heads(Samples([contents], [0], ["a"]))[0].size == size


def test_a_bmp_whose_colours_have_another_order_is_refused_not_misread():
    contents = bytearray(encoded(picture((4, 4), "RGBA"), "BMP"))
    contents[54:66] = b"".join((255 << shift).to_bytes(4, "little") for shift in (0, 8, 16))
    contents[30] = 3
    assert assert_all_agree(bytes(contents)) is None
