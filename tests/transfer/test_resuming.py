"""A run that was killed goes on to the very weights that it would have come to; one of another kind is refused."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from transfer.artifacts.exporting import Check, Proof
from transfer.runs import fitting as run_module
from transfer.runs.fitting import fit, read_config
from transfer.runs.state import RunState
from transfer.training.checkpoints import Checkpoint
from transfer.training.memory import MicroBatches

SETTINGS = {"head_epochs": 2, "epochs": 2, "unfreeze": 0.5, "batch_size": 8, "seed": 2, "progress": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without the proof, which others test, and with the state kept after each step."""

    def nothing(model, folder, contract, *, photos=()):
        model.save(folder / "model.keras")
        return Proof((Check("saved_model", "images", 1, 0.0),), 0, 1e-4)

    monkeypatch.setattr(run_module, "write_and_prove", nothing)
    monkeypatch.setattr(run_module.report, "write", lambda path, **_: path.write_text(""))
    monkeypatch.setattr(run_module, "SAVING", 1.0)


def weights(folder):
    return keras.models.load_model(folder / "model.keras").get_weights()


class KillAt(keras.callbacks.Callback):
    """`kill -9` in the middle of an epoch, counted over all phases."""

    def __init__(self, epoch, batch=1):
        super().__init__()
        self.left, self.batch = epoch, batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run_and_kill(data, out, *, epoch, cache):
    """In a process of its own."""
    code = (
        "import sys, pathlib\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "import conftest, test_resuming as tests\n"
        "tests.run_module.make_backbone = conftest.tiny_backbone\n"
        "tests.run_module.SAVING = 1.0\n"
        f"tests.fit({str(data)!r}, {str(out)!r}, cache={cache}, callbacks=[tests.KillAt({epoch})], **tests.SETTINGS)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.usefixtures("tiny")
@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(
    ("epoch", "cache"), [(3, True), pytest.param(2, False, marks=pytest.mark.slow)], ids=["cached", "whole"]
)
def test_a_run_that_was_killed_goes_on_to_the_same_weights(photos, tmp_path, epoch, cache):
    fit(photos, tmp_path / "whole", cache=cache, **SETTINGS)
    killed = tmp_path / "killed"
    run_and_kill(photos, killed, epoch=epoch, cache=cache)
    state = RunState(killed)
    reached = Checkpoint(state.checkpoint).position()
    assert reached.batch == 1, "the step before it was killed"
    assert not killed.exists()
    with pytest.raises(FileExistsError, match=r"was killed, or is still at work.*--resume"):
        fit(photos, killed, cache=cache, **SETTINGS)
    run = fit(photos, killed, cache=cache, resume=True, **SETTINGS)
    for one, other in zip(weights(tmp_path / "whole"), weights(killed), strict=True):
        np.testing.assert_array_equal(one, other)
    histories = [
        [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]  # without the seconds
        for folder in (tmp_path / "whole", killed)
    ]
    assert histories[0] == histories[1]
    assert not state.exists
    assert {path.name for path in tmp_path.iterdir()} == {"my photos", "whole", "killed"}
    assert run.metrics["num_images"] == 36


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(photos, tmp_path, tiny):
    """A run that was begun to be resumable, and stopped after an epoch."""
    with pytest.raises(KeyboardInterrupt):
        fit(photos, tmp_path / "run", resume=True, callbacks=[Interrupt()], **SETTINGS)
    assert RunState(tmp_path / "run").exists
    return photos, tmp_path / "run"


def test_a_run_of_another_configuration_is_refused_with_the_differences(interrupted, monkeypatch):
    photos, out = interrupted
    monkeypatch.setattr(run_module, "fine_tune", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=r"seed: 2 then, 3 now; .*--overwrite") as error:
        fit(photos, out, resume=True, **{**SETTINGS, "seed": 3, "augment": "none"})
    assert "augment: light then, none now" in str(error.value)
    first = next((photos / "sea").iterdir())
    first.write_bytes(next((photos / "<meadow>").iterdir()).read_bytes())
    with pytest.raises(ValueError, match="data_fingerprint: "):
        fit(photos, out, resume=True, **SETTINGS)
    assert RunState(out).exists, "a mistake costs nothing"


def test_steps_in_other_parts_are_another_run(interrupted, monkeypatch):
    photos, out = interrupted
    half = SETTINGS["batch_size"] // 2
    monkeypatch.setattr(run_module, "micro_batches", lambda *_, **__: MicroBatches(half, 2, 9 * 10**9, "8 GB"))
    with pytest.raises(ValueError, match=f"micro_batch: {2 * half} then, {half} now"):
        fit(photos, out, resume=True, **SETTINGS)


def test_to_begin_anew_takes_a_word(interrupted):
    photos, out = interrupted
    fit(photos, out, overwrite=True, **{**SETTINGS, "seed": 3, "epochs": 0})
    assert not RunState(out).exists
    assert json.loads((out / "config.json").read_text())["seed"] == 3


@pytest.mark.usefixtures("tiny")
def test_a_full_disk_keeps_what_the_training_has_reached(photos, tmp_path, monkeypatch):
    write, room = run_module.write_and_prove, []

    def full(model, folder, contract, *, photos=()):
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(model, folder, contract, photos=photos)

    monkeypatch.setattr(run_module, "write_and_prove", full)
    with pytest.raises(OSError, match=r"is full; what the training has reached is kept in .*--resume"):
        fit(photos, tmp_path / "run", **SETTINGS)
    assert Checkpoint(RunState(tmp_path / "run").checkpoint).position().phase == 1
    room.append(1)
    epochs = []
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: epochs.append(1))
    fit(photos, tmp_path / "run", resume=True, callbacks=[count], **SETTINGS)
    assert epochs == [], "nothing was trained again"
    assert (tmp_path / "run" / "model.keras").exists()


