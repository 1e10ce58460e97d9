"""Finished runs of every task, made up without any training."""

import functools
import importlib
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from markupsafe import Markup

from pipelines import Data, EvaluationCrop, Fault, Letterbox, Samples, Scene, Target
from transfer.contract import Agreement, Check, Proof
from transfer.measuring.boxes import DetectionEvaluation, truths_of
from transfer.measuring.classes import Evaluation
from transfer.measuring.heads import HeadsEvaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.numbers import RegressionEvaluation
from transfer.measuring.places import LocalisationEvaluation, largest_objects
from transfer.report.card import model_card
from transfer.report.page import write
from transfer.report.sections import Card, Section, Sections
from transfer.tasks import task_of
from transfer.tasks.learning import Finished
from transfer.training.history import History, Phase

EVIL = '<script>alert("x")</script> & $\\frac$'
NAMES = ("ant", f"bee {EVIL}", "cicada")
CROP = EvaluationCrop((32, 48))
SIZE = (40, 52)  # height and width of the images
FAULTS = (
    Fault(f"/data/{EVIL}.jpg", "an empty file (0 bytes)"),
    Fault("/data/b\udcff.png", "not an image"),
    Fault("/data/labels.txt", "a box that reached beyond the image was cut off", line=3, kept=True),
)
TASKS = ("classify", "tag", "regress", "heads", "locate", "detect")


