"""The server: TensorFlow Serving's paths and shapes, plain uploads, bounds on everything a client can do."""

import asyncio
import base64
import concurrent.futures
import contextlib
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipelines.prepare.memory_bound import MemoryBound
from transfer.predict.loading import load
from transfer.serving import Limits, create_app, make_server
from transfer.serving.batching import Batcher
from transfer.serving.requests import BadRequest, parse_predict
from transfer.serving.server import server_socket

PREDICT = "/v1/models/exported:predict"


@pytest.fixture(scope="module")
def folder(everywhere):
    return everywhere[1]


@pytest.fixture(scope="module")
def client(folder):
    limits = Limits(body_bytes=300_000, pixels=50_000, images=4)
    with TestClient(create_app(folder, engine="onnx", limits=limits), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def predictor(folder):
    return load(folder, engine="onnx")


def photo(height=40, width=60, seed=0) -> bytes:
    draw = np.random.default_rng(seed)
    pixels = np.clip(draw.normal(draw.integers(0, 256, 3), 40, (height, width, 3)), 0, 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def b64(contents: bytes) -> dict:
    return {"b64": base64.b64encode(contents).decode()}


def error_of(response, status):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    return response.json()["error"]


# TensorFlow Serving's paths


def test_tensors_and_files_by_row(client, predictor):
    photos = [photo(seed=i, height=30 + i) for i in range(3)]
    expected = predictor.probabilities(photos)
    answer = client.post(PREDICT, json={"instances": [b64(each) for each in photos]})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)
    pixels = [np.asarray(Image.open(io.BytesIO(each))).tolist() for each in photos]
    answer = client.post(PREDICT, json={"signature_name": "serving_default", "instances": pixels[:2]})
    np.testing.assert_allclose(answer.json()["predictions"], expected[:2], atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"encoded": x}])
def test_columns_and_named_inputs(client, predictor, wrap):
    answer = client.post(PREDICT, json={"signature_name": "image_bytes", "inputs": wrap([b64(photo())])})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"], predictor.probabilities(photo()), atol=1e-6)
    answer = client.post(PREDICT, json={"instances": [wrap(b64(photo()))]})
    assert len(answer.json()["predictions"]) == 1


def test_status_and_metadata(client):
    document = client.get("/v1/models/exported").json()
    assert document["model_version_status"][0]["state"] == "AVAILABLE"
    assert document["model_version_status"][0]["version"] == "1"
    assert client.get("/v1/models/exported/versions/1").json() == document
    metadata = client.get("/v1/models/exported/metadata").json()
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "images", "image_bytes"}
    dims = signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]
    assert [dim["size"] for dim in dims] == ["-1", "-1", "-1", "3"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/other",
        "/v1/models/other/metadata",
        "/v1/models/exported/versions/2",
        "/v1/models/exported%2F..%2F..%2Fetc",
        "/v1/models/..%2F..%2Fetc%2Fpasswd",
        "/samples/99",
        "/etc/passwd",
    ],
)
def test_unknown_models_and_paths(client, path):
    error_of(client.get(path), 404)


