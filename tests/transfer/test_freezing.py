"""What trains is what was said, and what is frozen does not move."""

import keras
import numpy as np
import pytest

from transfer.training.freezing import (
    FrozenWeightsChanged,
    fingerprints,
    freeze,
    frozen_layers,
    raise_if_changed,
    trunk,
    unfreeze,
)
from zoo.layers import DropPath

H, W = 37, 53


def small_classifier():
    """Three levels, a squeeze-and-excitation whose maps are 1x1, stochastic depth, and a head."""
    image = x = keras.Input((H, W, 3), name="image")
    for level, filters in enumerate((4, 6, 8), 1):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", name=f"conv{level}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{level}")(x)
        x = keras.layers.ReLU(name=f"relu{level}")(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = keras.layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    branch = DropPath(0.5, seed=1, name="drop")(keras.layers.Multiply(name="weigh")([x, gate]))
    x = keras.layers.Add(name="add")([x, branch])
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="predictions")(x))


def training(model):
    return [layer.name for layer in model.layers if layer.weights and layer.trainable]


def images(n=6):
    return np.random.default_rng(0).uniform(0, 255, (n, H, W, 3)).astype("float32")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("none", ["predictions"]),
        (0.0, ["predictions"]),
        ("c3", ["conv3", "excite", "predictions"]),
        ("c2", ["conv2", "conv3", "excite", "predictions"]),
        ("c1", ["conv1", "conv2", "conv3", "excite", "predictions"]),
        ("all", ["conv1", "conv2", "conv3", "excite", "predictions"]),
        (1.0, ["conv1", "conv2", "conv3", "excite", "predictions"]),
        (4 / 15, ["excite", "predictions"]),
        ("0.2", ["predictions"]),
        (0, ["conv1", "conv2", "conv3", "excite", "predictions"]),
        (np.int64(1), ["conv1", "conv2", "conv3", "excite", "predictions"]),
        ("-1", ["predictions"]),
    ],
)
def test_exactly_the_given_part_trains_whatever_trained_before(part, expected):
    model = small_classifier()
    model.trainable = False
    unfreeze(model, part)
    assert training(model) == expected
    unfreeze(model, "all")
    unfreeze(model, part)
    assert training(model) == expected


def test_freeze_leaves_the_head_and_a_reloaded_model_knows_its_trunk(tmp_path):
    small_classifier().save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert trunk(model)[-1].name == "add"
    freeze(model)
    assert training(model) == ["predictions"]
    assert [layer.name for layer in frozen_layers(model)] == [
        "conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "excite",
    ]  # fmt: skip


def test_batch_norms_keep_their_statistics_in_an_unfrozen_part():
    """The reason why `trainable=False` is set on them: `fit` moves the statistics of the others."""
    model = small_classifier()
    unfreeze(model, "all")
    before = model.get_layer("bn2").get_weights()
    kernel = model.get_layer("conv1").get_weights()[0]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images(), np.arange(6) % 3, epochs=2, verbose=0)
    for old, new in zip(before, model.get_layer("bn2").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(model.get_layer("conv1").get_weights()[0] - kernel).max() > 0


def test_a_frozen_trunk_is_a_constant_function_in_training_mode():
    model = small_classifier()
    map_of = keras.Model(model.input, model.get_layer("add").output)
    expected = map_of(images(), training=False)
    freeze(model)
    for _ in range(3):
        np.testing.assert_array_equal(map_of(images(), training=True), expected)
    unfreeze(model, "all")
    assert np.abs(map_of(images(), training=True) - expected).max() > 1e-3  # the branch is dropped


@pytest.mark.parametrize("weight", range(4), ids=["gamma", "beta", "moving_mean", "moving_variance"])
def test_one_changed_bit_is_found_and_its_layer_named(weight):
    model = small_classifier()
    freeze(model)
    before = fingerprints(frozen_layers(model))
    raise_if_changed(model, before)
    variable = model.get_layer("bn2").weights[weight]
    value = variable.numpy()
    value[1] = np.nextafter(value[1], np.float32(9))
    variable.assign(value)
    with pytest.raises(FrozenWeightsChanged, match=r"1 of 7 frozen layers changed during training: bn2\."):
        raise_if_changed(model, before)


def test_nan_is_equal_to_itself_but_minus_zero_is_not_zero():
    model = small_classifier()
    freeze(model)
    bias = model.get_layer("conv1").bias
    bias.assign([np.nan, 0, 0, 0])
    before = fingerprints(frozen_layers(model))
    raise_if_changed(model, before)
    bias.assign([np.nan, -0.0, 0, 0])
    with pytest.raises(FrozenWeightsChanged, match="conv1"):
        raise_if_changed(model, before)


@pytest.mark.parametrize("part", ["c9", "conv9", "", "top"])
def test_an_unknown_part_lists_the_known(part):
    with pytest.raises(
        ValueError, match=f"no part '{part}' to unfreeze; expected one of none, all, c1, c2, c3, the name"
    ):
        unfreeze(small_classifier(), part)


@pytest.mark.parametrize("part", [-0.1, 1.01, "7.0", float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(part):
    with pytest.raises(ValueError, match=rf"in 0\.\.1, got {part}"):
        unfreeze(small_classifier(), part)


@pytest.mark.parametrize("index", [3, 7, "7", -6])
def test_an_integer_is_the_index_of_a_layer(index):
    """As `for layer in model.layers[56:]` has it; batch norms stay frozen."""
    model = small_classifier()
    unfreeze(model, index)
    chosen = trunk(model)[int(index) :] + model.layers[len(trunk(model)) :]
    norms = {layer.name for layer in trunk(model) if isinstance(layer, keras.layers.BatchNormalization)}
    assert training(model) == [layer.name for layer in chosen if layer.weights and layer.name not in norms]


@pytest.mark.parametrize("index", [15, -16, "99"])
def test_an_index_beyond_the_trunk_is_refused(index):
    with pytest.raises(IndexError, match=f"has 15 layers, got the index {index}"):
        unfreeze(small_classifier(), index)


def test_a_refused_part_changes_nothing():
    model = small_classifier()
    freeze(model)
    with pytest.raises(ValueError, match="no part"):
        unfreeze(model, "c9")
    assert training(model) == ["predictions"]


def test_a_nested_trunk_is_refused():
    """Its batch norms could not be told from outside."""
    base = keras.Model(*(lambda m: (m.input, m.get_layer("add").output))(small_classifier()), name="base")
    image = keras.Input((H, W, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    with pytest.raises(ValueError, match=r"has a model inside it \('base'\).*flat"):
        freeze(model)


def test_a_layer_can_be_named_for_it_and_what_comes_after_it():
    image = x = keras.Input((32, 48, 3))
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"conv{number}")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    unfreeze(model, "conv1")
    assert [layer.name for layer in model.layers if layer.weights and layer.trainable] == ["conv1", "conv2", "head"]
    with pytest.raises(ValueError, match=r"no part 'head' to unfreeze.*the name of a layer of the trunk"):
        unfreeze(model, "head")
