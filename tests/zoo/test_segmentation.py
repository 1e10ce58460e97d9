"""Networks and losses for a class of every pixel, held against loops, `tf.image.resize` and convolutions with holes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import segmentation
from zoo.blocks import DefaultConv2D, sub_pixel_conv
from zoo.layers import PixelShuffle, ResizeToMatch, TrunkMap
from zoo.surgery.dilation import dilated


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def trunk(size=(64, 96), *, seed=0) -> keras.Model:
    """Maps at strides 2 to 32, with a batch norm each."""
    image = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for number, channels in enumerate((4, 6, 8, 10, 12), 1):
        init = keras.initializers.HeNormal(seed=seed + number)
        x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", kernel_initializer=init, name=f"conv{number}")(
            x
        )
        x = keras.layers.ReLU(name=f"relu{number}")(keras.layers.BatchNormalization(name=f"norm{number}")(x))
    return keras.Model(image, x, name="trunk")


# Layers


@pytest.mark.parametrize("number", [1, 2])
def test_an_atrous_convolution_is_a_convolution_with_holes(number):
    """The filter [1, 2, 3] with a dilation of 4 is the filter [1, 0, 0, 0, 2, 0, 0, 0, 3]."""
    x = maps(number, 14, 17, 2)
    for rate in (1, 2, 4):
        atrous = DefaultConv2D(3, dilation_rate=rate, activation=None)
        found = atrous(x)
        kernel, bias = atrous.get_weights()
        holes = np.zeros((2 * rate + 1, 2 * rate + 1, 2, 3), "float32")
        holes[::rate, ::rate] = kernel
        np.testing.assert_allclose(found, tf.nn.conv2d(x, holes, 1, "SAME") + bias, atol=1e-5)
    row = np.array([1, 0, 0, 0, 2, 0, 0, 0, 3], "float32")
    signal = maps(number, 1, 23, 1)
    layer = keras.layers.Conv2D(1, (1, 3), dilation_rate=(1, 4), use_bias=False)
    layer.build(signal.shape)
    layer.set_weights([np.array([1, 2, 3], "float32").reshape(1, 3, 1, 1)])
    for own, given in zip(layer(signal), signal, strict=True):
        np.testing.assert_allclose(own[0, :, 0], np.correlate(given[0, :, 0], row, "valid"), atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixels_are_made_of_channels(factor):
    x = maps(2, 3, 5, 2 * factor**2)
    found = PixelShuffle(factor)(x)
    expected = x if factor == 1 else tf.nn.depth_to_space(x, factor)
    np.testing.assert_array_equal(found, expected)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, sub_pixel_conv(image, 4, factor, name="up"))
    assert model.output_shape == (None, None, None, 4)
    assert model(maps(1, 4, 6, 3)).shape == (1, 4 * factor, 6 * factor, 4)
    with pytest.raises(ValueError, match="multiple of 4 channels; got 6"):
        PixelShuffle(2)(maps(1, 2, 2, 6))


def test_a_map_is_resized_to_another():
    x, other = maps(2, 4, 5, 3), maps(2, 7, 13, 1)
    np.testing.assert_allclose(ResizeToMatch()([x, other]), tf.image.resize(x, (7, 13)), atol=1e-6)


def test_a_dilated_trunk_sees_what_it_saw():
    """Every second pixel of the finer map is the map of the trunk, away from the edges, where padding differs."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    for number in range(2):
        x = keras.layers.ZeroPadding2D(1)(x)
        x = keras.layers.DepthwiseConv2D(3, strides=2 - number, activation="relu")(x)
        x = keras.layers.Conv2D(5, 1)(x)
    model = keras.Model(image, x)
    for weight in model.trainable_weights:
        weight.assign(maps(*weight.shape, seed=1))
    finer = dilated(model, 2)
    given = maps(1, 64, 96, 3)
    found, expected = np.asarray(finer(given)), np.asarray(model(given))
    assert found.shape == (1, 32, 48, 5)
    assert expected.shape == (1, 16, 24, 5)
    np.testing.assert_allclose(found[:, ::2, ::2][:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], rtol=1e-4, atol=1e-4)


# Networks


@pytest.mark.parametrize("name", segmentation.list_networks())
def test_every_pixel_of_an_image_of_any_size_gets_a_class(name, tmp_path):
    network = segmentation.create(name, trunk((None, None)), 4)
    for size in ((64, 96), (75, 50)):
        found = np.asarray(network(255 * np.abs(maps(2, *size, 3))))
        assert found.shape == (2, *size, 4)
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    network.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert any(isinstance(layer, TrunkMap) for layer in again.layers)
    np.testing.assert_allclose(again(255 * np.abs(maps(2, 75, 50, 3))), found, atol=1e-5)