def test_an_unknown_model_is_not_asked(client):
    assert "Servable not found" in error_of(client.post("/v1/models/other:predict", json={"instances": []}), 404)
    error_of(client.post("/v1/models/exported/versions/7:predict", json={"instances": []}), 404)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON Parse error"),
        (b'{"instances": [', 400, "JSON Parse error"),
        (b"\xff\xfe\x00", 400, "JSON Parse error"),
        (b"[" * 100_000, 400, "JSON Parse error"),
        (b"[]", 400, "expected a JSON object"),
        (b"{}", 400, "either 'instances' or 'inputs'"),
        (b'{"instances": []}', 400, "one or more images"),
        (b'{"instances": 3}', 400, "one or more images"),
        (b'{"instances": [1], "inputs": [1]}', 400, "either 'instances' or 'inputs'"),
        (b'{"signature_name": "train", "instances": [1]}', 400, "Serving signature name: 'train' not found"),
        (b'{"signature_name": [1], "instances": [1]}', 400, "Serving signature name"),
        (b'{"instances": [[[1, 2, 3]]]}', 400, "got the shape [1, 3]"),
        (b'{"instances": [[[[1, 2]]]]}', 400, "got the shape [1, 1, 2]"),
        (b'{"instances": [[[[1, 2, 3], [1]]]]}', 400, "image 0: expected numbers"),
        (b'{"instances": [[[["a", "b", "c"]]]]}', 400, "image 0: expected numbers"),
        (b'{"instances": [[[[true, true, true]]]]}', 400, "image 0: expected numbers"),
        (b'{"instances": [[[[1, 2, 300]]]]}', 400, "expected values in 0..255, got 1 to 300"),
        (b'{"instances": [[[[1, 2, NaN]]]]}', 400, "NaN is no number"),
        (b'{"instances": [[[[1, 2, 1e999]]]]}', 400, "expected values in 0..255"),
        (b'{"instances": [{"b64": "%%%"}]}', 400, "Unable to base64 decode"),
        (b'{"instances": [{"b64": 3}]}', 400, "image 0: expected numbers"),
        (b'{"instances": [{"path": "/etc/passwd"}]}', 400, "image 0: expected numbers"),
        (b'{"instances": [{"b64": "bm8gaW1hZ2U="}]}', 400, "image 0 cannot be decoded"),
        (b'{"signature_name": "image_bytes", "instances": [[[[1, 2, 3]]]]}', 400, "takes {'b64'"),
        (json.dumps({"instances": [[[[1, 2, 3]]]] * 5}).encode(), 413, "at most 4"),
        (json.dumps({"instances": [b64(photo(280, 200))]}).encode(), 413, "280 x 200 pixels"),
    ],
)
def test_malformed_requests(client, body, status, words):
    assert words in error_of(client.post(PREDICT, content=body), status)


def test_a_body_that_is_too_large_is_not_read(client):
    assert "larger than 300,000 bytes" in error_of(client.post(PREDICT, content=b"x" * 300_001), 413)


def test_a_decompression_bomb_is_not_unpacked(client, monkeypatch):
    file = io.BytesIO()
    Image.new("1", (12_000, 13_000)).save(file, "PNG")
    unpacked = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: unpacked.append(image) or load(image))
    message = error_of(client.post("/predict", files={"file": ("a.png", file.getvalue())}), 413)
    assert "13000 x 12000 pixels" in message
    assert not unpacked
    client.post("/predict", files={"file": ("a.png", photo())})
    assert unpacked, "which would have been seen"


# Uploads


def test_an_upload_is_named(client, predictor):
    expected = predictor.predict(photo(), top=2)[0].predictions
    uploads = [
        client.post("/predict?top=2", files={"file": ("../../etc/passwd", photo(), "image/png")}),
        client.post("/predict?top=2", content=photo(), headers={"content-type": "image/png"}),
    ]
    for answer in uploads:
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert [each["label"] for each in document["predictions"]] == [each.label for each in expected]
        assert document["predictions"][0]["score"] == pytest.approx(expected[0].score, abs=1e-6)
        assert document["version"] == 1
        assert 0 < document["seconds"] < 5
        assert "explanation" not in document


def test_an_upload_stays_in_memory(client, monkeypatch):
    def no_file(*args, **options):
        raise AssertionError("a file was made")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", no_file)
    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", no_file)
    draw = np.random.default_rng(1).integers(0, 256, (190, 250, 3), "uint8")
    file = io.BytesIO()
    Image.fromarray(draw).save(file, "PNG")
    assert client.post("/predict", files={"file": ("a", file.getvalue())}).status_code == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"files": {"file": ("a.jpg", b"no image")}}, "the file cannot be decoded"),
        ({"files": {"photo": ("a.jpg", b"x")}}, "a part named 'file'"),
        ({"data": {"file": "text"}}, "expected multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, "expected multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "the form cannot be read"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, ""),
        ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, "the form cannot be read"),
    ],
)
def test_uploads_that_are_none(client, options, words):
    assert words in error_of(client.post("/predict", **options), 400)


def test_bad_parameters(client):
    assert "top" in error_of(client.post("/predict?top=0", content=photo()), 400)
    assert "threshold" in error_of(client.post("/predict?threshold=1.2", content=photo()), 400)
    error_of(client.get("/samples/one"), 400)
    error_of(client.get("/predict"), 405)


def test_grad_cam_comes_with_the_answer(client):
    document = client.post("/predict?explain=true", files={"file": ("a", photo())}).json()
    for name in ("image", "heat"):
        kind, contents = document["explanation"][name].split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(contents))).size == (60, 40)


