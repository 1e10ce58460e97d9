"""Optimizers: rates over time and depth, averages and accumulation, in a plain compile and fit and in fine_tune."""

from dataclasses import fields

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.training import freezing
from transfer.training.fine_tuning import Plan, TrainingDiverged, fine_tune
from transfer.training.guard import TrainableChanged
from transfer.training.optimization import Optimization, layer_rates, learning_rate_of
from transfer.training.soft_labels import SoftLabel

L = keras.layers
H, W = 19, 27
HEAD_ALONE = Plan(head_epochs=1, epochs=0)


def network(seed=0, norms=True):
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((H, W, 3), name="image")
    for level in (1, 2, 3):
        x = L.Conv2D(4, 3, strides=2, padding="same", name=f"conv{level}")(x)
        x = L.BatchNormalization(name=f"bn{level}")(x) if norms else x
        x = L.ReLU(name=f"relu{level}")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, L.Dense(3, activation="softmax", name="predictions")(x))


def photos(n=20, seed=0, batch_size=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype("int32")
    images = rng.uniform(0, 1, (n, H, W, 3)).astype("float32")
    images[np.arange(n), ..., labels] += 1
    return tf.data.Dataset.from_tensor_slices((120 * images, labels)).batch(batch_size)


def planned(arguments):
    """The arguments of `fine_tune`, with those of its plan in one."""
    names = {field.name for field in fields(Plan)}
    rest = {name: value for name, value in arguments.items() if name not in names}
    return rest | {"plan": Plan(**{name: value for name, value in arguments.items() if name in names})}


def tune(model, **arguments):
    settings = {"head_epochs": 1, "epochs": 2, "unfreeze": "c2", "progress": False, "learning_rate": 0.01}
    return fine_tune(model, photos(), photos(9, 1), **planned({**settings, **arguments}))


# Depth


def test_rates_fall_level_by_level():
    assert layer_rates(network(), 0.5) == {
        "conv1": 0.125, "bn1": 0.125, "conv2": 0.25, "bn2": 0.25, "conv3": 0.5, "bn3": 0.5, "predictions": 1.0,
    }  # fmt: skip


def test_each_level_is_changed_by_its_own_rate_in_a_plain_fit():
    """One step of SGD without momentum: the change is the rate times the gradient, which is the same for both."""
    changes = {}
    for decay in (1.0, 0.25):
        model = network(norms=False)
        before = {layer.name: layer.get_weights() for layer in model.layers}
        optimizer = Optimization("sgd", momentum=0.0, layer_decay=decay).build(model, 0.1, steps=1)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        images, labels = next(iter(photos()))
        model.fit(images, labels, batch_size=len(images), verbose=0)
        changes[decay] = {
            name: model.get_layer(name).get_weights()[0] - before[name][0] for name in ("conv1", "conv3", "predictions")
        }
    for name, factor in (("conv1", 0.25**3), ("conv3", 0.25), ("predictions", 1.0)):
        expected = factor * changes[1.0][name]
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(changes[0.25][name], expected, rtol=2e-2, atol=1e-7)


@pytest.mark.slow
def test_a_compiled_model_with_rates_by_depth_is_saved_and_loaded(tmp_path):
    model = network()
    settings = Optimization(layer_decay=0.5, schedule="cosine", warm_up=0.1)
    model.compile(settings.build(model, 0.1, steps=10), "sparse_categorical_crossentropy")
    model.fit(photos(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert learning_rate_of(again.optimizer) == pytest.approx(learning_rate_of(model.optimizer))
    for fitted in (model, again):
        fitted.fit(photos(), verbose=0)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# Time


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.5, 0]),
        ({"warm_up": 0.5}, [0, 1, 1]),
        ({"warm_up": 0.5, "schedule": "cosine"}, [0, 1, 0]),
    ],
)
def test_the_rate_over_time(settings, expected):
    optimizer = Optimization(**settings).build(network(), 0.1, steps=10)
    rates = []
    for step in (0, 5, 10):
        optimizer.iterations.assign(step)
        rates.append(learning_rate_of(optimizer))
    assert rates == pytest.approx([0.1 * rate for rate in expected], abs=1e-7)


def test_the_rate_of_each_epoch_is_in_the_history():
    rates = [row["learning_rate"] for row in tune(network(), optimization=Optimization(schedule="cosine")).rows]
    assert rates == pytest.approx([0, 0.005, 0], abs=1e-6)


def test_a_schedule_needs_to_know_the_number_of_batches():
    endless = photos().filter(lambda *_: True)
    with pytest.raises(ValueError, match="needs the number of batches"):
        fine_tune(network(), endless, photos(9), cache=False, optimization=Optimization(warm_up=0.1), progress=False)


# Averages and accumulation