class Reader(HTMLParser):
    """Collects what a browser would see."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def history(*curves, objective=None):
    """Two phases, with every column that is asked for in training and in validation."""

    def rows(phase, first, count):
        return tuple(
            {"epoch": i, "phase": phase, "learning_rate": 1e-3, "seconds": 1.5}
            | {prefix + name: 1 / i + 0.1 * len(prefix) for name in curves for prefix in ("", "val_")}
            for i in range(first, first + count)
        )

    return History(
        (
            Phase("head", "none", 1e-3, 10, 90, rows("head", 1, 3), 4.5, cached=True),
            Phase("top", 0.3, 1e-4, 40, 60, rows("top", 4, 5), 7.5, cached=True),
        ),
        extraction_seconds=3.25,
        objective=objective or SimpleNamespace(curves=tuple((name, name.capitalize()) for name in curves)),
    )


def samples(labels, part):
    rng = np.random.default_rng(len(part))
    images = rng.integers(0, 256, (len(labels), *SIZE, 3), "uint8")
    return Samples(images, labels, [f"{part}/{i} {EVIL}.jpg" for i in range(len(labels))])


def splits(labels):
    return [samples(labels, part) for part in ("train", "valid", "test")]


def evaluation(labels, names=NAMES, *, seed=0, sure=1.0):
    logits = np.random.default_rng(seed).normal(size=(len(labels), len(names)))
    probabilities = np.exp(sure * logits) / np.exp(sure * logits).sum(axis=1, keepdims=True)
    return Evaluation(tuple(names), np.asarray(labels, "int32"), probabilities.astype("float32"))


def classifier(classes):
    keras.utils.set_random_seed(0)
    image = keras.Input((*CROP.size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, "softmax")(x))


class Runs:
    """Makes up finished runs, and writes their pages and cards."""

    evil, names, crop = EVIL, NAMES, CROP
    history, samples, evaluation, classifier = map(staticmethod, (history, samples, evaluation, classifier))
    reader = Reader

    def finished(self, task, data, measured, contract, *, model=None, settings=(), test=True, **changes):
        if not test:
            nothing = data.test[:0]
            data, measured = replace(data, test=nothing), {"valid": measured["valid"]}
        values = {
            "task": task,
            "metrics": {},
            "data": data,
            "settings": {
                "data": f"/somewhere/my `photos` | {EVIL}",
                "backbone": "efficientnet_lite0",
                "detector": "yolo_tiny",
                "weights": "imagenet",
                "image_size": None,
                "unfreeze": 0.3,
                "audit": False,
                **dict(settings),
            },
            "config": {
                "weights_licence": "Apache-2.0",
                "thresholds": getattr(contract, "thresholds", {}),
                "versions": {"keras": "3.15.1", "transfer-zoo": "0.1.0"},
            },
            "history": history("accuracy", "loss"),
            "measured": measured,
            "outputs": {},
            "model": model,
            "contract": contract,
            "proof": Proof((Check("saved_model", "image_bytes", 5, 3.2e-7),), 10, 1e-4),
            "seconds": {"listing the data": 0.02, "training": 4000.0, "measuring": 61},
            "headline": task_of(task).metrics[0],
        }
        return Finished(**{**values, **changes})

    def contract(self, task, *facts, preparation=CROP, **more):
        return task_of(task).contract(*facts, preparation=preparation, **more)

    def classify(self, names=NAMES, labels=None, *, per_class=6, sure=1.0, wrong=True, faults=FAULTS, **changes):
        labels = np.repeat(np.arange(len(names)), per_class) if labels is None else labels
        parts = splits(labels)
        measured = {"test": evaluation(labels, names, sure=sure), "valid": evaluation(labels, names, seed=1)}
        if not wrong:
            measured = {split: replace(own, labels=own.predictions.astype("int32")) for split, own in measured.items()}
        data = Data(tuple(names), *parts, faults=faults)
        model = classifier(len(names))
        return self.finished("classify", data, measured, self.contract("classify", names), model=model, **changes)

    def tag(self, *, wrong=True, faults=FAULTS, **changes):
        rng = np.random.default_rng(0)
        labels = (rng.random((20, 3)) < 0.4).astype(int)
        scores = np.clip(labels + rng.normal(0, 0.45 if wrong else 0.05, labels.shape), 0.01, 0.99)
        measured = {
            split: MultiLabelEvaluation(NAMES, labels, scores.astype("float32"), [0.5, 0.4, 0.6])
            for split in ("test", "valid")
        }
        data = Data(NAMES, *splits(labels), faults=faults, kind="labels")
        return self.finished("tag", data, measured, self.contract("tag", NAMES), **changes)

    def regress(self, names=("age", f"weight {EVIL}"), *, wrong=True, faults=FAULTS, **changes):
        rng = np.random.default_rng(0)
        labels = rng.normal(40, 15, (20, len(names))).astype("float32").astype(float)
        predictions = labels + rng.normal(1, 4, labels.shape) * wrong
        measured = {split: RegressionEvaluation(names, labels, predictions) for split in ("test", "valid")}
        data = Data(names, *splits(labels), faults=faults, kind="numbers")
        return self.finished("regress", data, measured, self.contract("regress", names, [15.0] * len(names)), **changes)

    def heads(self, *, wrong=True, faults=FAULTS, **changes):
        own = {"kind": self.classify(wrong=wrong), "tags": self.tag(wrong=wrong), "age": self.regress(wrong=wrong)}
        names = {"kind": "species", "tags": f"tags {EVIL}", "age": "age"}

        def cut(measured):
            if isinstance(measured, RegressionEvaluation):
                return replace(measured, labels=measured.labels[:18], predictions=measured.predictions[:18])
            return replace(measured, labels=measured.labels[:18], probabilities=measured.probabilities[:18])

        measured = {
            split: HeadsEvaluation({names[kind]: cut(run.measured[split]) for kind, run in own.items()})
            for split in ("test", "valid")
        }
        labels = np.concatenate([np.reshape(m.labels, (18, -1)) for m in measured["test"].results.values()], axis=1)
        targets = [
            Target(names["kind"], "classes", NAMES, 0),
            Target(names["tags"], "labels", NAMES, 1),
            Target(names["age"], "numbers", ("age", f"weight {EVIL}"), 4),
        ]
        data = Data(tuple(names.values()), *splits(labels), faults=faults, kind="several", targets=targets)
        image = keras.Input((*CROP.size, 3))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image))
        outputs = {name: keras.layers.Dense(3, "softmax")(x) for name in names.values()}
        facts = [{"name": target.name, "kind": target.kind, "names": target.class_names} for target in targets]
        facts[2]["deviations"] = (15, 15)
        contract = self.contract("heads", facts)
        return self.finished("heads", data, measured, contract, model=keras.Model(image, outputs), **changes)

    def scenes(self, part, count=12, objects=2):
        rng = np.random.default_rng(len(part))
        scenes = []
        for i in range(count):
            height, width = SIZE[0] + i, SIZE[1] + 2 * i
            n = 0 if i == 5 else objects
            corners = rng.uniform(0, 0.5, (n, 2)) * (width, height)
            boxes = np.concatenate([corners, corners + rng.uniform(0.3, 0.5, (n, 2)) * (width, height)], axis=1)
            pixels = rng.integers(0, 256, (height, width, 3), "uint8")
            classes = (np.arange(n) + i) % 2
            scenes.append(Scene(pixels, f"{part}/{i} {EVIL}.jpg", (height, width), boxes, classes))
        return tuple(scenes)

    def locate(self, *, wrong=True, objectness=True, faults=FAULTS, **changes):
        rng = np.random.default_rng(0)
        parts = [self.scenes(part) for part in ("train", "valid", "test")]
        measured = {}
        for split, scenes in (("test", parts[2]), ("valid", parts[1])):
            labels, boxes = largest_objects(scenes)
            scores = np.eye(2, dtype="float32")[np.maximum(labels, 0)] * 0.8 + 0.1
            if wrong:
                scores[::4] = scores[::4, ::-1]
            shifted = boxes + rng.normal(0, 6 * wrong, boxes.shape)
            there = (labels >= 0).astype("float32")
            if wrong:
                there[5:7] = 1 - there[5:7]
            measured[split] = LocalisationEvaluation(
                NAMES[:2], labels, boxes, scores, shifted, there if objectness else None
            )
        contract = self.contract("locate", NAMES[:2], objectness=objectness, preparation=Letterbox((32, 48)))
        return self.finished("locate", Data(NAMES[:2], *parts, faults=faults), measured, contract, **changes)

    def detect(self, *, wrong=True, faults=FAULTS, **changes):
        rng = np.random.default_rng(0)
        parts = [self.scenes(part) for part in ("train", "valid", "test")]
        measured = {}
        for split, scenes in (("test", parts[2]), ("valid", parts[1])):
            truths = truths_of(scenes)
            detections = []
            for i, truth in enumerate(truths):
                n = len(truth["boxes"])
                kept = np.arange(n)[: n - (wrong and i % 3 == 0)]
                boxes = truth["boxes"][kept] + rng.normal(0, 3 * wrong, (len(kept), 4)).astype("float32")
                classes = truth["classes"][kept]
                classes = 1 - classes if wrong and i % 4 == 1 else classes
                detections.append({"boxes": boxes, "classes": classes, "scores": rng.uniform(0.5, 1, len(kept))})
            measured[split] = DetectionEvaluation(NAMES[:2], truths, tuple(detections))
        thresholds = dict.fromkeys(NAMES[:2], 0.42)
        contract = self.contract("detect", NAMES[:2], thresholds=thresholds, preparation=Letterbox((64, 96)))
        data = Data(NAMES[:2], *parts, faults=faults)
        return self.finished("detect", data, measured, contract, **changes)

    def make(self, task, **changes):
        return getattr(self, task)(**changes)

    def sections(self, run):
        return importlib.import_module(f"transfer.tasks.{run.task}.sections").sections(run)

    def plain(self, run):
        """Sections without contents, for tests of what all tasks share."""
        section = Section("one", "One", Markup("<p>contents</p>"))
        return Sections("title", "subtitle", (), (section,), "note", Card("title", "headline", "purpose", ()))

    def page(self, run, folder, sections=None):
        write(folder / "report.html", run, sections or self.sections(run))
        return (folder / "report.html").read_text(encoding="utf-8")

    def plain_words(self, folder, **changes):
        """What the page of a run says, without the sections of its task."""
        run = self.classify(**{"history": history(), **changes})
        return Reader(self.page(run, folder, self.plain(run))).words

    def quantised(self):
        agreement = Agreement("int8/model.tflite", 12, 0.975, "accuracy", 0.93, 0.92, 1.0)
        return Proof((Check("model.onnx", "images uint8", 1, 2e-6),), 10, 1e-4, (agreement,))


@dataclass(frozen=True)
class Written:
    """A run with what was made of it, once for all tests."""

    run: Finished
    sections: Sections
    page: str
    card: str

    @property
    def reader(self):
        return Reader(self.page)


def written(runs, run, folder):
    sections = runs.sections(run)
    return Written(run, sections, runs.page(run, folder, sections), model_card(run, sections))


@pytest.fixture(scope="session")
def runs():
    return Runs()


@pytest.fixture(scope="session", params=TASKS)
def task(request):
    return request.param


@pytest.fixture(scope="session")
def reports(runs, tmp_path_factory):
    """Makes the report of a run of a task, the first time that it is asked for."""
    return functools.cache(lambda task: written(runs, runs.make(task), tmp_path_factory.mktemp(task)))


@pytest.fixture(scope="session")
def report_of(reports, task):
    """The report of a run of each task."""
    return reports(task)


@pytest.fixture(scope="session")
def page(report_of):
    return report_of.page


@pytest.fixture(scope="session")
def faultless(runs, task, tmp_path_factory):
    """The report of a run of each task that has neither mistakes, nor faults, nor a test set."""
    run = runs.make(task, wrong=False, faults=(), test=False)
    return written(runs, run, tmp_path_factory.mktemp(task))
