"""The guard in a compile and fit of one's own."""

import keras
import numpy as np
import pytest

from transfer.training.freezing import FrozenWeightsChanged
from transfer.training.guard import Guard, TrainableChanged

L = keras.layers


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 13, 3))
    x = L.BatchNormalization(name="norm")(L.Conv2D(4, 3, name="conv")(image))
    model = keras.Model(image, L.Dense(2, name="head")(L.GlobalAveragePooling2D()(x)))
    for name in ("conv", "norm"):
        model.get_layer(name).trainable = False
    model.compile("sgd", "mse")
    return model


def fit(model, *callbacks):
    rng = np.random.default_rng(0)
    images, targets = rng.uniform(0, 1, (6, 9, 13, 3)), np.ones((6, 2))
    model.fit(images, targets, batch_size=3, verbose=0, callbacks=[*callbacks, Guard()])


def test_nothing_is_said_where_all_is_well(model):
    before = model.get_layer("head").get_weights()[0]
    fit(model)
    assert np.abs(model.get_layer("head").get_weights()[0] - before).max() > 0
    fit(model)


def test_unfreezing_without_compiling_is_found_before_the_training(model):
    fit(model)
    model.get_layer("conv").trainable = True
    before = model.get_weights()
    with pytest.raises(TrainableChanged, match=r"`trainable` of conv was changed after compiling.*Compile again"):
        fit(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model.compile("sgd", "mse")
    fit(model)


def test_freezing_without_compiling_is_found_too(model):
    fit(model)
    model.get_layer("head").trainable = False
    with pytest.raises(TrainableChanged, match="of head was"):
        fit(model)


def test_a_callback_that_unfreezes_is_found_at_the_end_of_the_epoch(model):
    release = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: setattr(model.get_layer("conv"), "trainable", True)
    )
    with pytest.raises(TrainableChanged, match="conv"):
        fit(model, release)


def test_statistics_that_move_are_found(model):
    """A batch norm in training mode in a graph that has `trainable` set behind Keras' back."""
    touch = keras.callbacks.LambdaCallback(on_train_end=lambda _: model.get_layer("norm").moving_mean.assign([1.0] * 4))
    with pytest.raises(FrozenWeightsChanged, match="norm"):
        fit(model, touch)


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_that_is_frozen_inside_of_a_model_is_watched(inside):
    layers = [keras.Input((3,)), keras.layers.Dense(2, name="base")]
    trunk = keras.Sequential(layers, name="trunk")
    model = keras.Sequential([keras.Input((3,)), trunk, keras.layers.Dense(1)])
    frozen = trunk.layers[0] if inside else trunk
    frozen.trainable = False
    model.compile("sgd", "mse")
    change = keras.callbacks.LambdaCallback(on_train_end=lambda _: trunk.layers[0].bias.assign([1.0, 2.0]))
    with pytest.raises(FrozenWeightsChanged, match="trunk/base"):
        model.fit(np.zeros((4, 3)), np.zeros((4, 1)), callbacks=[change, Guard()], verbose=0)
    let_go = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: setattr(frozen, "trainable", True))
    with pytest.raises(TrainableChanged, match="trunk/base"):
        model.fit(np.zeros((4, 3)), np.zeros((4, 1)), callbacks=[let_go, Guard()], verbose=0)
