"""Networks that `keras.applications` has, too: the same weights give the same outputs.

Their weights, batch-norm statistics and biases are random here, so that nothing can be right by being zero or one.
Sizes are odd and height is not width, so that padding and rounding show.
"""

import importlib
from typing import NamedTuple

import keras
import numpy as np
import pytest

import zoo
from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.models import family_of

SIZE = (75, 107)


class Twin(NamedTuple):
    ours: str
    theirs: str
    preprocessing: str | None = None  # module of keras.applications; None where their model takes 0..255
    options: dict = {}  # noqa: RUF012 (never changed)


TWINS = [
    Twin("resnet50", "ResNet50", "resnet"),
    Twin("resnet50_v2", "ResNet50V2", "resnet_v2"),
    Twin("densenet121", "DenseNet121", "densenet"),
]
SLOW_TWINS = [
    Twin("resnet101", "ResNet101", "resnet"),
    Twin("resnet152", "ResNet152", "resnet"),
    Twin("resnet101_v2", "ResNet101V2", "resnet_v2"),
    Twin("resnet152_v2", "ResNet152V2", "resnet_v2"),
    Twin("densenet169", "DenseNet169", "densenet"),
    Twin("densenet201", "DenseNet201", "densenet"),
]


def randomise(model: keras.Model, seed: int) -> None:
    """Gives all weights random values of which the activations neither explode nor vanish."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.Normalization):
            # The constants are in their file of weights, and not in a fresh model
            layer.set_weights([IMAGENET_MEAN, np.square(IMAGENET_STD), 0])
            layer.finalize_state()
            continue
        for weight in [] if hasattr(layer, "layers") else layer.weights:
            if weight.name in ("moving_variance", "gamma"):
                value = random.uniform(0.5, 1.5, weight.shape)
            elif weight.name in ("bias", "beta", "moving_mean"):
                value = random.normal(0, 0.2, weight.shape)
            else:
                fan_in = np.prod(weight.shape[:-1]) if "depthwise" not in layer.name else 9
                value = random.standard_normal(weight.shape, dtype="float32") * (2 / fan_in) ** 0.5
            weight.assign(value)


def copy_weights(theirs: keras.Model, ours: keras.Model, keras_layer, *, bgr: bool) -> int:
    """Copies by the names that a family's `keras_layer` gives; returns how many numbers it copied."""
    sources = {layer.name: layer for layer in theirs._flatten_layers() if not hasattr(layer, "layers")}
    copied, biases = 0, {}
    for layer in ours.layers:
        if isinstance(layer, keras.layers.Normalization) or not layer.weights:
            continue
        values = {weight.name: np.asarray(weight) for weight in sources[keras_layer(layer.name)].weights}
        copied += sum(value.size for value in values.values())
        if "bias" in values and "bias" not in {weight.name for weight in layer.weights}:
            biases[layer.name.removesuffix("_conv") + "_bn"] = values["bias"]
        if bgr and layer.name == "stem_conv":
            values["kernel"] = values["kernel"][:, :, ::-1]
        for weight in layer.weights:
            weight.assign(values[weight.name].reshape(weight.shape))
    for name, bias in biases.items():
        layer = ours.get_layer(name)
        layer.moving_mean.assign(layer.moving_mean - bias)
    return copied


@pytest.mark.parametrize(
    "twin", [*TWINS, *(pytest.param(twin, marks=pytest.mark.slow) for twin in SLOW_TWINS)], ids=lambda twin: twin.ours
)
def test_the_outputs_are_those_of_keras_applications(twin):
    shape = (*SIZE, 3)
    theirs = getattr(keras.applications, twin.theirs)(
        weights=None, input_shape=shape, classes=10, classifier_activation=None, **twin.options
    )
    randomise(theirs, seed=1)
    ours = zoo.create_model(twin.ours, input_shape=shape, num_classes=10, classifier_activation=None)
    row = family_of(twin.ours).VARIANTS[twin.ours]
    bgr = getattr(row, "normalisation", None) == "caffe"
    copied = copy_weights(theirs, ours, family_of(twin.ours).keras_layer, bgr=bgr)
    constants = sum(7 for layer in theirs.layers if isinstance(layer, keras.layers.Normalization))
    assert copied == theirs.count_params() - constants, "a weight of theirs was not copied"

    images = np.random.default_rng(2).uniform(0, 255, (2, *shape)).astype("float32")
    prepared = images.copy()  # preprocessing may change its argument
    if twin.preprocessing:
        prepared = importlib.import_module(f"keras.applications.{twin.preprocessing}").preprocess_input(prepared)
    expected = np.asarray(theirs(prepared, training=False))
    assert np.std(expected) > 1e-2, "outputs this alike prove nothing"
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(ours(images, training=False)) / scale, expected / scale, atol=1e-4)
