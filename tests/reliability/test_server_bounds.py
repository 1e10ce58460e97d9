"""What clients can make the server do: memory, connections, keys, logs, and a broken new version."""

import asyncio
import base64
import io
import json
import logging
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from pipelines import machine
from pipelines.prepare.memory_bound import MemoryBound
from transfer.cli import serve as serve_command
from transfer.serving import Limits, create_app, model
from transfer.serving.gate import Admission, Gate
from transfer.serving.logs import AtMost
from transfer.serving.metrics import Metrics
from transfer.serving.numbers import json_memory
from transfer.serving.requests import BadRequest, TooLarge, parse_predict
from transfer.serving.server import _protocol
from transfer.serving.service import _ended


def parse(document, limits=None, prepare=np.asarray):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    limits = limits or Limits()
    return parse_predict(body, limits, MemoryBound(limits.memory_bytes), prepare)[0]


def png(height, width, mode="1"):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


# Memory


@pytest.mark.parametrize(
    "image",
    [
        ["A" * 10**6, *[""] * 5000],
        [["A" * 10**6, *[""] * 5000]],
        [[["A" * 10**6, 1, 2], *[[1, 2, 3]] * 5000]],
        [[[1, 2, "A" * 10**6]], [[1, 2, 3]]],
        [[[1, 2, 3], "A" * 10**6]],
        [[[1, 2, {"a": "A" * 10**6}]]],
        [[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]],
        [[[1, 2, 3]], 7],
        [[[10**400, 2, 3]]],
        [[[None, 2, 3]]],
    ],
)
def test_types_are_checked_before_anything_is_converted(image):
    """Text among numbers made strings of a fixed width, as many as there were values: gigabytes for one of 1 MB."""
    body = json.dumps({"instances": [image]}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match="image 0: expected"):
            parse(body)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body) + 10**6
    finally:
        tracemalloc.stop()


def test_numbers_come_out_as_they_were_sent():
    whole, parts = parse({"instances": [[[[1, 2, 255]]], [[[0.5, 2, 200], [4, 50, 6]]]]})
    assert whole.dtype == parts.dtype == np.float32
    np.testing.assert_array_equal(whole, [[[1, 2, 255]]])
    np.testing.assert_array_equal(parts, [[[0.5, 2, 200], [4, 50, 6]]])


def test_files_and_numbers_of_a_request_keep_their_order():
    images = parse({"instances": [[[[1, 2, 3]]], png(3, 2), {"images": [[[4, 5, 6]]]}, {"encoded": png(5, 4)}]})
    assert [image.shape for image in images] == [(1, 1, 3), (3, 2, 3), (1, 1, 3), (5, 4, 3)]


NESTED, EMPTY_LISTS, DICTS = "[" * 50 + "]" * 50, "[" + "[]," * 500 + "0]", '[{"":{}}' + ',{"":{}}' * 300 + "]"


@pytest.mark.parametrize("document", [NESTED, EMPTY_LISTS, DICTS], ids=["nested", "lists", "dicts"])
def test_a_document_takes_no_more_memory_than_was_counted(document):
    tracemalloc.start()
    parsed = json.loads(document)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parsed
    assert taken <= json_memory(document.encode()) + 5000


def test_a_request_that_needs_more_than_there_is_is_refused_by_what_it_declares():
    limits = Limits(memory_bytes=200_000)
    with pytest.raises(TooLarge, match=r"image 0 would take about 640,000 bytes of memory; at most 200,000"):
        parse({"instances": [png(100, 100)]}, limits)
    with pytest.raises(TooLarge, match="the document would take"):
        parse({"instances": [[[[1, 2, 3]] * 800]]}, limits)
    assert parse({"instances": [png(50, 50)]}, limits)[0].shape == (50, 50, 3)


def test_a_side_that_no_graph_can_resize_is_refused():
    with pytest.raises(TooLarge, match=r"image 0 has 1 x 70000 pixels; at most 65,535 a side"):
        parse({"instances": [png(1, 70_000)]})


def test_photos_of_a_request_are_unpacked_one_after_the_other():
    bound = MemoryBound(10**9)
    held = []
    parse_predict(
        json.dumps({"instances": [png(40, 40)] * 3}).encode(), Limits(), bound, lambda image: held.append(bound.held)
    )
    assert held == [64 * 1600] * 3
    assert bound.held == 0


def test_work_waits_until_there_is_room():
    bound = MemoryBound(100)
    order = []

    def work():
        with bound(60):
            order.append("second")

    with bound(60):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    with bound(1000):  # Nothing that is larger than the limit waits for ever.
        pass


