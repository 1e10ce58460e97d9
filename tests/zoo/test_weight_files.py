"""Checks how files of weights in the formats of Keras, safetensors and PyTorch are loaded, adapted and refused."""

import json
import logging
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from zoo.models import create_model, family_of, resnet
from zoo.models.loading import load_weights
from zoo.models.vit import VisionTransformer
from zoo.weights.pairing import TORCH_PARAMETERS

SIZE = (48, 64)
NETWORKS = {
    "resnet": replace(resnet.VARIANTS["resnet18"], units=(1,)),
    "vit": VisionTransformer(24, 3, 2, 16, image_size=64),  # It has layers inside layers.
}
FORMATS = (".weights.h5", ".keras", ".safetensors")


def build(network: str = "resnet", *, seed: int = 1, num_classes: int = 5, **options) -> keras.Model:
    """Builds a small network with weights that are neither zero nor one."""
    options = {"input_shape": (*SIZE, 3)} | options
    if options.get("include_top", True):
        options["num_classes"] = num_classes
    model = create_model(NETWORKS[network], **options)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape) * (1 if len(weight.shape) < 2 else 0.1))
    return model


def save(model: keras.Model, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({variable.path: np.array(variable) for variable in model.weights}, path)
    elif path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    return path


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable) for variable in model.weights}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(params=FORMATS)
def path(request, tmp_path) -> Path:
    return tmp_path / f"my.net{request.param}"


# --- Files that fit


