"""Compares Grad-CAM with a naive loop over images and channels, and checks it on a model whose answer is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.explain import grad_cam

H, W = 48, 64


def small_classifier(*, activation="softmax", seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((H, W, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="early")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="late")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4, activation=activation)(x))


def photos(n, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, H, W, 3)).astype("uint8")


def naive(model, image, index, layer):
    """Computes equations 1 and 2 by loops, for one image, with logits that are recomputed from the dense layer."""
    dense = model.layers[-1]
    after = keras.Model(model.get_layer(layer).output, dense.input)
    before = keras.Model(model.input, model.get_layer(layer).output)
    maps = tf.Variable(before(image[None].astype("float32")))
    with tf.GradientTape() as tape:
        logit = tf.tensordot(after(maps)[0], dense.kernel[:, index], 1)
    gradient = tape.gradient(logit, maps).numpy()[0]
    maps = maps.numpy()[0]
    total = np.zeros(maps.shape[:2])
    for channel in range(maps.shape[-1]):
        total += gradient[..., channel].mean() * maps[..., channel]
    total = np.maximum(total, 0)
    total = tf.image.resize(total[..., None], (H, W)).numpy()[..., 0]
    return total / total.max() if total.max() > 0 else total


@pytest.mark.parametrize("layer", ["early", "late"])
def test_equals_a_naive_loop(layer):
    model, images, classes = small_classifier(), photos(3), [2, 0, 3]
    maps = grad_cam(model, images, classes, layer=layer)
    assert maps.shape == (3, H, W)
    assert maps.dtype == np.float32
    for image, index, found in zip(images, classes, maps, strict=True):
        np.testing.assert_allclose(found, naive(model, image, index, layer), atol=1e-5)


def test_batches_equal_single_images_beyond_the_internal_batch():
    model, images = small_classifier(), photos(19)
    alone = np.concatenate([grad_cam(model, images[i : i + 1]) for i in range(19)])
    np.testing.assert_allclose(grad_cam(model, images), alone, atol=1e-5)


def test_the_predicted_class_is_the_default_and_one_index_serves_all():
    model, images = small_classifier(), photos(3)
    predicted = np.argmax(model(images.astype("float32")), axis=1)
    np.testing.assert_array_equal(grad_cam(model, images), grad_cam(model, images, predicted))
    np.testing.assert_array_equal(grad_cam(model, images, 1), grad_cam(model, images, [1, 1, 1]))


def test_finds_the_bright_corner_that_decides():
    """A model that scores class 1 by brightness alone must point at the only bright place."""
    image = keras.Input((H, W, 3))
    x = keras.layers.Conv2D(1, 8, strides=8, use_bias=False, kernel_initializer="ones", name="blocks")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax", use_bias=False)(x))
    model.layers[-1].set_weights([np.array([[-1e-4, 1e-4]], "float32")])
    picture = np.zeros((1, H, W, 3), "uint8")
    picture[0, 8:16, 40:56] = 255
    found = grad_cam(model, picture, 1)[0]
    assert found.max() == 1
    row, column = np.unravel_index(np.argmax(found), found.shape)
    assert (8 <= row < 16, 40 <= column < 56) == (True, True)
    assert found[:4].max() == 0
    assert found[30:].max() == 0
    assert not grad_cam(model, picture, 0).any()  # No pixel supports the dark class.


def test_frozen_layers_are_explained_alike():
    model, images = small_classifier(), photos(2)
    free = grad_cam(model, images)
    model.trainable = False
    np.testing.assert_array_equal(grad_cam(model, images), free)


@pytest.mark.parametrize("last", [keras.layers.Softmax, lambda: keras.layers.Activation("softmax")])
def test_a_separate_softmax_layer_is_looked_through(last):
    together = small_classifier()
    logits = keras.layers.Dense(4)(together.layers[-1].input)
    apart = keras.Model(together.input, last()(logits))
    apart.set_weights(together.get_weights())
    np.testing.assert_allclose(grad_cam(apart, photos(2), 2), grad_cam(together, photos(2), 2), atol=1e-6)


def test_logits_are_taken_as_they_are():
    model, logits = small_classifier(), small_classifier(activation=None)
    np.testing.assert_allclose(grad_cam(model, photos(2), 2), grad_cam(logits, photos(2), 2), atol=1e-6)


def test_no_images_give_no_maps():
    assert grad_cam(small_classifier(), photos(0)).shape == (0, H, W)


def test_bad_arguments_say_what_was_expected():
    model = small_classifier()
    with pytest.raises(ValueError, match=r"images\[None\]"):
        grad_cam(model, photos(1)[0])
    with pytest.raises(ValueError, match=r"class_index is in 0\.\.3, got 4"):
        grad_cam(model, photos(1), 4)
    with pytest.raises(ValueError, match="one for each of 2 images"):
        grad_cam(model, photos(2), [0, 1, 2])
    with pytest.raises(ValueError, match="no layer 'lat'; its last feature map is 'late'"):
        grad_cam(model, photos(1), layer="lat")
    with pytest.raises(ValueError, match="what is wanted is a map"):
        grad_cam(model, photos(1), layer=model.layers[-2].name)
    with pytest.raises(ValueError, match="explains one output"):
        grad_cam(keras.Model(model.input, model.get_layer("late").output), photos(1))
