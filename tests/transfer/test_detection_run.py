"""The main job for detectors: what `fit` writes, what `score` measures, and what they refuse."""

import csv
import json
import shutil

import numpy as np
import pytest

import pipelines
from pipelines import Scene, SceneData, read_scenes, write_scenes
from transfer.tasks.detect import DetectionPredictor
from transfer.tasks.detect import run as run_module
from transfer.tasks.detect.run import fit, read_size, score
from zoo import boxes as box_geometry


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_folder_holds_what_was_promised(found):
    names = {path.name for path in found.folder.iterdir()}
    documents = {"metrics.json", "history.csv", "skipped.csv", "config.json", "report.html", "model_card.md"}
    exported = {"model.keras", "saved_model", "labels.txt", "contract.json", "manifest.json", "proof.npz"}
    assert names == documents | exported  # no audit.html: it was not asked for
    assert (found.folder / "labels.txt").read_text(encoding="utf-8").splitlines() == ["ant", "bee & co"]


def test_metrics(found):
    metrics = read_json(found.folder / "metrics.json")
    assert metrics == found.metrics
    assert list(metrics)[:4] == ["valid_map50", "valid_map", "test_map50", "test_map"]
    assert metrics["valid_map50"] > 0.8, "two colours are easy"
    assert 0 < metrics["valid_map"] <= metrics["valid_map50"] <= 1
    assert (metrics["num_images"], metrics["num_objects"], metrics["skipped"]) == (36, 46, 0)
    assert metrics["export_max_abs_diff"] <= 1e-4


def test_history(found):
    with (found.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 17))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    measured = [float(row["valid_map50"]) for row in rows if row["valid_map50"]]
    assert len(measured) == 10
    # What is measured in between are the averaged weights, which are those that are kept in the end
    assert measured[-1] == pytest.approx(found.metrics["valid_map50"])
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates, reverse=True), "the warm-up is over within the first epoch"
    assert rates[0] <= 3e-3
    assert rates[-1] < 1e-5


def test_configuration(found):
    config = read_json(found.folder / "config.json")
    assert (config["task"], config["detector"], config["size"]) == ("detect", "yolo_tiny", [64, 96])
    assert config["weights_licence"] == "MIT"
    assert set(config["thresholds"]) == {"ant", "bee & co"}
    assert {"data_fingerprint", "versions", "seed", "mosaic", "iou_threshold"} <= set(config)


def test_report_and_card(found):
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    for part in ("training", "classes", "curves", "errors", "mistakes", "data", "time", "export", "configuration"):
        assert f'<section id="{part}">' in page, part
    assert "<script" not in page
    assert "bee &amp; co" in page
    assert "Average Precision" in page
    assert "//" not in page.replace("http://www.w3.org", "").split("base64")[0], "nothing is fetched"
    card = (found.folder / "model_card.md").read_text(encoding="utf-8")
    assert f"mAP50 {found.metrics['test_map50']:.3f}" in card
    assert "fewer than 30 objects" in card


def test_what_was_written_finds_objects_in_pixels_of_the_photo(finder, annotated):
    assert isinstance(finder, DetectionPredictor)
    scenes = [scene for scene in read_scenes(annotated).test if len(scene)]
    answers = finder.predict([scene.image for scene in scenes])
    hits = 0
    for scene, answer in zip(scenes, answers, strict=True):
        assert answer.size == scene.size
        for box, number in zip(scene.boxes, scene.classes, strict=True):
            same = [np.float32(each.box) for each in answer.objects if each.index == number]
            hits += bool(same) and box_geometry.iou(box, np.stack(same)).max() > 0.5
    assert hits >= 0.7 * sum(len(scene) for scene in scenes)


def test_thresholds_of_predictions(finder, annotated):
    photo = next(scene for scene in read_scenes(annotated).test if len(scene)).image
    (every,) = finder.predict(photo, threshold=0.01)
    (sure,) = finder.predict(photo, threshold=1.0)
    scores = [each.score for each in every.objects]
    assert scores == sorted(scores, reverse=True)
    assert scores
    assert not sure.objects
    for wrong, message in ((1.5, "in 0..1"), (-0.1, "in 0..1"), (0.005, "a score under 0.01 already")):
        with pytest.raises(ValueError, match=message):
            finder.predict(photo, threshold=wrong)


