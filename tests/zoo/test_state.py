"""The state of layers in copies of models: all that a layer computes with, whatever `get_weights` knows of it."""

import keras
import numpy as np
import pytest

from zoo.surgery.conversion import fold_batch_norms, to_fully_convolutional
from zoo.surgery.graph import rebuild
from zoo.surgery.state import copy_state

L = keras.layers
SHAPE = (6, 8, 3)
RANDOM = np.random.default_rng(0)


def images(count=2):
    return RANDOM.uniform(0, 5, (count, *SHAPE)).astype("float32")


def low_rank():
    dense = L.Dense(4)
    dense.build((None, *SHAPE))
    dense.enable_lora(2)
    return dense


# Name -> makes a layer, built or not, that takes images. Those with `adapt` are adapted.
LAYERS = {
    "normalization": L.Normalization,
    "normalization of everything": lambda: L.Normalization(axis=None),
    "normalization by row and channel": lambda: L.Normalization(axis=(1, 3)),
    "inverse normalization": lambda: L.Normalization(invert=True),
    "normalization of given numbers": lambda: L.TimeDistributed(L.Normalization(mean=[1, 2, 3], variance=[1, 4, 9])),
    "discretization": lambda: L.Discretization(num_bins=4),
    "integer lookup": lambda: L.Pipeline([L.Discretization([1.0, 2.0, 3.0]), lookup()]),
    "batch norm": L.BatchNormalization,
    "group norm": lambda: L.GroupNormalization(3),
    "spectral norm": lambda: L.SpectralNormalization(L.Conv2D(4, 3)),
    "batch norm row by row": lambda: L.TimeDistributed(L.BatchNormalization()),
    "separable convolution": lambda: L.SeparableConv2D(4, 3),
    "convolution over time": lambda: L.ConvLSTM1D(2, 3),
    "low-rank dense": low_rank,
    "einsum": lambda: L.EinsumDense("bhwc,cd->bhwd", output_shape=(None, None, 5), bias_axes="d"),
    "a model inside": lambda: keras.Sequential([keras.Input(SHAPE), adapted(L.Normalization()), L.Conv2D(2, 3)]),
}


def lookup():
    layer = L.IntegerLookup(num_oov_indices=1)
    layer.adapt(np.array([3, 1, 1, 2, 2, 2]))
    return layer


def adapted(layer):
    if hasattr(layer, "adapt"):
        layer.adapt(RANDOM.uniform(2, 9, (5, *SHAPE)).astype("float32"))
    return layer


def with_state(make):
    """A model around a layer whose state is not the one that a new layer has."""
    image = keras.Input(SHAPE)
    model = keras.Model(image, adapted(make())(image))
    for variable in model.trainable_variables:
        variable.assign(RANDOM.uniform(0.2, 1.0, variable.shape))
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.moving_mean.assign(RANDOM.uniform(1, 2, layer.moving_mean.shape))
            layer.moving_variance.assign(RANDOM.uniform(1, 2, layer.moving_variance.shape))
    return model


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_state_that_get_weights_does_not_hold_is_copied(make):
    model, batch = with_state(make), images()
    expected = np.array(model(batch, training=False))
    np.testing.assert_array_equal(np.array(rebuild(model)(batch, training=False)), expected)
    fresh = keras.models.clone_model(model)
    copy_state(model, fresh)
    np.testing.assert_array_equal(np.array(fresh(batch, training=False)), expected)


def classifier(dense):
    image = keras.Input(SHAPE)
    x = adapted(L.Normalization())(image)
    x = L.BatchNormalization()(L.Conv2D(4, 3)(x))
    return keras.Model(image, dense(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("convert", [fold_batch_norms, to_fully_convolutional])
def test_converted_models_keep_state_that_get_weights_does_not_hold(convert):
    model, batch = classifier(L.Dense(2, "softmax")), images()
    actual = np.array(convert(model)(batch)).reshape(2, 2)
    np.testing.assert_allclose(actual, np.array(model(batch)), atol=1e-6)


def test_batch_norms_are_not_folded_into_kernels_that_are_only_a_part():
    image, dense = keras.Input((5,)), L.Dense(3)
    model = keras.Model(image, L.BatchNormalization()(dense(image)))
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(RANDOM.uniform(size=dense.lora_kernel_b.shape))
    batch = RANDOM.uniform(size=(4, 5)).astype("float32")
    np.testing.assert_allclose(np.array(fold_batch_norms(model)(batch)), np.array(model(batch)), atol=1e-6)


def test_a_head_whose_weights_are_not_plain_numbers_is_refused():
    dense = L.Dense(2)
    model = classifier(dense)
    dense.enable_lora(1)
    with pytest.raises(ValueError, match="low-rank"):
        to_fully_convolutional(model)
