"""Geometry by rendering: a rectangle that is drawn and warped is found in the pixels where its box says it is."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import (
    RandAugment,
    RandomCrop,
    RandomFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    Resizing,
    TrivialAugment,
    augment,
    augmentation,
)
from pipelines.augmenting import warp

DRAWS = 200
HEIGHT, WIDTH = 85, 124
BLACK = {"fill_mode": "constant"}
UPRIGHT = {
    "flip": [RandomFlip()],
    "zoom": [RandomZoom(0.3, 0.3, **BLACK)],
    "translation": [RandomTranslation(0.4, 0.4, **BLACK)],
    "crop": [RandomCrop(60, 71)],
    "crop of a smaller image": [RandomCrop(113, 130)],
    "resized crop": [RandomResizedCrop(80, 97, scale=(0.3, 1.0))],
    "resize": [Resizing(70, 111)],
    "all upright": [
        RandomFlip("horizontal"),
        RandomZoom(0.2, **BLACK),
        RandomTranslation(0.2, 0.2, **BLACK),
        RandomCrop(70, 90),
        Resizing(81, 99),
    ],
}
TURNED = {
    "rotation": [RandomRotation(0.5, **BLACK)],
    "shear": [RandomShear(0.3, 0.3, **BLACK)],
    "perspective": [RandomPerspective(1.0, 0.3, **BLACK)],
    "everything": [
        RandomFlip(),
        RandomRotation(0.1, **BLACK),
        RandomZoom(0.2, 0.2, **BLACK),
        RandomTranslation(0.1, 0.1, **BLACK),
        RandomShear(0.1, 0.1, **BLACK),
        RandomPerspective(0.5, 0.1, **BLACK),
        RandomCrop(80, 101),
        Resizing(90, 120),
    ],
    "strong": augmentation("strong", fill_mode="constant"),
    "randaugment": [RandAugment(3, 0.4, **BLACK)],
    "trivialaugment": [TrivialAugment(**BLACK)],
}


@pytest.fixture(scope="module")
def scene():
    """White rectangles of various sizes and places on black, two hundred images, each with its box and its mask."""
    rng = np.random.default_rng(1)
    images = np.zeros([DRAWS, HEIGHT, WIDTH, 3], np.float32)
    boxes = np.zeros([DRAWS, 2, 4], np.float32)
    for image, (box, _) in zip(images, boxes, strict=True):
        x1, y1 = rng.integers([38, 26], [52, 36])
        box[:] = x1, y1, *([x1, y1] + rng.integers([20, 14], [36, 24]))
        image[y1 : int(box[3]), x1 : int(box[2])] = 255
    classes = np.tile(np.int32([[4, -1]]), [DRAWS, 1])  # the second row is padding
    return {"image": images, "boxes": boxes, "classes": classes, "mask": images[..., :1].astype(np.uint8)}


def found(picture):
    """The box of the bright pixels."""
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("name", [*UPRIGHT, *TURNED])
def test_the_box_returned_is_the_box_in_the_pixels(scene, name):
    layers = {**UPRIGHT, **TURNED}[name]
    result = {key: value.numpy() for key, value in augment(scene, layers, 11).items()}
    height, width = result["image"].shape[1:3]
    compared = 0
    for image, mask, boxes, classes, count in zip(
        *(result[key] for key in ("image", "mask", "boxes", "classes", "num_boxes")), strict=True
    ):
        assert classes.tolist() == [4, -1][1 - count :] + [-1] * (1 - count)
        if not count:
            continue
        box = boxes[0]
        assert box.min() >= 0
        assert (box[2:] <= [width, height]).all()
        inside = box[0] > 0.5 and box[1] > 0.5 and box[2] < width - 0.5 and box[3] < height - 0.5
        if name in TURNED and not inside:
            continue  # of what is turned, the corner that gave the box its edge may be out of sight
        np.testing.assert_allclose(found(image[..., 0] > 0.7 * image.min() + 0.3 * image.max()), box, atol=1.01)
        np.testing.assert_allclose(found(mask[..., 0] > 0), box, atol=1.01)
        compared += 1
    assert compared > (150 if name in UPRIGHT else 100)
    assert np.mean((result["image"][..., 0] > 127) == (result["mask"][..., 0] > 127)) > 0.985 or name in (
        "randaugment",  # these change brightness, too
        "trivialaugment",
    )


def test_boxes_that_leave_are_dropped_and_the_rest_moves_up():
    images = tf.zeros([1, 20, 40, 3])
    boxes = [[[0.0, 0, 10, 10], [20.0, 4, 32, 10], [24.0, 0, 40, 20]]]
    moved = {"image": images, "boxes": boxes, "classes": [[1, 2, 3]], "ids": [[10, 20, 30]], "path": ["a"]}
    left = RandomTranslation((0.0, 0.0), (-0.5, -0.5), fill_mode="constant")  # by 20 pixels

    result = augment(moved, [left], 0)
    assert result["boxes"].numpy().tolist() == [[[0, 4, 12, 10], [4, 0, 20, 20], [0, 0, 0, 0]]]
    assert result["classes"].numpy().tolist() == [[2, 3, -1]]
    assert result["ids"].numpy().tolist() == [[20, 30, -1]]
    assert result["num_boxes"].numpy().tolist() == [2]
    assert result["path"] == ["a"]

    more_left = RandomTranslation((0.0, 0.0), (-0.7, -0.7), fill_mode="constant")  # by 28: a third of the second stays
    assert augment(moved, [more_left], 0)["num_boxes"].numpy().tolist() == [2]
    assert augment(moved, [more_left], 0, min_visible=0.34)["num_boxes"].numpy().tolist() == [1]


def test_the_pixels_of_each_object_go_with_its_box():
    instances = np.zeros([1, 3, 20, 40], bool)
    instances[0, 0, 2:9, 25:38] = instances[0, 1, 5:15, 3:12] = True
    sample = {"image": tf.zeros([1, 20, 40, 3]), "instances": instances}
    sample |= {"boxes": np.float32([[[25, 2, 38, 9], [3, 5, 12, 15], [0] * 4]]), "classes": [[1, 2, -1]]}
    moved = augment(sample, [RandomTranslation((0.1, 0.1), (0.5, 0.5), fill_mode="constant")], 0)
    assert moved["classes"].numpy().tolist() == [[2, -1, -1]]
    assert found(moved["instances"][0, 0].numpy()).tolist() == moved["boxes"][0, 0].numpy().tolist() == [23, 7, 32, 17]
    assert not moved["instances"][0, 1:].numpy().any()


def test_points_go_where_boxes_go():
    sample = {
        "image": tf.zeros([3, 20, 40, 3]),
        "boxes": [[[10.0, 5, 12, 8]]] * 3,
        "points": [[[10.0, 5], [12, 8]]] * 3,
    }
    layers = [RandomTranslation(0.1, 0.1), RandomZoom(0.2, 0.3), Resizing(30, 31)]
    result = augment(sample, layers, 3)
    assert result["points"].shape == (3, 2, 2)
    np.testing.assert_allclose(tf.reshape(result["points"], [3, 1, 4]), result["boxes"], atol=1e-4)


def test_resizing_stretches_or_crops_as_keras_does():
    """The window that is cropped has whole pixels here: Keras' layer rounds others down, and ours does not."""
    image = np.random.default_rng(0).uniform(0, 255, [2, 24, 40, 3]).astype("float32")
    for crop in (False, True):
        expected = keras.layers.Resizing(18, 15, crop_to_aspect_ratio=crop)(image)
        layer = Resizing(18, 15, crop_to_aspect_ratio=crop)
        np.testing.assert_allclose(layer(image), expected, atol=0.5)
        np.testing.assert_allclose(augment(image, [layer], 0), expected, atol=0.5)
        assert Resizing.from_config(layer.get_config()).crop_to_aspect_ratio == crop


