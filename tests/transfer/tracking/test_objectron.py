"""MediaPipe's pretrained detector, where its package is installed (`npm install @mediapipe/objectron`)."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.prepare.kinds import preparation_from_dict
from pipelines.prepare.stretch import Stretch
from transfer.artifacts.engines.objectron import FILE, NAME, find_objectron, open_objectron
from transfer.predict.loading import load

# Where the package is not in a folder `node_modules` above this one, this variable names its file.
GIVEN = os.environ.get("OBJECTRON_FILE")


@pytest.fixture(scope="module")
def file():
    if GIVEN:
        return Path(GIVEN)
    try:
        return find_objectron(NAME)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_where_the_package_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="npm install @mediapipe/objectron"):
        load(NAME)
    folder = tmp_path / "node_modules" / "@mediapipe" / "objectron"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"Person\n" + bytes(4) + b"TFL3 and nothing else")
    assert find_objectron(NAME) == find_objectron(folder) == find_objectron(folder / FILE) == folder / FILE
    assert find_objectron("runs/mine") is None
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ValueError, match="cannot be read"):
        load(NAME)


def test_stretching_shows_the_whole_photo():
    stretch = Stretch((30, 50))
    assert preparation_from_dict(stretch.as_dict()) == stretch
    photo = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    canvas = stretch.on_photo(photo)
    assert canvas.shape == (30, 50, 3)
    assert abs(canvas.mean() - photo.mean()) < 3


def test_it_finds_what_is_in_photos(file):
    """The cat and the coffee cup of scikit-image, and boxes equal to those of the anchors computed one by one."""
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("ai_edge_litert")
    predictor = load(file)
    answers = predictor.predict([data.chelsea(), data.coffee()])
    assert [answer.objects[0].label for answer in answers] == ["Cat", "Coffee cup"]
    engine = open_objectron(file)
    canvas = predictor.prepare(data.coffee())
    codes, logits = engine.raw(canvas)
    outputs = engine.outputs("prepared", canvas[None])
    best = int(logits[:, 1:].max(axis=1).argmax())
    y, x, h, w = codes[best] / (10, 10, 5, 5)
    left, top, right, bottom = _anchor(best)
    width, height = right - left, bottom - top
    x, y, w, h = (left + right) / 2 + x * width, (top + bottom) / 2 + y * height, width * np.exp(w), height * np.exp(h)
    expected = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    np.testing.assert_allclose(outputs["boxes"][0, 0], expected, atol=1e-3)


def _anchor(row):
    from zoo.detection.mediapipe import ssd_mobilenet_anchors

    return ssd_mobilenet_anchors()[row].astype(float)
