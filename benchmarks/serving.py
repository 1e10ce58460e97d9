"""The server under load: throughput, latency, memory, and what it does when too much comes.

    python -m benchmarks.serving [--requests 20000] [--clients 32] [--idle 10000]

EfficientNet-Lite0 behind `zoo serve` on loopback, in a process of its own; the clients send a JPEG of 256 x 256 pixels
each, over connections that they keep. Prints, last, one line of JSON:

==================  ======================================================================================  ==========
key                 what                                                                                    target
==================  ======================================================================================  ==========
throughput          images a second, over those of the engine alone on batches of 32 cropped images         0.85
over predict        the same over `Predictor.predict` of as many photos, which decodes and crops them, too
p99 over p50        of the latency                                                                          under 4
errors              answers that are neither 200 nor a refusal                                              0
memory growth       resident memory after all requests, over that after a tenth of them                     about 1
refusal seconds     median time to a 503 under ten times the load                                           small
recovered           whether one request after that is answered                                              true
idle seconds        until a request is answered after so many connections were opened that send nothing     under 11
==================  ======================================================================================  ==========
"""

import argparse
import asyncio
import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import zoo
from pipelines import EvaluationCrop
from transfer.artifacts.exporting import export
from transfer.predict.loading import load
from transfer.serving import Limits
from transfer.tasks.classify.answers import ClassifyContract
from zoo.weights.pretrained import imagenet_classes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--idle", type=int, default=10_000, help="connections that send nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "lite0"
        model = zoo.create_model("efficientnet_lite0", weights="imagenet")
        names = [each.label for each in imagenet_classes()]
        contract = ClassifyContract(names, preparation=EvaluationCrop((224, 224)))
        export(model, folder, contract, formats=["openvino"])
        alone, predicted = images_a_second(folder), photos_a_second(folder)
        command = [sys.executable, "-m", "transfer.cli.main", "serve", str(folder), "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            port = int(server.stderr.readline().rsplit(":", 1)[1])
            found = asyncio.run(measure(port, server.pid, alone, options.requests, options.clients))
            found["over predict"] = round(float(found["images a second"]) / predicted, 3)
            found["idle seconds"] = round(asyncio.run(crowd(port, options.idle)), 1)
            print(json.dumps(found))
        finally:
            server.terminate()
            server.wait(30)


def images_a_second(folder: Path, batches: int = 5) -> float:
    """The engine alone; the best of some batches."""
    predictor = load(folder)
    images = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), "uint8")
    predictor.warm_up((32,))
    best = 0.0
    for _ in range(batches):
        start = time.perf_counter()
        predictor.engine.outputs("prepared", images)
        best = max(best, len(images) / (time.perf_counter() - start))
    return best


def photos_a_second(folder: Path, count: int = 256) -> float:
    """From encoded photos to classes, in this process."""
    predictor = load(folder)
    predictor.warm_up((32,))
    photos = [photo()] * count
    predictor.predict(photos[:32])
    start = time.perf_counter()
    predictor.predict(photos)
    return count / (time.perf_counter() - start)


async def crowd(port: int, connections: int) -> float:
    """Seconds until a request is answered while so many connections are open, or were shut in our face."""
    files = 2 * connections + 100
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard))
    opened = []
    for _ in range(connections):
        with contextlib.suppress(ConnectionError):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
    start = time.perf_counter()
    while True:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            ((status, _),) = await ask_many(port, request_of(photo()), 1, 1)
            if status == 200:
                break
        await asyncio.sleep(0.2)
    seconds = time.perf_counter() - start
    for _, writer in opened:
        writer.close()
    return seconds


async def measure(port: int, pid: int, alone: float, requests: int, clients: int) -> dict[str, float | bool]:
    message = request_of(photo())
    await ask_many(port, message, clients, clients)  # warm
    await ask_many(port, message, max(1, requests // 10), clients)
    memory = resident(pid)
    start = time.perf_counter()
    answers = await ask_many(port, message, requests, clients)
    seconds = time.perf_counter() - start
    latencies = sorted(latency for status, latency in answers if status == 200)
    p50, p99 = statistics.median(latencies), latencies[int(0.99 * (len(latencies) - 1))]
    grown = resident(pid) / memory
    many = 10 * Limits().waiting
    flood = await ask_many(port, message, many, min(many, 800))
    refusals = [latency for status, latency in flood if status == 503]
    ((recovered, _),) = await ask_many(port, message, 1, 1)
    return {
        "throughput": round(len(latencies) / seconds / alone, 3),
        "images a second": round(len(latencies) / seconds, 1),
        "p50": round(p50, 4),
        "p99 over p50": round(p99 / p50, 2),
        "errors": sum(status not in (200, 503) for status, _ in [*answers, *flood]),
        "memory growth": round(grown, 3),
        "refused": len(refusals),
        "refusal seconds": round(statistics.median(refusals), 4) if refusals else 0.0,
        "recovered": recovered == 200,
    }


async def ask_many(port: int, message: bytes, requests: int, clients: int) -> list[tuple[int, float]]:
    """Status and latency of each request."""
    left = iter(range(requests))
    answers: list[tuple[int, float]] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            start = time.perf_counter()
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            await reader.readexactly(length)
            answers.append((int(head.split()[1]), time.perf_counter() - start))
        writer.close()

    await asyncio.gather(*(client() for _ in range(min(clients, requests))))
    return answers


def request_of(contents: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(contents)}\r\n\r\n"
    return head.encode() + contents


def photo() -> bytes:
    file = io.BytesIO()
    Image.fromarray(load_sample_images().images[0][:256, :256]).save(file, "JPEG", quality=85)
    return file.getvalue()


def resident(pid: int) -> int:
    """Pages of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


if __name__ == "__main__":
    main()
