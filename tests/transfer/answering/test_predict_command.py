"""`zoo predict` for every task: lines for people, JSON, tables and drawings."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transfer.cli.main import app
from transfer.predict import loading


def zoo(*words):
    return CliRunner().invoke(app, ["predict", "model", *(str(word) for word in words)])


def message(result):
    """What was printed, on one line: messages are folded where the terminal ends."""
    return " ".join(result.output.replace("│", " ").split())


@pytest.fixture(autouse=True)
def model(predictor, monkeypatch):
    """Opens the model that calculates in NumPy, whatever is named."""
    monkeypatch.setattr(loading, "load", lambda source, **options: predictor)


def test_lines_for_people(predictor, folder):
    photo = folder / "a" / "x.png"
    result = zoo(photo)
    assert result.exit_code == 0, result.output
    assert str(photo).replace("\n", "") in result.output.replace("\n", "")
    for row in predictor.task.predictions(predictor.predict(photo)[0]):
        assert row["label"] in result.output
        share = row.get("share", row.get("score"))
        assert (f"{100 * share:.1f}%" if share is not None else f"{row['value']:.4g}") in result.output


def test_json_is_what_the_task_says(predictor, folder):
    photos = [folder / "a" / "x.png", folder / "words.png"]
    result = zoo(*photos, "--json")
    assert result.exit_code == 1
    expected = [predictor.task.as_dict(answer) for answer in predictor.predict(photos)]
    assert json.loads(result.stdout) == json.loads(json.dumps(expected))
    assert "1 of 2 images could not be read" in " ".join(result.stderr.split())


def test_a_folder_becomes_a_table_and_drawings(predictor, folder, tmp_path):
    command = (folder, "--out", tmp_path / "out.csv", "--draw", tmp_path / "drawings")
    result = zoo(*command)
    assert result.exit_code == 1, "one photo cannot be read"
    assert "words.png cannot be decoded" in message(result)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
    assert len([path for path in (tmp_path / "drawings").rglob("*") if path.is_file()]) == 5
    assert "is there already" in message(zoo(*command))
    assert "6 photos" in message(zoo(*command, "--overwrite"))


def test_single_photos_are_drawn_under_names_of_their_own(predictor, folder, tmp_path):
    result = zoo(folder / "a" / "x.png", folder / "b [2]" / "ö.png", "--draw", tmp_path / "drawings")
    assert result.exit_code == 0, result.output
    for name in ("a/x.png", "b [2]/ö.png"):
        assert Image.open(tmp_path / "drawings" / f"{name}.png").size


def test_what_the_task_does_not_have_is_refused_by_name(predictor, task, folder, tmp_path):
    photo = folder / "a" / "x.png"
    for option, value in (("top", 1), ("threshold", 0.5)):
        result = zoo(photo, f"--{option}", value)
        if option in predictor.task.options:
            assert result.exit_code == 0, result.output
        else:
            assert result.exit_code == 1
            assert f"{option} says nothing to the task '{task}'" in message(result)
    result = zoo(photo, "--augment")
    assert result.exit_code == (0 if predictor.task.no_views is None else 1)
    if predictor.task.no_views is not None:
        assert f"augment is not for the task '{task}': {predictor.task.no_views}" in message(result)
    result = zoo(photo, "--grad-cam", tmp_path / "cams")
    assert result.exit_code == 1
    assert ("Grad-CAM needs the layers" if predictor.task.explains else "Grad-CAM cannot be computed") in message(
        result
    )
    assert f"a file that ends in .csv, .jsonl, .parquet{', .json' if predictor.task.documents else ''}, got" in message(
        zoo(folder, "--out", tmp_path / "out.xlsx")
    )


def test_an_exit_status_is_no_message(folder):
    """typer's Exit is a RuntimeError, which other errors are shown for."""
    result = zoo(folder)
    assert result.exit_code == 1
    assert message(result).endswith("Error: 1 of 6 images could not be read.")


def test_a_folder_job_says_what_it_left_out_and_draws_maps_of_the_rest(make_predictor, folder, tmp_path, monkeypatch):
    (folder / "a" / "phone.heic").write_text("of another kind")
    predictor = make_predictor("classify")
    maps = []
    monkeypatch.setattr(loading, "load", lambda source, **options: predictor)
    monkeypatch.setattr(predictor, "explain", lambda photo: maps.append(photo) or np.zeros((32, 48), np.float32))
    for options in ((), ("--out", tmp_path / "out.csv"), ("--out", tmp_path / "out.npz")):
        result = zoo(folder, *options, "--grad-cam", tmp_path / f"maps{len(maps)}")
        assert "names are not those of images: 'a/phone.heic'" in message(result)
        assert "1 of 6 images could not be read" in message(result)
        assert result.exit_code == 1
    assert len(maps) == 3 * 5