def test_unreadable_photos_are_answered_with_why(finder, annotated, tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    good = next(iter(read_scenes(annotated).test)).image
    one, two, three = finder.predict([tmp_path / "words.png", good, tmp_path / "none.jpg"])
    assert "cannot be decoded" in one.error
    assert two.error is None
    assert "No such file" in three.error


@pytest.fixture
def opened_once(monkeypatch, finder):
    """To open a run takes seconds."""
    monkeypatch.setattr(run_module, "load", lambda folder: finder)


def test_score_takes_what_was_held_out(found, annotated):
    scores = score(found.folder, annotated)
    assert scores.part == "test"
    assert scores.measured.summary()["map50"] == pytest.approx(found.metrics["test_map50"])
    assert scores.measured.summary()["map"] == pytest.approx(found.metrics["test_map"])


def test_classes_are_matched_by_name(found, annotated, tmp_path, opened_once):
    data = read_scenes(annotated)
    turned = tuple(
        Scene(scene.image, scene.name, scene.size, boxes=scene.boxes, classes=2 - scene.classes) for scene in data.test
    )
    write_scenes(SceneData(("none of it", "bee & co", "ant"), turned), tmp_path / "turned", layout="coco")
    scores = score(found.folder, tmp_path / "turned")
    assert scores.part == "all"
    assert scores.measured.summary()["map50"] == pytest.approx(found.metrics["test_map50"])


def test_classes_that_the_model_does_not_know(found, annotated, tmp_path, opened_once):
    data = read_scenes(annotated)
    write_scenes(SceneData(("ant", "wasp"), data.test), tmp_path / "wasps", layout="voc")
    with pytest.raises(ValueError, match=r"classes wasp, which .* does not know; it knows ant, bee & co"):
        score(found.folder, tmp_path / "wasps")


# What is refused


def refused(message, data, tmp_path, **settings):
    with pytest.raises(ValueError, match=message):
        fit(data, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".run*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detector": "yolo_tinny"}, "no detector is named 'yolo_tinny'; near are yolo_tiny"),
        ({"image_size": 100}, "multiples of 32"),
        ({"image_size": "64 by 96"}, "height x width as in 288x384; got '64 by 96'"),
        ({"score_threshold": 1.5}, "threshold in 0..1, got score_threshold=1.5"),
        ({"iou_threshold": -0.1}, "threshold in 0..1, got iou_threshold=-0.1"),
        ({"max_detections": 0}, "max_detections=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"flip": "up"}, "flip is one of none, horizontal, vertical, both"),
        ({"augment": "wild"}, "augmentation is one of none, light, strong"),
        ({"mosaic": 2.0}, "share of the epochs in 0..1"),
        ({"batch_size": 0}, "batch_size of 1 or more"),
        ({"learning_rate": 0.0}, "learning rate over 0"),
        ({"ema": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be(settings, message, annotated, tmp_path, quick_detector, small_trunk):
    refused(message, annotated, tmp_path, **{**quick_detector, **settings})


def test_a_folder_without_boxes(tmp_path, make_box_scenes, quick_detector):
    empty = tuple(scene[:0] for scene in make_box_scenes(4))
    write_scenes(SceneData(("ant",), empty, empty[:1]), tmp_path / "data", layout="yolo")
    refused("has no boxes to learn from: 4 training images with 0 objects", tmp_path / "data", tmp_path)


def test_a_folder_without_annotations(tmp_path, make_photos):
    refused("Expected Pascal VOC", make_photos(tmp_path / "photos", per_class=1), tmp_path)


def test_nothing_to_validate_on(tmp_path, make_box_scenes):
    write_scenes(SceneData(("ant", "bee"), make_box_scenes(4)), tmp_path / "data", layout="coco")
    refused("no validation images", tmp_path / "data", tmp_path, valid=0.0)


def test_a_run_inside_of_its_data(annotated):
    with pytest.raises(ValueError, match="would be taken for data"):
        fit(annotated, annotated / "run")


def test_an_earlier_run_is_not_overwritten(annotated, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="mine"):
            fit(annotated, tmp_path / "run", overwrite=overwrite)


def test_sizes_as_people_write_them():
    assert [read_size(size) for size in (None, 96, "96", "64x96", "64X96", (64, 96))] == [
        None, (96, 96), (96, 96), (64, 96), (64, 96), (64, 96),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="got '1x2x3'"):
        read_size("1x2x3")


# What takes longer


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_other_layouts_several_sizes_and_an_audit(layout, tmp_path, make_box_scenes, quick_detector, small_trunk):
    scenes = make_box_scenes(12)
    write_scenes(SceneData(("ant", "bee"), scenes[:8], scenes[8:]), tmp_path / "data", layout=layout)
    settings = {**quick_detector, "multi_scale": True, "augment": "strong", "mosaic": 1.0, "audit": True}
    del settings["image_size"]
    run = fit(tmp_path / "data", tmp_path / "run", **settings)
    assert (run.folder / "audit.html").is_file()
    assert run.metrics["test_map50"] is None, "data with a validation split of its own get no test split"
    assert read_json(run.folder / "config.json")["size"] == [224, 320], "the shape that the photos have"
    assert read_json(run.folder / "contract.json")["size"] == [224, 320]


@pytest.mark.slow
def test_a_photo_that_cannot_be_read_is_left_out(annotated, tmp_path, quick_detector, small_trunk):
    shutil.copytree(annotated, tmp_path / "data")
    scene = pipelines.read_scenes(tmp_path / "data").train[0]
    with open(scene.image, "r+b") as file:
        file.truncate(400)
    run = fit(tmp_path / "data", tmp_path / "run", **quick_detector)
    assert run.metrics["skipped"] == 1
    assert scene.name in (run.folder / "skipped.csv").read_text()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_detector(annotated, tmp_path, quick_detector, small_trunk):
    first, second = (fit(annotated, tmp_path / name, **quick_detector, seed=3) for name in ("a", "b"))
    prints = [read_json(run.folder / "contract.json")["fingerprint"] for run in (first, second)]
    assert prints[0] == prints[1]
