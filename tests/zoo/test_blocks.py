"""Compares building blocks with loops in NumPy."""

import keras
import numpy as np
import pytest

from zoo import blocks

SHAPE = (7, 9, 6)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(block, *row, shape=SHAPE, **options) -> keras.Model:
    """Returns a model of one block, with random weights and batch-norm statistics."""
    x = keras.Input(shape)
    model = keras.Model(x, block(x, *row, **options, name="block"))
    random = np.random.default_rng(1)
    for weight in model.weights:
        low = 0.5 if weight.name in ("gamma", "moving_variance") else -0.5
        weight.assign(random.uniform(low, low + 1, weight.shape))
    return model


def weights(model: keras.Model, name: str) -> list[np.ndarray]:
    return model.get_layer(name).get_weights()


def convolve(x, kernel, strides=1, dilation=1, before=0, after=0):
    """Convolves by a naive loop over the output pixels and the taps of the kernel, with zeros around the image."""
    x = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
    reach = [dilation * (size - 1) + 1 for size in kernel.shape[:2]]
    height, width = ((size - r) // strides + 1 for size, r in zip(x.shape[1:3], reach, strict=True))
    y = np.zeros((len(x), height, width, kernel.shape[-1]), "float32")
    for row, column, i, j in np.ndindex(height, width, *kernel.shape[:2]):
        y[:, row, column] += x[:, row * strides + i * dilation, column * strides + j * dilation] @ kernel[i, j]
    return y


def batch_norm(x, gamma, beta, mean, variance, epsilon=1e-3):
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


# The last column is the number of zeros before and after the image, for a 3x3 kernel. At stride 2 "same" depends on
# whether the size is even.
PADDINGS = [
    (7, "same", 1, 1, (1, 1)),
    (7, "same", 2, 1, (1, 1)),
    (8, "same", 2, 1, (0, 1)),
    (8, "symmetric", 2, 1, (1, 1)),
    (8, "symmetric", 1, 2, (2, 2)),
    (8, "valid", 2, 1, (0, 0)),
]


@pytest.mark.parametrize(("size", "padding", "strides", "dilation", "zeros"), PADDINGS)
def test_conv_bn_pads_as_it_is_told(size, padding, strides, dilation, zeros):
    shape = (size, size + 2, 6)
    model = built(
        blocks.conv_bn, 5, 3, strides=strides, padding=padding, dilation_rate=dilation, activation=None, shape=shape
    )
    x = normal(2, *shape)
    (kernel,) = weights(model, "block_conv")
    expected = batch_norm(convolve(x, kernel, strides, dilation, *zeros), *weights(model, "block_bn"))
    np.testing.assert_allclose(model(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "padding", "strides", "zeros"),
    [(size, padding, strides, zeros) for size, padding, strides, dilation, zeros in PADDINGS if dilation == 1],
)
def test_conv_relu_has_a_bias_and_pads_alike(size, padding, strides, zeros):
    shape = (size, size + 2, 6)
    model = built(blocks.conv_relu, 5, 3, strides=strides, padding=padding, shape=shape)
    x = normal(2, *shape)
    kernel, bias = weights(model, "block_conv")
    np.testing.assert_allclose(model(x), relu(convolve(x, kernel, strides, 1, *zeros) + bias), atol=1e-4)


def test_symmetric_padding_reaches_as_far_as_a_long_kernel():
    x = keras.Input((8, 8, 4))
    assert blocks.conv_bn(x, 3, (7, 1), strides=2, padding="symmetric", name="tall").shape == (None, 4, 4, 3)
    assert blocks.conv_bn(x, 3, 7, strides=2, padding="symmetric", name="square").shape == (None, 4, 4, 3)


def test_separable_bn_filters_each_channel_and_then_mixes_them():
    model = built(blocks.separable_bn, 5, dilation_rate=2)
    x = normal(2, *SHAPE)
    depthwise, pointwise = weights(model, "block_sepconv")
    channels = [convolve(x[..., [c]], depthwise[:, :, [c]], 1, 2, 2, 2) for c in range(x.shape[-1])]
    mixed = convolve(np.concatenate(channels, -1), pointwise)
    np.testing.assert_allclose(model(x), relu(batch_norm(mixed, *weights(model, "block_bn"))), atol=1e-4)


def test_default_conv_has_two_flavours():
    x = keras.Input(SHAPE)
    plain = blocks.DefaultConv2D(8)
    before_norm = blocks.Conv2DBeforeNorm(8)
    assert plain(x).shape == before_norm(x).shape == (None, *SHAPE[:2], 8)
    assert plain.use_bias
    assert plain.activation is keras.activations.relu
    assert not before_norm.use_bias
    assert before_norm.activation is keras.activations.linear


@pytest.mark.parametrize(("filters", "strides"), [(6, 1), (8, 1), (6, 2), (8, 2)])
def test_residual_unit_is_two_convolutions_and_a_shortcut_made_to_fit(filters, strides):
    model = built(blocks.residual_unit, filters, strides=strides)
    x = normal(2, *SHAPE)

    def conv_bn(x, name, strides, zeros):
        (kernel,) = weights(model, f"block_{name}_conv")
        return batch_norm(convolve(x, kernel, strides, 1, zeros, zeros), *weights(model, f"block_{name}_bn"))

    branch = conv_bn(relu(conv_bn(x, "1", strides, 1)), "2", 1, 1)
    fits = strides == 1 and filters == SHAPE[-1]
    expected = relu(branch + (x if fits else conv_bn(x, "shortcut", strides, 0)))
    np.testing.assert_allclose(model(x), expected, atol=1e-4)
    assert ("block_shortcut_conv" in {layer.name for layer in model.layers}) != fits


def test_squeeze_excite_weighs_channels_by_their_means():
    model = built(blocks.squeeze_excite, ratio=2)
    x = normal(2, *SHAPE)
    (reduce, reduce_bias), (expand, expand_bias) = weights(model, "block_reduce"), weights(model, "block_expand")
    assert reduce.shape == (1, 1, 6, 3)
    hidden = relu(x.mean((1, 2)) @ reduce[0, 0] + reduce_bias)
    gate = 1 / (1 + np.exp(-(hidden @ expand[0, 0] + expand_bias)))
    np.testing.assert_allclose(model(x), x * gate[:, None, None], atol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_inception_module_joins_its_branches_in_the_papers_order(batch_norm):
    filters = (4, 2, 6, 3, 5, 7)
    model = built(blocks.inception_module, filters, batch_norm=batch_norm)
    kernels = {
        layer.name: tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)
    }
    assert kernels == {
        "block_1_1_conv": (1, 1, 6, 4),
        "block_2_1_conv": (1, 1, 6, 2),
        "block_2_2_conv": (3, 3, 2, 6),
        "block_3_1_conv": (1, 1, 6, 3),
        "block_3_2_conv": (5, 5, 3, 5),
        "block_4_2_conv": (1, 1, 6, 7),
    }
    x = normal(2, *SHAPE)
    ends = [f"block_{i}_{j}_{'activation' if batch_norm else 'conv'}" for i, j in ((1, 1), (2, 2), (3, 2), (4, 2))]
    branches = keras.Model(model.input, [model.get_layer(end).output for end in ends])(x)
    np.testing.assert_array_equal(model(x), np.concatenate(branches, -1))


def test_a_fork_splits_a_branch_and_is_joined_in_place():
    fork = ("fork", [[(2, (1, 3))], [(4, (3, 1))]])
    model = built(blocks.parallel, [(5, 1)], [(3, 1), fork], [("max", 3)], [("average", 3)])
    assert model.output_shape == (None, 7, 9, 5 + 2 + 4 + 6 + 6)
    x = normal(1, *SHAPE)
    y = np.asarray(model(x))
    ends = ("block_1_1", "block_2_2_1_1", "block_2_2_2_1")
    first, row, column = (keras.Model(model.input, model.get_layer(f"{end}_activation").output)(x) for end in ends)
    np.testing.assert_array_equal(y[..., :11], np.concatenate([first, row, column], -1))
    assert y[0, 3, 4, 11] == x[0, 2:5, 3:6, 0].max()
    assert y[0, 3, 4, 17] == pytest.approx(x[0, 2:5, 3:6, 0].mean(), abs=1e-6)
    assert y[0, 0, 0, 17] == pytest.approx(x[0, :2, :2, 0].mean(), abs=1e-6), "zeros around the image do not count"


def test_scaled_channels_never_loses_more_than_a_tenth():
    for channels in range(1, 400):
        scaled = blocks.scaled_channels(channels)
        assert scaled % 8 == 0
        assert scaled >= 0.9 * channels


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: blocks.normalise(x, "zscore"), "zscore"),
        (lambda x: blocks.inception_module(x, (1, 2), name="m"), r"got 2: \(1, 2\)"),
        (lambda x: blocks.squeeze_excite(x, name="se"), "6 channels at ratio 16 leaves 0"),
    ],
)
def test_bad_arguments_are_refused_with_their_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make(keras.Input(SHAPE))