def test_a_backbone_is_an_object_that_has_the_maps():
    with pytest.raises(ValueError, match=r"expected the backbone as a keras\.Model, got str"):
        segmentation.create("unet", "efficientnet_lite0", 3)
    with pytest.raises(ValueError, match="near are fcn8s"):
        segmentation.create("fcn8", trunk(), 3)
    with pytest.raises(ValueError, match="2 to 255 classes"):
        segmentation.create("unet", trunk(), 1)
    image = keras.Input((64, 96, 3))
    shallow = keras.Model(image, keras.layers.Conv2D(4, 3, strides=4, padding="same")(image))
    with pytest.raises(ValueError, match="has no map c5"):
        segmentation.fcn(shallow, 3, stride=32)


def test_u_net_as_published():
    """The sizes and the numbers of parameters of figure 1."""
    model = segmentation.unet((572, 572, 1), 2)
    assert model.output_shape == (None, 388, 388, 2)
    assert [model.get_layer(f"down{level}_conv2").output.shape[1] for level in (1, 2, 3, 4)] == [568, 280, 136, 64]
    assert model.get_layer("bottom_conv2").output.shape[1:] == (28, 28, 1024)
    convolutions = [layer for layer in model.layers if "Conv2D" in type(layer).__name__]
    assert len(convolutions) == 23, "section 2: in total the network has 23 convolutional layers"
    assert model.count_params() == 31_030_658


def test_a_finer_fcn_begins_as_the_coarser_one_that_it_is_started_from():
    shared = trunk()
    coarse = segmentation.fcn(shared, 3, stride=32)
    draw = np.random.default_rng(0)
    score = coarse.get_layer("fcn_score")
    score.set_weights([draw.normal(size=weight.shape) for weight in score.get_weights()])
    x = 255 * np.abs(maps(2, 64, 96, 3))
    for stride in (16, 8):
        fine = segmentation.fcn(trunk(seed=5), 3, stride=stride)
        copied = segmentation.start_from(fine, coarse)
        assert {"conv1", "norm5", "fcn_score"} <= set(copied)
        inside = np.s_[:, 32:-32, 32:-32]
        # Interpolating twice and then by 16 is not quite interpolating by 32.
        np.testing.assert_allclose(fine(x)[inside], coarse(x)[inside], atol=0.15)
        coarse = fine


def test_an_fcn_on_a_converted_classifier():
    """The dense layers of a small VGG become convolutions, and the classifier's own answer is where its window is."""
    image = keras.Input((64, 96, 3))
    x = image
    for block in range(1, 6):
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"block{block}_conv1")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = keras.layers.Dense(7, "relu", name="fc1")(keras.layers.Flatten()(x))
    hidden = keras.layers.Dense(6, "relu", name="fc2")(x)
    classifier = keras.Model(image, keras.layers.Dense(5, "softmax", name="predictions")(hidden))
    converted = segmentation.convolutional_classifier(classifier)
    x = maps(2, 64, 96, 3)
    found = converted(x)
    assert found.shape == (2, 2, 3, 6)
    expected = keras.Model(image, hidden)(x)
    np.testing.assert_allclose(found[:, 0, 1], expected, atol=1e-5)  # "same" pads 2 x 3 pixels at the right and below
    model = segmentation.fcn(converted, 4, stride=8, skips=("block4_pool", "block3_pool"))
    assert model.get_layer("trunk_block3_pool").output.shape[-1] == 4
    assert model(maps(1, 75, 101, 3)).shape == (1, 75, 101, 4)


# Losses

SHAPE = (3, 6, 7)


def truth_and_probabilities(num_classes=4, *, ignored=0.2, seed=0):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, num_classes - 1, SHAPE)  # The last class does not occur.
    labels[draw.random(SHAPE) < ignored] = 255
    scores = np.exp(draw.normal(size=(*SHAPE, num_classes)))
    return labels.astype("uint8"), (scores / scores.sum(axis=-1, keepdims=True)).astype("float32")


def naive_crossentropy(labels, probabilities, gamma=0.0, weights=None):
    images = []
    for own, p in zip(labels, probabilities, strict=True):
        values = []
        for place in np.ndindex(own.shape):
            if own[place] != 255:
                right = p[place][own[place]]
                values.append(-np.log(right) * (1 - right) ** gamma * (1 if weights is None else weights[own[place]]))
        images.append(np.mean(values))
    return np.mean(images)


