import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.training.learning_rates import lr_find
from transfer.training.optimization import Optimization

H, W = 13, 17


def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((H, W, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(keras.layers.Dropout(0.1)(x)))


def colours(n=24):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n).astype("int32")
    images = rng.uniform(0, 120, (n, H, W, 3)).astype("float32")
    images[np.arange(n), ..., labels] += 60
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


@pytest.fixture(scope="module")
def found():
    model = network()
    before = [variable.numpy() for variable in [*model.weights, *model.non_trainable_variables]]
    curve = lr_find(model, colours(), optimization=Optimization("sgd"), lowest=1e-5, highest=1e3, steps=60)
    return model, before, curve


def test_it_ends_where_the_loss_leaves_and_suggests_less(found):
    _, _, curve = found
    assert 0.01 < curve.suggestion < 1, "the loss falls from 0.1 on, and rises from 1 on"
    assert curve.losses[6:].min() < curve.losses[6] - 0.05, "it learnt on the way"
    assert curve.rates[-1] < 1e3, "and diverged before the end"
    assert len(curve.rates) == len(curve.losses)
    assert np.all(np.diff(curve.rates) > 0)


def test_the_model_is_what_it_was(found):
    model, before, _ = found
    for variable, value in zip([*model.weights, *model.non_trainable_variables], before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_it_is_drawn(found):
    figure = found[2].plot()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found[2].losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lowest": 1.0, "highest": 0.1}, "0 < lowest < highest"), ({"steps": 5}, "at least 10 steps")],
)
def test_bad_ranges(options, message):
    with pytest.raises(ValueError, match=message):
        lr_find(network(), colours(), **options)


def test_a_loss_that_is_no_number_is_said():
    model = network()
    model.layers[-1].bias.assign([np.nan] * 3)
    with pytest.raises(ValueError, match="not a number at the lowest rate"):
        lr_find(model, colours(), steps=10)
