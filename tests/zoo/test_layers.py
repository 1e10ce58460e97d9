"""Compares layers with naive loops and TensorFlow's own operations, and checks what every layer must support: saving,
mixed precision, graph mode, images of unknown size and export."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist

from zoo import blocks, layers

CHANNELS = 16


class Case(NamedTuple):
    make: Callable[[], keras.layers.Layer]
    rank: int = 4  # Rank of the input, including the samples.


# All layers with one input and one output. Three blocks stand for all block functions, because one function makes them.
CASES = {
    "depth_pool_max": Case(lambda: layers.DepthPool(4)),
    "depth_pool_average": Case(lambda: layers.DepthPool(4, mode="average")),
    "drop_path": Case(lambda: layers.DropPath(0.3, seed=1)),
    "grouped_conv": Case(lambda: layers.GroupedConv2D(8, 3, groups=4, padding="same")),
    "inception_module": Case(lambda: layers.InceptionModule((4, 6, 8, 2, 3, 5), batch_norm=True)),
    "layer_scale": Case(lambda: layers.LayerScale(0.5)),
    "lrn": Case(lambda: layers.LocalResponseNormalization(alpha=0.1)),
    "patch_tokens": Case(lambda: layers.PatchTokens((3, 4))),
    "radial_basis": Case(lambda: layers.RadialBasis(np.eye(5, CHANNELS)), rank=2),
    "residual_unit": Case(lambda: layers.ResidualUnit(24, strides=2)),
    "squeeze_excite": Case(lambda: layers.SqueezeExcite(ratio=4)),
}
IMAGE_CASES = {name: case for name, case in CASES.items() if case.rank == 4}


def inputs(case: Case, *, n: int = 2, size: tuple[int, int] = (6, 9), seed: int = 0) -> np.ndarray:
    shape = (n, *size, CHANNELS) if case.rank == 4 else (n, CHANNELS)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def model_of(case: Case, *, open_size: bool = False) -> keras.Model:
    """Returns a `keras.Sequential` of only the layer, with random batch-norm statistics."""
    shape = (None, None, CHANNELS) if open_size and case.rank == 4 else inputs(case).shape[1:]
    model = keras.Sequential([keras.Input(shape), case.make()])
    random = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name in ("moving_mean", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.mark.parametrize("name", CASES)
def test_saved_layers_answer_alike(name, tmp_path):
    case = CASES[name]
    model = model_of(case)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded(inputs(case)), model(inputs(case)), atol=1e-6)
    settings = (json.dumps(layer.get_config(), default=str) for layer in (reloaded.layers[-1], model.layers[-1]))
    assert next(settings) == next(settings)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_mixed_precision_computes_in_half_and_keeps_float32_weights(name, policy):
    case = CASES[name]
    exact = model_of(case)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = model_of(case)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(exact.get_weights())
    assert {weight.dtype for weight in half.weights if weight.name != "seed_generator_state"} <= {"float32"}

    y = half(inputs(case))
    expected = np.asarray(exact(inputs(case)))
    assert y.dtype == ("float32" if name == "radial_basis" else policy.removeprefix("mixed_"))
    tolerance = 0.01 if policy == "mixed_float16" else 0.08
    np.testing.assert_allclose(tf.cast(y, "float32"), expected, atol=tolerance * np.abs(expected).max())


def test_a_block_takes_the_policy_of_its_layer_and_leaves_the_global_one_alone():
    layer = layers.ResidualUnit(8, dtype="mixed_bfloat16")
    assert layer(np.zeros((1, 5, 7, 8), "float32")).dtype == "bfloat16"
    assert {inner.compute_dtype for inner in layer.graph.layers} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_one_graph_serves_images_of_all_sizes(name):
    case = CASES[name]
    model = model_of(case, open_size=True)
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, CHANNELS))])
    for n, size in ((1, (6, 9)), (3, (11, 5))):
        x = inputs(case, n=n, size=size)
        y = graph(x)
        assert y.shape == model.compute_output_shape(x.shape)
        np.testing.assert_allclose(y, model(x), atol=1e-5)
        np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_an_exported_layer_answers_alike(name, tmp_path):
    case = CASES[name]
    model = model_of(case, open_size=True)
    model.export(tmp_path / "saved_model", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved_model")
    for n, size in ((1, (6, 9)), (3, (11, 5))):
        x = inputs(case, n=n, size=size)
        np.testing.assert_allclose(served.serve(x), model(x), atol=1e-5)


def chain() -> keras.Model:
    names = ("grouped_conv", "layer_scale", "lrn", "depth_pool_max")
    front = [layers.ResidualUnit(CHANNELS), layers.SqueezeExcite(), layers.InceptionModule((4, 4, 4, 4, 4, 4))]
    back = [keras.layers.GlobalAveragePooling2D(), layers.RadialBasis(np.eye(3, 2))]
    return keras.Sequential(
        [keras.Input((None, None, CHANNELS)), *front, *(CASES[name].make() for name in names), *back]
    )


def test_a_chain_of_our_layers_is_exported_to_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = chain()
    model(inputs(CASES["lrn"]))
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in ((6, 9), (11, 5)):
        x = inputs(CASES["lrn"], size=size)
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        np.testing.assert_allclose(y, model(x), rtol=1e-4, atol=1e-5)


def test_another_process_loads_our_layers_once_it_has_imported_them(tmp_path):
    model = chain()
    x = inputs(CASES["lrn"])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, keras, numpy as np, zoo.layers; folder = sys.argv[1]; "
        "model = keras.models.load_model(folder + '/model.keras'); "
        "np.save(folder + '/y.npy', model(np.load(folder + '/x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(x), rtol=1e-5, atol=1e-6)


# --- numbers


@pytest.mark.parametrize("shape", [(3, 12), (2, 5, 12), (2, 5, 7, 12), (2, 3, 4, 5, 12)])
@pytest.mark.parametrize("pool_size", [1, 3, 12])
@pytest.mark.parametrize(("mode", "reduce"), [("max", np.max), ("average", np.mean)])
def test_depth_pool_is_the_naive_loop_at_any_rank(shape, pool_size, mode, reduce):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    groups = [reduce(x[..., i : i + pool_size], axis=-1) for i in range(0, 12, pool_size)]
    y = layers.DepthPool(pool_size, mode=mode)(x)
    assert y.shape == (*shape[:-1], 12 // pool_size)
    np.testing.assert_allclose(y, np.stack(groups, axis=-1), atol=1e-6)


def test_depth_pool_is_tensorflows_max_pool_over_channels():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 12)).astype("float32")
    expected = tf.nn.max_pool(x, ksize=(1, 1, 1, 3), strides=(1, 1, 1, 3), padding="VALID")
    np.testing.assert_array_equal(layers.DepthPool(3)(x), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.DepthPool(3)(np.zeros((2, 5, 7, 8), "float32")), "3 channels, got 8"),
        (lambda: layers.DepthPool(3)(keras.Input((5, None))), "3 channels, got None"),
        (lambda: layers.DepthPool(0), "at least 1, got 0"),
        (lambda: layers.DepthPool(2, mode="median"), "median"),
        (lambda: layers.LocalResponseNormalization(depth_radius=-1), "at least 0, got -1"),
        (lambda: layers.LocalResponseNormalization()(keras.Input((5, None))), "known number of channels"),
        (lambda: layers.RadialBasis([1.0, 2.0]), r"\[classes, features\]"),
        (lambda: layers.RadialBasis([[1.0, 2.0]])(np.zeros((2, 3), "float32")), "2 features"),
        (lambda: layers.SqueezeExcite()(np.zeros((1, 5, 7, 8), "float32")), "8 channels at ratio 16"),
        (lambda: layers.InceptionModule((1, 2, 3))(np.zeros((1, 5, 7, 8), "float32")), r"six numbers.*\(1, 2, 3\)"),
        (lambda: layers.DropPath(1.0), "got 1.0"),
    ],
)
def test_bad_arguments_are_refused_with_their_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "settings",
    [
        {},  # The settings of the paper.
        {"depth_radius": 0, "k": 1.0, "alpha": 1.0, "beta": 0.5},
        {"depth_radius": 1, "k": 0.5, "alpha": 0.3, "beta": 1.0},
        {"depth_radius": 20, "k": 1.0, "alpha": 0.01, "beta": 0.75},  # The radius exceeds the number of channels.
    ],
)
def test_lrn_is_tensorflows(settings):
    x = np.random.default_rng(0).normal(0, 30, (2, 5, 7, 12)).astype("float32")
    values = {"depth_radius": 2, "k": 2.0, "alpha": 1e-4, "beta": 0.75} | settings
    values["bias"] = values.pop("k")
    expected = tf.nn.local_response_normalization(x, **values)
    layer = layers.LocalResponseNormalization(**settings)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(x[:, 0]), expected[:, 0], rtol=1e-5, atol=1e-6)  # It takes any rank.


def test_lrn_has_tensorflows_gradient():
    x = tf.constant(np.random.default_rng(0).normal(0, 3, (2, 5, 7, 12)).astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = layers.LocalResponseNormalization(k=1.0, alpha=0.1)(x) ** 2
        theirs = tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=0.1, beta=0.75) ** 2
    np.testing.assert_allclose(tape.gradient(ours, x), tape.gradient(theirs, x), rtol=1e-4, atol=1e-5)


def test_lrn_stands_activations_whose_squares_overflow_float16():
    x = np.full((1, 2, 3, 8), 1000.0, "float32")
    y = layers.LocalResponseNormalization(dtype="mixed_float16")(x)
    np.testing.assert_allclose(y, layers.LocalResponseNormalization()(x), rtol=2e-3)


def test_radial_basis_is_the_squared_distance():
    random = np.random.default_rng(0)
    x, codes = random.normal(size=(5, 7)).astype("float32"), random.normal(size=(3, 7)).astype("float32")
    np.testing.assert_allclose(layers.RadialBasis(codes)(x), cdist(x, codes, "sqeuclidean"), rtol=1e-5)


def test_scaled_add():
    random = np.random.default_rng(0)
    x, branch = random.normal(size=(2, 2, 5, 7, 3)).astype("float32")
    layer = layers.ScaledAdd(0.17)
    np.testing.assert_allclose(layer([x, branch]), x + 0.17 * branch, atol=1e-6)
    assert layers.ScaledAdd.from_config(layer.get_config()).scale == 0.17


# --- blocks as functions and as layers

BLOCKS = {
    "residual_unit": (layers.ResidualUnit, blocks.residual_unit, {"filters": 24, "strides": 2}),
    "squeeze_excite": (layers.SqueezeExcite, blocks.squeeze_excite, {"ratio": 4}),
    "fcn_head": (layers.FCNHead, blocks.fcn_head, {"num_classes": 4, "factor": 2}),
    "inception_module": (layers.InceptionModule, blocks.inception_module, {"filters": (4, 6, 8, 2, 3, 5)}),
    "conv_bn": (layers.block_layer("ConvBN", "zoo.blocks.conv_bn"), blocks.conv_bn, {"filters": 8, "kernel_size": 3}),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_the_same_as_a_function_and_as_a_layer(name):
    layer_class, function, options = BLOCKS[name]
    x = inputs(CASES["lrn"], n=3)
    image = keras.Input((None, None, CHANNELS))
    functional = keras.Model(image, function(image, **options, name="block"))
    layer = layer_class(**options)
    layer.build(x.shape)
    for weight in functional.weights:
        weight.assign(np.random.default_rng(2).uniform(0.5, 1.5, weight.shape))
    layer.set_weights(functional.get_weights())

    np.testing.assert_allclose(layer(x), functional(x), atol=1e-6)
    # In training, both normalise by the batch and move the statistics.
    np.testing.assert_allclose(layer(x, training=True), functional(x, training=True), atol=1e-5)
    for ours, theirs in zip(layer.get_weights(), functional.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_fit_trains_a_block_and_a_frozen_one_holds_its_statistics():
    x, y = inputs(CASES["lrn"], n=8), np.zeros((8, 1), "float32")
    for trainable in (True, False):
        unit = layers.ResidualUnit(CHANNELS, trainable=trainable)
        model = keras.Sequential([unit, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
        model.build(x.shape)
        model.compile("sgd", "mse")
        before = {weight.path: np.array(weight) for weight in unit.weights}
        model.fit(x, y, epochs=1, verbose=0)
        moved = [not np.array_equal(before[weight.path], weight) for weight in unit.weights]
        assert all(moved) if trainable else not any(moved)


def test_a_block_layer_says_which_argument_is_missing_or_unknown():
    with pytest.raises(TypeError, match="filters"):
        layers.ResidualUnit()
    with pytest.raises((TypeError, ValueError), match="stride"):
        layers.ResidualUnit(24, stride=2)


def test_positional_arguments_are_kept_by_name():
    config = layers.ResidualUnit(24, strides=2).get_config()
    assert (config["filters"], config["strides"]) == (24, 2)
    assert layers.ResidualUnit.from_config(config).get_config() == config


def test_drop_path_keeps_the_expected_value_and_is_silent_in_inference():
    x = np.ones((4000, 3, 1), "float32")
    layer = layers.DropPath(0.25, seed=3)
    y = np.asarray(layer(x, training=True))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert (y == y[:, :1]).all(), "a sample is dropped as a whole"
    assert y.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(layer(x), x)
