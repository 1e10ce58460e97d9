"""A network in the layers of Keras alone answers as before, and its file opens where this package is not."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from zoo import layers
from zoo.models import FAMILIES, family_of
from zoo.surgery.keras_layers import with_keras_layers, with_zoo_layers

L = keras.layers

OPEN_AND_ANSWER = """
import sys
import keras, numpy
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    numpy.save(path + ".npy", model.predict(numpy.load(path + ".images.npy"), verbose=0))
assert "zoo" not in sys.modules
"""


def answer_in_a_fresh_process(model: keras.Model, images: np.ndarray, path: Path) -> np.ndarray:
    model.save(path)
    np.save(f"{path}.images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_ANSWER, path], capture_output=True, text=True, cwd=path.parent
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(f"{path}.npy")


def drawn(model: keras.Model, n: int, top: float = 255) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, top, (n, *model.input_shape[1:])).astype("float32")


def own(model: keras.Model) -> list[str]:
    """Names of the operations that are not Keras' own, activations included."""
    names = []
    for operation in model.operations:
        activation = getattr(operation, "activation", None)
        modules = [type(operation).__module__, getattr(activation, "__module__", None) or "keras"]
        if not all(module.startswith("keras") for module in modules):
            names.append(operation.name)
    return names


def every_layer() -> keras.Model:
    """A network of 7 x 9 pixels with each layer of the zoo, and with weights that are all different."""
    image = keras.Input((7, 9, 6), name="image")
    x = layers.GroupedConv2D(8, 3, groups=2, padding="same", activation=layers.gelu, name="grouped")(image)
    x = layers.LocalResponseNormalization(depth_radius=1, alpha=0.5, name="lrn")(x)
    branch = L.Conv2D(8, 1, activation=layers.leaky_relu, name="leaky")(x)
    branch = layers.DropPath(0.3, seed=1, name="drop")(layers.LayerScale(0.5, name="scale")(branch))
    x = layers.ScaledAdd(0.2, name="add")([x, branch])
    x = layers.DepthPool(2, name="largest")(x)
    x = layers.DepthPool(2, mode="average", name="mean")(x)
    tokens = layers.PatchTokens((3, 4), name="tokens")(x)
    tokens = layers.LayerScale(0.7, name="scale_tokens")(L.Dense(2, activation=layers.gelu, name="mlp")(tokens))
    x = layers.PatchMap(name="map")([tokens, x])
    x = layers.SqueezeExcite(ratio=2, name="squeeze")(x)
    answer = layers.RadialBasis([[1, 1], [-1, 1], [0.5, 2]], name="basis")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, answer)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def test_a_network_with_every_layer_of_the_zoo_opens_in_keras_alone(tmp_path):
    model = every_layer()
    plain = with_keras_layers(model)
    assert own(plain) == []
    images = drawn(model, 3, top=2)
    expected = model(images).numpy()
    for n in (1, 3):
        np.testing.assert_allclose(plain(images[:n]), expected[:n], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        answer_in_a_fresh_process(plain, images, tmp_path / "model.keras"), expected, rtol=1e-5, atol=1e-6
    )


def test_layers_keep_their_names_and_weights_and_come_back():
    model = every_layer()
    plain = with_keras_layers(model)
    assert {layer.name for layer in model.layers if layer.weights} - {"squeeze"} <= {
        layer.name for layer in plain.layers
    }
    back = with_zoo_layers(plain)
    kinds = {layer.name: type(layer).__name__ for layer in back.layers}
    assert (kinds["grouped"], kinds["drop"]) == ("GroupedConv2D", "DropPath")
    assert back.get_layer("mlp").activation is layers.gelu
    images = drawn(model, 2, top=2)
    np.testing.assert_allclose(back(images), model(images), rtol=1e-5, atol=1e-6)


def test_a_network_of_keras_layers_stays_itself():
    image = keras.Input((7, 9, 3))
    model = keras.Model(image, L.Dropout(0.5)(L.Conv2D(4, 3, activation="relu")(image)))
    assert with_keras_layers(model) is model
    assert with_zoo_layers(model) is model


def test_dropped_samples_are_whole_and_scaled():
    image = keras.Input((2, 3, 4))
    plain = with_keras_layers(keras.Model(image, layers.DropPath(0.5, seed=3)(image)))
    output = np.asarray(plain(np.ones((200, 2, 3, 4), "float32"), training=True)).reshape(200, -1)
    assert set(np.unique(output)) == {0.0, 2.0}
    assert (output == output[:, :1]).all()


def test_tokens_for_images_of_any_size_keep_their_layer():
    image = keras.Input((None, None, 4))
    model = with_keras_layers(keras.Model(image, layers.PatchTokens((3, 4), name="tokens")(image)))
    assert own(model) == ["tokens"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_opens_in_keras_alone(family, tmp_path):
    name = FAMILIES[family][-1]
    row = family_of(name).VARIANTS[name]
    shape = (row.min_size, row.min_size + 11, row.channels)
    model = zoo.create_model(name, input_shape=shape, num_classes=5)
    plain = with_keras_layers(model)
    assert own(plain) == []
    images = drawn(model, 2)
    expected = model.predict(images, verbose=0)
    scale = max(1.0, float(np.abs(expected).max()))
    answers = answer_in_a_fresh_process(plain, images, tmp_path / "model.keras")
    np.testing.assert_allclose(answers / scale, expected / scale, atol=1e-4)


def test_the_table_of_classes_names_all_that_keras_can_save():
    code = """
import importlib, pkgutil, sys, zoo
from zoo.registration import CLASSES
for module in pkgutil.walk_packages(zoo.__path__, "zoo."):
    importlib.import_module(module.name)
import inspect, keras
found = {}
for name, thing in keras.saving.get_custom_objects().items():
    if name.startswith("zoo>") and inspect.isclass(thing):
        found.setdefault(thing.__module__, set()).add(thing.__name__)
assert found == {module: set(names) for module, names in CLASSES.items()}, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("imports", ["import keras, zoo", "import zoo, keras", "import zoo; zoo.layers; import keras"])
def test_a_file_with_layers_of_the_zoo_opens_after_import_zoo(imports, tmp_path):
    image = keras.Input((7, 9, 3))
    branch = layers.DropPath(0.2, name="drop")(L.Conv2D(3, 3, padding="same")(image))
    keras.Model(image, layers.ScaledAdd(0.5)([image, branch])).save(tmp_path / "model.keras")
    code = f"{imports}\nassert 'zoo.detection.ssd' not in __import__('sys').modules\n"
    code += f"print(keras.saving.load_model({str(tmp_path / 'model.keras')!r}).get_layer('drop').rate)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0.2", done.stderr[-2000:]