@pytest.mark.usefixtures("tiny")
def test_a_state_that_cannot_be_written_does_not_stop_the_training(photos, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.warns(UserWarning, match="cannot be written to .*No space left.*Training goes on"):
        fit(photos, tmp_path / "run", **SETTINGS)
    assert (tmp_path / "run" / "model.keras").exists()


def test_a_run_is_repeated_from_its_configuration(interrupted, tmp_path):
    photos, out = interrupted
    fit(photos, out, resume=True, **SETTINGS)
    arguments, config = read_config(out)
    assert arguments["seed"] == 2
    said = []
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    fit(**{**arguments, "data": moved}, out=tmp_path / "again", like=config, say=said.append, progress=False)
    for one, other in zip(weights(out), weights(tmp_path / "again"), strict=True):
        np.testing.assert_array_equal(one, other)
    different = [line for line in said if line.startswith("not as in the run that is repeated")]
    assert different == [f"not as in the run that is repeated: data: {photos} then, {moved} now"]


@pytest.mark.usefixtures("tiny")
def test_other_data_and_versions_are_said_when_a_run_is_repeated(photos, tmp_path):
    quick = {**SETTINGS, "head_epochs": 1, "epochs": 0}
    fit(photos, tmp_path / "run", **quick)
    arguments, config = read_config(tmp_path / "run" / "config.json")
    config["versions"]["keras"] = "3.0"
    first, second = sorted((photos / "sea").glob("*.jpg"))[:2]
    second.write_bytes(first.read_bytes())
    said = []
    fit(**arguments, out=tmp_path / "again", like=config, say=said.append, progress=False)
    assert any("data_fingerprint: " in line for line in said)
    assert any(f"versions of keras: 3.0 then, {keras.__version__} now" in line for line in said)


@pytest.mark.parametrize(("text", "message"), [("[]", "expected the config.json"), ("{", "not the configuration")])
def test_what_is_no_configuration_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path)
