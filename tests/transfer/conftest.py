"""Small data sets, a tiny backbone, and finished runs of every task, made once and shared by all tests and workers."""

import csv
import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tests_tiny import FORMATS, RUN_FORMATS, TinyRun, register, tiny_settings

import transfer
from pipelines import Data, EvaluationCrop, Scene, write_scenes
from transfer.runs.exporting import export_run
from transfer.tasks import TASKS

register()

# Class folders as people have them, and the colour that tells each class apart.
CLASSES = {"Blüten & Blätter": (200, 60, 60), "sea": (40, 70, 220), "<meadow>": (60, 190, 40)}
PER_CLASS = 12
IGNORED = 255  # the value of pixels of a mask that have no class


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Lets stored activations go to a folder of the tests, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Makes something in a folder once for all workers: `shared(name, make)` gives what `make(folder)` returned."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    known: dict[str, Any] = {}

    def get(name: str, make: Callable[[Path], Any]) -> Any:
        if name not in known:
            folder, result = base / "shared" / name, base / "shared" / f"{name}.result"
            folder.parent.mkdir(parents=True, exist_ok=True)
            with (base / "shared" / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not result.exists():
                    shutil.rmtree(folder, ignore_errors=True)  # What is left of an attempt that failed.
                    folder.mkdir()
                    result.write_bytes(pickle.dumps(make(folder)))
                known[name] = pickle.loads(result.read_bytes())
        return known[name]

    return get


# Photos


def write_photos(folder: Path, classes=tuple(CLASSES), *, per_class: int = PER_CLASS, seed: int = 0) -> Path:
    """Writes one sub-folder a class, with noisy pictures of one colour in several sizes and formats."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            height, width = rng.integers(30, 70, 2)
            pixels = np.clip(rng.normal(CLASSES[name], 40, (height, width, 3)), 0, 255).astype("uint8")
            suffix = ("jpg", "png", "webp")[i % 3]
            Image.fromarray(pixels).save(folder / name / f"photo {i}.{suffix}")
    return folder


def write_table(folder: Path, count: int = 40, *, seed: int = 0) -> Path:
    """Writes `table.csv` beside pictures that show what its columns say: a colour, its brightness, and two squares."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        height, width = rng.integers(40, 70, 2)
        kind, brightness = int(rng.integers(0, 3)), float(rng.uniform(0.3, 1.0))
        colour = np.array(list(CLASSES.values())[kind]) * brightness
        pixels = rng.normal(colour, 10, (height, width, 3))
        squares = [name for name in ("left", "right") if rng.random() < 0.5]
        for name in squares:
            start = 0 if name == "left" else width // 2
            pixels[: height // 2, start : start + width // 2] = 255
        Image.fromarray(np.clip(pixels, 0, 255).astype("uint8")).save(folder / "images" / f"{i}.png")
        rows.append((f"images/{i}.png", "|".join(squares), round(brightness, 3), ("red", "blue", "green")[kind]))
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "brightness", "colour"))
        writer.writerows(rows)
    return folder / "table.csv"


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "my photos")


@pytest.fixture
def make_photos():
    return write_photos


@pytest.fixture
def make_table():
    return write_table


# Scenes with boxes


