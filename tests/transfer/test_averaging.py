"""Averaged weights, and the statistics of batch norms that belong to them, held against a loop by hand."""

import keras
import numpy as np
import pytest

from transfer.training.averaging import AveragedWeights, AverageStatistics

MOMENTUM = 0.8


def small(seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 8, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.BatchNormalization(momentum=0.5, name="trained")(x)
    x = keras.layers.BatchNormalization(momentum=0.5, name="frozen")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    model.get_layer("frozen").trainable = False
    return model


def compiled(model, momentum=MOMENTUM, **options):
    optimizer = keras.optimizers.SGD(0.1, use_ema=momentum > 0, ema_momentum=momentum or 0.99, **options)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    return AveragedWeights(optimizer, model, momentum=momentum)


class Note(keras.callbacks.Callback):
    """Keeps the values of every step."""

    def __init__(self, variables):
        super().__init__()
        self.variables, self.values = variables, []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append([np.array(variable) for variable in self.variables])


def data(n=12):
    draw = np.random.default_rng(0)
    return draw.normal(3, 2, (n, 6, 8, 3)).astype("float32"), draw.normal(size=(n, 2)).astype("float32")


def test_statistics_are_averaged_with_the_weights():
    model = small()
    averages = compiled(model)
    norm = model.get_layer("trained")
    note = Note([model.layers[1].kernel, norm.moving_mean, norm.moving_variance])
    model.fit(*data(), batch_size=3, epochs=2, shuffle=False, verbose=0, callbacks=[AverageStatistics(averages), note])
    for variable, values in zip(note.variables, zip(*note.values, strict=True), strict=True):
        expected = values[0]
        for value in values[1:]:
            expected = MOMENTUM * expected + (1 - MOMENTUM) * value
        with averages.in_place():
            np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)


def test_what_was_trained_comes_back_bit_for_bit():
    model = small()
    averages = compiled(model)
    callback = AverageStatistics(averages)
    model.fit(*data(), batch_size=3, verbose=0, callbacks=[callback, Note([])])
    # `fit` puts the averaged weights in place at its end.
    before = model.get_weights()
    with averages.in_place():
        inside = model.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, inside, strict=True))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_first_step_is_no_average_with_zeros(accumulate):
    model = small()
    options = {"gradient_accumulation_steps": accumulate} if accumulate > 1 else {}
    averages = compiled(model, **options)
    norm = model.get_layer("trained")
    note = Note([norm.moving_variance])
    x, y = data(3 * accumulate)
    callbacks = [AverageStatistics(averages), note]
    model.fit(x, y, batch_size=3, shuffle=False, verbose=0, callbacks=callbacks)
    with averages.in_place():
        np.testing.assert_array_equal(norm.moving_variance, note.values[-1][0])


def test_nothing_changes_without_averages_or_before_the_first_step():
    for momentum in (0.0, MOMENTUM):
        model = small()
        averages = compiled(model, momentum)
        before = model.get_weights()
        with averages.in_place():
            for one, other in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)


def test_only_statistics_that_train_are_averaged_and_are_part_of_the_optimizers_state():
    model = small()
    averages = compiled(model)
    names = [variable.name for variable in model.optimizer.variables if "moving" in variable.name]
    assert len(names) == 2
    assert averages.used
    assert len(averages.trained()) == len(model.trainable_variables) + 2
