"""Inference with exported models against the usual ways: `model.predict`, the usual loop over a folder, a bare runtime.

    python -m benchmarks.inference [--photos 1000] [--rounds 9]

EfficientNet-Lite0 with its ImageNet weights is exported once; then ours and each peer take turns. Ratios are the peer's
time over ours: over 1, ours is faster. The targets, on 2 cores:

==================  =================================================================================  ==============
row                 peer                                                                               target
==================  =================================================================================  ==============
batch 1             `model.predict` of one image, median latency                                       at least 15
batch 32            `model.predict` of 32 images; both in float32, outputs equal to 1e-4               at least 1.5
... in bfloat16     the same with OpenVINO in bfloat16, where the proof photos allow it                at least 2.5
folder              `image_dataset_from_directory` and `predict`, from files to probabilities          at least 2.5
by hand             the same runtime, called without us                                                at least 0.95
first answer        1.5 s, from the start of the process to the first photo's classes                  at least 1
==================  =================================================================================  ==============
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import zoo
from benchmarks.timing import Comparison, compare, report
from pipelines import EvaluationCrop
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.choosing import choose
from transfer.artifacts.engines.openvino import OpenVINOEngine
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.exporting import export
from transfer.predict.loading import load
from transfer.tasks.classify.answers import ClassifyContract
from zoo.weights.pretrained import imagenet_classes

LEAN = ("openvino", "onnx", "litert")
TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000, help="in the folder")
    parser.add_argument("--rounds", type=int, default=9, help="that each takes its turn")
    parser.add_argument("--starts", type=int, default=3, help="of a process, of which the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place
        report(measured(Path(place), options.photos, options.rounds, options.starts))


def measured(place: Path, photos: int, rounds: int, starts: int) -> Iterator[Comparison]:
    model = zoo.create_model("efficientnet_lite0", weights="imagenet")
    folder = place / "exported"
    names = [each.label for each in imagenet_classes()]
    export(model, folder, ClassifyContract(names, preparation=EvaluationCrop((224, 224))), formats=LEAN)
    artifacts = {name: folder / FORMATS[name].files[0] for name in LEAN}
    chosen = next(iter(choose(artifacts)))
    print(f"fastest engine: {chosen}", file=sys.stderr)

    draw = np.random.default_rng(0)
    for name, batch in itertools.product(LEAN, (1, 32)):
        engine = open_artifact(artifacts[name])
        images = draw.integers(0, 256, (batch, 224, 224, 3), "uint8")
        floats = images.astype("float32")
        np.testing.assert_allclose(probabilities(engine, images), model.predict(floats, verbose=0), atol=TOLERANCE)
        yield compare(
            f"batch {batch}, {name}",
            ours=lambda engine=engine, images=images: probabilities(engine, images),
            peer=lambda floats=floats: model.predict(floats, verbose=0),
            peer_name="model.predict",
            rounds=rounds,
            warmup=2,
        )

    halves = load(artifacts["openvino"], precision="bfloat16")
    images = draw.integers(0, 256, (32, 224, 224, 3), "uint8")
    yield compare(
        "batch 32, openvino in bfloat16",
        ours=lambda: probabilities(halves.engine, images),
        peer=lambda: model.predict(images.astype("float32"), verbose=0),
        peer_name="model.predict",
        rounds=rounds,
        warmup=2,
    )

    engine = open_artifact(artifacts["openvino"])
    assert isinstance(engine, OpenVINOEngine)
    for batch in (1, 32):
        images = draw.integers(0, 256, (batch, 224, 224, 3), "uint8")
        request = engine.compiled("prepared", 1 if batch == 1 else -1).create_infer_request()
        yield compare(
            f"by hand, batch {batch}",
            ours=lambda images=images: probabilities(engine, images),
            peer=lambda request=request, images=images: request.infer([images])["probabilities"],
            peer_name="openvino",
            rounds=5 * rounds,
            warmup=5,
        )

    pictures = write_photos(place / "pictures", photos)

    def usual_loop() -> np.ndarray:
        dataset = keras.utils.image_dataset_from_directory(
            pictures, labels=None, image_size=(224, 224), batch_size=32, shuffle=False, verbose=False
        )
        return model.predict(dataset, verbose=0)

    for name, predictor in (("", load(folder)), (" in bfloat16", halves)):
        yield compare(
            f"folder of {photos}{name}",
            ours=lambda predictor=predictor: predictor.predict(pictures),
            peer=usual_loop,
            peer_name="image_dataset_from_directory + predict",
            rounds=1,
            warmup=0,
        )

    photo = next(pictures.iterdir())
    for name in ("openvino", "litert"):
        code = f"import transfer; transfer.load({str(artifacts[name])!r}).predict({str(photo)!r})"
        seconds = min(seconds_of([sys.executable, "-c", code]) for _ in range(starts))
        yield Comparison(f"first answer, {name}", "1.5 s", 1.5, seconds, 1.5 / seconds)


def probabilities(engine: Engine, images: np.ndarray) -> np.ndarray:
    """The answers of an engine to prepared images."""
    return engine.outputs("prepared", images)["probabilities"]


def write_photos(folder: Path, count: int) -> Path:
    """JPEGs of 375 x 500 pixels, cut from two real photos."""
    folder.mkdir()
    draw = np.random.default_rng(1)
    whole = load_sample_images().images
    for i in range(count):
        photo = whole[i % len(whole)]
        top, left = draw.integers(0, photo.shape[0] - 375), draw.integers(0, photo.shape[1] - 500)
        Image.fromarray(photo[top : top + 375, left : left + 500]).save(folder / f"{i:04}.jpg", quality=90)
    return folder


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
