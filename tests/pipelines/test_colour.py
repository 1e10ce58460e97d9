"""Colour matrices against formulas written out pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import (
    RandomBrightness,
    RandomContrast,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomSaturation,
    augment,
)
from pipelines.augmenting import colour, warp

IMAGES = np.random.default_rng(0).uniform(60, 180, [3, 15, 22, 3]).astype(np.float32)
MEANS = IMAGES.mean((1, 2))


def luma(images):
    return tf.image.rgb_to_grayscale(images).numpy()


def test_each_against_its_formula():
    numbers = np.array([0.7, 1.0, 1.2], np.float32)
    each = numbers[:, None, None, None]
    mean = MEANS[:, None, None]
    for matrices, expected in [
        (colour.brightness([-20.0, 0.0, 30.0]), IMAGES + np.array([-20, 0, 30])[:, None, None, None]),
        (colour.contrast(numbers, MEANS), mean + each * (IMAGES - mean)),
        (colour.saturation(numbers), luma(IMAGES) + each * (IMAGES - luma(IMAGES))),
        (colour.inversion([1.0, 0.0, 1.0]), np.where([[[[1]]], [[[0]]], [[[1]]]], 255 - IMAGES, IMAGES)),
    ]:
        np.testing.assert_allclose(colour.recolour(IMAGES, matrices), expected, atol=0.05)


def test_hue_turns_and_keeps_brightness():
    turned = colour.recolour(IMAGES / 4 + 90, colour.hue([0.5, -2.0, 3.0])).numpy()
    np.testing.assert_allclose(luma(turned), luma(IMAGES / 4 + 90), atol=0.05)
    grey = np.full([1, 2, 2, 3], 77.0)
    np.testing.assert_allclose(colour.recolour(grey, colour.hue(1.3)), grey, atol=1e-3)
    red = np.float32([[[[130, 100, 100]]]])
    assert colour.recolour(red, colour.hue(2 * np.pi / 3)).numpy().argmax() == 1  # towards green, as with Keras
    there_and_back = warp.compose(colour.hue(0.4), colour.hue(0.5), colour.hue(-0.9))
    np.testing.assert_allclose(there_and_back, colour.identity(), atol=1e-5)


def test_composed_is_one_after_the_other():
    steps = [colour.contrast(0.8, MEANS), colour.saturation(1.1), colour.hue([0.1, 0.2, 0.3]), colour.brightness(4.0)]
    result = IMAGES
    for step in steps:
        result = colour.recolour(result, step)
    np.testing.assert_allclose(colour.recolour(IMAGES, warp.compose(*steps)), result, atol=1e-2)


def test_contrast_after_brightness_is_about_the_brighter_mean():
    layers = [RandomBrightness((0.1, 0.1)), RandomContrast((1.0, -1.0))]  # no contrast at all
    np.testing.assert_allclose(augment(IMAGES, layers, 0)[:, 0, 0], MEANS + 25.5, atol=0.01)


@pytest.mark.parametrize(
    "layer",
    [
        RandomBrightness(0.0),
        RandomContrast(0.0),
        RandomSaturation((0.5, 0.5)),
        RandomHue(0.0),
        RandomGrayscale(0.0),
        RandomInvert(0.0),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.parametrize("shape", [(3, 15, 22, 3), (1, 16, 8, 3), (2, 5, 7, 3)])
def test_what_changes_nothing_returns_the_input_bit_for_bit(layer, shape):
    images = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
    assert np.array_equal(augment(images, [layer], 5), images)


def test_ranges():
    many = np.repeat(IMAGES[:1], 300, axis=0)[:, :1, :1]
    change = augment(many, [RandomBrightness((-0.1, 0.2))], 1).numpy()[:, 0, 0, 0] - many[:, 0, 0, 0]
    assert -25.5 <= change.min() < -23
    assert 48 < change.max() <= 51.001
    grey = augment(many, [RandomGrayscale(0.3)], 1).numpy()
    assert 60 < (np.ptp(grey, axis=-1) < 0.01).sum() < 120
    strong = augment(IMAGES, [RandomSaturation((1.0, 1.0))], 1).numpy()
    assert {0, 255} <= set(strong.ravel())
    assert (strong.min(), strong.max()) == (0, 255)


def test_refusals():
    with pytest.raises(ValueError, match=r"RandomBrightness: expected `factor` .* in -1..1, received 1.5"):
        RandomBrightness(1.5)
    with pytest.raises(ValueError, match=r"`value_range` of \(0, 255\); received \(0, 1\)"):
        RandomHue(0.1, value_range=(0, 1))
    with pytest.raises(ValueError, match="expected RGB images"):
        colour.recolour(tf.zeros([1, 4, 4, 1]), colour.identity())
