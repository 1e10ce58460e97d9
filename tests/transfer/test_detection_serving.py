"""A detector behind the server: boxes as JSON, on our path and on TensorFlow Serving's."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipelines import read_scenes
from transfer.serving import create_app

PREDICT = "/v1/models/run:predict"


@pytest.fixture(scope="module")
def folder(tiny_run):
    return tiny_run("detect").folder


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(create_app(folder, engine="tensorflow"), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def photos(tiny_run):
    return [Path(scene.image) for scene in read_scenes(tiny_run("detect").data).test if len(scene)][:3]


def close(got, expected):
    assert len(got) == len(expected) > 0
    for one, other in zip(got, expected, strict=True):
        assert (one["label"], one["index"]) == (other.label, other.index)
        assert one["score"] == pytest.approx(other.score, abs=1e-4)
        assert one["box"] == pytest.approx(other.box, abs=0.02)


def test_an_upload_gets_boxes(client, finder, photos):
    for path in photos:
        (expected,) = finder.predict(path)
        answer = client.post("/predict", files={"file": (path.name, path.read_bytes())})
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["size"] == list(expected.size)
        close(document["predictions"], expected.objects)
    assert len(client.post("/predict?top=1", files={"file": photos[0].read_bytes()}).json()["predictions"]) == 1


def test_rows_and_columns_of_several_photos(client, finder, photos):
    entries = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in photos]
    expected = finder.predict(photos, threshold=0.01)
    rows = client.post(PREDICT, json={"instances": entries}).json()["predictions"]
    columns = client.post(PREDICT, json={"inputs": entries}).json()["outputs"]
    assert [len(row["boxes"]) for row in rows] == [len(each.objects) for each in expected]
    for i, each in enumerate(expected):
        assert rows[i] == {name: values[i] for name, values in columns.items()}
        np.testing.assert_allclose(rows[i]["boxes"], [found.box for found in each.objects], atol=0.02)
        np.testing.assert_allclose(rows[i]["scores"], [found.score for found in each.objects], atol=1e-4)
        assert rows[i]["classes"] == [found.index for found in each.objects]


def test_tensors(client, finder, photos):
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3)).tolist()
    answer = client.post(PREDICT, json={"instances": [image]})
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["predictions"][0]) == {"boxes", "classes", "scores"}


def test_what_the_server_says_of_itself(client):
    facts = client.get("/model").json()
    assert (facts["task"], facts["names"], facts["can_explain"]) == ("detect", ["ant", "bee & co"], False)
    signatures = client.get("/v1/models/run/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["serving_default"]["outputs"]) == {"boxes", "classes", "scores"}
    answer = client.post("/predict?explain=true", files={"file": b"no image"})
    assert answer.status_code == 400
    assert "cannot be decoded" in answer.json()["error"]


def test_grad_cam_is_not_for_boxes(client, photos):
    answer = client.post("/predict?explain=true", files={"file": photos[0].read_bytes()})
    assert answer.status_code == 200
    assert "explanation" not in answer.json()


def test_an_artifact_that_was_changed_is_not_served(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "saved_model" / "saved_model.pb"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="not the file that was exported"):
        create_app(tmp_path / "run", engine="tensorflow")