def test_what_whoever_runs_it_needs(client):
    assert client.get("/healthz").json() == {"status": "ok", "version": 1}
    client.post("/predict", files={"file": ("a", photo())})
    text = client.get("/metrics").text
    assert "zoo_model_version 1.0" in text
    assert 'zoo_requests_total{code="200",method="POST",path="/predict"}' in text
    assert "zoo_batch_size_bucket" in text
    facts = client.get("/model").json()
    assert (facts["engine"], facts["task"]) == ("onnx", "classify")
    assert facts["can_explain"]
    assert Image.open(io.BytesIO(client.get("/samples/0").content)).size == (640, 427)
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    assert "http" not in client.get("/").text.replace("http-equiv", "")  # nothing is fetched from elsewhere


def test_the_key_opens_everything_but_the_page_and_the_health(folder):
    with TestClient(create_app(folder, engine="onnx", api_key="geheim ö")) as client:
        assert client.get("/").status_code == client.get("/healthz").status_code == 200
        for path in ("/metrics", "/model", "/openapi.json", "/v1/models/exported", "/samples/0"):
            assert "API key" in error_of(client.get(path), 401)
        error_of(client.post(PREDICT, json={}, headers={"Authorization": "Bearer wrong"}), 401)
        key = "geheim ö".encode()
        for headers in ({"Authorization": b"Bearer " + key}, {"X-API-Key": key}):
            assert client.get("/model", headers=headers).status_code == 200


# Batches


def first_values(images):
    """Answers as a model gives them: for each image its outputs by name."""
    return [{"first": image.ravel()[:1], "size": image.shape} for image in images]


def test_requests_that_arrive_together_share_a_batch():
    sizes = []

    def answer(images):
        sizes.append(len(images))
        time.sleep(0.02)
        return first_values(images)

    async def ask():
        batcher = Batcher(answer, size=8, seconds=0.01)
        images = [np.full((2, 3, 3), i, "uint8") for i in range(20)]
        rows = await asyncio.gather(*(batcher([image]) for image in images))
        await batcher.close()
        return [row[0]["first"][0] for row in rows]

    assert asyncio.run(ask()) == list(range(20))
    assert sizes == [8, 8, 4]


def test_batches_have_few_sizes_and_nobody_is_left_over():
    sizes = []

    def answer(images):
        sizes.append(len(images))
        return first_values(images)

    async def ask(count):
        batcher = Batcher(answer, size=12, seconds=0.01)
        rows = await asyncio.gather(*(batcher([np.full((1, 1, 3), i, "uint8")]) for i in range(count)))
        await batcher.close()
        return [row[0]["first"][0] for row in rows]

    for count in (1, 7, 12, 23):
        assert asyncio.run(ask(count)) == list(range(count))
    assert set(sizes) <= {1, 2, 4, 8}
    assert sum(sizes) == 43
    assert 8 in sizes


def test_an_engine_that_fails_fails_those_who_asked_and_no_others():
    def answer(images):
        if images.max() == 9:
            raise RuntimeError("nine")
        return first_values(images)

    async def ask():
        batcher = Batcher(answer, size=1)
        with pytest.raises(RuntimeError, match="nine"):
            await batcher([np.full((1, 1, 3), 9, "uint8")])
        assert len(await batcher([np.zeros((1, 1, 3), "uint8")])) == 1
        await batcher.close()

    asyncio.run(ask())


def test_a_batcher_that_was_closed_still_answers_who_comes_late():
    async def ask():
        batcher = Batcher(first_values, size=8)
        await batcher.close()
        return await asyncio.wait_for(batcher([np.full((2, 3, 3), i, "uint8") for i in (4, 7)]), 10)

    assert [answer["first"][0] for answer in asyncio.run(ask())] == [4, 7]


# A real server


@contextmanager
def running(folder, **options):
    """The address of a server in a thread of its own."""
    server = make_server(folder, port=0, engine="onnx", **options)
    server.capture_signals = contextlib.nullcontext  # those are the main thread's
    with server_socket(server) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(30)