ODD = np.random.default_rng(0).uniform(0, 255, [3, 23, 38, 3]).astype(np.float32)


@pytest.mark.parametrize(
    "layer",
    [
        RandomRotation(0.0),
        RandomZoom(0.0, 0.0),
        RandomTranslation(0.0, 0.0),
        RandomShear(0.0, 0.0),
        RandomPerspective(1.0, 0.0),
        RandomPerspective(0.0, 0.3),
        RandomCrop(23, 38),
        Resizing(23, 38),
        RandomResizedCrop(23, 38, scale=(1, 1), ratio=(38 / 23, 38 / 23)),
        RandAugment(2, 0.0),
    ],
    ids=lambda layer: layer.name,
)
def test_what_changes_nothing_returns_the_input_bit_for_bit(layer):
    assert np.array_equal(augment(ODD, [layer], 5), ODD)


def test_flips_move_pixels_and_nothing_else():
    flipped = augment(np.repeat(ODD[:1], 60, axis=0), [RandomFlip()], 2).numpy()
    kinds = [ODD[0], ODD[0, :, ::-1], ODD[0, ::-1], ODD[0, ::-1, ::-1]]
    counts = [sum(np.array_equal(image, kind) for image in flipped) for kind in kinds]
    assert sum(counts) == 60
    assert min(counts) > 5


