"""A training that was stopped at any epoch ends with the weights of one that was not."""

import os
import signal
import subprocess
import sys
from dataclasses import fields

import keras
import numpy as np
import pytest

from pipelines import EvaluationCrop, Samples, augmentation, batches
from transfer.training.checkpoints import Checkpoint, Position
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.optimization import Optimization

H, W = 13, 17


def network():
    keras.utils.set_random_seed(0)
    image = x = keras.Input((H, W, 3))
    for level in range(2):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"conv{level}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"bn{level}")(x))
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


def photos(n=20, seed=0, **options):
    """Pictures of noise; with options, shuffled anew and changed at random in each pass."""
    rng = np.random.default_rng(seed)
    samples = Samples(rng.integers(0, 256, (n, H, W, 3), "uint8"), rng.integers(0, 3, n), [f"{i}" for i in range(n)])
    crop = EvaluationCrop(size=(H, W), fraction=1.0)
    return batches(samples, crop, batch_size=8, seed=seed, **options)


class Stopped(Exception):
    pass


class StopAt(keras.callbacks.Callback):
    """Ends the training in the middle of an epoch, counted over all phases."""

    def __init__(self, epoch):
        super().__init__()
        self.left = epoch

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.left -= 1
            if self.left == 0:
                raise Stopped


def planned(arguments):
    """The arguments of `fine_tune`, with those of its plan in one."""
    names = {field.name for field in fields(Plan)}
    rest = {name: value for name, value in arguments.items() if name not in names}
    return rest | {"plan": Plan(**{name: value for name, value in arguments.items() if name in names})}


def tune(model, **arguments):
    settings = {"head_epochs": 2, "epochs": 3, "unfreeze": 0.5, "learning_rate": 0.01, "progress": False, "seed": 4}
    train = photos(shuffle=True, augment=augmentation("light"))
    return fine_tune(model, train, photos(9, 1), **planned({**settings, **arguments}))