@pytest.mark.parametrize("layer_decay", [1.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_averaged_weights_are_what_is_validated_and_kept(layer_decay):
    model = network()
    history = tune(model, epochs=3, optimization=Optimization(ema=0.9, layer_decay=layer_decay))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(photos(9, 1), verbose=0)
    assert loss == pytest.approx(history.best["val_loss"], abs=1e-5)
    assert accuracy == pytest.approx(history.best["val_accuracy"])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_micro_batches_give_the_gradient_of_the_whole(name):
    ends = []
    for accumulate in (1, 4):
        model = network(norms=False)
        settings = Optimization(name, accumulate=accumulate, momentum=0.0)
        model.compile(settings.build(model, 0.01, steps=1), "sparse_categorical_crossentropy")
        model.fit(photos(16, batch_size=16 // accumulate), epochs=1, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(ends[0], network(norms=False).get_weights(), strict=True))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# Phases


def test_stages_unfreeze_level_after_level():
    history = tune(network(), unfreeze=("c3", "c2"), epochs=1)
    assert [phase.name for phase in history.phases] == ["head", "top c3", "top c2"]
    assert [phase.trained for phase in history.phases] == [15, 15 + 148, 15 + 2 * 148]
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert all(phase.cached for phase in history.phases)


def test_patience_ends_a_phase():
    history = tune(network(), epochs=6, learning_rate=1e-9, head_learning_rate=1e-9, head_epochs=5, patience=2)
    assert [len(phase.rows) for phase in history.phases] < [5, 6]


def test_classes_can_count_differently():
    for cache in (True, False):
        plain, weighed = (
            tune(network(), class_weight=weights, epochs=0, head_learning_rate=1e-9, cache=cache).rows[0]["loss"]
            for weights in (None, {0: 3.0, 1: 3.0, 2: 3.0})
        )
        assert weighed == pytest.approx(3 * plain, rel=1e-4)


def test_mixed_labels_are_trained_on():
    def soft(data):
        return data.map(lambda images, labels: (images, tf.one_hot(labels, 3)))

    history = fine_tune(
        network(), soft(photos()), soft(photos(9)), objective=SoftLabel(), plan=HEAD_ALONE, progress=False
    )
    assert history.phases[0].cached
    with pytest.raises(ValueError, match=r"labels of train have to be shares of the classes"):
        fine_tune(network(), photos(), soft(photos(9)), objective=SoftLabel(), progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_norms": "free"}, "batch_norms is one of frozen, re-estimated, trained"),
        ({"patience": 0}, "patience is a number of epochs"),
        ({"class_weight": {0: 1.0}, "objective": SoftLabel()}, "class_weight is for a single label"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tune(network(), **arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adagrad"}, 'is "adam" or "sgd", got \'adagrad\''),
        ({"schedule": "linear"}, "constant"),
        ({"warm_up": 1.0}, r"warm_up is in \[0, 1\)"),
        ({"ema": -0.1}, "ema is in"),
        ({"layer_decay": 0.0}, r"factor in \(0, 1\]"),
        ({"accumulate": 0}, "at least 1"),
        ({"weight_decay": -1.0}, "weight_decay is 0 or more"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimization(**settings)


# Guard


def test_labels_outside_the_classes_are_named():
    wrong = photos().map(lambda images, labels: (images, labels + 1))
    for cache in (True, False):
        with pytest.raises(ValueError, match=r"labels of train have to be in 0\.\.2"):
            fine_tune(network(), wrong, photos(9), cache=cache, plan=HEAD_ALONE, progress=False)
    with pytest.raises(ValueError, match=r"labels of valid have to be in 0\.\.2"):
        fine_tune(network(), photos(), wrong, progress=False)


@pytest.mark.parametrize("cache", [True, False])
def test_the_batch_that_gives_nan_is_written_and_the_first_weights_come_back(cache):
    images = np.concatenate([batch.numpy() for batch, _ in photos(24)])
    labels = np.concatenate([batch.numpy() for _, batch in photos(24)])
    images[17, 3, 4, 1] = np.nan  # in the third batch
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    model = network()
    before = model.get_weights()
    with pytest.raises(TrainingDiverged, match=r"that it began with.* labels of this batch are in .*\.npz") as error:
        fine_tune(model, data, photos(9), cache=cache, plan=HEAD_ALONE, progress=False)
    path = str(error.value).split("this batch are in ")[1].split(". Try")[0]
    with np.load(path) as batch:
        assert np.isnan(batch["inputs"]).any()
        assert len(batch["labels"]) == 8
        if not cache:
            np.testing.assert_array_equal(batch["inputs"], images[16:24])
            np.testing.assert_array_equal(batch["labels"], labels[16:24])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_trainable_changed_without_compiling_is_found():
    class Release(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.get_layer("conv1").trainable = True

    with pytest.raises(TrainableChanged, match="`trainable` of conv1 was changed after compiling"):
        tune(network(), callbacks=[Release()])


# Batch norms


@pytest.mark.parametrize("cache", [True, False])
def test_batch_norms_are_re_estimated_on_the_training_images(cache):
    model, plain = network(), network()
    tune(model, batch_norms="re-estimated", cache=cache)
    images = np.concatenate([batch.numpy() for batch, _ in photos().unbatch().batch(20)])
    first = keras.Model(plain.input, plain.get_layer("conv1").output)
    batches = [np.asarray(first(images[i : i + 8])) for i in range(0, 20, 8)]
    means = np.mean([maps.mean(axis=(0, 1, 2)) for maps in batches], axis=0)
    variances = np.mean([maps.var(axis=(0, 1, 2)) for maps in batches], axis=0)
    norm = model.get_layer("bn1")
    np.testing.assert_allclose(norm.moving_mean, means, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-3)
    assert not norm.trainable
    assert norm.momentum == plain.get_layer("bn1").momentum
    np.testing.assert_array_equal(norm.gamma, plain.get_layer("bn1").gamma)


def test_without_the_asking_they_stay():
    model = network()
    tune(model)
    np.testing.assert_array_equal(model.get_layer("bn1").moving_mean, np.zeros(4))
    assert freezing.frozen_layers(model)
