"""`zoo explain` on runs of tasks, and maps at the size of the photo."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import transfer
from pipelines import EvaluationCrop, Letterbox
from transfer.cli.main import app
from transfer.runs.explaining import explain
from transfer.tasks import learning_of


def zoo(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def next_photo(run):
    folder = Path(run.data) if Path(run.data).is_dir() else Path(run.data).parent
    return next(path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg"))


@pytest.mark.parametrize("preparation", [EvaluationCrop((8, 12), 0.5), Letterbox((8, 12))])
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (8, 12)])
def test_maps_lie_where_the_network_saw_them(preparation, size):
    """A box on the canvas, as a map, lies where `boxes_to_photo` puts the box."""
    canvas = np.zeros((8, 12), np.float32)
    canvas[2:5, 4:8] = 1
    moved = preparation.map_to_photo(canvas, size)
    assert moved.shape == size
    left, top, right, bottom = preparation.boxes_to_photo([[4, 2, 8, 5]], size)[0]
    rows, columns = np.nonzero(moved > 0.5)
    scale = max(size) / 8
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    for own, expected in zip(found, (left, top, right, bottom), strict=True):
        assert abs(own - expected) <= 0.5 * scale


def test_the_page_of_a_classifier_explains_the_classes_that_are_named(tiny_run, tmp_path):
    run = tiny_run("classify")
    photo = next_photo(run)
    result = zoo("explain", run.folder, photo, "--out", tmp_path / "why.html", "--of", "sea", "--of", "<meadow>")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "why.html").read_text()
    assert "What speaks for sea" in page
    assert "What speaks for &lt;meadow&gt;" in page
    assert re.findall(r"<b>([^<]+)</b>: ", page)[:5] == [
        "Grad-CAM", "Grad-CAM++", "Occlusion", "Integrated gradients", "SmoothGrad",
    ]  # fmt: skip
    assert "http:" not in page
    assert "https:" not in page
    message = zoo("explain", run.folder, photo, "--of", "see", "--out", tmp_path / "no.html").stderr
    assert "nothing of the answer is named see" in message
    assert (
        "has no layer 'lat'"
        in zoo("explain", run.folder, photo, "--layer", "lat", "--out", tmp_path / "no.html").stderr
    )
    assert not (tmp_path / "no.html").exists()


def test_every_task_says_what_can_be_explained(task, tiny_run, tmp_path):
    run = tiny_run(task)
    predictor = transfer.load(run.folder, engine="keras")
    canvas = predictor.crop(next_photo(run))
    outputs = predictor.answer_prepared(canvas[None])[0]
    if "valid" in outputs and not outputs["valid"]:
        with pytest.raises(ValueError, match="no object in this photo"):
            learning_of(task).targets(predictor.engine.model, predictor.contract, outputs)
        return
    rows = learning_of(task).targets(predictor.engine.model, predictor.contract, outputs)
    assert rows
    written = explain(run.folder, next_photo(run), tmp_path / "why.html", of=[rows[0][0]])
    assert written.targets == (rows[0][0],)
    assert "Grad-CAM" in written.path.read_text()