class StopBefore(keras.callbacks.Callback):
    """Ends the training before a batch, counted from where it began."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Stopped


# Two phases of two epochs of three batches. Stops before the first batch, in the middle of an epoch, between epochs,
# between phases, and in the middle of the later phase.
STOPS = (0, 1, 3, 6, 10)
AVERAGED = Optimization(schedule="cosine", warm_up=0.2, ema=0.9)
CASES = [
    {"cache": False, "optimization": AVERAGED},
    pytest.param({}, marks=pytest.mark.slow),
    pytest.param({"cache": False}, marks=pytest.mark.slow),
    pytest.param({"optimization": AVERAGED}, marks=pytest.mark.slow),
    # The head's phase is cached, the other is not.
    pytest.param({"unfreeze": "all"}, marks=pytest.mark.slow),
    pytest.param(
        {"optimization": Optimization(layer_decay=0.5, ema=0.9, accumulate=2), "batch_norms": "re-estimated"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_it_goes_on_as_if_nothing_had_happened(tmp_path, settings):
    """Stopped again and again, each time at another boundary; the state is kept after each batch."""
    settings = {"head_epochs": 2, "epochs": 2, **settings}
    model = network()
    history = tune(model, **settings)
    path = tmp_path / "state" / "checkpoint.npz"
    for first, stop in zip((0, *STOPS), STOPS, strict=False):
        with pytest.raises(Stopped):
            tune(network(), checkpoint=Checkpoint(path, share=1.0), callbacks=[StopBefore(stop - first)], **settings)
        assert path.exists() == (stop > 0)
    resumed = network()
    found = tune(resumed, checkpoint=path, **settings)
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    columns = ("epoch", "phase", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    assert [[row[name] for name in columns] for row in found.rows] == [
        [row[name] for name in columns] for row in history.rows
    ]
    assert [phase.name for phase in found.phases] == ["head", "top"]
    assert found.best["epoch"] == history.best["epoch"]


@pytest.mark.slow
def test_keeping_the_state_changes_nothing(tmp_path):
    model, plain = network(), network()
    tune(plain)
    tune(model, checkpoint=tmp_path / "checkpoint.npz")
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
    again = tune(model, checkpoint=tmp_path / "checkpoint.npz")  # all is done already
    assert len(again.rows) == 5


@pytest.mark.slow
def test_a_phase_that_a_callback_ended_stays_ended(tmp_path):
    path = tmp_path / "checkpoint.npz"
    early = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: setattr(early.model, "stop_training", True))
    with pytest.raises(Stopped):
        tune(network(), checkpoint=path, callbacks=[early, StopAt(2)])
    assert (Checkpoint(path).position().phase, Checkpoint(path).position().epoch) == (0, 2)
    resumed = tune(network(), checkpoint=path)
    assert [row["phase"] for row in resumed.rows] == ["head", "top", "top", "top"]


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on(tmp_path):
    """`kill -9` in the middle of writing the state: the one before is whole."""
    path = tmp_path / "checkpoint.npz"
    code = (
        "import os, signal, sys, numpy\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "import test_checkpoints as tests\n"
        "save, number = numpy.savez, []\n"
        "def slow(file, **arrays):\n"
        "    number.append(1)\n"
        "    save(file, **arrays)\n"
        "    if len(number) == 2:\n"
        "        file.truncate(file.tell() // 2)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "numpy.savez = slow\n"
        f"tests.tune(tests.network(), checkpoint={str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert Checkpoint(path).position().epoch == 1
    model = network()
    tune(model, checkpoint=path)
    whole = network()
    tune(whole)
    for one, other in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("harm", ["cut short", "something else", "a pickle"])
def test_a_damaged_state_is_refused(tmp_path, harm):
    path = tmp_path / "checkpoint.npz"
    Checkpoint(path).save(Position(), network(), keras.optimizers.Adam(), None)
    if harm == "cut short":
        path.write_bytes(path.read_bytes()[:-300])
    elif harm == "something else":
        path.write_text("no numbers")
    else:
        np.savez(path.open("wb"), position=np.array([{}], object))
    with pytest.raises(ValueError, match=r"checkpoint\.npz cannot be read as the state of a training"):
        tune(network(), checkpoint=path)


def test_a_state_that_is_damaged_anywhere_gives_one_clear_error(tmp_path):
    """Flipped bytes gave NotImplementedError and KeyError, without the name of the file."""
    model, optimizer = network(), keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz")
    checkpoint.save(Position(epoch=1), model, optimizer, model.get_weights())
    whole = checkpoint.path.read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    places = {*range(0, len(whole), len(whole) // 60), *range(directory, len(whole), 3), *range(0, 40)}
    messages = []
    for place in sorted(places):
        contents = bytearray(whole)
        contents[place] ^= 0xFF
        checkpoint.path.write_bytes(contents)
        try:
            checkpoint.position()
            checkpoint.restore(model, optimizer)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > len(places) / 3
    assert all("checkpoint.npz" in message for message in messages)


def test_the_state_of_another_model_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(Stopped):
        tune(network(), checkpoint=path, callbacks=[StopAt(2)])
    keras.utils.set_random_seed(1)
    image = keras.Input((H, W, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(image))
    other = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"is the state of another model: .* Delete it to begin anew"):
        tune(other, checkpoint=path)
    for one, another in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_the_end_of_a_phase_is_kept_however_little_time_saving_may_take(tmp_path):
    path = tmp_path / "checkpoint.npz"
    tune(network(), checkpoint=Checkpoint(path, share=1e-6), head_epochs=1, epochs=1)
    position = Checkpoint(path).position()
    assert (position.phase, position.epoch) == (1, 1)
    count = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: count.append(1))
    tune(network(), checkpoint=path, callbacks=[note], head_epochs=1, epochs=1)
    assert count == [], "all is done already"
