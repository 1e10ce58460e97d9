"""The evaluation crop: where it lies, what it holds, and that it is the same everywhere."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import EvaluationCrop
from pipelines.prepare.graph_resizing import resize


def pixels(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, [9, 7, 3], dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def by_pillow(image, size, fraction, resampling):
    """The crop in whole pixels, then Pillow's antialiased resize."""
    (h, w), (height, width) = image.shape[:2], size
    crop_h = max(1, math.floor(fraction * min(h, w * height / width)))
    crop_w = max(1, math.floor(fraction * min(w, h * width / height)))
    top, left = (h - crop_h + 1) // 2, (w - crop_w + 1) // 2
    window = Image.fromarray(image[top : top + crop_h, left : left + crop_w])
    return np.asarray(window.resize((width, height), resampling)).astype(int)


@pytest.mark.parametrize(
    ("shape", "size", "fraction"),
    [
        ((300, 451), (64, 64), 0.875),
        ((97, 64), (64, 64), 0.875),
        ((31, 23), (64, 64), 1.0),
        ((120, 333), (40, 56), 0.9),
        ((333, 120), (40, 56), 0.5),
    ],
)
@pytest.mark.parametrize(
    ("interpolation", "resampling"),
    [
        ("bicubic", Image.Resampling.BICUBIC),
        ("bilinear", Image.Resampling.BILINEAR),
        ("lanczos3", Image.Resampling.LANCZOS),
    ],
)
def test_equal_to_pillow(shape, size, fraction, interpolation, resampling):
    image = pixels(*shape)
    crop = EvaluationCrop(size=size, fraction=fraction, interpolation=interpolation)
    difference = np.abs(crop(image).numpy() - by_pillow(image, size, fraction, resampling))
    assert difference.max() <= 1  # Pillow rounds once more, between rows and columns


def test_the_authors_arithmetic():
    """EfficientNet-Lite: a square of size / (size + 32) of the shorter side, truncated; offsets rounded up."""
    for h, w in [(256, 256), (300, 400), (375, 500), (224, 224), (33, 57), (1001, 999)]:
        side = int(224 / (224 + 32) * min(h, w))
        top, left = ((h - side) + 1) // 2, ((w - side) + 1) // 2
        rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        marked = np.zeros([h, w, 3], np.uint8)
        inside = (top <= rows) & (rows < top + side) & (left <= columns) & (columns < left + side)
        marked[inside] = 200
        assert np.all(EvaluationCrop()(marked).numpy() == 200)
        marked[~inside] = 100
        marked[inside] = 0
        assert np.all(EvaluationCrop()(marked).numpy() == 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_tiny_images(shape):
    image = np.full([*shape, 3], 37, np.uint8)
    assert np.array_equal(EvaluationCrop(size=(24, 32))(image), np.full([24, 32, 3], 37, np.float32))


def test_whole_numbers_in_range_although_bicubic_overshoots():
    checkerboard = np.kron(np.indices([9, 8]).sum(0) % 2, np.ones([5, 5]))[..., None].repeat(3, -1) * 255
    result = EvaluationCrop(size=(64, 64), fraction=1.0)(checkerboard.astype(np.uint8)).numpy()
    assert result.dtype == np.float32
    assert result.min() == 0
    assert result.max() == 255
    assert np.array_equal(result, result.astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
def test_alone_in_a_batch_in_a_graph_and_as_float_it_is_the_same(interpolation):
    crop = EvaluationCrop(size=(24, 40), interpolation=interpolation)
    images = np.stack([pixels(45, 61, seed) for seed in range(3)])
    alone = np.stack([crop(image) for image in images])
    assert alone.shape == (3, 24, 40, 3)
    graph = tf.function(crop, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    from_data = tf.data.Dataset.from_tensor_slices(images).map(crop)
    assert from_data.element_spec.shape == (24, 40, 3)
    for result in (crop(images), graph(images), crop(images.astype(np.float32)), np.stack(list(from_data))):
        assert np.array_equal(result, alone)
    assert graph.get_concrete_function().structured_outputs.shape.as_list() == [None, 24, 40, 3]


def test_as_dict_and_back():
    crop = EvaluationCrop(size=[240, 260], fraction=0.9, interpolation="bilinear")
    assert crop.size == (240, 260)
    assert crop.as_dict() == {"kind": "crop", "size": [240, 260], "fraction": 0.9, "interpolation": "bilinear"}
    assert EvaluationCrop.from_dict(crop.as_dict()) == crop
    assert hash(EvaluationCrop.from_dict(crop.as_dict())) == hash(crop)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 4)}, r"`size` as \(height, width\).*\(0, 4\)"),
        ({"size": (4, 4, 3)}, r"`size` as \(height, width\)"),
        ({"size": 224}, r"`size` as \(height, width\).*224"),
        ({"fraction": 0}, "`fraction` above 0"),
        ({"fraction": 1.2}, "`fraction` above 0 and at most 1, received 1.2"),
        ({"interpolation": "cubic"}, "nearest, bilinear, bicubic, lanczos3; received 'cubic'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        EvaluationCrop(**arguments)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "area"])
@pytest.mark.parametrize("size", [(20, 33), (97, 64), (61, 40), (7, 90)])
def test_resize_is_tensorflows_bit_for_bit(interpolation, size):
    images = np.random.default_rng(0).integers(0, 256, [2, 61, 64, 3], "uint8")
    for pixels in (images, images.astype("float32") / 7):
        for antialias in (True, False):
            expected = tf.image.resize(pixels, size, interpolation, antialias=antialias)
            found = resize(tf.constant(pixels), size, interpolation, antialias=antialias)
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected)
            one = tf.function(
                lambda image, antialias=antialias: resize(image, size, interpolation, antialias=antialias)
            )
            unknown = one.get_concrete_function(tf.TensorSpec([None, None, 3], pixels.dtype))
            assert unknown.output_shapes.as_list() == [*size, 3]
            assert np.array_equal(unknown(tf.constant(pixels[1])), expected[1])
