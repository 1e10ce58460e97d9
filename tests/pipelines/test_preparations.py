"""Crop and letterbox: the same in the graph, in NumPy and in operations that every runtime has; and boxes back."""

import io
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import EvaluationCrop, Letterbox, Preparation, ResizePolicy, Samples, Scene, canvases
from pipelines import preparation_from_dict as from_dict
from pipelines.prepare.crop import central_window
from pipelines.prepare.kernels import KERNELS

PREPARATIONS = [
    Letterbox((64, 96)),
    EvaluationCrop((64, 96)),
    EvaluationCrop((33, 20), 0.57, "bilinear"),
    EvaluationCrop((24, 40), 1.0, "lanczos3"),
]
SIZES = [(60, 100), (100, 60), (64, 96), (33, 2), (1, 1), (427, 640), (200, 300)]


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), "uint8")


def in_a_graph_of_any_size(function):
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    return tf.function(function, input_signature=[spec], autograph=False)


# Three implementations


@pytest.mark.parametrize("size", SIZES)
def test_three_letterboxes_are_one(size):
    image = pixels(*size)
    letterbox = Letterbox((64, 96))
    in_graph = letterbox(image).numpy()
    assert in_graph.shape == (64, 96, 3)
    on_photo = letterbox.on_photo(image)
    assert on_photo.dtype == letterbox.dtype
    np.testing.assert_allclose(on_photo, in_graph, atol=2e-2)
    batch = np.stack([image, image[::-1]])
    np.testing.assert_allclose(in_a_graph_of_any_size(letterbox.portable)(batch)[0], in_graph, atol=5e-2)
    np.testing.assert_allclose(letterbox(batch)[1], letterbox(image[::-1]), atol=1e-3)


def differ_by_rounding(image, expected):
    difference = np.abs(np.asarray(image, np.float32) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("size", [(97, 61), (19, 33), (24, 40)])
def test_the_crop_of_numpy_is_the_crop_of_the_graph(interpolation, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), "uint8")
    for fraction in (0.875, 1.0):
        crop = EvaluationCrop((24, 40), fraction, interpolation)
        assert crop.on_photo(image).dtype == crop.dtype
        differ_by_rounding(crop.on_photo(image), crop(image))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("shape", [(2, 200, 301, 3), (1, 19, 11, 3), (1, 64, 96, 3)])
def test_the_portable_crop_is_the_crop(interpolation, shape):
    images = np.random.default_rng(1).integers(0, 256, shape, "uint8")
    for fraction in (0.875, 1.0, 0.9):
        crop = EvaluationCrop((32, 48), fraction, interpolation)
        differ_by_rounding(crop.portable(images), crop(images))


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_the_window_is_the_same_in_numbers_and_in_a_graph(preparation):
    sides = [1, 2, 3, 7, 33, 100, 224, 427, 4000, 65_535]
    for h in sides:
        for w in sides:
            assert preparation.place(h, w) == tuple(int(n) for n in preparation.place(tf.constant(h), tf.constant(w)))


def test_the_window_is_exact_where_a_product_of_floats_is_not():
    assert int(0.57 * 100) == 56
    assert central_window(100, 100, (8, 8), 0.57)[2:] == (57, 57)
    for w in range(4, 400, 4):  # w * 192 / 224 * 7 / 8 is whole
        assert central_window(9999, w, (192, 224), 0.875)[2:] == (w * 3 // 4, w * 7 // 8)


def test_kernels_stay_in_single_precision():
    x = np.linspace(0, 4, 50, dtype=np.float32)
    for kernel, radius in KERNELS.values():
        weights = kernel(x, np)
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, kernel(tf.constant(x), tf), atol=1e-6)
        assert not weights[x >= radius].any()


# Boxes back


@pytest.mark.parametrize("preparation", PREPARATIONS)
@pytest.mark.parametrize("size", [(60, 100), (101, 61), (427, 640)])
def test_a_box_on_the_canvas_is_where_the_canvas_shows_it(preparation, size):
    """A photo whose pixels say where they are: what the canvas shows at a box's corners says where they come from."""
    h, w = size
    rows, columns = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    photo = np.stack([columns * (255 / w), rows * (255 / h), columns * 0], -1).astype(np.float32)
    canvas = preparation.on_photo(photo).astype(np.float32)
    height, width = preparation.size
    y1, x1, y2, x2 = height // 2 - 4, width // 2 - 3, height // 2 + 2, width // 2 + 5
    expected = []
    for y, x in ((y1, x1), (y2, x2)):  # at a corner, between four pixels
        around = canvas[y - 1 : y + 1, x - 1 : x + 1].mean((0, 1))
        expected += [around[0] * w / 255 + 0.5, around[1] * h / 255 + 0.5]
    box = preparation.boxes_to_photo(np.float32([[x1, y1, x2, y2]]), size)
    assert box.dtype == np.float32
    np.testing.assert_allclose(box[0], expected, atol=max(size) / 255 + 0.1)


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_boxes_back_in_a_graph_are_those_of_numpy(preparation):
    sizes = np.int32([(60, 100), (101, 61), (427, 640)])
    draws = np.random.default_rng(0).uniform(-10, 110, (3, 5, 4)).astype(np.float32)
    expected = np.stack([preparation.boxes_to_photo(boxes, size) for boxes, size in zip(draws, sizes, strict=True)])
    back = preparation.boxes_to_photo_in_graph
    np.testing.assert_allclose(back(tf.constant(draws), sizes[:, 0], sizes[:, 1]), expected, rtol=1e-5, atol=1e-3)
    one = back(tf.constant(draws[:, 0]), sizes[:, 0], sizes[:, 1])  # [n, 4]: a box for each photo
    np.testing.assert_allclose(one, expected[:, 0], rtol=1e-5, atol=1e-3)
    same = back(tf.constant(draws), tf.constant(60), tf.constant(100))  # one size for all
    all_of_one = [preparation.boxes_to_photo(boxes, (60, 100)) for boxes in draws]
    np.testing.assert_allclose(same, all_of_one, rtol=1e-5, atol=1e-3)
    corner, scale, limit = preparation.box_transform(tf.constant(60), tf.constant(100))
    moved = np.clip((draws - corner.numpy()) * scale.numpy(), 0, limit.numpy())
    np.testing.assert_allclose(moved, all_of_one, rtol=1e-5, atol=1e-3)