def naive_tversky(labels, probabilities, alpha, beta):
    images = []
    for own, p in zip(labels, probabilities, strict=True):
        counts, values = own != 255, []
        for number in np.unique(own[counts]):
            there, predicted = (own == number)[counts], p[..., number][counts]
            tp, fp, fn = predicted[there].sum(), predicted[~there].sum(), (1 - predicted[there]).sum()
            values.append(1 - tp / (tp + alpha * fp + beta * fn))
        images.append(np.mean(values))
    return np.mean(images)


def test_losses_are_what_a_loop_computes():
    labels, p = truth_and_probabilities()
    assert float(segmentation.PixelCrossentropy()(labels, p)) == pytest.approx(naive_crossentropy(labels, p), rel=1e-5)
    focal = segmentation.PixelCrossentropy(2.0, (0.5, 1.0, 3.0, 1.0))
    assert float(focal(labels, p)) == pytest.approx(naive_crossentropy(labels, p, 2.0, (0.5, 1.0, 3.0, 1.0)), rel=1e-5)
    assert float(segmentation.TverskyLoss(0.3, 0.7)(labels, p)) == pytest.approx(
        naive_tversky(labels, p, 0.3, 0.7), rel=1e-5
    )
    assert float(segmentation.DiceLoss()(labels, p)) == pytest.approx(naive_tversky(labels, p, 0.5, 0.5), rel=1e-5)


def test_losses_of_labels_without_ignored_ones_are_those_of_keras():
    labels, p = truth_and_probabilities(ignored=0.0)
    expected = keras.losses.SparseCategoricalCrossentropy()(labels, p)
    assert float(segmentation.PixelCrossentropy()(labels, p)) == pytest.approx(float(expected), rel=1e-5)
    one_hot = np.eye(4, dtype="float32")[labels]
    dice = [keras.losses.dice(one_hot[i], p[i], axis=(0, 1)).numpy()[:3].mean() for i in range(len(labels))]
    assert float(segmentation.DiceLoss()(labels, p)) == pytest.approx(np.mean(dice), rel=1e-4)


LOSSES = {
    "crossentropy": lambda: segmentation.PixelCrossentropy(),
    "focal": lambda: segmentation.PixelCrossentropy(2.0, (1, 2, 3, 4)),
    "tversky": lambda: segmentation.TverskyLoss(0.3, 0.7, (1, 2, 3, 4)),
    "dice": lambda: segmentation.DiceLoss(),
    "combined": lambda: segmentation.CombinedLoss(
        [segmentation.PixelCrossentropy(), segmentation.DiceLoss()], weights=(1, 2)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_predicted_where_the_label_is_ignored_changes_nothing(name):
    loss = LOSSES[name]()
    labels, p = truth_and_probabilities()
    other = np.where((labels == 255)[..., None], truth_and_probabilities(seed=1)[1], p)
    assert np.abs(other - p).max() > 0.1
    assert float(loss(labels, p)) == pytest.approx(float(loss(labels, other)), rel=1e-6)
    images = tf.Variable(p)
    with tf.GradientTape() as tape:
        value = loss(labels, images)
    gradient = tape.gradient(value, images).numpy()
    assert not np.any(gradient[labels == 255])
    assert np.isfinite(gradient).all()
    assert np.any(gradient[labels != 255])
    nothing = np.full_like(labels, 255)
    assert float(loss(nothing, p)) == 0
    halves = [float(loss(labels[part], p[part])) for part in (slice(0, 1), slice(1, 3))]
    assert (halves[0] + 2 * halves[1]) / 3 == pytest.approx(float(loss(labels, p)), rel=1e-5)
    assert np.isnan(float(loss(np.where(labels == 255, 255, 9), p)))
    config = keras.saving.serialize_keras_object(loss)
    assert float(keras.saving.deserialize_keras_object(config)(labels, p)) == float(loss(labels, p))


def test_weights_of_losses_that_cannot_be():
    with pytest.raises(ValueError, match="0 or more"):
        segmentation.DiceLoss((1.0, -1.0))
    with pytest.raises(ValueError, match="a weight for each of 4 classes, got 2"):
        segmentation.DiceLoss((1.0, 1.0))(*truth_and_probabilities())
    with pytest.raises(ValueError, match="a weight for each loss"):
        segmentation.CombinedLoss([segmentation.DiceLoss()], weights=(1, 2))


def test_the_networks_are_reached_through_the_package():
    assert zoo.segmentation.list_networks()[0] == "unet"
