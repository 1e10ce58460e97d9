"""One server for every task: what it replies, what it says of a model, and what it refuses."""

import base64
import gzip
import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from transfer.serving import Limits, create_app, model

PREDICT = "/v1/models/exported:predict"
TYPES = {"DT_UINT8": int, "DT_FLOAT": float, "DT_INT32": int}


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
        assert {1 + np.ndim(own) for own in columns[name]} == {len(shape)}
        assert shape[0] == -1
        of_type = TYPES[declared[name]["dtype"]]
        assert all(isinstance(one, of_type) for own in columns[name] for one in np.ravel(own).tolist())


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


# As TensorFlow Serving's clients use it


def entry(pixels):
    return {"b64": base64.b64encode(png(pixels)).decode()}


def test_versions_and_labels_name_the_version_in_service(client, make_photo):
    root = "/v1/models/exported"
    for path in ("", "/metadata"):
        expected = client.get(root + path).json()
        for name in ("versions/1", "labels/stable", "labels/latest"):
            assert client.get(f"{root}/{name}{path}").json() == expected
        error_of(client.get(f"{root}/versions/2{path}"), 404)
        assert "version label: canary" in error_of(client.get(f"{root}/labels/canary{path}"), 404)
    body = {"instances": [entry(make_photo(0))]}
    expected = client.post(PREDICT, json=body).json()
    for name in ("versions/1", "labels/stable"):
        assert client.post(f"{root}/{name}:predict", json=body).json() == expected
    error_of(client.post(f"{root}/labels/canary:predict", json=body), 404)


def test_an_empty_signature_name_is_the_default(client, make_photo):
    body = {"instances": [entry(make_photo(0))]}
    assert client.post(PREDICT, json=body | {"signature_name": ""}).json() == client.post(PREDICT, json=body).json()


@pytest.mark.parametrize(
    "write",
    [
        lambda contents: base64.encodebytes(contents).decode(),
        lambda contents: base64.encodebytes(contents).decode().replace("\n", "\r\n"),
        lambda contents: base64.b64encode(contents).decode().rstrip("="),
        lambda contents: base64.urlsafe_b64encode(contents).decode(),
        lambda contents: base64.urlsafe_b64encode(contents).decode().rstrip("="),
    ],
)
def test_base64_as_clients_write_it(client, make_photo, write):
    photos = [make_photo(0)[: 40 + cut] for cut in range(3)]  # so that padding is of every length
    body = {"instances": [{"b64": write(png(pixels))} for pixels in photos]}
    expected = {"instances": [entry(pixels) for pixels in photos]}
    assert client.post(PREDICT, json=body).json() == client.post(PREDICT, json=expected).json()


@pytest.mark.parametrize("text", ["%%%", "a", "ab*d", "ab=cd", "ü"])
def test_what_is_no_base64(client, text):
    assert "Unable to base64 decode" in error_of(client.post(PREDICT, json={"instances": [{"b64": text}]}))


def test_bodies_compressed_with_gzip(client, make_photo):
    contents = png(make_photo(0))
    body = json.dumps({"instances": [{"b64": base64.b64encode(contents).decode()}]}).encode()
    expected = client.post(PREDICT, content=body).json()
    half = len(body) // 2
    for packed in (gzip.compress(body), gzip.compress(body[:half]) + gzip.compress(body[half:])):
        for name in ("gzip", "GZip", "x-gzip", "identity, gzip"):
            assert client.post(PREDICT, content=packed, headers={"Content-Encoding": name}).json() == expected
    headers = {"Content-Encoding": "gzip", "Content-Type": "image/png"}
    assert client.post("/predict", content=gzip.compress(contents), headers=headers).status_code == 200


def test_what_cannot_be_unpacked_is_said(predictor, exported, monkeypatch):
    monkeypatch.setattr(model, "load", lambda folder, **options: predictor)
    with TestClient(create_app(exported, limits=Limits(body_bytes=5000))) as client:
        for contents, name, status in [
            (gzip.compress(bytes(10_000_000)), "gzip", 413),
            (gzip.compress(gzip.compress(bytes(10_000_000))), "gzip, gzip", 413),
            (gzip.compress(b"{}")[:-3], "gzip", 400),
            (b"{}", "gzip", 400),
            (b"{}", "br", 415),
            (b"{}", "zstd, gzip", 400),
        ]:
            reply = client.post(PREDICT, content=contents, headers={"Content-Encoding": name})
            error_of(reply, status)
        assert "gzip" in reply.text


def test_media_types_are_compared_without_case(client, make_photo):
    contents = png(make_photo(0))
    expected = client.post("/predict", content=contents, headers={"Content-Type": "image/png"}).json()["predictions"]
    for name in ("Image/PNG", "APPLICATION/Octet-Stream", "application/octet-stream; x=y"):
        reply = client.post("/predict", content=contents, headers={"Content-Type": name})
        assert reply.json()["predictions"] == expected
    form = b'--Ab\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + contents + b"\r\n--Ab--\r\n"
    reply = client.post("/predict", content=form, headers={"Content-Type": "Multipart/Form-Data; boundary=Ab"})
    assert reply.json()["predictions"] == expected


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/v1/models/exported", "/v1/models/exported/metadata"])
def test_head_is_get_without_a_body(client, path):
    reply = client.head(path)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"] == client.get(path).headers["content-type"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", "GET, HEAD"),
        ("/v1/models/exported", "GET, HEAD"),
        ("/v1/models/exported/versions/1", "GET, HEAD"),
        ("/v1/models/exported/labels/stable/metadata", "GET, HEAD"),
        ("/predict", "POST"),
        (PREDICT, "POST"),
        ("/v1/models/exported/versions/1:predict", "POST"),
    ],
)
def test_allow_names_the_methods_of_a_path(client, path, allowed):
    others = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - set(allowed.split(", "))
    for method in others:
        reply = client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed), method


def test_pages_of_other_origins_are_allowed_only_where_that_is_asked_for(predictor, exported, monkeypatch):
    monkeypatch.setattr(model, "load", lambda folder, **options: predictor)
    origin = {"Origin": "https://shop.example"}
    asking = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    with TestClient(create_app(exported)) as client:
        assert "access-control-allow-origin" not in client.get("/healthz", headers=origin).headers
        assert client.options(PREDICT, headers=asking).status_code == 405
    with TestClient(create_app(exported, cors=["https://shop.example"], api_key="key")) as client:
        reply = client.options(PREDICT, headers=asking)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        refused = client.post(PREDICT, headers=origin)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://shop.example"
        other = client.get("/healthz", headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
    for origin in ("https://shop.example/", "shop.example", ""):
        with pytest.raises(ValueError, match="expected an origin such as"):
            create_app(exported, cors=[origin])


def test_numbers_that_are_normalised_already_are_refused(client, make_photo):
    pixels = make_photo(0)[:9, :12].astype(float)
    for image in (pixels / 255, pixels / 127.5 - 1):
        reply = client.post(PREDICT, json={"instances": [image.tolist()]})
        assert "0..255" in error_of(reply)
    reply = client.post(PREDICT, json={"instances": [pixels.tolist(), (pixels / 255).tolist()]})
    assert "image 1 looks normalised already: it is in 0." in error_of(reply)
    for image in (pixels, np.zeros((3, 4, 3)), np.ones((3, 4, 3), int)):
        assert client.post(PREDICT, json={"instances": [image.tolist()]}).status_code == 200
