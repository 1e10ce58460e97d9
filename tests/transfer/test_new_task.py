"""A new task is one folder and one row of the table: everything else works at once, and no other file knows of it."""

import json

import pytest
from tests_tiny import COMMON
from typer.testing import CliRunner

import transfer
from transfer.tasks import TASKS, Row, settings_class


@pytest.fixture
def brightness(monkeypatch):
    """The table with a seventh row."""
    monkeypatch.setitem(TASKS, "brightness", Row("brightness", "Brightness"))
    return settings_class("brightness")


def shell(*arguments):
    # The options of `zoo fit` are made when the module is loaded, so it is loaded again.
    import importlib

    from transfer.cli import fit, main

    importlib.reload(fit)
    app = importlib.reload(main).app
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_folder_and_a_row_are_a_task(brightness, photos, tmp_path):
    changes = {"head_epochs": 6, "epochs": 1, "head_learning_rate": 1e-2, "formats": "onnx,openvino"}
    settings = brightness(**COMMON | changes)
    run = transfer.fit(photos, tmp_path / "run", settings, progress=False)
    assert run.metrics["task"] == "brightness"
    assert run.metrics["valid_mean_absolute_error"] < 40, "of 255"
    assert "Brightness" in (run.folder / "report.html").read_text()
    assert "how bright a photo is" in (run.folder / "model_card.md").read_text()

    assert [verdict.artifact for verdict in transfer.verify(run.folder) if verdict.checks] == [
        "keras",
        "onnx",
        "openvino",
    ]
    photo = next(photos.rglob("*.png"))
    result = shell("predict", run.folder, photo, "--json")
    assert result.exit_code == 0, result.output
    (document,) = json.loads(result.stdout)
    (answer,) = transfer.load(run.folder).predict([photo])
    assert document["predictions"][0]["value"] == pytest.approx(answer.value, abs=0.1)

    result = shell("evaluate", run.folder, photos, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["split"] == "test"
    words = ["--task", "brightness", "--unit", "1", "--out", tmp_path / "again", "--overwrite", "--backbone", "tiny"]
    result = shell("fit", photos, *words, "--epochs", "0", "--head-epochs", "1", "--no-audit", "--formats", "none")
    assert result.exit_code == 0, result.output
    assert transfer.read_config(tmp_path / "again").settings.unit == 1.0
    other = shell("fit", photos, "--unit", "1", "--out", tmp_path / "other")
    assert other.exit_code == 1
    assert "--unit is for --task brightness" in " ".join(other.output.split())


def test_afterwards_the_table_is_as_it_was():
    assert "brightness" not in TASKS
    assert "--unit" not in shell("fit", "--help").output
