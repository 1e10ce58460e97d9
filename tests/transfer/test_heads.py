"""Heads: their shapes, their ranges, that they train, and that swapping one keeps the trunk and touches nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop
from transfer.models.backbones import Backbone
from transfer.models.heads import Head, classifier, multi_label, regressor, several_heads, swap_head
from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel

H, W = 21, 34


def photos(n=5, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, H, W, 3)).astype("float32")


@pytest.fixture
def trunk():
    keras.utils.set_random_seed(0)
    image = keras.Input((H, W, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Multiply(name="weigh")([x, keras.layers.Conv2D(6, 1, activation="sigmoid", name="gate")(gate)])
    return Backbone("tiny", keras.Model(image, x, name="tiny"), EvaluationCrop((H, W)), None, None)


def output_of_last_map(model, images):
    return np.asarray(keras.Model(model.input, model.get_layer("weigh").output)(images))


@pytest.mark.parametrize(("pooling", "width"), [("average", 6), ("max", 6), ("both", 12)])
def test_poolings_against_numpy(trunk, pooling, width):
    model = classifier(trunk, 3, pooling=pooling)
    maps = output_of_last_map(model, photos())
    average, largest = maps.mean(axis=(1, 2)), maps.max(axis=(1, 2))
    features = {"average": average, "max": largest, "both": np.concatenate([average, largest], axis=1)}[pooling]
    kernel, bias = model.get_layer("predictions").get_weights()
    assert kernel.shape == (width, 3)
    logits = features @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(photos()), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(photos(1), verbose=0), expected[:1], atol=1e-5)


def test_hidden_layers_have_dropout_before_each_and_draw_differently(trunk):
    model = classifier(trunk, 3, hidden=[8, 7], dropout=0.3, seed=5)
    names = [layer.name for layer in model.layers[len(trunk.model.layers) :]]
    assert names == [
        *("avg_pool", "hidden1_dropout", "hidden1", "hidden2_dropout", "hidden2", "top_dropout", "predictions"),
    ]
    assert [model.get_layer(name).units for name in ("hidden1", "hidden2", "predictions")] == [8, 7, 3]
    assert len({model.get_layer(name).seed for name in names if name.endswith("dropout")}) == 3
    again = classifier(trunk, 3, hidden=[8, 7], dropout=0.3, seed=5)
    for mine, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in classifier(trunk, 3, dropout=0).layers)


def test_multi_label_gives_each_class_its_own_probability(trunk):
    model = multi_label(trunk, 4)
    model.get_layer("predictions").set_weights([np.zeros((6, 4)), np.array([0, 2, -2, 9])])
    np.testing.assert_allclose(model(photos(2)), [1 / (1 + np.exp([0, -2, 2, -9]))] * 2, atol=1e-6)
    assert multi_label(trunk, 1).output_shape == (None, 1)


def test_a_regressor_starts_at_the_mean_in_the_labels_unit(trunk):
    plain, scaled = regressor(trunk, 2), regressor(trunk, 2, mean=1500.0, deviation=400.0)
    np.testing.assert_allclose(scaled(photos()), 1500 + 400 * np.asarray(plain(photos())), rtol=1e-5)


def test_several_heads_train_together_and_are_saved(trunk, tmp_path):
    model = several_heads(
        trunk,
        {"kind": Head(3, hidden=[5]), "age": Head(1, "linear", mean=5, deviation=2), "tags": Head(2, "sigmoid")},
    )
    assert {name: output.shape for name, output in model.output.items()} == {
        "kind": (None, 3), "age": (None, 1), "tags": (None, 2),
    }  # fmt: skip
    objectives = Objectives({"kind": SingleLabel(), "age": Regression(), "tags": MultiLabel()}, weights={"age": 0.1})
    labels = {
        "kind": np.array([0, 1, 2, 1, 0]),
        "age": np.array([1, 4, 7, 6, 3], "float32"),
        "tags": np.array([[0, 1], [1, 0], [1, 1], [0, 0], [0, 1]]),
    }
    data = tf.data.Dataset.from_tensor_slices((photos(), labels)).batch(2)
    objectives.check_labels(data.element_spec[1], model, "train")
    model.compile(
        keras.optimizers.Adam(0.05),
        objectives.loss(),
        metrics=objectives.metrics(),
        loss_weights=objectives.loss_weights(),
    )
    losses = model.fit(data, epochs=10, verbose=0, shuffle=False).history
    for name in ("loss", "kind_loss", "age_loss"):
        assert losses[name][-1] < losses[name][0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")(photos())
    for name, value in model(photos()).items():
        np.testing.assert_allclose(again[name], value, atol=1e-6)


@pytest.mark.parametrize(("activation", "total"), [("softmax", 1), ("sigmoid", None), ("linear", None)])
def test_swapping_the_head_keeps_the_trunk_and_touches_nothing(trunk, activation, total):
    model = classifier(trunk, 3, hidden=[8])
    model.get_layer("norm").set_weights([np.random.default_rng(i).uniform(0.5, 1.5, 6) for i in range(4)])
    before, outputs = model.get_weights(), np.asarray(model(photos()))
    swapped = swap_head(model, 5, activation=activation, pooling="both", seed=3)
    assert swapped.output_shape == (None, 5)
    assert not any(layer.name == "hidden1" for layer in swapped.layers)
    np.testing.assert_array_equal(output_of_last_map(swapped, photos()), output_of_last_map(model, photos()))
    if total:
        np.testing.assert_allclose(np.sum(swapped(photos()), axis=1), total, atol=1e-5)
    swapped.set_weights([weight + 1 for weight in swapped.get_weights()])
    for mine, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    np.testing.assert_array_equal(model(photos()), outputs)


@pytest.mark.slow
def test_a_head_of_convolutions_is_left_out_too():
    """MobileNet's classifier is a convolution on the pooled map: a map of one pixel is no trunk's end."""
    model = keras.applications.MobileNet((64, 96, 3), alpha=0.25, weights=None, include_top=True, classes=7)
    swapped = swap_head(model, 4)
    assert swapped.output_shape == (None, 4)
    assert swapped.get_layer("avg_pool").input.shape[1:] == (2, 3, 256)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: classifier(t, 1), "at least 2 classes apart, got num_classes=1"),
        (lambda t: classifier(t, 2, pooling="sum"), "pooling is one of average, max, both; got 'sum'"),
        (lambda t: classifier(t, 2, hidden=[0]), r"width of at least 1, got \(0,\)"),
        (lambda t: multi_label(t, 2, dropout=1), r"dropout is a rate in \[0, 1\), got 1"),
        (lambda t: multi_label(t, 0), "at least 1 output, got 0"),
        (lambda t: regressor(t, deviation=0), "deviation a positive one.*all labels alike"),
        (lambda t: several_heads(t, {}), "at least one head"),
        (lambda t: several_heads(t, {"_age": Head(2)}), "does not begin with _; got '_age'"),
        (lambda t: Head(2, "tanh"), "activation is one of softmax, sigmoid, linear; got 'tanh'"),
        (lambda t: Head(2, mean=4), "give them with activation='linear'"),
        (lambda t: swap_head(keras.Model(x := keras.Input((4, 5, 3)), keras.layers.Flatten()(x)), 2), "no feature map"),
    ],
)
def test_what_makes_no_head_is_refused(trunk, make, message):
    with pytest.raises(ValueError, match=message):
        make(trunk)