@pytest.mark.parametrize("network", NETWORKS)
def test_what_was_saved_is_loaded(network, path):
    saved = build(network)
    saved.compile("adam", "mse")
    save(saved, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = create_model(NETWORKS[network], input_shape=(*SIZE, 3), num_classes=5, weights=path)
    assert same(values(saved), values(loaded))
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    np.testing.assert_array_equal(saved(images), loaded(images))


def test_a_path_may_be_a_string(path):
    saved = build()
    save(saved, path)
    loaded = build(seed=2)
    load_weights(loaded, str(path))
    assert same(values(saved), values(loaded))


def test_a_model_without_its_top_leaves_the_classifier_out_and_logs_it(path, caplog):
    saved = build()
    save(saved, path)
    trunk = build(include_top=False, seed=2)
    with caplog.at_level(logging.INFO, logger="zoo.weights.pairing"):
        load_weights(trunk, path)
    assert "no place for predictions/" in caplog.text
    assert same(values(trunk), {k: v for k, v in values(saved).items() if not k.startswith("predictions")})


def test_a_frozen_model_keeps_the_order_of_its_weights(tmp_path):
    saved = build()
    saved.trainable = False
    save(saved, tmp_path / "a.weights.h5")
    loaded = build(seed=2)
    loaded.get_layer("stem_bn").trainable = False
    load_weights(loaded, tmp_path / "a.weights.h5")
    assert same(values(saved), values(loaded))


def test_bfloat16_in_safetensors(tmp_path):
    import ml_dtypes

    saved = build()
    rounded = {name: value.astype(ml_dtypes.bfloat16) for name, value in values(saved).items()}
    save_file(rounded, tmp_path / "a.safetensors")
    loaded = build(seed=2)
    load_weights(loaded, tmp_path / "a.safetensors")
    assert same(values(loaded), {name: value.astype("float32") for name, value in rounded.items()})


# --- Files that do not fit


def test_another_network_lists_what_differs_and_changes_nothing(path):
    save(build("vit"), path)
    model = build()
    before = values(model)
    with pytest.raises(ValueError, match=r"Take a file of the same network") as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert str(path) in message
    assert "stem_conv/kernel (7, 7, 3, 64) in the model, nothing in the file under stem_conv/" in message
    assert "and none was changed" in message
    assert message.count("\n") == 6
    assert same(before, values(model))


def test_a_wider_network_shows_both_shapes(path):
    model = build()
    before = values(model)
    wide = replace(NETWORKS["resnet"], bottleneck=True)
    save(create_model(wide, input_shape=(*SIZE, 3), num_classes=5), path)
    with pytest.raises(ValueError, match=r"_1_conv/kernel \(3, 3, 64, 64\) in the model, float32 \(1, 1, 64, 64\) in"):
        load_weights(model, path)
    assert same(before, values(model))


def test_a_file_with_more_than_the_model(path):
    save(build(), path)
    shallow = replace(NETWORKS["resnet"], units=())
    model = create_model(shallow, input_shape=(*SIZE, 3), num_classes=5)
    with pytest.raises(ValueError, match=r"nothing in the model, float32 \(.*\) in the file under stage2_unit1_1_"):
        load_weights(model, path)


# --- A classifier for other classes


def test_other_classes_are_a_mismatch_unless_asked_for(path):
    saved = build(num_classes=7)
    save(saved, path)
    model = build(num_classes=5)
    before = values(model)
    with pytest.raises(
        ValueError, match=r"The classifier keeps its random weights if create_model is given num_classes\.\n"
    ) as e:
        load_weights(model, path)
    assert "predictions/kernel (64, 5) in the model, float32 (64, 7) in the file" in str(e.value)
    assert same(before, values(model))

    row = replace(NETWORKS["resnet"], num_classes=5)  # This is the row's own number, and num_classes is not given.
    with pytest.raises(ValueError, match="2 differ"):
        create_model(row, input_shape=(*SIZE, 3), weights=path)
    with pytest.warns(UserWarning, match="'predictions' keeps its random weights, because it has 5 classes and"):
        model = create_model(row, input_shape=(*SIZE, 3), weights=path, num_classes=5)
    after = values(model)
    assert np.std(after.pop("predictions/kernel")) > 0
    assert not after.pop("predictions/bias").any()
    assert same(after, {k: v for k, v in values(saved).items() if not k.startswith("predictions")})


# --- Images with another number of channels


def first_activation(model: keras.Model) -> keras.Model:
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    return keras.Model(model.input, stem.output)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", ["imagenet", "symmetric", "caffe"])
def test_a_grey_image_gives_the_same_first_activation(name, channels, tmp_path):
    row = replace(NETWORKS["resnet"], normalisation=name)
    colour = create_model(row, input_shape=(*SIZE, 3), num_classes=5)
    save(colour, tmp_path / "a.weights.h5")
    options = {"input_shape": (*SIZE, channels), "weights": tmp_path / "a.weights.h5", "in_channels": "adapt"}
    if channels == 3:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = create_model(row, **options, num_classes=5)
    else:
        with pytest.warns(UserWarning, match=f"resnet takes images of {channels} channels"):
            model = create_model(row, **options, num_classes=5)
    grey = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 1)).astype("float32")
    for cut in (lambda model: model, first_activation):
        expected = np.asarray(cut(colour)(grey.repeat(3, axis=-1)))
        actual = np.asarray(cut(model)(grey.repeat(channels, axis=-1)))
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_kernels_are_summed_or_tiled(tmp_path):
    row = replace(NETWORKS["resnet"], normalisation="symmetric")
    colour = create_model(row, input_shape=(*SIZE, 3), num_classes=5)
    save(colour, tmp_path / "a.weights.h5")
    options = {"weights": tmp_path / "a.weights.h5", "in_channels": "adapt", "num_classes": 5}
    kernel = np.array(colour.get_layer("stem_conv").kernel)
    with pytest.warns(UserWarning, match="and 3 go into .* file: stem_conv/kernel is summed and rescaled"):
        grey = create_model(row, input_shape=(*SIZE, 1), **options)
    np.testing.assert_allclose(grey.get_layer("stem_conv").kernel, kernel.sum(axis=2, keepdims=True), rtol=1e-6)
    with pytest.warns(UserWarning, match="stem_conv/kernel is tiled and rescaled"):
        five = create_model(row, input_shape=(*SIZE, 5), **options)
    expected = kernel[:, :, [0, 1, 2, 0, 1]] / np.array([2, 2, 1, 2, 2])[:, None]
    np.testing.assert_allclose(five.get_layer("stem_conv").kernel, expected, rtol=1e-6)


