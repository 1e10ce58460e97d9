"""Checks what is special to LeNet-5, the textbook networks, AlexNet, ZFNet, VGG and GoogLeNet."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from zoo.models import googlenet, lenet, vgg


def images(model: keras.Model, n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (n, *model.input_shape[1:])).astype("float32")


# Tables of layers in the papers and books: height, width, number of maps.
MAPS = {
    "lenet5": {"c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16), "c5": (1, 1, 120)},
    "fashion_cnn": {"conv1": (28, 28, 64), "pool2": (14, 14, 64), "pool5": (7, 7, 128), "pool8": (3, 3, 256)},
    "mnist_convnet": {"conv1": (26, 26, 32), "pool2": (13, 13, 32), "conv3": (11, 11, 64), "conv5": (3, 3, 64)},
    "alexnet": {
        "c1_conv": (55, 55, 96),
        "s2": (27, 27, 96),
        "c3_conv": (27, 27, 256),
        "s4": (13, 13, 256),
        "c7_conv": (13, 13, 256),
        "s8": (6, 6, 256),
    },
    "zfnet": {
        "c1_conv": (110, 110, 96),
        "s2": (55, 55, 96),
        "c3_conv": (26, 26, 256),
        "s4": (13, 13, 256),
        "s8": (6, 6, 256),
    },
    "vgg16": {f"block{i}_pool": (224 // 2**i, 224 // 2**i, c) for i, c in enumerate((64, 128, 256, 512, 512), 1)},
    "googlenet": {
        "conv1_conv": (112, 112, 64),
        "pool1": (56, 56, 64),
        "pool2": (28, 28, 192),
        "inception3a": (28, 28, 256),
        "inception3b": (28, 28, 480),
        "inception4a": (14, 14, 512),
        "inception4d": (14, 14, 528),
        "inception4e": (14, 14, 832),
        "inception5b": (7, 7, 1024),
    },
    "inception_v3": {
        "stem_pool2": (35, 35, 192),
        "mixed2": (35, 35, 288),
        "mixed7": (17, 17, 768),
        "mixed10": (8, 8, 2048),
    },
    "inception_v4": {
        "stem6": (35, 35, 384),
        "inception_a4": (35, 35, 384),
        "inception_b7": (17, 17, 1024),
        "inception_c3": (8, 8, 1536),
    },
    "xception": {"block2_add": (74, 74, 128), "block4_add": (19, 19, 728), "block14_2_activation": (10, 10, 2048)},
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_the_sizes_of_the_papers_table(name):
    model = zoo.create_model(name, include_top=False)
    assert {layer: model.get_layer(layer).output.shape[1:] for layer in MAPS[name]} == MAPS[name]


# --- LeNet-5


def test_the_codes_are_ten_different_drawings():
    codes = lenet.codes()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1, 1}
    distances = (codes[:, None] != codes[None]).sum(-1)
    assert distances[~np.eye(10, dtype=bool)].min() >= 5, "two digits with codes this alike are hard to tell apart"


def test_the_nearest_code_wins():
    model = zoo.create_model("lenet5_rbf")
    x = images(model)
    vectors = np.asarray(keras.Model(model.input, model.get_layer("fc1").output)(x))
    distances = ((vectors[:, None] - lenet.codes()[None]) ** 2).sum(-1)
    expected = np.exp(-distances) / np.exp(-distances).sum(-1, keepdims=True)
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    logits = keras.Model(model.input, model.get_layer("logits").output)(x)
    np.testing.assert_allclose(logits, -distances, rtol=1e-5)


def test_lenet_sees_paper_as_minus_a_tenth_and_ink_as_1_175():
    model = zoo.create_model("lenet5")
    rescaling = keras.Model(model.input, model.get_layer("rescaling").output)
    x = np.zeros((1, 32, 32, 1), "float32")
    x[0, 0, 0] = 255
    y = np.asarray(rescaling(x))
    assert y[0, 0, 0, 0] == pytest.approx(1.175)
    assert y[0, 1, 1, 0] == pytest.approx(-0.1)


# --- VGG


def test_vgg_refuses_weights_that_expect_other_images():
    row = replace(vgg.VARIANTS["vgg16"], normalisation="imagenet")
    for variant, fits in (("vgg16", False), ("vgg11", True), (row, True)):
        model = zoo.create_model(variant, input_shape=(32, 43, 3), include_top=False)
        if fits:
            assert vgg.torch_modules(model)["block5_conv1"].startswith("features.")
        else:
            with pytest.raises(ValueError, match="normalisation"):
                vgg.torch_modules(model)


# --- GoogLeNet


@pytest.mark.parametrize("name", ["googlenet_auxiliary", "googlenet_bn_auxiliary"])
def test_auxiliary_classifiers_are_outputs_that_train_with_a_weight_of_their_own(name):
    model = zoo.create_model(name, input_shape=(80, 91, 3), num_classes=3)
    x, y = images(model, n=4), np.array([0, 1, 2, 0])
    results = model(x)
    assert set(results) == set(googlenet.LOSS_WEIGHTS)
    for probabilities in results.values():
        np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1, atol=1e-5)

    loss = dict.fromkeys(results, "sparse_categorical_crossentropy")
    model.compile("sgd", loss, loss_weights=googlenet.LOSS_WEIGHTS)
    losses = model.evaluate(x, dict.fromkeys(results, y), verbose=0, return_dict=True)
    weighed = sum(weight * losses[f"{name}_loss"] for name, weight in googlenet.LOSS_WEIGHTS.items())
    assert losses["loss"] == pytest.approx(weighed, rel=1e-4)
    assert googlenet.LOSS_WEIGHTS == {"predictions": 1.0, "auxiliary1": 0.3, "auxiliary2": 0.3}


def test_the_main_classifier_does_not_depend_on_the_auxiliary_ones():
    full = zoo.create_model("googlenet_auxiliary", input_shape=(80, 91, 3), num_classes=3)
    plain = zoo.create_model("googlenet", input_shape=(80, 91, 3), num_classes=3)
    for layer in plain.layers:
        layer.set_weights(full.get_layer(layer.name).get_weights())
    x = images(full)
    np.testing.assert_allclose(plain(x), full(x)["predictions"], atol=1e-6)


@pytest.mark.parametrize("size", [9, 10])
@pytest.mark.parametrize("window", [2, 3])
def test_googlenets_pooling_keeps_the_last_window(size, window):
    x = np.random.default_rng(0).uniform(0, 1, (1, size, size + 3, 2)).astype("float32")
    image = keras.Input(x.shape[1:])
    y = np.asarray(keras.Model(image, googlenet.pool(image, window, name="pool"))(x))
    rows, columns = (-(-(length - window) // 2) + 1 for length in x.shape[1:3])
    assert y.shape == (1, rows, columns, 2)
    for i, j in np.ndindex(rows, columns):
        patch = x[:, 2 * i : 2 * i + window, 2 * j : 2 * j + window]
        np.testing.assert_array_equal(y[:, i, j], patch.max((1, 2)))


# --- bad input


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"input_shape": (28, 28, 1)}, "at least 32x32 pixels"),
        ("lenet5_rbf", {"num_classes": 11}, "10 digits, got num_classes=11"),
        ("alexnet", {"input_shape": (66, 227, 3)}, "at least 67x67"),
        ("vgg16", {"input_shape": (None, None, 3)}, r"known height and width.*without its top"),
        ("googlenet_auxiliary", {"input_shape": (64, 64, 3)}, "at least 80x80"),
        ("googlenet_auxiliary", {"input_shape": (None, None, 3)}, "known size"),
        ("inception_v3", {"input_shape": (74, 75, 3)}, "at least 75x75"),
        ("xception", {"include_top": False, "num_classes": 5}, "num_classes=5"),
    ],
)
def test_what_a_network_cannot_take_is_refused_with_its_numbers(name, options, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model(name, **options)


@pytest.mark.parametrize("name", ["googlenet_bn", "xception"])
def test_a_trunk_takes_images_of_unknown_size(name):
    model = zoo.create_model(name, include_top=False, input_shape=(None, None, 3))
    fixed = zoo.create_model(name, include_top=False, input_shape=(75, 107, 3))
    fixed.set_weights(model.get_weights())
    x = images(fixed, n=1)
    np.testing.assert_allclose(model(x), fixed(x), atol=1e-4)