def test_work_counts_until_it_ends_and_not_until_the_answer_is_given_up():
    """A thread cannot be stopped: what it works on stays in memory after the client was told to come again."""
    limits, metrics = Limits(request_seconds=0.05), Metrics()
    admission = Admission(limits.waiting, metrics)
    release = threading.Event()

    async def ask():
        from concurrent.futures import ThreadPoolExecutor

        threads = ThreadPoolExecutor(1)

        async def app(scope, receive, send):
            with admission(1):
                await _ended(threads.submit(release.wait, 5))

        gate = Gate(app, limits=limits, api_key=None, metrics=metrics, admission=admission)
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"x" * 100}

        async def send(message):
            sent.append(message)

        await gate({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
        assert sent[0]["status"] == 503
        assert (admission._waiting, gate._buffered) == (1, 100)
        release.set()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not admission._waiting and not gate._buffered:
                break
        assert (admission._waiting, gate._buffered) == (0, 0)

    asyncio.run(ask())


# Connections


@contextmanager
def listening(limits):
    app = FastAPI()

    @app.get("/")
    async def root():
        return "ok"

    config = uvicorn.Config(app, http=_protocol(limits), loop="asyncio", ws="none", log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.run(sockets=[place]), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield place.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)


def closed_after(connection, piece):
    """Seconds until the server closes a connection on which single bytes go on coming."""
    start = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - start < 10:
        try:
            connection.sendall(piece)
            if connection.recv(100) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - start


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_connection_that_sends_single_bytes_is_closed(before):
    """After an answer, one byte of a next request put off the end of the connection for good."""
    with listening(Limits(idle_seconds=0.3)) as address, socket.create_connection(address) as connection:
        if before:
            connection.sendall(before)
            connection.settimeout(5)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert closed_after(connection, b"G") < 5


def test_a_connection_that_goes_on_asking_stays_open():
    with listening(Limits(idle_seconds=1.0)) as address, socket.create_connection(address) as connection:
        connection.settimeout(5)
        for _ in range(4):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'"ok"'):
                answer += connection.recv(1000) or pytest.fail("the server closed the connection")
            time.sleep(0.3)


def test_connections_are_no_more_than_the_system_allows(monkeypatch):
    monkeypatch.setattr("transfer.serving.limits.open_files", lambda: 256)
    assert Limits().connections == 156
    with pytest.raises(ValueError, match=r"connections is 200.*ulimit -n"):
        Limits(connections=200)
    monkeypatch.setattr("transfer.serving.limits.open_files", lambda: 10**6)
    assert Limits().connections == 900
    assert machine.open_files() > 0


def test_the_log_is_bounded_whatever_clients_do():
    now = [0.0]
    few = AtMost(3, clock=lambda: now[0])
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "no", (), None)
    assert [few.filter(record) for _ in range(10)] == [True] * 3 + [False] * 7
    now[0] = 61.0
    assert few.filter(record)
    assert record.getMessage() == "(7 messages before this one were left out) no"


# Keys


@pytest.mark.parametrize("key", ["", "  "])
def test_an_empty_key_is_refused(key, tmp_path):
    """A variable that is not set would let everybody in, and silence the warning."""
    with pytest.raises(ValueError, match="the API key is empty"):
        create_app(tmp_path, api_key=key)


def test_an_empty_variable_is_refused_too(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from transfer.cli.main import app

    result = CliRunner().invoke(app, ["serve", str(tmp_path)], env={serve_command.KEY: ""})
    assert result.exit_code == 1
    assert "the API key is empty" in " ".join(result.output.split())


def test_the_scheme_of_a_key_has_no_case():
    app = FastAPI()
    metrics = Metrics()
    app.add_middleware(Gate, limits=Limits(), api_key="k", metrics=metrics, admission=Admission(1, metrics))

    @app.get("/model")
    async def facts():
        return "ok"

    with TestClient(app) as client:
        for scheme, status in (("Bearer", 200), ("bearer", 200), ("BEARER", 200), ("Basic", 401)):
            assert client.get("/model", headers={"Authorization": f"{scheme} k"}).status_code == status
        assert client.get("/model", headers={"Authorization": ""}).status_code == 401
        assert client.get("/model").status_code == 401


# A broken new version


def test_a_broken_new_version_does_not_end_the_watching(tmp_path, monkeypatch, caplog):
    opened, changes = [], []

    def open_version(self):
        opened.append(1)
        if len(opened) == 2:
            raise KeyError("whole_probabilities is not a file in the archive")

        class Opened:
            answer_prepared = None

        return Opened()

    monkeypatch.setattr(model.Versions, "_open", open_version)

    async def watch():
        versions = model.Versions(
            tmp_path, engine="auto", limits=Limits(), seen=lambda size: None, changed=changes.append
        )
        assert versions.current.version == 1
        watching = asyncio.create_task(versions.watch(0.01))
        for count in (1, 2):
            (tmp_path / "manifest.json").write_text("x" * count)
            while len(changes) < count:
                await asyncio.sleep(0.01)
        assert not watching.done()
        watching.cancel()
        assert versions.current.version == 2
        await versions.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(asyncio.wait_for(watch(), 20))
    assert changes == [False, True]
    assert "is not served, the old one goes on" in caplog.text