def test_other_channels_are_a_mismatch_unless_asked_for(path):
    row = replace(NETWORKS["resnet"], normalisation="symmetric")
    save(create_model(row, input_shape=(*SIZE, 3), num_classes=7), path)
    with pytest.raises(ValueError, match=r'The first convolution is adapted if in_channels="adapt"\.') as caught:
        create_model(row, input_shape=(*SIZE, 1), num_classes=7, weights=path)
    assert "stem_conv/kernel (7, 7, 1, 64) in the model, float32 (7, 7, 3, 64) in the file" in str(caught.value)
    row = replace(row, num_classes=5)
    with pytest.raises(ValueError, match=r"random weights if .* num_classes, and the first convolution is adapted"):
        create_model(row, input_shape=(*SIZE, 1), weights=path)


def test_grey_images_in_place_of_colours_are_asked_for_even_if_all_weights_fit(torch_file):
    model = create_model(NETWORKS["resnet"], input_shape=(*SIZE, 1), num_classes=5)
    path = torch_file(torch_arrays(model, resnet.torch_modules(model)))
    before = values(model)
    options = {"torch_modules": resnet.torch_modules}
    with pytest.raises(ValueError, match="takes images of 1 channels, and the weights are for those of 3: in_channels"):
        load_weights(model, path, **options)
    assert same(before, values(model))
    with pytest.warns(UserWarning, match="stem_conv/kernel stays as it is, and a channel of the image stands for"):
        load_weights(model, path, in_channels="adapt", **options)
    assert not same(before, values(model))


def test_what_in_channels_may_be(path):
    save(build(), path)
    with pytest.raises(ValueError, match="in_channels is \"adapt\" or None, got 'sum'"):
        load_weights(build(), path, in_channels="sum")
    with pytest.raises(ValueError, match="in_channels='adapt' adapts weights, but weights is None"):
        create_model(NETWORKS["resnet"], in_channels="adapt")


# --- The names of PyTorch


def torch_arrays(model: keras.Model, modules: dict[str, str]) -> dict[str, np.ndarray]:
    """Returns random weights with the names and shapes of PyTorch, for a network without depthwise convolutions."""
    random = np.random.default_rng(3)
    arrays = {}
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            shape = (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else shape
            array = random.uniform(0.5, 1.5, shape) / max(1, np.prod(shape[1:]))
            arrays[f"{modules[layer.name]}.{TORCH_PARAMETERS[variable.name]}"] = array.astype("float32")
        if isinstance(layer, keras.layers.BatchNormalization):
            arrays[f"{modules[layer.name]}.num_batches_tracked"] = np.array(7)
    return arrays


def test_a_prefix_that_dataparallel_writes_does_not_count(torch_file):
    model = build()
    arrays = torch_arrays(model, resnet.torch_modules(model))
    load_weights(model, torch_file(arrays), torch_modules=resnet.torch_modules)
    expected = values(model)
    halves = {f"module.{name}": array / 2 for name, array in arrays.items() if array.dtype.kind == "f"}
    load_weights(model, torch_file(halves), torch_modules=resnet.torch_modules)
    assert same(values(model), {name: value / 2 for name, value in expected.items()})


def test_safetensors_in_torchvisions_names(tmp_path):
    model = build()
    arrays = torch_arrays(model, resnet.torch_modules(model))
    save_file(arrays, tmp_path / "model.safetensors")
    load_weights(model, tmp_path / "model.safetensors", torch_modules=resnet.torch_modules)
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, arrays["conv1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(model.get_layer("predictions").kernel, arrays["fc.weight"].T)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("resnet34", "resnext50_32x4d", "googlenet_torchvision", "vgg13")
    ],
)
def test_a_file_with_torchvisions_names_of_all_weights_and_its_own_1000_classes(name, torch_file):
    size = (64, 107)
    model = create_model(name, input_shape=(*size, 3))
    modules = family_of(name).torch_modules(model)
    path = torch_file(torch_arrays(model, modules))
    loaded = create_model(name, input_shape=(*size, 3), weights=path)
    load_weights(model, path)
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(images), model(images))


# --- Damaged and hostile files


def test_files_that_are_not_there(path):
    with pytest.raises(FileNotFoundError, match="no file of weights at"):
        load_weights(build(), path)


def test_files_that_are_something_else(path):
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as a ") as caught:
        load_weights(build(), path)
    assert path.suffix in str(caught.value)


