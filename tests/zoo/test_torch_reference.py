"""Compares networks that `keras.applications` does not have with the same networks in PyTorch's own layers.

`data/make_torch_reference.py` computed the expected logits. It draws the same weights here.
"""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from zoo.models.loading import load_weights
from zoo.models.resnet import torch_modules
from zoo.models.vit import VisionTransformer
from zoo.models.wide_resnet import WideResNet
from zoo.weights.pairing import TORCH_PARAMETERS

DATA = Path(__file__).parent / "data"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


torch_reference = load("make_torch_reference")


@pytest.fixture(scope="module")
def expected():
    with np.load(DATA / "torch_reference.npz") as file:
        return dict(file)


def torch_shape(layer: keras.Layer, variable) -> tuple[int, ...]:
    match len(variable.shape):
        case 4:
            height, width, inputs, outputs = variable.shape
            return (outputs, inputs, height, width)
        case 2:
            return tuple(variable.shape[::-1])
        case _:
            return tuple(variable.shape)


def arrays_for(model: keras.Model, modules: dict[str, str]) -> dict[str, np.ndarray]:
    """Returns the arrays that `make_torch_reference` gave the modules of these names."""
    arrays = {}
    for layer in model.layers:
        for variable in layer.weights:
            name = f"{modules[layer.name]}.{TORCH_PARAMETERS[variable.name]}"
            arrays[name] = torch_reference.draw(name, torch_shape(layer, variable))
    return arrays


def check(model: keras.Model, expected: np.ndarray) -> None:
    images = torch_reference.images(model.input_shape[1:3])
    actual = np.asarray(model(images))
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale, "outputs this alike prove nothing"
    np.testing.assert_allclose(actual / scale, expected / scale, atol=1e-4)


def with_se(model: keras.Model) -> dict[str, str]:
    names = torch_modules(model)
    for layer in model.layers:
        if found := re.fullmatch(r"stage(\d)_unit(\d+)_se_(reduce|expand)", layer.name):
            names[layer.name] = f"layer{int(found[1]) - 1}.{int(found[2]) - 1}.se.{found[3]}"
    return names


@pytest.mark.parametrize("name", [*torch_reference.RESNETS])
def test_resnets_with_weights_in_torchvisions_names(name, expected, torch_file):
    model = zoo.create_model(name, input_shape=(*torch_reference.SIZE, 3), num_classes=10, classifier_activation=None)
    modules = with_se if name.startswith("se_") else None
    arrays = arrays_for(model, (modules or torch_modules)(model))
    load_weights(model, torch_file(arrays), torch_modules=modules)
    check(model, expected[name])


def test_a_wide_resnet(expected):
    depth, width = torch_reference.WRN
    row = WideResNet(depth, width)
    shape = (*torch_reference.SIZE, 3)
    model = zoo.create_model(row, input_shape=shape, num_classes=10, classifier_activation=None)
    modules = {"stem_conv": "conv1", "top_bn": "bn1", "predictions": "fc"}
    units = (depth - 4) // 6
    for group in range(3):
        for unit in range(units):
            ours, theirs = f"group{group + 2}_unit{unit + 1}", f"layers.{group * units + unit}"
            modules |= {f"{ours}_preact_bn": f"{theirs}.bn1", f"{ours}_1_bn": f"{theirs}.bn2"}
            modules |= {f"{ours}_{i}_conv": f"{theirs}.conv{i}" for i in (1, 2)}
            modules[f"{ours}_shortcut_conv"] = f"{theirs}.downsample"
    arrays = arrays_for(model, modules)
    for layer in model.layers:
        for variable in layer.weights:
            array = arrays[f"{modules[layer.name]}.{TORCH_PARAMETERS[variable.name]}"]
            variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T)
    check(model, expected["wide_resnet"])


@pytest.mark.parametrize(("name", "size"), [("vit", (64, 64)), ("vit_resized", (48, 96))])
def test_a_vision_transformer_at_its_own_and_at_another_size(name, size, expected):
    image_size, patch, width, heads, blocks = torch_reference.VIT
    row = VisionTransformer(width, heads, blocks, patch, image_size=image_size)
    model = zoo.create_model(row, input_shape=(*size, 3), num_classes=10, classifier_activation=None)

    def draw(name: str, *shape: int) -> np.ndarray:
        return torch_reference.draw(name, shape)

    def give(layer: str, **values: np.ndarray) -> None:
        variables = {variable.name: variable for variable in model.get_layer(layer).weights}
        assert set(variables) == set(values)
        for key, value in values.items():
            variables[key].assign(value)

    def give_dense(layer: str, module: str, inputs: int, outputs: int) -> None:
        kernel, bias = draw(f"{module}.weight", outputs, inputs), draw(f"{module}.bias", outputs)
        give(layer, kernel=kernel.T, bias=bias)

    def give_norm(layer: str, module: str) -> None:
        give(layer, gamma=draw(f"{module}.weight", width), beta=draw(f"{module}.bias", width))

    kernel = draw("conv_proj.weight", width, 3, patch, patch).transpose(2, 3, 1, 0)
    give("patches", kernel=kernel, bias=draw("conv_proj.bias", width))
    positions = draw("position", 1 + (image_size // patch) ** 2, width)
    give("tokens", class_token=draw("class_token", 1, width), position=positions)
    give_norm("top_norm", "norm")
    give_dense("predictions", "fc", width, 10)
    for i in range(blocks):
        ours, theirs = f"block{i + 1}", f"blocks.{i}"
        give_norm(f"{ours}_attention_norm", f"{theirs}.norm1")
        give_norm(f"{ours}_mlp_norm", f"{theirs}.norm2")
        give_dense(f"{ours}_mlp_expand", f"{theirs}.linear1", width, 4 * width)
        give_dense(f"{ours}_mlp_project", f"{theirs}.linear2", 4 * width, width)
        attention = model.get_layer(f"{ours}_attention")
        kernels = np.split(draw(f"{theirs}.self_attn.in_proj_weight", 3 * width, width), 3)
        biases = np.split(draw(f"{theirs}.self_attn.in_proj_bias", 3 * width), 3)
        parts = (attention.query_dense, attention.key_dense, attention.value_dense)
        for part, weight, bias in zip(parts, kernels, biases, strict=True):
            part.kernel.assign(weight.T.reshape(width, heads, -1))
            part.bias.assign(bias.reshape(heads, -1))
        out = draw(f"{theirs}.self_attn.out_proj.weight", width, width)
        attention.output_dense.kernel.assign(out.T.reshape(heads, -1, width))
        attention.output_dense.bias.assign(draw(f"{theirs}.self_attn.out_proj.bias", width))
    check(model, expected[name])