def test_crops_are_the_images_own_pixels():
    windows = np.lib.stride_tricks.sliding_window_view(ODD[0], (9, 14), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    crops = augment(np.repeat(ODD[:1], 20, axis=0), [RandomCrop(9, 14)], 4).numpy()
    places = {tuple(np.argwhere((windows == crop).all((2, 3, 4)))[0]) for crop in crops}
    assert len(places) > 15


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (RandomRotation((0.1, 0.1)), keras.layers.RandomRotation((0.1, 0.1))),
        (RandomZoom((0.2, 0.2)), keras.layers.RandomZoom((0.2, 0.2))),
        (RandomZoom((-0.2, -0.2), (0.3, 0.3)), keras.layers.RandomZoom((-0.2, -0.2), (0.3, 0.3))),
        (RandomTranslation((0.2, 0.2), (-0.1, -0.1)), keras.layers.RandomTranslation((0.2, 0.2), (-0.1, -0.1))),
        (
            RandomRotation((0.1, 0.1), fill_mode="constant", fill_value=9, interpolation="nearest"),
            keras.layers.RandomRotation((0.1, 0.1), fill_mode="constant", fill_value=9, interpolation="nearest"),
        ),
    ],
    ids=lambda layer: layer.name,
)
def test_arguments_mean_what_they_mean_in_keras(ours, theirs):
    ours, theirs = ours(ODD, training=True).numpy(), np.asarray(theirs(ODD, training=True))
    assert np.mean(np.abs(ours - theirs) > 0.01) < 0.002  # a nearest neighbour may tip over


def test_composing_is_doing_one_after_the_other():
    rng = np.random.default_rng(3)
    corners = tf.constant(rng.uniform(-0.2, 0.2, [4, 4, 2]), tf.float32)
    steps = [
        warp.flip([0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], (20, 30)),
        warp.about(warp.rotation([0.1, 0.2, 0.3, 0.4]), (15.0, 10.0)),
        warp.perspective(corners, (20, 30)),
        warp.shear(0.2, [0.1, 0.2, 0.3, 0.4]),
        warp.resizing((20, 30), (40, 33)),
    ]
    points = moved = rng.uniform(0, 30, [4, 7, 2]).astype(np.float32)
    for step in steps:
        moved = warp.warp_points(moved, step)
    whole = warp.compose(*steps)
    np.testing.assert_allclose(warp.warp_points(points, whole), moved, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(warp.warp_points(moved, warp.invert(whole)), points, rtol=1e-3, atol=1e-2)


def test_a_perspective_takes_corners_where_it_says():
    moves = np.random.default_rng(4).uniform(-0.24, 0.24, [5, 4, 2])
    corners = np.array([[0, 0], [30, 0], [30, 20], [0, 20]], np.float32)
    moved = warp.warp_points(np.tile(corners, [5, 1, 1]), warp.perspective(moves, (20, 30)))
    np.testing.assert_allclose(moved, corners + moves * [30, 20], atol=1e-3)


def test_a_quarter_turn_is_anticlockwise():
    turned = warp.warp_images(ODD[:, :, :23], warp.about(warp.rotation(math.pi / 2), (11.5, 11.5)))
    np.testing.assert_allclose(turned, np.rot90(ODD[:, :, :23], axes=(1, 2)), atol=1e-2)


def test_warping_in_nearest_keeps_class_numbers_and_dtypes():
    mask = np.random.default_rng(0).choice([0, 7, 200], [2, 15, 22, 1]).astype(np.int32)
    turned = warp.warp_images(mask, warp.about(warp.rotation([0.3, 0.4]), (11, 7)), interpolation="nearest")
    assert turned.dtype == tf.int32
    assert set(np.unique(turned)) == {0, 7, 200}
    pixels = np.uint8([[[[10], [11]]]])
    moved = warp.warp_images(pixels, warp.translation(0.4, 0.0), fill_mode="nearest")
    assert moved.numpy().ravel().tolist() == [10, 11]


def test_masks_get_a_value_of_their_own_where_images_are_filled():
    sample = {"image": ODD, "mask": np.full([3, 23, 38], 5, np.int32)}
    moved = augment(sample, [RandomTranslation((0.5, 0.5), 0.0, fill_mode="constant")], 0, mask_fill_value=255)
    assert moved["mask"].shape == (3, 23, 38)
    assert set(np.unique(moved["mask"])) == {5, 255}


def test_unknown_sizes_in_a_graph():
    layers = [*augmentation("strong"), Resizing(10, 12)]
    change = tf.function(lambda images: augment(images, layers, 3), [tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(change(ODD), augment(ODD, layers, 3), atol=0.05)


def test_layers_that_fill_differently_are_refused():
    with pytest.raises(ValueError, match="need the same fill_mode; received 'constant', 'reflect'"):
        augment(ODD, [RandomRotation(0.1), RandomZoom(0.1, fill_mode="constant")], 0)
