"""A folder of photos and a finished run on it, shared by the tests of everything that works on runs."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from pipelines import EvaluationCrop, Scene, SceneData, write_scenes
from transfer.models.backbones import Backbone
from transfer.runs import fitting as run_module

# Class folders as people have them, and the colour that tells each class apart.
CLASSES = {"Blüten & Blätter": (200, 60, 60), "sea": (40, 70, 220), "<meadow>": (60, 190, 40)}
PER_CLASS = 12


def write_photos(folder: Path, classes=tuple(CLASSES), *, per_class: int = PER_CLASS, seed: int = 0) -> Path:
    """One sub-folder a class, with noisy pictures of one colour in several sizes and formats."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            height, width = rng.integers(30, 70, 2)
            pixels = np.clip(rng.normal(CLASSES[name], 40, (height, width, 3)), 0, 255).astype("uint8")
            suffix = ("jpg", "png", "webp")[i % 3]
            Image.fromarray(pixels).save(folder / name / f"photo {i}.{suffix}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Stored activations go to a folder of the tests, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "my photos")


@pytest.fixture
def make_photos():
    return write_photos


def tiny_backbone(name, *, image_size=None, weights="imagenet") -> Backbone:
    """Stands for a pretrained network: three convolutions that can be trained in a second."""
    size = (image_size or 32,) * 2
    image = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for i, filters in enumerate((8, 16, 24)):
        init = keras.initializers.HeNormal(seed=i)
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", kernel_initializer=init, use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    return Backbone(name, keras.Model(image, x, name="tiny"), EvaluationCrop(size), weights, None)


@pytest.fixture
def tiny(monkeypatch):
    """Lets runs use the tiny network whatever they ask for."""
    monkeypatch.setattr(run_module, "make_backbone", tiny_backbone)


NAMES = ("ant", "bee", "fly & co", 'Hornisse "ö"')
SIZE = (32, 48)


def tiny_classifier(seed: int = 0) -> keras.Model:
    """A network with a batch norm that gives every photo another answer."""
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
def everywhere(tmp_path_factory):
    """A model, and a folder with it in every format: not to be changed."""
    from transfer.artifacts.exporting import export

    model = tiny_classifier()
    folder = tmp_path_factory.mktemp("everywhere") / "exported"
    proof = export(
        model,
        folder,
        class_names=NAMES,
        crop=EvaluationCrop(SIZE),
        formats=("keras", "saved_model", "onnx", "openvino", "litert"),
        thresholds={"bee": 0.9},
    )
    return model, folder, proof


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run, and the photos that it was trained on: not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    data = write_photos(place / "my photos")
    (data / "sea" / "empty.jpg").write_bytes(b"")
    (data / "sea" / "words, \udcff.jpg").write_text("no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "make_backbone", tiny_backbone)
        run = run_module.fit(
            data, place / "run", head_epochs=20, epochs=2, head_learning_rate=2e-2, batch_size=8, progress=False
        )
    return run, data


# Detectors


def box_scenes(count: int, *, seed: int = 0) -> tuple[Scene, ...]:
    """Noisy photos of several sizes with red and blue rectangles in them; every fifth is empty."""
    rng = np.random.default_rng(seed)
    scenes = []
    for i in range(count):
        height, width = ((60, 100), (66, 90), (80, 120))[i % 3]
        pixels = rng.normal(110, 12, (height, width, 3))
        boxes, classes = [], []
        for number in range(0 if i % 5 == 4 else 1 + i % 2):
            h, w = rng.integers(22, 34, 2)
            top, left = rng.integers(0, height - h), rng.integers(0, width // 2 - w) + number * width // 2
            kind = int(rng.integers(0, 2))
            pixels[top : top + h, left : left + w] = rng.normal(((220, 40, 40), (40, 60, 230))[kind], 8, (h, w, 3))
            boxes.append((left, top, left + w, top + h))
            classes.append(kind)
        image = np.clip(pixels, 0, 255).astype("uint8")
        scenes.append(Scene(image, f"photo {i}.png", (height, width), boxes=boxes, classes=classes))
    return tuple(scenes)


def tiny_trunk(name, *, image_size=None, weights="imagenet", channels=3) -> Backbone:
    """Stands for a pretrained network with maps at strides 8, 16 and 32."""
    image = keras.Input((*image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for i, filters in enumerate((8, 12, 16, 24, 32)):
        init = keras.initializers.HeNormal(seed=i)
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", kernel_initializer=init)(x)
        x = keras.layers.ReLU()(x)
    return Backbone(name, keras.Model(image, x, name="tiny"), EvaluationCrop(image_size), weights, "MIT")


DETECTOR = {"epochs": 16, "batch_size": 4, "learning_rate": 3e-3, "flip": "both", "audit": False, "progress": False}


@pytest.fixture(scope="session")
def annotated(tmp_path_factory):
    """A folder of annotated photos as YOLO has them, with splits of its own: not to be changed."""
    folder = tmp_path_factory.mktemp("annotated") / "boxes"
    data = SceneData(("ant", "bee & co"), box_scenes(24), box_scenes(6, seed=1), box_scenes(6, seed=2))
    write_scenes(data, folder, layout="yolo")
    return folder


@pytest.fixture(scope="session")
def found(annotated, tmp_path_factory):
    """A finished run of a detector: not to be changed."""
    from transfer.tasks.detect import training
    from transfer.tasks.detect.run import fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_backbone", tiny_trunk)
        return fit(annotated, tmp_path_factory.mktemp("found") / "run", image_size="64x96", **DETECTOR)


@pytest.fixture(scope="session")
def finder(found):
    """What finds objects with that run."""
    import transfer

    return transfer.load(found.folder)


@pytest.fixture
def make_box_scenes():
    return box_scenes


@pytest.fixture
def quick_detector():
    """Settings of a training that takes seconds and learns nothing."""
    return {**DETECTOR, "epochs": 1, "mosaic": 0.0, "augment": "none", "image_size": "64x96"}


@pytest.fixture
def small_trunk(monkeypatch):
    """Lets detectors use the tiny trunk whatever they ask for."""
    from transfer.tasks.detect import training

    monkeypatch.setattr(training, "make_backbone", tiny_trunk)
