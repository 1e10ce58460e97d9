"""Compares networks that `keras.applications` does not have, from AlexNet to Inception-v4, with PyTorch's operations.

`data/make_inception_reference.py` computed the expected logits. The weights and images here are drawn in the same way.
"""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.models import family_of
from zoo.models.loading import load_weights
from zoo.weights.pairing import TORCH_PARAMETERS

DATA = Path(__file__).parent / "data"
RECIPE = runpy.run_path(str(DATA / "make_torch_reference.py"))
SIZES = {
    "alexnet": (67, 104),
    "zfnet": (59, 90),
    "vgg11": (64, 107),
    "googlenet": (75, 107),
    "googlenet_torchvision": (75, 107),
    "inception_v4": (83, 107),
}


def torch_shape(*shape: int) -> tuple[int, ...]:
    """Reorders axes: [height, width, in, out] -> [out, in, height, width], and [in, out] -> [out, in]."""
    return (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else shape


@pytest.mark.parametrize("name", SIZES)
def test_the_logits_are_those_of_pytorch(name, torch_file):
    row = family_of(name).VARIANTS[name]
    if name == "inception_v4":
        row = replace(row, repeats=(1, 1, 1))
    model = zoo.create_model(row, input_shape=(*SIZES[name], 3), num_classes=10, classifier_activation=None)
    modules = {layer.name: layer.name for layer in model.layers}
    if name in ("vgg11", "googlenet_torchvision"):
        modules = family_of(name).torch_modules(model)
    arrays = {}
    for layer in model.layers:
        for variable in layer.weights:
            key = f"{modules[layer.name]}.{TORCH_PARAMETERS[variable.name]}"
            arrays[key] = RECIPE["draw"](key, torch_shape(*variable.shape))
    load_weights(model, torch_file(arrays), torch_modules=lambda model: modules)

    images = RECIPE["images"](SIZES[name])
    with np.load(DATA / "inception_reference.npz") as file:
        expected = file[name]
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale, "outputs this alike prove nothing"
    np.testing.assert_allclose(model(images) / scale, expected / scale, atol=1e-4)
    np.testing.assert_allclose(model(images[:1]) / scale, expected[:1] / scale, atol=1e-4)


def test_auxiliary_weights_of_a_torchvision_file_have_a_place():
    """Files of torchvision have auxiliary classifiers. A model without them leaves them out by their names."""
    model = zoo.create_model("googlenet_torchvision", input_shape=(75, 107, 3), num_classes=10)
    modules = family_of("googlenet_torchvision").torch_modules(model)
    ours = {layer.name for layer in model.layers}
    left_out = {theirs for name, theirs in modules.items() if name not in ours}
    parts = ("conv.conv", "conv.bn", "fc1", "fc2")
    assert left_out == {f"aux{i}.{part}" for i in (1, 2) for part in parts}
    assert {layer.name for layer in model.layers if layer.weights} <= set(modules)
