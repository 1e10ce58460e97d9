"""Backbones: one input range, flat graphs that do not depend on where weights come from, and errors that help."""

import subprocess
import sys
import urllib.error

import keras
import numpy as np
import pytest

from pipelines import EvaluationCrop
from transfer.models.backbone_tables import KERAS_APPLICATIONS, list_backbones
from transfer.models.backbones import Backbone, backbone
from transfer.models.heads import classifier
from zoo.blocks import normalise
from zoo.surgery.feature_maps import levels

SIZE = (73, 96)  # odd, and what Xception can take


def photos(n=2, size=SIZE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3)).astype("float32")


@pytest.fixture(scope="module")
def mobilenet():
    return backbone("keras:MobileNetV2", image_size=SIZE, weights=None)


@pytest.fixture(scope="module")
def lite0():
    return backbone("efficientnet_lite0", image_size=SIZE, weights=None)


@pytest.mark.parametrize("name", ["keras:MobileNetV2", "efficientnet_lite0"])
def test_a_backbone_is_flat_and_brings_its_crop(name, request):
    trunk = request.getfixturevalue("mobilenet" if name.startswith("keras:") else "lite0")
    assert isinstance(trunk, Backbone)
    assert trunk.name == name
    assert trunk.crop.size == SIZE
    assert (trunk.weights, trunk.licence) == (None, None)
    assert trunk.model.input_shape == (None, *SIZE, 3)
    assert trunk.model.output_shape == (None, 3, 3, 1280)
    assert not any(isinstance(layer, keras.Model) for layer in trunk.model.layers)
    assert list(levels(trunk.model)) == ["c1", "c2", "c3", "c4", "c5"]


def test_imagenet_weights_of_the_zoo_come_with_their_crop_and_licence():
    trunk = backbone("efficientnet_lite0")
    assert (trunk.crop.size, trunk.crop.fraction, trunk.crop.interpolation) == ((224, 224), 0.875, "bicubic")
    assert (trunk.weights, trunk.licence) == ("imagenet", "Apache-2.0")


def with_random_statistics(model, seed=0):
    """Weights that show every mix-up: also batch norms, which start as ones and zeros."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def pretrained(monkeypatch, name, prepare):
    """Makes `keras.applications` return, as ImageNet weights, a model of which `prepare` knows what it should give."""
    build = getattr(keras.applications, name)
    made = []

    def load(*, weights, **arguments):
        assert weights == "imagenet"
        made.append(prepare(with_random_statistics(build(weights=None, **arguments))))
        return made[0]

    monkeypatch.setattr(keras.applications, name, load)
    trunk = backbone(f"keras:{name}", image_size=SIZE)
    return trunk, made[0]


QUICK = {"MobileNetV2", "EfficientNetV2B0"}
# EfficientNet's own normalisation is complete with ImageNet weights only: see the next test.
NAMES = [name for name in KERAS_APPLICATIONS if not name.startswith("EfficientNetB")]


def test_every_class_of_keras_applications_is_a_backbone():
    classes = {name for name, value in vars(keras.applications).items() if callable(value)}
    assert set(KERAS_APPLICATIONS) == classes
    assert len(classes) == 40


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_it_answers_as_the_original_does_behind_preprocess_input(monkeypatch, name):
    trunk, original = pretrained(monkeypatch, name, lambda model: model)
    monkeypatch.undo()
    module = sys.modules[getattr(keras.applications, name).__module__]
    expected = np.asarray(original(module.preprocess_input(photos())))
    np.testing.assert_allclose(trunk.model(photos()), expected, atol=1e-4 * np.abs(expected).max())
    assert not any(isinstance(layer, keras.Model) for layer in trunk.model.layers)
    assert levels(trunk.model)
    assert (trunk.weights, trunk.licence) == ("imagenet", KERAS_APPLICATIONS[name].licence)


@pytest.mark.slow
def test_efficientnet_has_one_graph_whatever_its_weights(monkeypatch):
    """Keras' own has a layer more with ImageNet weights, whose file holds deviations where variances belong."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def add_rescaling(model):
        names = [layer.name for layer in model.layers]
        normalization = next(name for name in names if name.startswith("normalization"))
        model.get_layer(normalization).set_weights([mean, deviation, np.array(0)])
        model.get_layer(normalization).finalize_state()
        extra = keras.layers.Rescaling(1 / np.sqrt(deviation))

        def insert(layer, *args, **kwargs):
            output = layer(*args, **kwargs)
            return extra(output) if layer.name == normalization else output

        return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=insert)

    trunk, original = pretrained(monkeypatch, "EfficientNetB0", add_rescaling)
    monkeypatch.undo()
    random = backbone("keras:EfficientNetB0", image_size=SIZE, weights=None)
    assert sum(isinstance(layer, keras.layers.Rescaling) for layer in original.layers) == 2
    assert [layer.name for layer in trunk.model.layers] == [layer.name for layer in random.model.layers]
    expected = np.asarray(original(photos()))
    np.testing.assert_allclose(trunk.model(photos()), expected, atol=1e-4 * np.abs(expected).max())