def post(address, contents, timeout=30):
    """Status, headers and document of an upload."""
    url = f"http://{address[0]}:{address[1]}/predict"
    request = urllib.request.Request(url, contents, {"Content-Type": "image/png"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def test_more_than_it_bears_is_refused_quickly_and_it_recovers(folder, monkeypatch):
    with running(folder, limits=Limits(waiting=4, batch=1)) as address:
        session = load(folder, engine="onnx").engine.__class__
        outputs = session.outputs

        def slow(self, way, images):
            time.sleep(0.2)
            return outputs(self, way, images)

        monkeypatch.setattr(session, "outputs", slow)
        with concurrent.futures.ThreadPoolExecutor(24) as clients:
            found = list(clients.map(lambda _: post(address, photo()), range(24)))
        codes = [status for status, _, _ in found]
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 4
        refused = next(headers for status, headers, _ in found if status == 503)
        assert refused["Retry-After"] == "1"
        monkeypatch.undo()
        assert post(address, photo())[0] == 200


def test_silent_and_slow_clients_are_closed(folder):
    limits = Limits(idle_seconds=0.3, request_seconds=0.5, connections=20)
    with running(folder, limits=limits) as address:
        silent = [socket.create_connection(address) for _ in range(40)]
        for each in silent:
            each.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""  # closed by the server
            each.close()
        with socket.create_connection(address) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
            slow.settimeout(5)
            answer = slow.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 408")
        with socket.create_connection(address) as large:
            large.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc")
            large.settimeout(5)
            assert large.recv(10_000).startswith(b"HTTP/1.1 413")
        assert post(address, photo())[0] == 200


def test_a_newer_version_takes_over_without_dropping_a_request(folder, tmp_path, caplog):
    place = shutil.copytree(folder, tmp_path / "exported")
    with running(place, watch_seconds=0.1) as address:
        stop = threading.Event()
        seen: list[tuple[int, int]] = []

        def ask():
            while not stop.is_set():
                status, _, document = post(address, photo())
                seen.append((status, document.get("version", 0)))

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            newer = shutil.copytree(folder, tmp_path / "newer")
            place.rename(tmp_path / "old")
            newer.rename(place)
            wait_for(lambda: seen and seen[-1][1] == 2)
            # A version that is not what was proven is not served.
            broken = shutil.copytree(folder, tmp_path / "broken")
            contents = bytearray((broken / "model.onnx").read_bytes())
            contents[len(contents) // 2] ^= 1
            (broken / "model.onnx").write_bytes(contents)
            os.utime(broken / "manifest.json")
            with caplog.at_level(logging.ERROR):
                place.rename(tmp_path / "older")
                broken.rename(place)
                wait_for(lambda: "is not the file that was exported" in caplog.text)
            count = len(seen)
            wait_for(lambda: len(seen) > count + 2)
        finally:
            stop.set()
            asker.join()
        assert {status for status, _ in seen} == {200}
        assert [version for _, version in seen] == sorted(version for _, version in seen)
        assert seen[-1][1] == 2


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_the_command_serves_on_loopback_without_tensorflow_and_stops_cleanly(folder, tmp_path):
    shutil.copy(folder / "model.onnx", tmp_path / "model.onnx")
    code = (
        "import sys; from transfer.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    print([name for name in ('tensorflow', 'keras') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", "--engine", "onnx"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline().strip()
        assert line.startswith("http://127.0.0.1:")
        port = int(line.rsplit(":", 1)[1])
        wait_for(lambda: answers(("127.0.0.1", port)))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "stopped" in err
    assert "Traceback" not in err
    assert out.strip() == "[]"


def answers(address):
    try:
        return post(address, photo())[0] == 200
    except OSError:
        return False


def test_a_port_that_is_taken_is_said(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = make_server(folder, port=taken.getsockname()[1], engine="onnx")
        with pytest.raises(OSError, match=r"cannot listen on .*choose another --port"):
            server_socket(server)


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match="waiting is a number above 0, got 0"):
        Limits(waiting=0)


# Whatever clients send


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "images", "x"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(which=st.sampled_from(["instances", "inputs"]), value=JSON, signature=st.none() | st.text(max_size=3))
def test_no_json_is_anything_but_images_or_a_bad_request(which, value, signature):
    document = {which: value} if signature is None else {which: value, "signature_name": signature}
    try:
        images, _ = parse_predict(json.dumps(document).encode(), Limits(), MemoryBound(10**9), np.asarray)
    except BadRequest:
        return
    assert all(image.ndim == 3 and image.shape[2] == 3 for image in images)


def test_the_server_keeps_its_openapi_document(client):
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def holds(case):
            response = client.request(**case.as_transport_kwargs(base_url="http://testserver"))
            # No schema can say that a string is a photo.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            tried.add(case.path)

        holds()
    assert {"/predict", "/healthz", "/v1/models/{model}", "/v1/models/{model}:predict"} <= tried
