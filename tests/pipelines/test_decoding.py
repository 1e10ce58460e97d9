"""Every kind of image file comes out upright and RGB: eagerly, in tf.data, and in an exported SavedModel."""

from io import BytesIO

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines import EvaluationCrop, decode_any, decode_image, image_size, orientation, upright
from pipelines.loading.python_decoding import decode_in_python


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
        # Of operations that run side by side, one that is stopped may be what TensorFlow speaks of.
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.CancelledError)):
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


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((600, 800), (224, 224), (300, 400)),
        ((601, 803), (150, 200), (151, 201)),
        ((601, 803), (152, 200), (301, 402)),  # a quarter would be a row too low
        ((80, 90), (224, 224), (80, 90)),
        ((960, 1280), (100, 60), (120, 160)),
        ((3000, 64), (64, 64), (3000, 64)),
    ],
)
def test_the_smallest_scale_that_is_large_enough(size, at_least, expected):
    assert decode_image(encode(picture(*size), "JPEG"), at_least=at_least).shape == (*expected, 3)


def test_a_photo_on_its_side_is_scaled_by_its_upright_size():
    exif = Image.Exif()
    exif[274] = 6
    contents = encode(picture(400, 1000), "JPEG", exif=exif)  # upright 1000 high, 400 wide
    assert image_size(contents).numpy().tolist() == [1000, 400]
    assert decode_image(contents, at_least=(500, 200)).shape == (500, 200, 3)
    assert decode_image(contents, at_least=(200, 500)).shape == (1000, 400, 3)


def test_a_smaller_scale_hardly_changes_the_crop():
    contents = encode(picture(700, 900), "JPEG", quality=92)
    crop = EvaluationCrop((64, 80))
    whole, scaled = crop(decode_image(contents)), crop(decode_image(contents, at_least=crop.needs))
    # Its window is cut at whole pixels of the smaller image, so it may be off by half of one, to the side and down.
    across, down = (np.abs(np.diff(whole, axis=axis)).mean() for axis in (1, 0))
    assert np.abs(whole - scaled).mean() < (across + down) / 2


@pytest.mark.parametrize("case", CASES)
def test_sizes_from_the_head_of_the_file(case):
    contents = CASES[case][0]
    assert image_size(contents).numpy().tolist() == list(decode_image(contents).shape[:2])


def test_sizes_of_each_kind_of_webp_and_of_what_is_no_image():
    for options in ({"quality": 50}, {"lossless": True}):
        assert image_size(encode(picture(37, 300), "WEBP", **options)).numpy().tolist() == [37, 300]
    assert image_size(encode(picture(37, 300, mode="RGBA"), "WEBP")).numpy().tolist() == [37, 300]
    assert image_size(b"hello").numpy().tolist() == [0, 0]


def test_too_many_pixels_are_refused_before_decoding():
    contents = bytearray(encode(picture(4, 4), "PNG"))
    contents[16:24] = (100_000).to_bytes(4, "big") * 2  # as a bomb announces itself: 10,000 million pixels
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"10000000000.*expected at most.*200000000"):
        decode_image(bytes(contents))
    for file_format in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        contents = encode(picture(20, 30), file_format)
        assert decode_any(contents, max_pixels=600).shape == (20, 30, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"600.*expected at most.*599"):
            decode_any(contents, max_pixels=599)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_over_the_stated_background(mode, file_format):
    picture_ = picture(20, 30, mode=mode)
    contents = encode(picture_, file_format, **({"lossless": True, "exact": True} if file_format == "WEBP" else {}))
    background = Image.new("RGBA", (30, 20), (10, 200, 90, 255))
    expected = Image.alpha_composite(background, picture_.convert("RGBA")).convert("RGB")
    result = decode_any(contents, background=(10, 200, 90)).numpy()
    np.testing.assert_allclose(result.astype(int), np.asarray(expected).astype(int), atol=1)


def test_the_rest_through_pillow():
    exif = Image.Exif()
    exif[274] = 8
    turned = encode(picture(20, 30), "TIFF", exif=exif)
    assert np.array_equal(decode_any(turned), np.rot90(np.asarray(picture(20, 30))))
    cmyk = encode(picture(20, 30).convert("CMYK"), "TIFF")
    assert np.array_equal(decode_any(cmyk), np.asarray(picture(20, 30).convert("CMYK").convert("RGB")))
    deep = (np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).astype(np.uint16)
    assert np.array_equal(decode_any(encode(Image.fromarray(deep), "TIFF"))[..., 0], deep >> 8)
    assert np.array_equal(decode_any(encode(picture(20, 30), "PPM")), np.asarray(picture(20, 30)))
    for contents, message in [
        (encode(Image.fromarray(np.zeros([4, 4], np.float32)), "TIFF"), "pixels of kind F"),
        (encode(picture(20, 30), "TIFF")[:-500], "truncated|damaged|error"),
        (b"hello", "cannot identify"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode_any(contents)


def test_arguments_out_of_range():
    for options in ({"ratio": 3}, {"ratio": 2, "at_least": (4, 4)}, {"background": (0, 0, 256)}):
        with pytest.raises(ValueError, match="expected `"):
            decode_image(b"", **options)


@pytest.mark.parametrize("at_least", [None, (10, 12)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_decode_any_turns_upright_what_decode_image_does(file_format, at_least):
    for tag in range(1, 9):
        exif = Image.Exif()
        exif[274] = tag
        contents = encode(picture(), file_format, exif=exif)
        expected = decode_image(contents, at_least=at_least).numpy()
        np.testing.assert_array_equal(decode_any(contents, at_least=at_least), expected)
        np.testing.assert_array_equal(decode_in_python(contents, at_least=at_least), expected)