def test_boxes_are_cut_off_at_the_photo():
    for preparation in PREPARATIONS:
        box = preparation.boxes_to_photo([[-1000, -1000, 1000, 1000]], (60, 100))
        assert box.tolist() == [[0, 0, 100, 60]]


def test_training_sees_the_same():
    """To the rounding of grey levels, and where half a pixel is rounded to even."""
    image = pixels(60, 100)
    boxes = np.float32([[10, 5, 90, 40]])
    trained = ResizePolicy("pad", (64, 96), pad_value=114.0)({"image": image, "boxes": boxes})
    letterbox = Letterbox((64, 96))
    np.testing.assert_allclose(trained["image"], letterbox(image), atol=0.51)
    np.testing.assert_allclose(letterbox.boxes_to_photo(trained["boxes"], (60, 100)), boxes, atol=1e-3)


# Documents, views, and what is refused


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_as_dict_and_back(preparation):
    assert isinstance(preparation, Preparation)
    document = preparation.as_dict()
    assert document["kind"] == preparation.kind
    assert from_dict(document) == preparation
    assert hash(from_dict(document)) == hash(preparation)


def test_the_first_version_of_the_format_had_only_crops():
    assert from_dict({"size": [24, 32], "fraction": 0.9, "interpolation": "bicubic"}) == EvaluationCrop((24, 32), 0.9)
    with pytest.raises(ValueError, match=r"kind crop or letterbox or stretch, received 'tile'"):
        from_dict({"kind": "tile", "size": [24, 32]})


def test_views():
    crop, letterbox = EvaluationCrop((24, 32), 0.9, "bilinear"), Letterbox((24, 32))
    larger = EvaluationCrop((24, 32), 1.0, "bilinear")
    assert crop.views() == [(crop, False), (crop, True), (larger, False), (larger, True)]
    assert larger.views()[2] == (EvaluationCrop((24, 32), 0.875, "bilinear"), False)
    assert letterbox.views() == [(letterbox, False), (letterbox, True)]


def test_letterboxes_that_cannot_be():
    with pytest.raises(ValueError, match="1 pixel or more"):
        Letterbox((0, 32))
    with pytest.raises(ValueError, match=r"in 0\.\.255, got fill=300"):
        Letterbox((32, 32), 300)


def test_photos_are_prepared_without_tensorflow():
    code = (
        "import sys, numpy as np\nfrom pipelines import EvaluationCrop, Letterbox, preparation_from_dict\n"
        "from pipelines.prepare.photos import decode\n"
        "for preparation in (EvaluationCrop((4, 6)), Letterbox((4, 6))):\n"
        "    preparation.on_photo(np.zeros((9, 8, 3), np.uint8))\n"
        "    preparation.boxes_to_photo([[0, 0, 1, 1]], (9, 8))\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Canvases


def encoded(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("preparation", [Letterbox((24, 40)), EvaluationCrop((24, 40))])
def test_canvases_of_samples_and_scenes_are_the_same(preparation, tmp_path):
    images = [pixels(20 + 7 * n, 31, seed=n) for n in range(5)]
    contents = [encoded(image, "TIFF" if n == 2 else "PNG") for n, image in enumerate(images)]
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    names = [path.name for path in paths]
    sizes = [image.shape[:2] for image in images]
    parts = [
        Samples(paths, [0] * 5, names),
        Samples(contents, [0] * 5, names),
        tuple(Scene(str(path), path.name, size) for path, size in zip(paths, sizes, strict=True)),
        [Scene(image, name, image.shape[:2]) for image, name in zip(images, names, strict=True)],
    ]
    expected = np.stack([preparation(image) for image in images])
    for part in parts:
        for mirrored in (False, True):
            batches = list(canvases(part, preparation, batch_size=2, mirrored=mirrored).as_numpy_iterator())
            assert [len(shown) for shown, _ in batches] == [2, 2, 1]
            shown, of_photos = (np.concatenate(column) for column in zip(*batches, strict=True))
            assert np.array_equal(shown, expected[:, :, ::-1] if mirrored else expected)
            assert of_photos.dtype == np.int32
            assert of_photos.tolist() == [list(size) for size in sizes]
    arrays = Samples(np.stack([images[0], images[0] // 2]), [0, 0], "ab")
    ((shown, of_photos),) = canvases(arrays, preparation)
    assert np.array_equal(shown, preparation(arrays.images))
    assert of_photos.numpy().tolist() == [[20, 31]] * 2


def test_canvases_of_nothing():
    dataset = canvases((), Letterbox((24, 40)))
    assert dataset.element_spec[0].shape == (None, 24, 40, 3)
    assert list(dataset) == []
    with pytest.raises(ValueError, match="batch_size of 1 or more, received 0"):
        canvases((), Letterbox((24, 40)), batch_size=0)
