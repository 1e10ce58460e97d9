"""Every kind of image file comes out upright and RGB: eagerly, in tf.data, and in an exported SavedModel."""

from io import BytesIO

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines import decode_image, orientation, upright


def picture(height=34, width=50, *, mode="RGB", seed=0):
    """Smooth random colours without symmetry."""
    bands = 4 if mode == "RGBA" else 3
    coarse = np.random.default_rng(seed).integers(0, 256, [5, 7, bands], dtype=np.uint8)
    fine = [Image.fromarray(coarse[..., band]).resize((width, height)) for band in range(bands)]
    return Image.merge("RGBA" if bands == 4 else "RGB", fine).convert(mode)


def encode(image, file_format, **options):
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pillow_rgb(contents):
    """What Pillow sees: upright, over white. `int64 [h, w, 3]`."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(contents)))
    if image.mode in ("RGBA", "LA") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB")).astype(int)


def grey_16_bit():
    levels = np.linspace(0, 65535, 34 * 50).reshape(34, 50).astype(np.uint16)
    return encode(Image.fromarray(levels), "PNG")


ALPHA = picture(mode="RGBA")
PALETTE = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
FRAMES = {"save_all": True, "append_images": [picture(seed=1), picture(seed=2)], "duration": 100}

# name: contents, and by how much a value may differ from Pillow's.
CASES = {
    "JPEG": (encode(picture(), "JPEG", quality=92), 0),
    "JPEG, no subsampling of colour": (encode(picture(), "JPEG", quality=92, subsampling=0), 0),
    "JPEG, progressive": (encode(picture(), "JPEG", progressive=True), 0),
    "JPEG, grey": (encode(picture(mode="L"), "JPEG"), 0),
    "JPEG, CMYK": (encode(picture(mode="CMYK"), "JPEG"), 1),
    "JPEG, 1x1": (encode(picture(1, 1), "JPEG"), 0),
    "PNG": (encode(picture(), "PNG"), 0),
    "PNG, grey": (encode(picture(mode="L"), "PNG"), 0),
    "PNG, grey and alpha": (encode(ALPHA.convert("LA"), "PNG"), 1),
    "PNG, alpha": (encode(ALPHA, "PNG"), 1),
    "PNG, palette": (encode(PALETTE, "PNG"), 0),
    "PNG, palette with transparency": (encode(PALETTE, "PNG", transparency=3), 0),
    "PNG, palette with degrees of it": (encode(PALETTE, "PNG", transparency=bytes(range(0, 256, 16))), 1),
    "PNG, one colour transparent": (encode(picture(), "PNG", transparency=picture().getpixel((9, 9))), 0),
    "PNG, black and white": (encode(picture(mode="1"), "PNG"), 0),
    "PNG, 1x1": (encode(picture(1, 1), "PNG"), 0),
    "GIF": (encode(picture(), "GIF"), 0),
    "GIF, animated": (encode(picture(), "GIF", **FRAMES), 0),
    "BMP": (encode(picture(), "BMP"), 0),
    "BMP, grey": (encode(picture(mode="L"), "BMP"), 0),
    "BMP, palette": (encode(PALETTE, "BMP"), 0),
    "BMP, 32 bits": (encode(ALPHA, "BMP"), 0),
    "WebP": (encode(picture(), "WEBP"), 0),
    "WebP, lossless": (encode(picture(), "WEBP", lossless=True), 0),
    "WebP, alpha": (encode(ALPHA, "WEBP", lossless=True), 1),
    "WebP, animated": (encode(picture(), "WEBP", lossless=True, **FRAMES), 0),
    "WebP, animated with alpha": (encode(ALPHA, "WEBP", lossless=True, **FRAMES), 1),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The decoder in a SavedModel that was written and read again."""
    folder = str(tmp_path_factory.mktemp("exported"))
    module = tf.Module()
    module.decode = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, folder)
    return tf.saved_model.load(folder)


def in_tf_data(many):
    dataset = tf.data.Dataset.from_tensor_slices(list(many)).map(decode_image, num_parallel_calls=2)
    return list(dataset.as_numpy_iterator())


