"""Models of every task that calculate in NumPy, so that what stands around a model is tested in milliseconds."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from pipelines import EvaluationCrop, Letterbox
from transfer.artifacts.engines.base import Engine
from transfer.predict.predictor import Predictor
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.detect.answers import DetectContract
from transfer.tasks.heads.answers import HeadFacts, HeadsContract
from transfer.tasks.locate.answers import LocateContract
from transfer.tasks.regress.answers import RegressContract
from transfer.tasks.segment.answers import SegmentContract
from transfer.tasks.tag.answers import TagContract

COLOURS = ("red", "green & <blue>", "blüe")
CROP, CANVAS = EvaluationCrop((32, 48), 1.0), Letterbox((48, 64))
VERSIONS = {"python": "3"}
HEADS = (
    HeadFacts("colour", "classes", COLOURS),
    HeadFacts("traits", "labels", ("bright", "dark")),
    HeadFacts("light", "numbers", ("brightness",), deviations=(0.1,)),
)
CONTRACTS = {
    contract.task: contract
    for contract in (
        ClassifyContract(COLOURS, preparation=CROP, versions=VERSIONS, fingerprint="c1"),
        TagContract(COLOURS, preparation=CROP, versions=VERSIONS, fingerprint="t1"),
        RegressContract(("brightness", "contrast"), (0.1, 0.1), preparation=CROP, versions=VERSIONS, fingerprint="r1"),
        HeadsContract(HEADS, preparation=CROP, versions=VERSIONS, fingerprint="h1"),
        LocateContract(COLOURS, preparation=CANVAS, versions=VERSIONS, fingerprint="l1", objectness=True),
        DetectContract(COLOURS, preparation=CANVAS, versions=VERSIONS, fingerprint="d1", max_detections=3),
        SegmentContract(COLOURS, preparation=CANVAS, versions=VERSIONS, fingerprint="s1"),
    )
}


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype("float32")


def bright_box(image) -> list[float]:
    """The box around what is nearly white, and nothing where there is none."""
    rows, columns = np.nonzero(image.min(axis=-1) > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]


class NumPyEngine(Engine):
    """A model that tells colours, brightness, and where a photo is white. It keeps the sizes of its batches."""

    name = "numpy"

    def __init__(self, contract):
        self.contract = contract
        self.batches = []

    def outputs(self, way, images):
        preparation = self.contract.preparation
        assert way == "prepared"
        assert images.shape[1:] == (*preparation.size, 3)
        assert images.dtype == preparation.dtype
        self.batches.append(len(images))
        return getattr(self, self.contract.task)(np.asarray(images, "float32"))

    def classify(self, images):
        means = images.mean(axis=(1, 2))
        return {"probabilities": softmax(means / 20), "embedding": means}

    def tag(self, images):
        means = images.mean(axis=(1, 2))
        return {"probabilities": means / 255, "embedding": means}

    def regress(self, images):
        numbers = np.stack([images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))], axis=-1) / 255
        return {"numbers": numbers, "embedding": images.mean(axis=(1, 2))}

    def heads(self, images):
        means = images.mean(axis=(1, 2))
        brightness = means.mean(axis=-1, keepdims=True) / 255
        traits = np.concatenate([brightness, 1 - brightness], axis=-1)
        return {"colour": softmax(means / 20), "traits": traits, "light": brightness, "embedding": means}

    def locate(self, images):
        boxes = np.array([bright_box(image) for image in images], "float32")
        objectness = (boxes.max(axis=-1, keepdims=True) > 0).astype("float32")
        means = images.mean(axis=(1, 2))
        return {"probabilities": softmax(means / 20), "box": boxes, "objectness": objectness, "embedding": means}

    def detect(self, images):
        boxes = np.zeros((len(images), 3, 4), "float32")
        boxes[:, 0] = [bright_box(image) for image in images]
        valid = (boxes.max(axis=(1, 2)) > 0).astype("int32")
        classes = np.full((len(images), 3), -1, "int32")
        classes[:, 0] = np.where(valid, images.mean(axis=(1, 2)).argmax(axis=-1), -1)
        scores = np.zeros((len(images), 3), "float32")
        scores[:, 0] = 0.75 * valid
        return {
            "boxes": boxes,
            "classes": classes,
            "scores": scores,
            "valid": valid,
            "candidate_boxes": np.repeat(boxes, 100, axis=1),
            "candidate_scores": np.zeros((len(images), 300, 3), "float32"),
        }

    def segment(self, images):
        probabilities = softmax(images / 20)
        mask, scores = probabilities.argmax(axis=-1).astype("uint8"), probabilities.max(axis=-1)
        return {"mask": mask, "scores": scores, "probabilities": probabilities}


@pytest.fixture(params=CONTRACTS)
def task(request) -> str:
    """The name of a task; the test runs for each of them."""
    return request.param


@pytest.fixture
def make_predictor():
    """Makes a predictor of a task, with changes of its contract."""

    def make(task, **changes):
        return Predictor(NumPyEngine(dataclasses.replace(CONTRACTS[task], **changes)))

    return make


@pytest.fixture
def predictor(task, make_predictor):
    return make_predictor(task)


def photo(number: int, *, box=True) -> np.ndarray:
    """A photo of one of three colours, with a white rectangle in it. Sizes differ."""
    height, width = 60 + 4 * (number % 3), 90 + 2 * (number % 5)
    pixels = np.full((height, width, 3), 40, np.uint8)
    pixels[..., number % 3] = 150
    if box:
        left, top, right, bottom = BOX
        pixels[top:bottom, left:right] = 255
    return pixels


BOX = (30, 15, 54, 45)  # left, top, right and bottom of that rectangle


@pytest.fixture
def make_photo():
    return photo


@pytest.fixture
def true_box():
    return BOX


@pytest.fixture
def folder(tmp_path):
    """Photos, some of them in folders with odd names, one without an object, and a file that is no photo."""
    place = tmp_path / "photos [1]"
    for number, name in enumerate(("a/x.png", "a_x.png", "b [2]/y*?.png", "b [2]/ö.png", "no object.png")):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(number, box=name != "no object.png")).save(path)
    (place / "words.png").write_text("no picture")
    return place


@pytest.fixture
def exported(tmp_path):
    """A folder with a proof, as far as the server's page looks into it: two photos to try."""
    place = tmp_path / "exported"
    place.mkdir()
    files = {}
    for number in range(2):
        file = io.BytesIO()
        Image.fromarray(photo(number)).save(file, "PNG")
        files[f"photo_{number}"] = np.frombuffer(file.getvalue(), np.uint8)
    np.savez(place / "proof.npz", **files)
    (place / "manifest.json").write_text(json.dumps({}))
    return place
