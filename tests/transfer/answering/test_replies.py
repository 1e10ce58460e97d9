"""One server for every task: what it replies, what it says of a model, and what it refuses."""

import base64
import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from transfer.serving import create_app, model

PREDICT = "/v1/models/exported:predict"
TYPES = {"DT_FLOAT": float, "DT_INT32": int}


@pytest.fixture
def client(predictor, exported, monkeypatch):
    monkeypatch.setattr(model, "load", lambda folder, **options: predictor)
    with TestClient(create_app(exported), raise_server_exceptions=False) as client:
        yield client


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def error_of(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_an_upload_gets_the_tasks_predictions(client, predictor, make_photo):
    for number in range(3):
        pixels = make_photo(number, box=number != 2)
        (answer,) = predictor.predict(pixels)
        reply = client.post("/predict", files={"file": ("a.png", png(pixels))})
        assert reply.status_code == 200, reply.text
        document = reply.json()
        assert document["predictions"] == predictor.task.predictions(answer)
        assert document["task"] == predictor.task.name
        assert (document["model"], document["version"]) == ("exported", 1)
        assert document["size"] == list(pixels.shape[:2])
        assert 0 < document["seconds"] < 5
        assert "explanation" not in document


def test_rows_have_what_the_page_draws(client, predictor, make_photo):
    """A page that knows no task has to find a label with a score, a value or a box in every row."""
    rows = client.post("/predict", files={"file": png(make_photo(0))}).json()["predictions"]
    assert rows
    for row in rows:
        assert isinstance(row["label"], str)
        assert "score" in row or "value" in row
        assert 0 <= row.get("score", 0) <= 1
        assert len(row.get("box", [0] * 4)) == 4
        assert isinstance(row.get("head", ""), str)


@pytest.mark.parametrize(("option", "value", "outside"), [("top", 1, 0), ("threshold", 0.999, 1.5)])
def test_options_are_those_of_the_task(client, predictor, make_photo, option, value, outside):
    contents = png(make_photo(0))
    reply = client.post(f"/predict?{option}={value}", files={"file": contents})
    if option in predictor.task.options:
        (answer,) = predictor.predict(make_photo(0), **{option: value})
        assert reply.json()["predictions"] == predictor.task.predictions(answer)
    else:
        assert f"{option} says nothing to the task '{predictor.task.name}'" in error_of(reply)
    assert option in error_of(client.post(f"/predict?{option}={outside}", files={"file": contents}))
    assert option in error_of(client.post(f"/predict?{option}=x", files={"file": contents}))
    assert client.get("/model").json()["options"] == sorted(predictor.task.options)


def test_a_threshold_that_the_model_cannot_serve(make_predictor, make_photo, exported, monkeypatch):
    monkeypatch.setattr(model, "load", lambda folder, **options: make_predictor("detect", score_threshold=0.3))
    with TestClient(create_app(exported)) as client:
        reply = client.post("/predict?threshold=0.2", files={"file": png(make_photo(0))})
        assert "a score under 0.3 already, got threshold=0.2" in error_of(reply)


def test_tensors_by_row_and_by_column_are_as_the_signatures_say(client, predictor, make_photo):
    photos = [make_photo(number) for number in range(3)]
    entries = [{"b64": base64.b64encode(png(one)).decode()} for one in photos]
    rows = client.post(PREDICT, json={"instances": entries}).json()["predictions"]
    columns = client.post(PREDICT, json={"inputs": entries}).json()["outputs"]
    metadata = client.get("/v1/models/exported/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(metadata) == {"serving_default", "images", "image_bytes"}
    declared = metadata["serving_default"]["outputs"]
    outputs = [{name: values[0] for name, values in predictor.outputs(one).items()} for one in photos]
    expected = predictor.task.named_outputs(outputs, predictor.contract)
    assert set(declared) == set(expected)
    if len(expected) == 1:
        ((name, values),) = expected.items()
        columns, rows = {name: columns}, [{name: row} for row in rows]
    for name, values in expected.items():
        assert [row[name] for row in rows] == columns[name]
        for got, value in zip(columns[name], values, strict=True):
            np.testing.assert_allclose(got, value, atol=1e-6)
        shape = [int(dim["size"]) for dim in declared[name]["tensor_shape"]["dim"]]
        assert declared[name]["name"] == f"{name}:0"
        assert np.ndim(columns[name]) == len(shape)
        assert shape[0] == -1
        assert all(isinstance(one, TYPES[declared[name]["dtype"]]) for one in np.ravel(columns[name]).tolist())


def test_pixels_as_numbers(client, predictor, make_photo):
    pixels = make_photo(1)[:40, :50]
    reply = client.post(PREDICT, json={"instances": [pixels.tolist()]})
    assert reply.status_code == 200, reply.text
    by_file = client.post(PREDICT, json={"instances": [{"b64": base64.b64encode(png(pixels)).decode()}]})
    assert reply.json() == by_file.json()


def test_what_the_server_says_of_the_model(client, predictor):
    facts = client.get("/model").json()
    assert facts["names"] == list(predictor.contract.names)
    assert (facts["task"], facts["summary"]) == (predictor.task.name, predictor.task.summary)
    assert (facts["name"], facts["version"], facts["samples"]) == ("exported", 1, 2)
    assert (facts["engine"], facts["precision"], facts["can_explain"]) == ("numpy", "float32", False)
    assert Image.open(io.BytesIO(client.get("/samples/1").content)).size == (92, 64)


def test_evidence_is_left_out_where_there_is_none(client, make_photo):
    reply = client.post("/predict?explain=true", files={"file": png(make_photo(0))})
    assert reply.status_code == 200
    assert "explanation" not in reply.json()
    assert "cannot be decoded" in error_of(client.post("/predict?explain=true", files={"file": b"no image"}))
