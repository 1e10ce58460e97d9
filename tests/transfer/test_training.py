"""Fine-tuning on problems small enough to be learnt in seconds, and every way in which it can go wrong."""

import copy
from dataclasses import fields

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.training.fine_tuning import Plan, TrainingDiverged, fine_tune
from transfer.training.freezing import FrozenWeightsChanged

H, W = 19, 27


def make_model(seed=0, classes=3):
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((H, W, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(x)
    for level, filters in enumerate((4, 8), 1):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", name=f"conv{level}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{level}")(x)
        x = keras.layers.ReLU(name=f"relu{level}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dropout(0.2, name="top_dropout")(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax", name="predictions")(x))


def colours(n, seed, *, batch_size=8):
    """Noise in which the strongest colour is the class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n).astype("int32")
    images = generator.uniform(0, 120, (n, H, W, 3)).astype("float32")
    images[np.arange(n), ..., labels] += 60
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)


@pytest.fixture(scope="module")
def data():
    return colours(50, 0), colours(20, 1)


def planned(arguments):
    """The arguments of `fine_tune`, with those of its plan in one."""
    names = {field.name for field in fields(Plan)}
    rest = {name: value for name, value in arguments.items() if name not in names}
    return rest | {"plan": Plan(**{name: value for name, value in arguments.items() if name in names})}


def tune(model, data, **arguments):
    defaults = {"head_epochs": 2, "epochs": 2, "unfreeze": "c2", "progress": False}
    rates = {"head_learning_rate": 0.02, "learning_rate": 0.01}
    return fine_tune(model, *data, **planned({**defaults, **rates, **arguments}))


def accuracy(model, dataset):
    return np.mean(np.concatenate([np.argmax(model(images), axis=1) == labels.numpy() for images, labels in dataset]))


def test_two_phases_are_reported_epoch_by_epoch(data):
    model = make_model()
    history = tune(model, data, head_epochs=2, epochs=3)
    assert [(row["phase"], row["epoch"]) for row in history.rows] == [
        ("head", 1), ("head", 2), ("top", 3), ("top", 4), ("top", 5),
    ]  # fmt: skip
    assert [phase.name for phase in history.phases] == ["head", "top"]
    assert [phase.unfrozen for phase in history.phases] == ["none", "c2"]
    # Trained: the dense layer, 8 x 3 + 3; with it the second convolution, 3 x 3 x 4 x 8 + 8, and no batch norm.
    assert [phase.trained for phase in history.phases] == [27, 27 + 296]
    assert all(phase.trained + phase.frozen == model.count_params() for phase in history.phases)
    assert [row["learning_rate"] for row in history.rows] == pytest.approx([0.02] * 2 + [0.01] * 3)
    assert history.seconds == pytest.approx(history.extraction_seconds + sum(phase.seconds for phase in history.phases))
    assert [phase.cached for phase in history.phases] == [True, True]
    assert history.not_cached == ""
    assert all(row["seconds"] > 0 for row in history.rows)


def test_it_learns(data):
    model = make_model()
    history = tune(model, data, head_epochs=3, epochs=12)
    assert history.best["val_accuracy"] >= 0.9
    assert accuracy(model, data[1]) == pytest.approx(history.best["val_accuracy"])


def test_only_what_was_said_has_changed(data):
    model = make_model()
    before = {layer.name: layer.get_weights() for layer in model.layers}
    tune(model, data, epochs=5)
    changed = [
        layer.name
        for layer in model.layers
        if any(np.any(a != b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    ]
    assert changed == ["conv2", "predictions"]


class Ruin(keras.callbacks.Callback):
    """From an epoch on (counted over all phases) the model is made useless, so that an earlier epoch is the best."""

    def __init__(self, epoch):
        super().__init__()
        self.left = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.left -= 1
        if self.left <= 0:
            self.model.get_layer("predictions").bias.assign([1e4, -1e4, -1e4])


@pytest.mark.parametrize("epoch", [2, 4])
def test_the_best_epoch_of_both_phases_is_restored(data, epoch):
    model = make_model()
    ruin = Ruin(epoch)
    history = tune(model, data, head_epochs=2, epochs=3, callbacks=[ruin])
    assert history.best["epoch"] < epoch
    assert history.rows[-1]["val_accuracy"] < history.best["val_accuracy"]
    assert accuracy(model, data[1]) == pytest.approx(history.best["val_accuracy"])


def test_of_equally_accurate_epochs_the_lowest_loss_is_the_best(data):
    history = tune(make_model(), data, head_epochs=0, epochs=25)
    top = max(row["val_accuracy"] for row in history.rows)
    tied = [row for row in history.rows if row["val_accuracy"] == top]
    assert len(tied) > 1
    assert history.best["val_loss"] == min(row["val_loss"] for row in tied)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(data):
    model = make_model()
    start = model.get_weights()
    ends = []
    for seed in (3, 3, 4):
        model.set_weights(start)
        keras.random.uniform((2,))  # what was drawn before does not matter
        tune(model, data, seed=seed)
        ends.append(model.get_weights())
    for first, second in zip(ends[0], ends[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(np.any(a != b) for a, b in zip(ends[0], ends[2], strict=True))


def test_it_compiles_anew_whatever_the_model_was_compiled_for(data):
    model = make_model()
    model.trainable = False
    model.compile("sgd", "mse")
    before = model.get_layer("conv2").get_weights()[0]
    tune(model, data)
    assert np.abs(model.get_layer("conv2").get_weights()[0] - before).max() > 0


@pytest.mark.parametrize(
    ("arguments", "phases"),
    [
        ({"head_epochs": 0}, ["top"]),
        ({"epochs": 0}, ["head"]),
        ({"unfreeze": "none"}, ["head"]),
        ({"unfreeze": 0.0}, ["head"]),
        ({"unfreeze": "0.0"}, ["head"]),
        ({"unfreeze": "all", "head_epochs": 1, "epochs": 1}, ["head", "top"]),
    ],
)
def test_a_phase_can_be_left_out(data, arguments, phases):
    assert [phase.name for phase in tune(make_model(), data, **arguments).phases] == phases


class Touch(keras.callbacks.Callback):
    """Changes a weight that was said to be frozen, by the smallest amount there is."""

    def __init__(self, layer, index, phase_epochs):
        super().__init__()
        self.layer, self.index, self.phase_epochs = layer, index, phase_epochs

    def on_train_end(self, logs=None):
        if self.params["epochs"] == self.phase_epochs:
            variable = self.model.get_layer(self.layer).weights[self.index]
            variable.assign(np.nextafter(variable.numpy(), np.float32(9)))


@pytest.mark.parametrize(
    ("layer", "index", "phase_epochs"),
    [("conv1", 0, 1), ("conv2", 0, 1), ("bn1", 2, 1), ("bn2", 3, 2), ("conv1", 1, 2)],
)
def test_the_guard_finds_a_frozen_weight_that_changed(data, layer, index, phase_epochs):
    touch = Touch(layer, index, phase_epochs)
    with pytest.raises(FrozenWeightsChanged, match=f"frozen layers changed during training: {layer}\\."):
        tune(make_model(), data, head_epochs=1, epochs=2, callbacks=[touch])


def test_the_guard_finds_a_batch_norm_that_was_let_go(data):
    """What textbook code does by setting `trainable` on everything: in training mode the statistics move."""

    class Release(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.get_layer("bn2").trainable = True

    with pytest.raises(FrozenWeightsChanged, match="bn2"):
        tune(make_model(), data, callbacks=[Release()])


def test_a_diverging_loss_says_where_and_leaves_the_best_weights(data):
    model = make_model()

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if self.params["epochs"] == 2 and epoch == 1:
                self.model.get_layer("predictions").bias.assign([np.nan] * 3)

    with pytest.raises(
        TrainingDiverged, match=r"loss is nan in phase 'top', epoch 2, batch 1, .* rate of 0\.01"
    ) as error:
        tune(model, data, head_epochs=3, epochs=2, callbacks=[Poison()])
    assert "best weights so far" in str(error.value)
    assert all(np.all(np.isfinite(weight)) for weight in model.get_weights())


def test_a_model_that_diverges_at_once_says_that_its_weights_are_lost(data):
    model = make_model()
    model.get_layer("predictions").bias.assign([np.nan] * 3)
    with pytest.raises(TrainingDiverged, match="weights are lost"):
        tune(model, data)


def test_callbacks_of_ones_own_can_stop_a_phase(data):
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", True))
    history = tune(make_model(), data, head_epochs=5, epochs=5, callbacks=[stop])
    assert [row["phase"] for row in history.rows] == ["head", "top"]


@pytest.mark.parametrize("cache", [True, False])
def test_keras_own_logs_of_all_phases(data, tmp_path, cache):
    csv, board = tmp_path / "log.csv", tmp_path / "board"
    callbacks = [keras.callbacks.CSVLogger(str(csv), append=True), keras.callbacks.TensorBoard(str(board))]
    history = tune(make_model(), data, head_epochs=2, epochs=1, cache=cache, callbacks=callbacks)
    header, *rows = (line.split(",") for line in csv.read_text().splitlines())
    losses = [float(row[header.index("val_loss")]) for row in rows]
    assert losses == pytest.approx([row["val_loss"] for row in history.rows])
    written = {path.parent.name: path.stat().st_size for path in board.rglob("*tfevents*")}
    assert written.keys() == {"train", "validation"}
    assert min(written.values()) > 0


def test_progress_goes_to_stderr_one_line_an_epoch(data, capsys):
    tune(make_model(), data, head_epochs=1, epochs=2, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert [line.split(" loss")[0].split() for line in lines] == [
        ["epoch", "1/3", "head"], ["epoch", "2/3", "top"], ["epoch", "3/3", "top"],
    ]  # fmt: skip
    assert "of this phase left" in lines[1]
    assert "left" not in lines[2]
    tune(make_model(), data, head_epochs=1, epochs=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head_epochs": -1}, "head_epochs is a number of epochs, 0 or more; got -1"),
        ({"head_epochs": 0, "epochs": 0}, "nothing to train: head_epochs=0, epochs=0"),
        ({"head_epochs": 0, "unfreeze": "none"}, "nothing to train"),
        ({"learning_rate": 0.0}, "learning_rate is a positive number, got 0"),
        ({"head_learning_rate": float("inf")}, "head_learning_rate is a positive number"),
        ({"unfreeze": "c7"}, "no part 'c7' to unfreeze"),
        ({"unfreeze": 1.5}, r"in 0\.\.1"),
    ],
)
def test_bad_arguments_are_refused_before_training(data, arguments, message):
    model = make_model()
    before = copy.deepcopy(model.get_weights())
    with pytest.raises(ValueError, match=message):
        tune(model, data, **arguments)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_data_that_does_not_fit_is_refused(data):
    train, valid = data
    one_hot = train.map(lambda images, labels: (images, tf.one_hot(labels, 3)))
    with pytest.raises(ValueError, match=r"labels of train have to be .*not one-hot rows"):
        tune(make_model(), (one_hot, valid))
    with pytest.raises(ValueError, match=r"labels of valid have to be .*got labels .* of float32"):
        tune(make_model(), (train, valid.map(lambda images, labels: (images, tf.cast(labels, tf.float32)))))
    with pytest.raises(ValueError, match=r"train has to be .*got images"):
        tune(make_model(), (train.map(lambda images, labels: (images[:, 1:], labels)), valid))
    with pytest.raises(ValueError, match="train has to be"):
        tune(make_model(), (train.map(lambda images, labels: images), valid))
    with pytest.raises(ValueError, match="expected validation data, since SingleLabel does not measure"):
        tune(make_model(), (train, None))
    for bad in (train.repeat(), train.take(0)):
        with pytest.raises(ValueError, match="valid has to be a finite number of batches"):
            tune(make_model(), (train, bad))
