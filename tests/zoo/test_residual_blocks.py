"""Checks of residual, cross-stage and transformer blocks that comparing whole networks does not cover."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import blocks
from zoo.layers import GroupedConv2D, PatchMap, PatchTokens, gelu, leaky_relu
from zoo.models.convnext import ConvNeXt
from zoo.models.resnet import ResNet
from zoo.models.vit import VisionTransformer
from zoo.models.wide_resnet import WideResNet

X = (5, 7, 16)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("strides", "padding", "dilation"), [(1, "same", 1), (2, "valid", 1), (1, "same", 2)])
def test_a_grouped_convolution_is_one_convolution_for_each_group(strides, padding, dilation):
    layer = GroupedConv2D(8, 3, groups=4, strides=strides, padding=padding, dilation_rate=dilation)
    x = tf.Variable(normal(2, *X))
    layer.build(x.shape)
    layer.bias.assign(normal(8))

    def by_hand(x):
        parts = zip(tf.split(x, 4, -1), tf.split(layer.kernel, 4, -1), strict=True)
        ends = [tf.nn.convolution(part, kernel, strides, padding.upper(), dilations=dilation) for part, kernel in parts]
        return tf.concat(ends, -1) + layer.bias

    with tf.GradientTape(persistent=True) as tape:
        ours, theirs = layer(x), by_hand(x)
        loss, expected = tf.reduce_sum(tf.sin(ours)), tf.reduce_sum(tf.sin(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for a, b in zip(
        tape.gradient(loss, [x, layer.kernel.value]), tape.gradient(expected, [x, layer.kernel.value]), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("onednn", [True, False])
def test_a_grouped_convolution_is_the_same_with_and_without_onednn(onednn, monkeypatch):
    monkeypatch.setattr("zoo.primitives.convolution._has_onednn", lambda: onednn)
    layer = GroupedConv2D(12, 3, groups=4, strides=2, padding="same")
    x = normal(2, *X)
    layer.build(x.shape)
    plain = keras.layers.Conv2D(12, 3, groups=4, strides=2, padding="same")
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), plain(x), atol=1e-5)


def test_the_bottleneck_has_its_stride_where_it_is_told():
    for place, convolution in (("1x1", "unit_1_conv"), ("3x3", "unit_2_conv")):
        x = keras.Input(X)
        model = keras.Model(x, blocks.bottleneck(x, 32, strides=2, stride_at=place, name="unit"))
        strided = {layer.name for layer in model.layers if getattr(layer, "strides", (1, 1)) == (2, 2)}
        assert strided == {convolution, "unit_shortcut_conv"}
        assert model.output_shape == (None, 3, 4, 32)


@pytest.mark.parametrize(
    ("filters", "strides", "expected"),
    [(16, 1, set()), (16, 2, {"unit_shortcut_pool"}), (24, 1, {"unit_shortcut_conv"}), (24, 2, {"unit_shortcut_conv"})],
)
def test_the_shortcut_of_a_preactivation_unit_follows_from_the_shapes(filters, strides, expected):
    x = keras.Input(X)
    model = keras.Model(x, blocks.preactivation_unit(x, filters, strides=strides, dropout=0.3, name="unit"))
    names = {layer.name for layer in model.layers}
    assert {name for name in names if "shortcut" in name} == expected
    assert "unit_dropout" in names


def test_a_clean_shortcut_passes_the_input_on():
    x = keras.Input(X)
    model = keras.Model(x, blocks.preactivation_unit(x, 16, strides=2, name="unit"))
    model.get_layer("unit_2_conv").kernel.assign(np.zeros((3, 3, 16, 16)))
    image = normal(2, *X)
    np.testing.assert_array_equal(model(image), image[:, ::2, ::2])


def test_a_csp_stage_sends_one_part_past_the_units():
    x = keras.Input(X)
    unit = partial(blocks.bottleneck, filters=8, width=4)
    model = keras.Model(x, blocks.csp_stage(x, 24, 2, unit, part=8, name="stage"))
    joined = keras.Model(x, model.get_layer("stage_concat").output)
    image = normal(2, *X)
    before = joined(image).numpy()
    for layer in model.layers:
        if "unit" in layer.name and layer.name.endswith("_bn"):
            layer.gamma.assign(layer.gamma + 1)
    after = joined(image).numpy()
    np.testing.assert_array_equal(before[..., :8], after[..., :8])
    assert np.abs(before[..., 8:] - after[..., 8:]).max() > 1e-3


def test_the_map_of_patch_tokens_is_the_map_they_were_made_of():
    tokens, patches = PatchTokens((5, 7)), normal(2, *X)
    tokens.build(patches.shape)
    tokens.position.assign(np.zeros(tokens.position.shape))
    np.testing.assert_array_equal(PatchMap()([tokens(patches), patches]), patches)


def test_a_saved_model_keeps_a_registered_activation(tmp_path):
    x = keras.Input(X)
    model = keras.Model(x, blocks.conv_bn(x, 4, activation=leaky_relu, name="stem"))
    model.save(tmp_path / "model.keras")
    image = normal(2, *X)
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(image), model(image), atol=1e-6)
    assert np.asarray(model(image)).min() < 0


TINY_VIT = VisionTransformer(24, 3, blocks=2, image_size=64, min_size=16)


def test_one_vision_transformer_serves_all_sizes():
    model = zoo.create_model(TINY_VIT, input_shape=(None, None, 3), num_classes=5)
    for size in ((64, 64), (48, 80), (33, 50)):
        fixed = zoo.create_model(TINY_VIT, input_shape=(*size, 3), num_classes=5)
        fixed.set_weights(model.get_weights())
        images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
        np.testing.assert_allclose(model(images), fixed(images), atol=1e-5)
        np.testing.assert_allclose(model.predict(images, verbose=0), fixed(images), atol=1e-5)


def test_a_vision_transformer_without_its_top_ends_in_a_map():
    model = zoo.create_model(TINY_VIT, input_shape=(50, 80, 3), include_top=False)
    assert model.output_shape == (None, 4, 5, 24)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda x: blocks.conv_bn(x, 8, groups=3, name="stem"), "16 channels.* 3 groups.* 8"),
        (lambda x: blocks.conv_bn(x, 9, groups=4, name="stem"), "16 channels.* 4 groups.* 9"),
        (lambda x: blocks.bottleneck(x, 64, width=20, groups=32, name="unit"), "20 channels.*multiples of 32"),
        (lambda x: blocks.bottleneck(x, 64, stride_at="5x5", name="unit"), '"1x1" or "3x3", got \'5x5\''),
        (lambda x: blocks.bottleneck(x, 8, se_ratio=16, name="unit"), "8 channels at ratio 16.*lower the ratio"),
        (lambda x: blocks.transition(x, 0.01, name="t"), "compression 0.01.* 16"),
        (lambda x: blocks.transition(x, 1.5, name="t"), "compression 1.5.* 24 channels of 16"),
        (lambda x: blocks.transformer_block(x, 5, name="block"), "5 heads.* 16 channels.*multiple of 5"),
        (lambda x: PatchTokens((0, 14)), r"\(0, 14\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_numbers(build, words):
    with pytest.raises(ValueError, match=words):
        build(keras.Input(X))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (WideResNet(27, 10), r"6 \* n \+ 4.* got 27"),
        (ResNet((1, 1, 1, 1), groups=32, group_width=4, stride_at="2x2"), "got '2x2'"),
        (VisionTransformer(100, 3), "3 heads.* 100 channels"),
    ],
)
def test_a_row_that_makes_no_network_is_refused(row, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model(row, input_shape=(64, 64, 3))


TINY_CONVNEXT = ConvNeXt((1, 1, 2, 1), (8, 12, 16, 24), 0.1)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("row", [TINY_VIT, TINY_CONVNEXT], ids=["vit", "convnext"])
def test_attention_and_layer_scale_compute_in_half(row, policy):
    exact = zoo.create_model(row, input_shape=(64, 80, 3), num_classes=5)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = zoo.create_model(row, input_shape=(64, 80, 3), num_classes=5)
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(exact.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 80, 3)).astype("float32")
    answer = half(images)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, exact(images), atol=0.02)


@pytest.mark.parametrize("row", [TINY_VIT, TINY_CONVNEXT], ids=["vit", "convnext"])
def test_transformers_and_convnexts_are_exported_to_onnx(row, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = zoo.create_model(row, input_shape=(48, 80, 3), num_classes=5)
    images = np.random.default_rng(0).uniform(0, 255, (2, 48, 80, 3)).astype("float32")
    expected = model(images)  # Keras exports only models that were called.
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_gelu_is_that_of_keras():
    x = normal(1000) * 4
    np.testing.assert_allclose(gelu(x), keras.activations.gelu(x, approximate=False), atol=1e-6)
