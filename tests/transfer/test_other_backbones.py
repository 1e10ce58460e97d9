"""Backbones of KerasCV and KerasHub: they answer as the originals do, and say what is missing."""

import sys
import types

import keras
import numpy as np
import pytest

from pipelines import EvaluationCrop
from transfer.models.backbone_tables import KERAS_CV
from transfer.models.backbones import backbone, list_backbones
from transfer.models.normalisation import normalising_copy
from zoo.surgery.feature_maps import levels

SIZE = (64, 96)
QUICK = {"resnet18"}


def photos(n=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SIZE, 3)).astype("float32")


def test_kerascvs_networks_are_listed():
    assert {f"keras_cv:{name}" for name in KERAS_CV} == set(list_backbones("keras_cv:*"))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in KERAS_CV])
def test_a_network_of_kerascv_answers_as_its_own_class_does(name, tmp_path):
    keras_cv = pytest.importorskip("keras_cv")
    row = KERAS_CV[name]
    make = getattr(keras_cv.models, row.backbone)
    original = make(**row.configuration, include_rescaling=False, input_shape=(*SIZE, 3))
    original.save_weights(tmp_path / "own.weights.h5")
    trunk = backbone(f"keras_cv:{name}", image_size=SIZE, weights=str(tmp_path / "own.weights.h5"))
    expected = np.asarray(original(photos() / 255))
    np.testing.assert_allclose(trunk.model(photos()), expected, atol=1e-4 * np.abs(expected).max())
    assert {type(layer).__module__.split(".")[0] for layer in trunk.model.layers} <= {"keras", "zoo"}
    assert list(levels(trunk.model)) == ["c1", "c2", "c3", "c4", "c5"]
    assert (trunk.values, trunk.licence, trunk.crop.size) == ("0..1", None, SIZE)


def test_a_network_of_kerascv_has_its_own_size_and_other_channels():
    trunk = backbone("keras_cv:efficientnet_lite_b0", weights=None, channels=2)
    assert trunk.model.input_shape == (None, 224, 224, 2)
    with pytest.raises(FileNotFoundError, match=r"keras_cv:resnet18 .* comes without weights: give weights=None"):
        backbone("keras_cv:resnet18")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("keras_cv:resnet18", "keras_cv", "keras-cv"),
        ("keras_hub:resnet_18_imagenet", "keras_hub", r"'transfer-zoo\[hub\]'"),
    ],
)
def test_a_library_that_is_not_installed(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=f"{module} is not installed.*pip install {package}"):
        backbone(name, weights=None)


def hub_network(shape=(None, None, 3)):
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same")(x), name="tiny")


class Converter:
    image_size, interpolation = SIZE, "bicubic"
    scale, offset = [0.017, 0.0175, 0.0174], [-2.1, -2.0, -1.8]


@pytest.fixture
def hub(monkeypatch):
    """Stands for KerasHub, as far as it is asked: a preset's network and its converter, in two channels' worth."""
    asked = {}

    def network(preset, *, load_weights, image_shape):
        asked.update(load_weights=load_weights, image_shape=image_shape)
        return hub_network(image_shape)

    def converter(preset):
        if preset == "unknown":
            raise ValueError("Unknown preset identifier")
        if preset == "far":
            raise OSError("no route to host")
        return Converter

    classes = types.SimpleNamespace(from_preset=network, presets={"tiny": {"metadata": {"license": "Apache-2.0"}}})
    module = types.ModuleType("keras_hub")
    module.models = types.SimpleNamespace(Backbone=classes)
    module.layers = types.SimpleNamespace(ImageConverter=types.SimpleNamespace(from_preset=converter))
    monkeypatch.setitem(sys.modules, "keras_hub", module)
    return asked


def test_a_preset_brings_its_normalisation_crop_and_licence(hub):
    trunk = backbone("keras_hub:tiny")
    assert hub == {"load_weights": True, "image_shape": (*SIZE, 3)}
    converted = photos() * Converter.scale + Converter.offset
    np.testing.assert_allclose(trunk.model(photos()), hub_network()(converted), atol=1e-4)
    assert trunk.crop == EvaluationCrop(SIZE, fraction=1.0, interpolation="bicubic")
    assert (trunk.weights, trunk.licence) == ("imagenet", "Apache-2.0")
    assert trunk.values == "-2.1..2.23, -2..2.46, -1.8..2.64"
    assert list(trunk.levels) == ["c1", "c2"]


def test_a_preset_of_another_size_and_other_channels(hub):
    trunk = backbone("keras_hub:tiny", image_size=40, channels=4, weights=None)
    assert hub == {"load_weights": False, "image_shape": (40, 40, 3)}
    assert trunk.model.input_shape == (None, 40, 40, 4)
    assert trunk.licence is None


def test_presets_that_are_not_to_be_had(hub, monkeypatch):
    with pytest.raises(ValueError, match="KerasHub has no backbone keras_hub:unknown, nor a folder"):
        backbone("keras_hub:unknown")
    with pytest.raises(FileNotFoundError, match=r"keras_hub:far is not on this machine.*no route.*save_to_preset"):
        backbone("keras_hub:far")
    with pytest.raises(ValueError, match=r"are \"imagenet\", for the preset's own, or None; got 'a\.weights\.h5'"):
        backbone("keras_hub:tiny", weights="a.weights.h5")
    monkeypatch.setattr(Converter, "image_size", None)
    with pytest.raises(ValueError, match="states no size of images: give image_size"):
        backbone("keras_hub:tiny")


@pytest.mark.slow
def test_a_preset_of_kerashub_itself(tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    original = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=SIZE, scale=Converter.scale, offset=Converter.offset, interpolation="bicubic"
    )
    for part in (original, converter):
        part.save_to_preset(str(tmp_path / "preset"))
    trunk = backbone(f"keras_hub:{tmp_path / 'preset'}")
    expected = np.asarray(original(converter(photos())))
    np.testing.assert_allclose(trunk.model(photos()), expected, atol=1e-4 * np.abs(expected).max())
    assert list(trunk.levels) == ["c1", "c2", "c3"]


class Block(keras.layers.Layer):
    """A layer with a batch norm of its own, which nobody outside can freeze."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.BatchNormalization()

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x, training=None):
        return self.norm(x, training=training)


def test_networks_that_are_no_backbones():
    image = keras.Input((*SIZE, 3))
    blocks = keras.Model(image, Block(name="block")(keras.layers.Conv2D(4, 3)(image)))
    with pytest.raises(ValueError, match=r"own has batch norms inside its layer 'block' \(Block\), where freezing"):
        normalising_copy(blocks, "unit", (*SIZE, 3), name="own", random=True)
    tokens = keras.Model(image, keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(4, 3)(image)))
    with pytest.raises(ValueError, match="a backbone gives one feature map"):
        normalising_copy(tokens, "unit", (*SIZE, 3), name="own", random=True)


def test_a_network_whose_beginning_cannot_be_adapted():
    image = keras.Input((*SIZE, 3))
    depthwise = keras.Model(image, keras.layers.Conv2D(4, 1, name="mix")(keras.layers.DepthwiseConv2D(3)(image)))
    wide = keras.Model(image, keras.layers.Conv2D(4, 1)(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(image)))
    for model in (wide, keras.Model(image, keras.layers.DepthwiseConv2D(3)(image)), depthwise):
        with pytest.raises(ValueError, match="does not begin with a convolution of all channels"):
            normalising_copy(model, "unit", (*SIZE, 4), name="own", random=True)