@pytest.fixture(scope="module")
def cases_in_tf_data():
    return dict(zip(CASES, in_tf_data(contents for contents, _ in CASES.values()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_equal_to_pillow_wherever_it_runs(case, exported, cases_in_tf_data):
    contents, tolerance = CASES[case]
    expected = pillow_rgb(contents)
    for place, image in {
        "eager": decode_image(contents).numpy(),
        "tf.data": cases_in_tf_data[case],
        "SavedModel": exported.decode(tf.constant(contents)).numpy(),
    }.items():
        assert image.dtype == np.uint8
        assert image.shape == expected.shape, place
        assert np.max(np.abs(image - expected)) <= tolerance, place


def test_16_bit_png_keeps_the_upper_8_bits(exported):
    levels = np.asarray(Image.open(BytesIO(grey_16_bit()))).astype(int)
    for image in (decode_image(grey_16_bit()), exported.decode(tf.constant(grey_16_bit()))):
        for channel in range(3):
            assert np.array_equal(image.numpy()[..., channel], levels >> 8)


@pytest.fixture(scope="module")
def look():
    return tf.function(orientation, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_all_orientations(file_format, byte_order, exported, look):
    files = []
    for tag in range(10):  # 0 and 9 are no orientations
        exif = Image.Exif()
        exif.endian = byte_order
        exif[271], exif[274], exif[306] = "maker", tag, "2024:01:01 00:00:00"  # with tags before and behind
        files.append(encode(picture(), file_format, exif=exif, **({"lossless": True} if file_format == "WEBP" else {})))
    for tag, (contents, image) in enumerate(zip(files, in_tf_data(files), strict=True)):
        expected = pillow_rgb(contents)
        assert expected.shape[:2] == ((50, 34) if 5 <= tag <= 8 else (34, 50))
        assert int(look(contents)) == (tag if 1 <= tag <= 8 else 1)
        assert np.array_equal(image, expected), tag
        assert np.array_equal(exported.decode(tf.constant(contents)), expected), tag


def test_a_phone_photo_with_other_segments_before_exif(look, exported):
    """JFIF, a comment, XMP in another APP1, and padding bytes, as various programs write them."""
    exif = Image.Exif()
    exif[274] = 6
    contents = encode(picture(), "JPEG", exif=exif)
    at = contents.index(b"\xff\xe1")
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + b"x" * 3000
    before = b"\xff\xfe\x00\x07Exif!" + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + b"\xff\xff\xff"
    contents = contents[:at] + before + contents[at:]
    assert int(look(contents)) == 6
    assert np.array_equal(exported.decode(tf.constant(contents)), pillow_rgb(contents))


def test_webp_with_a_chunk_of_odd_length_before_exif(look):
    exif = Image.Exif()
    exif[274] = 5
    contents = encode(picture(), "WEBP", exif=exif)
    at = contents.rindex(b"EXIF")
    contents = contents[:at] + b"XTRA\3\0\0\0abc\0" + contents[at:]
    contents = contents[:4] + (len(contents) - 8).to_bytes(4, "little") + contents[8:]
    assert Image.open(BytesIO(contents)).getexif()[274] == 5
    assert int(look(contents)) == 5


def test_the_word_in_a_comment_is_no_orientation(look, exported):
    contents = encode(picture(), "JPEG", comment=b"Exif\0\0II*\0")
    assert int(look(contents)) == 1
    assert np.array_equal(exported.decode(tf.constant(contents)), pillow_rgb(contents))


@pytest.mark.parametrize("kept", [8, 10, 12, 14, 20, 30])
def test_damaged_metadata_counts_as_none(kept, look, exported):
    """A directory that points outside of the file, or is cut off: the picture is not lost for it."""
    exif = Image.Exif()
    exif[274] = 6
    contents = encode(picture(), "JPEG")
    block = b"Exif\0\0" + (exif.tobytes()[6:][:kept] if kept > 8 else b"MM\0*\xff\xff\xff\xf0")
    contents = contents[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + contents[2:]
    assert 1 <= int(look(contents)) <= 8
    assert exported.decode(tf.constant(contents)).shape[-1] == 3


@pytest.mark.parametrize("contents", [b"", b"\xff", b"\xff\xd8\xff", b"RIFF", b"\x89PNG", b"BM", b"Exif\0\0"])
def test_orientation_of_a_few_bytes(contents, look):
    assert int(look(contents)) == int(orientation(contents)) == 1


def test_orientation_never_fails_on_random_changes(look):
    rng = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "WEBP"):
        exif = Image.Exif()
        exif[274] = 8
        contents = bytearray(encode(picture(), file_format, exif=exif))
        for _ in range(60):
            changed = bytearray(contents)
            for _ in range(6):
                changed[rng.integers(len(changed))] = rng.integers(256)
            assert 1 <= int(look(bytes(changed[: rng.integers(1, len(changed))]))) <= 8


def test_files_of_endless_padding_are_given_up_soon(look):
    assert int(look(b"\xff\xd8Exif" + b"\xff" * 1_000_000)) == 1
    assert int(look(b"\xff\xd8" + b"\xff" * 1_000_000 + b"\xff\xe1\0\x0aExif\0\0")) == 1


def test_masks_turn_as_images_do():
    image = tf.constant(np.asarray(picture()))
    for tag in range(1, 9):
        turned = upright(image, tag)
        assert np.array_equal(upright(image[..., :1], tag), turned[..., :1])


@pytest.mark.parametrize("case", [case for case in CASES if "1x1" not in case])
def test_truncated_files_are_errors(case, exported):
    contents, _ = CASES[case]
    middle = len(contents) // (6 if case == "GIF, animated" else 2)  # of a GIF only the first frame is looked at
    for kept in (0, 1, 20, middle, *([] if case == "GIF, animated" else [len(contents) - 12])):
        with pytest.raises(tf.errors.InvalidArgumentError):
            exported.decode(tf.constant(contents[:kept]))


@pytest.mark.parametrize(
    "contents",
    [
        b"hello, world",
        encode(picture(), "TIFF"),
        encode(picture(mode="1"), "BMP"),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(24),
    ],
)
def test_what_is_no_known_image_is_an_error(contents):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(contents)


def test_compressed_bmp_is_refused_not_misread():
    contents = bytearray(encode(picture(mode="L"), "BMP"))
    contents[30] = 1  # run-length encoded
    with pytest.raises(tf.errors.InvalidArgumentError, match="uncompressed BMP"):
        decode_image(bytes(contents))


def test_many_animated_webp_in_parallel():
    """TensorFlow 2.21 by itself writes past its buffer for these, and the process dies sooner or later."""
    contents = CASES["WebP, animated"][0]
    dataset = tf.data.Dataset.from_tensors(contents).repeat(200).map(decode_image, num_parallel_calls=2)
    expected = pillow_rgb(contents)
    assert all(np.array_equal(image, expected) for image in dataset)


def test_jpeg_at_a_fraction_of_its_size():
    contents = encode(picture(64, 96), "JPEG")
    assert decode_image(contents, ratio=4).shape == (16, 24, 3)


def test_no_python_in_the_graph():
    graph = tf.function(decode_image).get_concrete_function(tf.TensorSpec([], tf.string)).graph
    definition = graph.as_graph_def()
    ops = {node.op for node in definition.node}
    ops |= {node.op for function in definition.library.function for node in function.node_def}
    assert not {op for op in ops if "PyFunc" in op}
