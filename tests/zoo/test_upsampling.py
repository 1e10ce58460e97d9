"""Transposed convolutions that interpolate, and the fully convolutional head, held against `tf.image.resize`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.blocks import fcn_head, transposed_conv
from zoo.layers import CropToMatch, FCNHead


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 32])
@pytest.mark.parametrize("number", [1, 3])
def test_a_new_transposed_convolution_interpolates(factor, number):
    x = maps(number, 5, 7, 2)
    found = transposed_conv(x, factor=factor, name="up")
    expected = tf.image.resize(x, (5 * factor, 7 * factor))
    assert found.shape == expected.shape
    inside = np.s_[:, factor:-factor, factor:-factor]
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


def test_other_filters_need_an_initializer():
    x = maps(1, 4, 5, 3)
    with pytest.raises(ValueError, match=r"got 3 channels and filters=6; give a kernel_initializer"):
        transposed_conv(x, 6, name="up")
    assert transposed_conv(x, 6, 3, kernel_initializer="he_normal", name="up").shape == (1, 12, 15, 6)
    with pytest.raises(ValueError, match="factor of at least 1, got 0"):
        transposed_conv(x, factor=0, name="up")
    with pytest.raises(ValueError, match="got 3 input and 6 output channels"):
        keras.layers.Conv2DTranspose(6, 4, 2, kernel_initializer=zoo.layers.BilinearUpsampling())(x)


def trunk(image):
    """Maps of strides 8, 16 and 32, whose sizes are rounded up."""
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(image)
    levels = [x]
    for channels in (6, 5):
        levels.append(keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(levels[-1]))
    return levels


@pytest.mark.parametrize("skips", [0, 1, 2])
@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
def test_every_pixel_of_an_image_of_any_size_gets_a_class(skips, size, tmp_path):
    image = keras.Input((None, None, 3))
    c3, c4, c5 = trunk(image)
    model = keras.Model(image, fcn_head(c5, 4, skips=(c4, c3)[:skips], image=image))
    draw = np.random.default_rng(1)
    for layer in model.layers:
        if "score" in layer.name:  # They begin at zero.
            assert not np.any(layer.get_weights()[0])
            layer.set_weights([draw.normal(size=w.shape) for w in layer.get_weights()])
    x = draw.uniform(-1, 1, (3, *size, 3)).astype("float32")
    found = model(x)
    assert found.shape == (3, *size, 4)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(model(x[:1]), found[:1], atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(x), found, atol=1e-6)


def test_scores_of_skips_are_added_to_the_enlarged_ones():
    """By hand, on maps whose sizes are multiples: scores, twice as large, plus scores, and enlarged to the image."""
    deep, shallow = keras.Input((2, 3, 5)), keras.Input((4, 6, 4))
    model = keras.Model([deep, shallow], fcn_head(deep, 3, factor=4, skips=[shallow], activation=None))
    draw = np.random.default_rng(2)
    for name in ("fcn_score", "fcn_score1"):
        layer = model.get_layer(name)
        layer.set_weights([draw.normal(size=w.shape) for w in layer.get_weights()])
    x, y = maps(2, 2, 3, 5), maps(2, 4, 6, 4, seed=1)

    def scores(name, values):
        kernel, bias = model.get_layer(name).get_weights()
        return values @ kernel[0, 0] + bias

    larger = transposed_conv(scores("fcn_score", x), name="up") + scores("fcn_score1", y)
    np.testing.assert_allclose(model([x, y]), transposed_conv(larger, name="up"), atol=1e-5)


def test_a_head_learns_from_zero():
    """Although its scores begin at zero, a gradient reaches them."""
    model = keras.Sequential([keras.Input((8, 12, 3)), FCNHead(2, factor=4)])
    x = maps(4, 8, 12, 3)
    y = np.repeat(np.repeat(x[..., 0] > 0, 4, axis=1), 4, axis=2).astype("int32")
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    before, after = (model.fit(x, y, epochs=20, verbose=0).history["accuracy"][i] for i in (0, -1))
    assert after > max(before, 0.85)


def test_factors_that_do_not_fit_the_skips():
    with pytest.raises(ValueError, match="multiple of 4 with 2 skips; got factor=2"):
        fcn_head(maps(1, 2, 2, 3), 2, factor=2, skips=[maps(1, 4, 4, 3)] * 2)


def test_maps_are_cut_at_the_bottom_and_on_the_right():
    x = maps(2, 6, 7, 3)
    np.testing.assert_array_equal(CropToMatch()([x, maps(2, 5, 4, 1)]), x[:, :5, :4])
    x, reference = keras.Input((None, 8, 3)), keras.Input((None, 5, 1))
    assert CropToMatch()([x, reference]).shape == (None, None, 5, 3)


def test_the_names_of_the_chapter_are_there_after_importing_the_package():
    names = {"DefaultConv2D", "Conv2DBeforeNorm", "ResidualUnit", "DepthPool", "SqueezeExcite", "FCNHead", "fcn_head"}
    assert names <= set(dir(zoo))
    assert all(callable(getattr(zoo, name)) for name in names)
    assert zoo.DepthPool()(np.float32([[1, 5, 2, 4]])).numpy().tolist() == [[5, 4]]