def test_files_that_end_early(path):
    save(build(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="cannot be read as a "):
        load_weights(build(), path)


def rewritten(path: Path, change) -> Path:
    """Changes the configuration in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    return path


def test_a_lambda_layer_is_refused_and_not_executed(tmp_path):
    image = keras.Input((*SIZE, 3))
    told = keras.layers.Lambda(lambda x: (__import__("sys").modules.__setitem__("lambda_was_here", None), x)[1])
    keras.Model(image, told(image)).save(tmp_path / "a.keras")
    assert "lambda_was_here" in sys.modules
    del sys.modules["lambda_was_here"]
    with pytest.raises(ValueError, match=r"a\.keras cannot be read .* layers that are known here: .*`Lambda`"):
        load_weights(build(), tmp_path / "a.keras")
    assert "lambda_was_here" not in sys.modules


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x + 1


def test_unknown_layers_are_refused_and_nothing_is_imported_for_them(tmp_path):
    image = keras.Input((*SIZE, 3))
    path = tmp_path / "a.keras"
    keras.Model(image, Unknown(name="mine")(image)).save(path)
    with pytest.raises(ValueError, match="layers that are known here: Could not locate class 'Unknown'"):
        load_weights(build(), path)

    def from_module_this(config):
        layer = next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == "mine")
        layer["module"] = "this"
        return config

    with pytest.raises(ValueError, match="Could not locate class 'Unknown'"):
        load_weights(build(), rewritten(path, from_module_this))
    assert "this" not in sys.modules


def stem(file: h5py.File) -> h5py.Group:
    return file["layers/conv2d/vars"]


def to_another_file(file, elsewhere):
    del stem(file)["0"]
    stem(file)["0"] = h5py.ExternalLink(elsewhere, "kernel")


def to_raw_bytes(file, elsewhere):
    del stem(file)["0"]
    stem(file).create_dataset("0", (7, 7, 3, 64), "f4", external=[(elsewhere, 0, h5py.h5f.UNLIMITED)])


def to_a_view(file, elsewhere):
    del stem(file)["0"]
    layout = h5py.VirtualLayout((7, 7, 3, 64), "f4")
    layout[:] = h5py.VirtualSource(elsewhere, "kernel", (7, 7, 3, 64))
    stem(file).create_virtual_dataset("0", layout)


def to_a_bomb(file, elsewhere):
    del stem(file)["0"]
    stem(file).create_dataset("0", (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


def to_layers_without_names(file, elsewhere):
    del stem(file).attrs["name"]


def to_nothing(file, elsewhere):
    del file["layers"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (to_another_file, r"stem_conv/kernel \(7, 7, 3, 64\) in the model, nothing in the file under stem_conv/0"),
        (to_raw_bytes, "its array layers/conv2d/vars/0 is not in the file itself"),
        (to_a_view, "its array layers/conv2d/vars/0 is not in the file itself"),
        (
            to_a_bomb,
            "its array layers/conv2d/vars/0 is not in the file itself, or claims more bytes than",
        ),
        (to_layers_without_names, "its layers have no names, as in files of older versions of Keras"),
        (to_nothing, "it holds no weights of layers"),
    ],
)
def test_a_weights_h5_is_read_for_its_own_numbers_alone(change, message, tmp_path):
    path = save(build(), tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "elsewhere.h5", "w") as elsewhere:
        elsewhere["kernel"] = np.ones((7, 7, 3, 64), "f4")
    with h5py.File(path, "a") as file:
        change(file, str(tmp_path / "elsewhere.h5"))
    model = build(seed=2)
    before = values(model)
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)
    assert same(before, values(model))


def test_numbers_that_are_no_floats_do_not_fit(tmp_path):
    arrays = values(build()) | {"stem_bn/gamma": np.ones(64, "int64")}
    save_file(arrays, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"stem_bn/gamma \(64,\) in the model, int64 \(64,\) in the file"):
        load_weights(build(), tmp_path / "a.safetensors")


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    path = save(build(), tmp_path / "a.safetensors")
    for module in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'a\.safetensors needs .*: pip install "transfer-zoo\[safetensors\]"'):
        load_weights(build(), path)
