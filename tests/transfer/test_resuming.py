"""The state that a run keeps beside its folder: full disks, other memory, and starting anew."""

import errno
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from tests_tiny import tiny_settings

import transfer
from transfer.artifacts import exporting
from transfer.runs import finishing, fitting
from transfer.runs.configuration import read_config
from transfer.runs.state import RunState
from transfer.training.checkpoints import Checkpoint

SETTINGS = tiny_settings("classify", head_epochs=1, epochs=2, unfreeze=0.5, seed=2)


def fit(data, out, settings=SETTINGS, **options):
    return transfer.fit(data, out, settings, progress=False, **options)


def weights(folder):
    return keras.models.load_model(folder / "model.keras").get_weights()


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(photos, tmp_path, monkeypatch):
    """A run that was begun to be resumable, and stopped after an epoch."""
    monkeypatch.setattr(fitting, "SAVING", 1.0)
    with pytest.raises(KeyboardInterrupt):
        fit(photos, tmp_path / "run", resume=True, callbacks=[Interrupt()])
    assert RunState(tmp_path / "run").exists
    return photos, tmp_path / "run"


def test_a_run_of_another_configuration_is_refused_with_the_differences(interrupted, monkeypatch):
    photos, out = interrupted
    monkeypatch.setattr(fitting, "fine_tune", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=r"seed: 2 then, 3 now; .*--overwrite") as error:
        fit(photos, out, replace(SETTINGS, seed=3, augment="light"), resume=True)
    assert "augment: none then, light now" in str(error.value)
    first = next((photos / "sea").iterdir())
    first.write_bytes(next((photos / "<meadow>").iterdir()).read_bytes())
    with pytest.raises(ValueError, match="data_fingerprint: "):
        fit(photos, out, resume=True)
    assert RunState(out).exists, "a mistake costs nothing"


@pytest.mark.slow
def test_the_size_of_a_step_is_taken_from_the_state(interrupted, monkeypatch):
    """How much memory is free now is no reason to refuse, nor to compute other weights."""
    photos, out = interrupted
    monkeypatch.setattr(fitting, "micro_batches", lambda *_, **__: pytest.fail("it predicted the memory anew"))
    fit(photos, out, resume=True)
    assert read_config(out).facts["micro_batch"] == SETTINGS.batch_size


@pytest.mark.slow
def test_to_begin_anew_takes_a_word(interrupted):
    photos, out = interrupted
    with pytest.raises(FileExistsError, match=r"an earlier run to .* was killed; .*--resume"):
        fit(photos, out)
    fit(photos, out, replace(SETTINGS, seed=3, epochs=0), overwrite=True)
    assert not RunState(out).exists
    assert json.loads((out / "config.json").read_text())["settings"]["seed"] == 3


def test_what_a_killed_run_left_half_written_is_removed(interrupted):
    photos, out = interrupted
    (out.parent / f".{out.name}.partial-abc").mkdir()
    other = out.parent / f".{out.name}2.partial-abc"
    other.mkdir()
    fit(photos, out, resume=True)
    assert not (out.parent / f".{out.name}.partial-abc").exists()
    assert other.exists(), "it belongs to another run"


def test_a_full_disk_keeps_what_the_training_has_reached(photos, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_and_prove", full)
        patch.setattr(finishing, "write_keras", full)
        with pytest.raises(OSError, match=r"its weights are in .*--resume"):
            fit(photos, tmp_path / "run")
    assert Checkpoint(RunState(tmp_path / "run").checkpoint).position().phase == 1
    epochs = []
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: epochs.append(1))
    fit(photos, tmp_path / "run", resume=True, callbacks=[count])
    assert epochs == [], "nothing was trained again"
    assert (tmp_path / "run" / "model.keras").exists()


def test_a_state_that_cannot_be_written_does_not_stop_the_training(photos, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.warns(UserWarning, match="cannot be written to .*No space left.*Training goes on"):
        fit(photos, tmp_path / "run")
    assert (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_an_interrupted_run_is_repeated_from_its_configuration(interrupted, tmp_path):
    photos, out = interrupted
    fit(photos, out, resume=True)
    configuration = read_config(out)
    assert configuration.settings == SETTINGS
    fit(photos, tmp_path / "again", configuration.settings, repeats=configuration)
    for one, other in zip(weights(out), weights(tmp_path / "again"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "message"), [("[]", "holds no names"), ("{", "not the configuration"), ('{"a": 1}', "not")]
)
def test_what_is_no_configuration_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path)


def test_a_configuration_of_version_1_is_read(tmp_path):
    optimizer = {"name": "sgd", "schedule": "cosine", "warm_up": 0.1, "layer_decay": 0.5, "ema": 0.9, "accumulate": 2}
    document = {"data": "photos", "backbone": "tiny", "unfreeze": ["c5", "c4"], "seed": 5, "optimization": optimizer}
    (tmp_path / "config.json").write_text(json.dumps(document | {"versions": {"keras": "3.0"}, "crop": {}}))
    configuration = read_config(tmp_path)
    assert configuration.task == "classify"
    assert configuration.settings == transfer.Classify(
        backbone="tiny", unfreeze=("c5", "c4"), seed=5, optimizer="sgd", schedule="cosine", warm_up=0.1,
        layer_decay=0.5, ema=0.9, accumulate=2,
    )  # fmt: skip
    assert configuration.facts["versions"] == {"keras": "3.0"}
    (tmp_path / "config.json").write_text(
        json.dumps({"task": "detect", "data": "boxes", "mosaic": 0.25, "size": [64, 96]})
    )
    assert read_config(tmp_path).settings == transfer.Detect(mosaic=0.25)