def small_application(monkeypatch, name):
    """Makes `keras.applications` return, as ImageNet weights, a network of the same beginning and little else."""
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, name="stem")(keras.layers.ZeroPadding2D()(image))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    original = with_random_statistics(keras.Model(image, keras.layers.Conv2D(4, 3, strides=2)(x)))
    monkeypatch.setattr(keras.applications, name, lambda **_: original)
    return original


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_a_network_for_other_channels_sees_a_grey_image_as_before(monkeypatch, channels):
    """It brings 0..255 to -1..1, so that the same in all channels stays the same in all channels."""
    small_application(monkeypatch, "MobileNetV2")
    grey = photos()[..., :1]
    expected = np.asarray(backbone("keras:MobileNetV2", image_size=SIZE).model(np.repeat(grey, 3, axis=-1)))
    trunk = backbone("keras:MobileNetV2", image_size=SIZE, channels=channels)
    assert trunk.model.input_shape == (None, *SIZE, channels)
    assert not any(isinstance(layer, keras.Model) for layer in trunk.model.layers)
    answer = trunk.model(np.repeat(grey, channels, axis=-1))
    np.testing.assert_allclose(answer, expected, atol=1e-4 * np.abs(expected).max())
    model = classifier(trunk, 3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(model.train_on_batch(np.repeat(grey, channels, axis=-1), np.array([0, 2])))


def test_bgr_weights_are_reordered_before_they_are_tiled(monkeypatch):
    kernel = small_application(monkeypatch, "VGG16").get_layer("stem").get_weights()[0]
    wide = backbone("keras:VGG16", image_size=SIZE, channels=4)
    red, green, blue = kernel[:, :, 2], kernel[:, :, 1], kernel[:, :, 0]
    adapted = wide.model.get_layer("stem").get_weights()[0]
    np.testing.assert_allclose(adapted, np.stack([red / 2, green, blue, red / 2], axis=2))
    rgb, one = (backbone("keras:VGG16", image_size=SIZE, channels=channels).model for channels in (3, 1))
    grey = photos()[..., :1]
    expected = np.asarray(rgb(np.repeat(grey, 3, axis=-1)))
    np.testing.assert_allclose(one(grey), expected, atol=1e-4 * np.abs(expected).max())


def test_the_zoo_adapts_its_weights_and_says_so():
    with pytest.warns(UserWarning, match="takes images of 4 channels.*is tiled and rescaled"):
        trunk = backbone("efficientnet_lite0", image_size=(64, 96), channels=4)
    grey = photos(1, (64, 96))[..., :1]
    rgb = backbone("efficientnet_lite0", image_size=(64, 96))
    expected = np.asarray(rgb.model(np.repeat(grey, 3, axis=-1)))
    np.testing.assert_allclose(trunk.model(np.repeat(grey, 4, axis=-1)), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["keras:MobileNet", "efficientnet_lite0"])
def test_random_weights_for_other_channels_are_drawn_for_them(name):
    trunk = backbone(name, image_size=SIZE, weights=None, channels=8)
    stem = next(layer for layer in trunk.model.layers if isinstance(layer, keras.layers.Conv2D))
    channels = np.asarray(stem.kernel)[0, 0]
    assert channels.shape[0] == len({tuple(row) for row in channels.round(6).tolist()}) == 8


@pytest.mark.parametrize(
    ("scheme", "values"),
    [
        ("none", "0..255"),
        ("unit", "0..1"),
        ("symmetric", "-1..1"),
        ("imagenet", "0..1 less ImageNet's mean, over its deviation"),
        ("caffe", "0..255 less ImageNet's mean"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_values_that_a_network_was_trained_on(scheme, values, channels):
    image = keras.Input((*SIZE, channels))
    model = keras.Model(image, keras.layers.Conv2D(2, 3)(normalise(image, scheme)))
    assert Backbone("own", model, EvaluationCrop(SIZE), None, None).values == values


def test_values_of_ones_own_and_levels(lite0):
    assert lite0.values == "-0.992..1"
    assert list(lite0.levels) == ["c1", "c2", "c3", "c4", "c5"]
    with pytest.raises(ValueError, match="at least 1 channel, got channels=0"):
        backbone("vgg16", channels=0)


def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    def no_network(*_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"MobileNetV2 .* a download was tried .*no route.*weights=None"
    ) as error:
        backbone("keras:MobileNetV2")
    assert "efficientnet_lite0" in str(error.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Xception", "keras:Xception"),
        ("keras:mobilenetv2", "keras:MobileNetV2"),
        ("keras_cv:ResNet18", "keras_cv:resnet18"),
        ("EfficientNet-Lite0", "efficientnet_lite0"),
        ("zzz", "transfer.list_backbones"),
    ],
)
def test_an_unknown_name_shows_near_ones(name, near):
    with pytest.raises(ValueError, match=f"no backbone is named '{name}'.*{near}"):
        backbone(name)


def test_an_image_too_small_is_refused():
    with pytest.raises(ValueError, match="at least 32x32"):
        backbone("keras:MobileNetV2", image_size=16, weights=None)
    with pytest.raises(ValueError, match="at least"):
        backbone("efficientnet_lite0", image_size=8, weights=None)


def test_listing_loads_no_tensorflow():
    code = "import sys, transfer; assert transfer.list_backbones('keras:*'); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert {f"keras:{name}" for name in ("Xception", "ResNet50V2", "MobileNetV2", "EfficientNetB0")} <= set(
        list_backbones()
    )


def test_a_classifier_is_flat_and_its_weights_are_seeded(mobilenet):
    first, same, other = (classifier(mobilenet, 5, seed=seed) for seed in (1, 1, 2))
    assert first.output_shape == (None, 5)
    assert first.layers[: len(mobilenet.model.layers)] == mobilenet.model.layers
    np.testing.assert_allclose(np.sum(first(photos()), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(first.get_weights()[-2], same.get_weights()[-2])
    assert np.abs(first.get_weights()[-2] - other.get_weights()[-2]).max() > 1e-3
    assert first.output.dtype == "float32"


def test_bad_arguments_of_a_classifier(mobilenet):
    with pytest.raises(ValueError, match="at least 2 classes apart, got num_classes=1"):
        classifier(mobilenet, 1)
    with pytest.raises(ValueError, match=r"dropout is a rate in \[0, 1\), got 1"):
        classifier(mobilenet, 2, dropout=1)
