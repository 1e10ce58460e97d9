"""Checks every architecture of the zoo: it has its published number of parameters, and it works as a model."""

import csv
import functools
import importlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.models import FAMILIES, family_of
from zoo.surgery.feature_maps import features, levels

PUBLISHED = Path(__file__).parent / "published.csv"
NAMES = zoo.list_models()


# One variant stands for its family in the tests that would find nothing new in the others.
FIRST = [names[0] for names in FAMILIES.values()]
# Their graphs have more layers than the others, and take longer to build, to save, to load and to export.
LONG = {
    "cspresnet50",
    "densenet121",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "resnext50_32x4d",
    "se_resnet50",
}
EXPORTED = {"alexnet", "lenet5", "mobilenet_v1"}


def fast(names: Iterable[str], chosen: Collection[str]) -> list[Any]:
    """Returns the names as parameters, of which those that are not chosen are left to `make test-all`."""
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.slow) for name in names]


@functools.cache
def published() -> dict[str, dict]:
    with PUBLISHED.open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def parameters(model: keras.Model, kind: str) -> int:
    weights = model.weights if kind == "total" else model.trainable_weights
    return sum(int(np.prod(weight.shape)) for weight in weights)


def small(name: str, num_classes: int = 5) -> keras.Model:
    """Builds the variant for the smallest image that it takes, a little wider than high."""
    row = family_of(name).VARIANTS[name]
    return zoo.create_model(name, input_shape=(row.min_size, row.min_size + 11, row.channels), num_classes=num_classes)


def images(model: keras.Model, n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (n, *model.input_shape[1:])).astype("float32")


def outputs(result) -> list[np.ndarray]:
    return [np.asarray(tensor) for tensor in keras.tree.flatten(result)]


def test_the_table_and_the_modules_name_the_same_variants():
    for family, names in FAMILIES.items():
        assert set(importlib.import_module(f"zoo.models.{family}").VARIANTS) == set(names), family


def test_every_variant_has_a_published_count():
    assert set(published()) == set(NAMES)


@pytest.mark.parametrize("name", fast(NAMES, FIRST))
def test_parameters_are_the_published_number(name):
    row = published()[name]
    expected = row["params"]
    # Only shapes are counted. Drawing the weights would take most of the time and gigabytes of memory.
    with keras.StatelessScope(initialize_variables=False):
        model = zoo.create_model(name)
    keras.backend.clear_session()
    count = parameters(model, row["kind"].removesuffix("_millions"))
    if row["kind"].endswith("_millions"):
        digits = len(expected.partition(".")[2])
        assert f"{count / 1e6:.{digits}f}" == expected
    else:
        assert count == int(expected)


@pytest.mark.parametrize("name", fast(FIRST, set(FIRST) - LONG))
def test_every_trainable_weight_gets_a_gradient(name):
    model = small(name)
    x = images(model, 3)
    with tf.GradientTape() as tape:
        # A random projection of all outputs: a plain sum of softmax outputs is constant.
        results = keras.tree.flatten(model(x, training=True))
        random = np.random.default_rng(1)
        loss = sum(tf.reduce_sum(y * random.normal(size=y.shape).astype("float32")) for y in results)
    gradients = tape.gradient(loss, model.trainable_variables)
    missing = [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert not missing
    assert np.isfinite(float(loss))


@pytest.mark.parametrize("name", fast(FIRST, EXPORTED))
def test_saved_and_exported_models_answer_as_the_model(name, tmp_path):
    model = small(name)
    x = images(model, 3)
    expected = outputs(model(x))
    assert np.allclose(expected[0][:1], outputs(model(x[:1]))[0], atol=1e-4), "an answer depends on the batch"

    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(expected, outputs(reloaded(x)), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)

    model.export(tmp_path / "saved_model", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved_model")  # Its functions lose their variables if it is collected.
    for ours, theirs in zip(expected, outputs(served.serve(x)), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("name", fast(FIRST, set(FIRST) - LONG))
def test_taps_have_the_promised_strides(name):
    row = family_of(name).VARIANTS[name]
    # The image has twice its usual size, because the pixels that "valid" borders lose are a small part of a large map.
    height, width = 2 * row.image_size, 2 * row.image_size + 11
    try:
        model = zoo.create_model(name, input_shape=(height, width, row.channels), include_top=False)
        found = levels(model)
    except ValueError as error:
        pytest.skip(f"{name} keeps no feature maps: {error}")
    for level, tensor in features(model, tuple(found)).output.items():
        stride = 2 ** int(level[1:])
        for size, full in zip(tensor.shape[1:3], (height, width), strict=True):
            assert full / stride / 2 < size <= -(-full // stride), (level, tensor.shape)
    assert found


@pytest.mark.parametrize("name", fast(FIRST, set(FIRST) - LONG))
def test_no_top_ends_at_the_last_feature_map(name):
    row = family_of(name).VARIANTS[name]
    size = row.image_size
    model = zoo.create_model(name, input_shape=(size, size, row.channels), include_top=False)
    assert "predictions" not in {layer.name for layer in model.layers}
    with pytest.raises(ValueError, match="num_classes"):
        zoo.create_model(name, include_top=False, num_classes=3)


@pytest.mark.parametrize("name", FIRST)
def test_an_input_that_is_too_small_is_refused_with_numbers(name):
    row = family_of(name).VARIANTS[name]
    size = row.min_size - 1
    with pytest.raises(ValueError, match=f"{row.min_size}"):
        zoo.create_model(name, input_shape=(size, size, row.channels))


def test_an_unknown_name_lists_its_near_matches():
    with pytest.raises(ValueError, match="efficientnet_b0"):
        zoo.create_model("eficientnet_b0")
