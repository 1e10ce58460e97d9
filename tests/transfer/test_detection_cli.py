"""The command line with detectors: `zoo fit --task detect`, `evaluate`, `predict`, `export`."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines import SceneData, read_scenes, write_scenes
from transfer.cli.main import app
from transfer.predict import predictor as predictor_module
from transfer.runs import fitting as classifiers
from transfer.runs.fitting import Run
from transfer.tasks.detect import run as run_module
from transfer.tasks.detect.predictions import write_detections


def zoo(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def said(result):
    """What was printed, on one line: messages are folded where the terminal ends."""
    return " ".join(result.output.replace("│", " ").split())


@pytest.fixture(autouse=True)
def opened_once(monkeypatch, found, finder):
    """To open a run takes seconds, so the one of all tests is opened once."""
    load = predictor_module.load

    def cached(source, **options):
        return finder if Path(source) == found.folder else load(source, **options)

    monkeypatch.setattr(predictor_module, "load", cached)
    monkeypatch.setattr(run_module, "load", cached)


@pytest.fixture
def asked(monkeypatch):
    """What `fit` was called with, by name."""
    calls = []
    metrics = {"valid_map50": 0.9, "valid_map": 0.5, "test_map50": None, "test_map": None, "export_max_abs_diff": 1e-7}

    def fit(data=None, *, out, **settings):
        calls.append({"data": data, "out": out, **settings})
        return Run(out, {**metrics, "num_images": 3, "skipped": 0, "seconds": 1.0})

    fit.__signature__ = __import__("inspect").signature(run_module.fit)
    monkeypatch.setattr(run_module, "fit", fit)
    return calls


def test_only_what_is_given_is_handed_on(asked, tmp_path):
    result = zoo("fit", "boxes", "--task", "detect", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (call,) = asked
    call.pop("say")
    assert call == {"data": "boxes", "out": tmp_path / "run", "like": None, "callbacks": []}, "the defaults of fit"
    assert "0.900" in result.output
    assert "none" in result.output


def test_options_of_detectors(asked, tmp_path):
    words = (
        "--detector yolo --image-size 288x384 --epochs 3 --batch-size 4 --learning-rate 0.01 --warm-up 0.1 --ema 0.9"
    )
    words += " --weight-decay 0.1 --mosaic 0.25 --augment strong --flip both --multi-scale --score-threshold 0.1"
    words += " --iou-threshold 0.5 --max-detections 50 --seed 3 --valid 0.2 --test 0.1 --no-audit --overwrite"
    words += " --backbone keras:MobileNetV2"
    result = zoo("fit", "boxes", "--task", "detect", "--out", tmp_path / "run", *words.split())
    assert result.exit_code == 0, result.output
    expected = {
        "detector": "yolo", "image_size": "288x384", "epochs": 3, "batch_size": 4, "learning_rate": 0.01,
        "warm_up": 0.1, "ema": 0.9, "weight_decay": 0.1, "mosaic": 0.25, "augment": "strong", "flip": "both",
        "multi_scale": True, "score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 50, "seed": 3,
        "valid": 0.2, "test": 0.1, "audit": False, "overwrite": True, "backbone": "keras:MobileNetV2",
    }  # fmt: skip
    assert {name: asked[0][name] for name in expected} == expected


def test_a_detectors_run_is_repeated(asked, found, tmp_path):
    result = zoo("fit", "--config", found.folder / "config.json", "--out", tmp_path / "run", "--seed", 6)
    assert result.exit_code == 0, result.output
    config = json.loads((found.folder / "config.json").read_text(encoding="utf-8"))
    (call,) = asked
    assert call["like"] == config
    assert (call["seed"], call["epochs"], call["image_size"], call["data"]) == (6, 16, "64x96", config["data"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--task detect --head-epochs 3", "--head-epochs is for classifiers"),
        ("--task detect --resume", "--resume is for classifiers"),
        ("--detector yolo", "--detector is for detectors; add --task detect"),
        ("--task find", "the task is classify or detect, got 'find'"),
        ("--image-size 288x384", "a classifier's image size is one number of pixels, 8 or more; got '288x384'"),
    ],
)
def test_options_that_do_not_fit_the_task(words, message, asked, tmp_path):
    result = zoo("fit", "boxes", "--out", tmp_path / "run", *words.split())
    assert result.exit_code == 1
    assert message in said(result)
    assert not asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--iou-threshold 1.5", "threshold in 0..1, got iou_threshold=1.5"),
        ("--image-size 100", "multiples of 32"),
        ("--detector yolo_tinny", "no detector is named 'yolo_tinny'; near are"),
        ("--epochs 0", "has to learn for 1 epoch or more"),
    ],
)
def test_bad_settings_are_said_in_a_line(words, message, annotated, tmp_path, small_trunk):
    result = zoo("fit", annotated, "--task", "detect", "--out", tmp_path / "run", *words.split())
    assert result.exit_code == 1
    assert message in said(result)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_boxes(tmp_path, make_box_scenes):
    empty = tuple(scene[:0] for scene in make_box_scenes(3))
    write_scenes(SceneData(("ant",), empty, empty[:1]), tmp_path / "data", layout="yolo")
    result = zoo("fit", tmp_path / "data", "--task", "detect", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "has no boxes to learn from" in said(result)


# evaluate


def test_evaluate_prints_cocos_table(found, annotated):
    result = zoo("evaluate", found.folder, annotated)
    assert result.exit_code == 0, result.output
    assert "On the test images (6), 8 objects:" in result.output
    line = f"(AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = {found.metrics['test_map']:.3f}"
    assert line in result.output
    assert "bee & co" in result.output


def test_evaluate_as_json(found, annotated):
    result = zoo("evaluate", found.folder, annotated, "--json")
    document = json.loads(result.stdout)
    assert document["map50"] == pytest.approx(found.metrics["test_map50"])
    assert document["map_large"] is None, "nothing is that large"
    assert [each["class"] for each in document["classes"]] == ["ant", "bee & co"]
    assert sum(each["objects"] for each in document["classes"]) == 8


def test_evaluate_says_which_classes_it_does_not_know(found, annotated, tmp_path):
    write_scenes(SceneData(("ant", "wasp"), read_scenes(annotated).test), tmp_path / "wasps", layout="coco")
    result = zoo("evaluate", found.folder, tmp_path / "wasps")
    assert result.exit_code == 1
    assert "classes wasp, which" in said(result)


def test_data_of_classes_are_no_boxes(found, tmp_path, make_photos):
    result = zoo("evaluate", found.folder, make_photos(tmp_path / "photos", per_class=1))
    assert result.exit_code == 1
    assert "Expected Pascal VOC" in said(result)


# predict


@pytest.fixture
def folder(annotated, tmp_path):
    """Photos, one of them in a folder inside, and a file that is none."""
    place = tmp_path / "photos"
    shutil.copytree(annotated / "images" / "test", place)
    (place / "more").mkdir()
    (place / "photo 0.png").rename(place / "more" / "photo 0.png")
    (place / "words.png").write_text("no picture")
    return place


def test_a_folder_becomes_cocos_json(finder, found, folder, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    result = zoo("predict", found.folder, folder, "--out", tmp_path / "found.json", "--draw", tmp_path / "drawn")
    assert result.exit_code == 1, "one photo cannot be read"
    assert "words.png cannot be decoded" in said(result)
    document = json.loads((tmp_path / "found.json").read_text())
    assert {"images", "categories", "annotations", "errors"} == set(document)
    assert document["errors"][0]["file_name"] == "words.png"
    read = pycocotools.COCO(str(tmp_path / "found.json"))
    assert [each["name"] for each in read.loadCats(read.getCatIds())] == ["ant", "bee & co"]
    names = {image["file_name"]: image["id"] for image in document["images"]}
    assert len(names) == 6
    (expected,) = finder.predict(folder / "more" / "photo 0.png")
    boxes = [each["bbox"] for each in read.loadAnns(read.getAnnIds(imgIds=names["more/photo 0.png"]))]
    want = [(left, top, right - left, bottom - top) for left, top, right, bottom in (o.box for o in expected.objects)]
    np.testing.assert_allclose(boxes, want, atol=0.02)

    original, drawn = (
        np.asarray(Image.open(path).convert("RGB"), int)
        for path in (folder / "more" / "photo 0.png", tmp_path / "drawn" / "more" / "photo 0.png.png")
    )
    assert drawn.shape == original.shape
    left, top, right, _ = (round(edge) for edge in expected.objects[0].box)
    changed = np.abs(drawn - original).sum(axis=-1) > 30
    assert changed[top : top + 2, left:right].any(axis=0).mean() > 0.8, "the upper edge is drawn"
    assert not changed[-5:].any(), "and nothing far from any object"


def test_a_folder_becomes_rows(found, folder, tmp_path):
    result = zoo("predict", found.folder, folder, "--out", tmp_path / "found.csv", "--threshold", 0.5)
    assert result.exit_code == 1
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {f"photo {i}.png" for i in range(1, 6)} | {"more/photo 0.png", "words.png"}
    boxes = [row for row in rows if row["label"]]
    assert boxes
    assert all(float(row["score"]) >= 0.5 and float(row["right"]) > float(row["left"]) for row in boxes)
    assert zoo("predict", found.folder, folder, "--out", tmp_path / "found.csv").exit_code == 1, "it is there already"


def test_single_photos(found, annotated, tmp_path):
    photos = [scene.image for scene in read_scenes(annotated).test if len(scene)][:2]
    result = zoo("predict", found.folder, *photos, "--draw", tmp_path / "drawn")
    assert result.exit_code == 0, result.output
    assert "bee & co" in result.output
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    document = json.loads(zoo("predict", found.folder, photos[0], "--json", "--threshold", "0.01").stdout)
    assert set(document[0]) == {"path", "height", "width", "objects"}
    assert set(document[0]["objects"][0]) == {"index", "label", "score", "box"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grad-cam", "somewhere"], "--grad-cam is for classifiers"),
        (["--augment"], "--augment is for classifiers"),
        (["--threshold", "0.005"], "a score under 0.01 already"),
        (["--out", "found.parquet"], "ends in .json, .jsonl, .csv"),
    ],
)
def test_predictions_that_cannot_be(words, message, found, folder):
    result = zoo("predict", found.folder, folder, *words)
    assert result.exit_code == 1
    assert message in said(result)


def test_boxes_are_for_detectors(everywhere, folder, tmp_path):
    result = zoo("predict", everywhere[1], folder, "--draw", tmp_path / "drawn", "--engine", "onnx")
    assert result.exit_code == 1
    assert "--draw is for detectors" in said(result)


def test_lines_of_json(finder, folder, tmp_path):
    told = []
    written = write_detections(finder, folder, tmp_path / "found.jsonl", progress=lambda *numbers: told.append(numbers))
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == sorted(line["path"] for line in lines)
    assert sum(len(line.get("objects", ())) for line in lines) == written.num_objects > 0
    assert written.unreadable == (("words.png", lines[-1]["error"]),)
    assert told[-1] == (7, 7)


# What is for classifiers


def test_accuracies_are_not_compared_with_precisions(found, tmp_path):
    shutil.copytree(found.folder, tmp_path / "other")
    result = zoo("compare", found.folder, tmp_path / "other")
    assert result.exit_code == 1
    assert "is a detector's run" in said(result)


def test_a_detector_has_no_accuracy(found, annotated, monkeypatch, finder):
    monkeypatch.setattr(classifiers, "load", lambda folder: finder)
    with pytest.raises(ValueError, match=r"transfer\.detection\.score measures it"):
        classifiers.score(found.folder, annotated)
