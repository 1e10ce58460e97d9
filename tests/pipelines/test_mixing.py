"""Noise, blur, erasing and mixing: what they do to pixels, labels, boxes and masks, and what they refuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter1d

from pipelines import (
    Augmentation,
    CutMix,
    MixUp,
    Mosaic,
    RandomErasing,
    RandomGaussianBlur,
    RandomGaussianNoise,
    RandomRotation,
    augment,
)

HEIGHT, WIDTH = 40, 62
IMAGES = np.random.default_rng(0).uniform(0, 255, [6, HEIGHT, WIDTH, 3]).astype(np.float32)
LAYERS = [RandomGaussianNoise(), RandomGaussianBlur(), RandomErasing(), MixUp(), CutMix(), Mosaic()]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_the_seed_decides_shapes_stay_and_layers_are_serializable(layer):
    first = augment(IMAGES, [layer], 1).numpy()
    assert first.shape == IMAGES.shape
    assert first.min() >= 0
    assert first.max() <= 255
    assert np.array_equal(augment(IMAGES, [layer], 1), first)
    assert not np.allclose(augment(IMAGES, [layer], 2), first)
    unknown = tf.function(lambda x: augment(x, [layer], 1), [tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(unknown(IMAGES), first, atol=0.05)
    assert np.array_equal(layer(IMAGES), IMAGES)  # not training
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert np.array_equal(augment(IMAGES, [again], 1), first)


def test_noise_is_as_strong_as_asked():
    grey = np.full([4, 100, 90, 3], 128, np.float32)
    noise = augment(grey, [RandomGaussianNoise((20.0, 20.0))], 3).numpy() - 128
    assert noise.std((1, 2, 3)) == pytest.approx(20, rel=0.05)
    assert abs(noise.mean()) < 0.5
    assert np.array_equal(augment(IMAGES, [RandomGaussianNoise(0.0)], 3), IMAGES)


def test_blur_against_scipy_and_not_all_images():
    blurred = augment(IMAGES, [RandomGaussianBlur(1.0, 7, (1.1, 1.1))], 0)
    expected = IMAGES
    for axis in (1, 2):
        expected = gaussian_filter1d(expected, 1.1, axis=axis, mode="reflect", radius=3)
    np.testing.assert_allclose(blurred, expected, atol=0.01)
    many = np.repeat(IMAGES[:1, :9, :8], 200, axis=0)
    same = (augment(many, [RandomGaussianBlur(0.3)], 1).numpy() == many).all((1, 2, 3))
    assert 110 < same.sum() < 170
    assert np.array_equal(augment(IMAGES, [RandomGaussianBlur(0.0)], 0), IMAGES)


def test_erasing_covers_a_window_of_the_right_size():
    white = np.full([100, 50, 70, 3], 255, np.float32)
    erased = augment(white, [RandomErasing(1.0, (0.1, 0.3), fill_value=9)], 1).numpy() == 9
    shares = erased[..., 0].mean((1, 2))
    assert 0.08 < shares.min() < 0.15
    assert 0.25 < shares.max() < 0.32
    for one in erased[:10, ..., 0]:
        rows, columns = one.any(1).sum(), one.any(0).sum()
        assert rows * columns == one.sum()  # a full rectangle
    assert len(np.unique(augment(white, [RandomErasing()], 1))) > 100  # noise
    assert np.array_equal(augment(IMAGES, [RandomErasing(0.0)], 1), IMAGES)


def plain(n=8, classes=4):
    """Images of one colour each, so that shares can be read off."""
    values = np.linspace(20, 230, n, dtype=np.float32)
    return {
        "image": np.tile(values[:, None, None, None], [1, HEIGHT, WIDTH, 3]),
        "label": np.eye(n, dtype=np.float32),
        "mask": np.tile(np.arange(n, dtype=np.uint8)[:, None, None], [1, HEIGHT, WIDTH]),
    }


@pytest.mark.parametrize("layer", [MixUp(0.5), CutMix(), Mosaic(scale=(1.0, 1.0))], ids=lambda layer: layer.name)
def test_labels_say_what_is_seen(layer):
    given = {name: value for name, value in plain().items() if name != "mask"}
    result = augment(given, [layer], 5)
    values = given["image"][:, 0, 0, 0]
    np.testing.assert_allclose(result["label"].numpy().sum(1), 1, atol=1e-5)
    # As all images are plain, the mean is the labels' mixture of their colours.
    np.testing.assert_allclose(result["image"].numpy().mean((1, 2, 3)), result["label"].numpy() @ values, rtol=1e-3)
    assert (np.sort(result["label"], axis=1)[:, -2] > 0.01).sum() >= 3


def test_mixup_draws_from_its_distribution():
    given = {"image": np.zeros([400, 2, 2, 3], np.float32), "label": np.eye(400, dtype=np.float32)}
    shares = np.diag(augment(given, [MixUp(1.0)], 1)["label"])
    assert np.histogram(shares, 4, (0, 1))[0].min() > 60  # Beta(1, 1) is even
    shares = np.diag(augment(given, [MixUp(0.1)], 1)["label"])
    assert ((shares < 0.1) | (shares > 0.9)).mean() > 0.7


def test_class_numbers_become_shares():
    given = {"image": IMAGES, "label": np.int32([0, 1, 2, 0, 1, 2])}
    assert augment(given, [CutMix(num_classes=3)], 1)["label"].shape == (6, 3)
    with pytest.raises(ValueError, match=r"CutMix\(..., num_classes=...\); received int32 \(6,\).*Categorical"):
        augment(given, [CutMix()], 1)


@pytest.mark.parametrize("layer", [CutMix(), Mosaic(mask_fill_value=255)], ids=lambda layer: layer.name)
def test_masks_are_cut_as_images_are(layer):
    given = plain()
    result = augment(given, [layer], 5)
    colours = np.append(given["image"][:, 0, 0, 0], [0] * 247 + [114])
    # Where an image ends, its last pixels are blended with what fills.
    assert np.mean(np.abs(result["image"][..., 0] - colours[result["mask"]]) > 1) < 0.01


def objects(n=40):
    """A white rectangle on black in each image."""
    rng = np.random.default_rng(2)
    images, boxes = np.zeros([n, HEIGHT, WIDTH, 3], np.float32), np.zeros([n, 2, 4], np.float32)
    instances = np.zeros([n, 2, HEIGHT, WIDTH], bool)
    for index in range(n):
        x1, y1 = rng.integers([2, 2], [WIDTH - 20, HEIGHT - 16])
        x2, y2 = [x1, y1] + rng.integers([9, 7], [17, 13])
        images[index, y1:y2, x1:x2] = 255
        instances[index, 0, y1:y2, x1:x2] = True
        boxes[index, 0] = x1, y1, x2, y2
    classes = np.stack([np.arange(n), np.full(n, -1)], axis=1).astype(np.int32)
    return {"image": images, "boxes": boxes, "classes": classes, "instances": instances}


def test_boxes_of_a_mosaic_are_where_they_are_seen():
    result = {name: value.numpy() for name, value in augment(objects(), [Mosaic(fill_value=0)], 3).items()}
    assert result["boxes"].shape == (40, 8, 4)
    assert result["num_boxes"].sum() > 40
    for image, boxes, classes, instances, count in zip(
        *(result[name] for name in ("image", "boxes", "classes", "instances", "num_boxes")), strict=True
    ):
        assert (classes[:count] >= 0).all()
        assert (classes[count:] == -1).all()
        assert boxes[:count].min(initial=0) >= 0
        for (x1, y1, x2, y2), pixels in zip(boxes[:count], instances[:count], strict=True):
            if min(x2 - x1, y2 - y1) < 3:
                continue
            inside = image[int(y1) + 1 : int(y2) - 1, int(x1) + 1 : int(x2) - 1, 0]
            assert inside.size == 0 or inside.min() > 200
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            np.testing.assert_allclose(
                [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], [x1, y1, x2, y2], atol=1.01
            )
    assert (result["image"][..., 0] > 127).any((1, 2)).mean() > 0.9


def test_mixup_keeps_the_boxes_of_both():
    given = {name: value for name, value in objects(5).items() if name != "instances"}
    result = augment(given, [MixUp(1.0)], 3)
    assert result["boxes"].shape == (5, 4, 4)
    assert result["num_boxes"].numpy().tolist() == [2] * 5
    weights = result["box_weights"].numpy()
    np.testing.assert_allclose(weights[:, :2].sum(1), 1, atol=1e-6)
    assert not weights[:, 2:].any()
    for image, boxes, shares in zip(result["image"].numpy(), result["boxes"].numpy(), weights, strict=True):
        for (x1, y1, x2, y2), share in zip(boxes[:2].astype(int), shares, strict=False):
            assert image[y1:y2, x1:x2].min() >= 255 * share - 1


@pytest.mark.parametrize(
    ("layer", "names", "message"),
    [
        (MixUp(), ("mask",), "MixUp cannot transform `mask`: blended masks and points have no meaning"),
        (
            CutMix(),
            ("boxes", "classes"),
            "CutMix cannot transform `boxes`: an object of which a window is",
        ),
        (CutMix(), ("points",), "CutMix cannot transform `points`"),
        (Mosaic(), ("points",), "Mosaic cannot transform `points`"),
    ],
)
def test_what_has_no_meaning_is_refused(layer, names, message):
    everything = {**objects(4), "mask": np.zeros([4, HEIGHT, WIDTH], np.uint8), "points": np.zeros([4, 1, 2])}
    with pytest.raises(ValueError, match=message):
        augment({"image": everything["image"], **{name: everything[name] for name in names}}, [layer], 0)


def test_among_matrices_and_in_a_model(tmp_path):
    layers = [RandomRotation(0.1), RandomErasing(), RandomGaussianBlur(0.5), keras.layers.RandomInvert(0.5)]
    inputs = keras.Input([HEIGHT, WIDTH, 3])
    model = keras.Model(inputs, Augmentation(layers, seed=1)(inputs))
    assert np.array_equal(model.predict(IMAGES, verbose=0), IMAGES)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again(IMAGES, training=True).shape == IMAGES.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomGaussianBlur(kernel_size=4), "odd `kernel_size` in 1..15, received 4"),
        (lambda: MixUp(0), "`alpha` above 0"),
        (lambda: CutMix(-1), "`factor` above 0"),
        (lambda: Mosaic(center=(0.0, 1.0)), "expected `center`"),
        (lambda: RandomErasing(2.0), "expected `factor`"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