def box_scenes(count: int, *, seed: int = 0, one: bool = False) -> tuple[Scene, ...]:
    """Noisy photos of several sizes with red and blue rectangles in them; every fifth is empty, unless `one`."""
    rng = np.random.default_rng(seed)
    scenes = []
    for i in range(count):
        height, width = ((60, 100), (66, 90), (80, 120))[i % 3]
        pixels = rng.normal(110, 12, (height, width, 3))
        boxes, classes = [], []
        for number in range(1 if one else 0 if i % 5 == 4 else 1 + i % 2):
            h, w = rng.integers(22, 34, 2)
            top, left = rng.integers(0, height - h), rng.integers(0, width // 2 - w) + number * width // 2
            kind = int(rng.integers(0, 2))
            pixels[top : top + h, left : left + w] = rng.normal(((220, 40, 40), (40, 60, 230))[kind], 8, (h, w, 3))
            boxes.append((left, top, left + w, top + h))
            classes.append(kind)
        image = np.clip(pixels, 0, 255).astype("uint8")
        scenes.append(Scene(image, f"photo {i}.png", (height, width), boxes=boxes, classes=classes))
    return tuple(scenes)


def write_boxes(folder: Path, *, one: bool = False) -> Path:
    """Writes annotated photos as YOLO has them, with splits of their own."""
    parts = [box_scenes(24, one=one), box_scenes(6, seed=1, one=one), box_scenes(6, seed=2, one=one)]
    write_scenes(Data(("ant", "bee & co"), *parts, kind="boxes"), folder, layout="yolo")
    return folder


def write_masks(folder: Path) -> Path:
    """Writes the same photos with masks of three classes, 255 around each rectangle, and splits of their own."""
    for split, count, seed in (("train", 24, 0), ("val", 6, 1), ("test", 6, 2)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for scene in box_scenes(count, seed=seed):
            mask = np.zeros(scene.size, "uint8")
            for (left, top, right, bottom), number in zip(scene.boxes.astype(int), scene.classes, strict=True):
                mask[top:bottom, left:right] = IGNORED
                mask[top + 1 : bottom - 1, left + 1 : right - 1] = number + 1
            Image.fromarray(scene.image).save(folder / split / "images" / scene.name)
            Image.fromarray(mask).save(folder / split / "masks" / scene.name)
    (folder / "classes.txt").write_text("background\nant\nbee & co\n")
    return folder


@pytest.fixture
def make_box_scenes():
    return box_scenes


@pytest.fixture(scope="session")
def annotated(shared):
    """A folder of annotated photos as YOLO has them, with splits of its own: not to be changed."""
    return shared("annotated", lambda folder: write_boxes(folder / "boxes"))


# Runs of every task


@pytest.fixture(scope="session")
def tiny_data(shared) -> Callable[[str], str]:
    """Data for each task: not to be changed."""
    makers: dict[str, Callable[[Path], Path]] = {
        "classify": lambda folder: write_photos(folder / "my photos"),
        "table": write_table,
        "locate": lambda folder: write_boxes(folder / "boxes", one=True),
        "detect": lambda folder: write_boxes(folder / "boxes"),
        "segment": lambda folder: write_masks(folder / "masks"),
    }

    def data(task: str) -> str:
        name = task if task in makers else "table"
        return str(shared(f"data-{name}", makers[name]))

    return data


@pytest.fixture(scope="session")
def tiny_run(shared, tiny_data) -> Callable[[str], TinyRun]:
    """A finished run of each task: `tiny_run("detect")`.

    A classifier and a detector come in every format, and the other tasks as ONNX alone.
    """

    def run(task: str) -> TinyRun:
        data = tiny_data(task)

        def make(folder: Path) -> TinyRun:
            settings = tiny_settings(task, formats=RUN_FORMATS[task])
            done = transfer.fit(data, folder / "run", settings, progress=False)
            return TinyRun(task, done.folder, data, done.metrics)

        return shared(f"run-{task}", make)

    return run


@pytest.fixture(scope="session")
def tiny_export(shared, tiny_run) -> Callable[..., Path]:
    """A folder with a run of each task in several formats, those of `tiny_run` unless told: `tiny_export("detect")`."""

    def exported(task: str, formats: tuple[str, ...] = ()) -> Path:
        run = tiny_run(task).folder
        if {*formats} <= {"keras", *RUN_FORMATS[task].split(",")}:
            return run

        def make(folder: Path) -> Path:
            export_run(run, folder / "exported", formats=formats)
            return folder / "exported"

        return shared(f"export-{task}", make)

    return exported


@pytest.fixture(params=TASKS)
def task(request) -> str:
    """Each task of the table."""
    return request.param


# A classifier that was not trained, in every format


NAMES = ("ant", "bee", "fly & co", 'Hornisse "ö"')
SIZE = (32, 48)


def tiny_classifier(seed: int = 0) -> keras.Model:
    """Returns a network with a batch norm that gives every photo another answer."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(len(NAMES), "softmax", kernel_initializer=keras.initializers.RandomNormal(0, 6, seed))(x)
    model = keras.Model(image, x)
    draw = np.random.default_rng(seed)
    model.get_layer("norm").set_weights([draw.uniform(0.5, 1.5, 8).astype("float32") for _ in range(4)])
    return model


@pytest.fixture(scope="session")
def everywhere(shared):
    """A model, and a folder with it in every format: not to be changed."""

    def make(folder: Path) -> tuple[Path, transfer.Proof]:
        contract = transfer.ClassifyContract(NAMES, {"bee": 0.9}, preparation=EvaluationCrop(SIZE))
        proof = transfer.export(tiny_classifier(), folder / "exported", contract, formats=FORMATS)
        return folder / "exported", proof

    return (tiny_classifier(), *shared("everywhere", make))


@pytest.fixture(scope="session")
def finished(tiny_run, shared):
    """A finished run of a classifier with files that could not be read, and its photos: not to be changed."""

    def make(folder: Path) -> tuple[Path, dict[str, Any], Path]:
        data = write_photos(folder / "my photos")
        (data / "sea" / "empty.jpg").write_bytes(b"")
        (data / "sea" / "words, \udcff.jpg").write_text("no picture")
        settings = tiny_settings("classify", audit=True, formats="saved_model")
        run = transfer.fit(data, folder / "run", settings, progress=False)
        return run.folder, run.metrics, data

    folder, metrics, data = shared("finished", make)
    return transfer.Run(folder, metrics), data


@pytest.fixture(scope="session")
def finder(tiny_run):
    """What finds objects with a tiny detector."""
    return transfer.load(tiny_run("detect").folder, engine="tensorflow")
