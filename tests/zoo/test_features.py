"""Levels against the shapes that layers really return."""

import keras
import numpy as np
import pytest

from zoo.surgery.feature_maps import features, last_feature_map, levels, strides


def by_running(model, size):
    """The independent reference: runs the model at a size that is a multiple of 32, and divides the sizes."""
    maps = [
        layer
        for layer in model.layers
        if len(layer.output.shape) == 4 and not isinstance(layer, keras.layers.InputLayer)
    ]
    outputs = keras.Model(model.input, [layer.output for layer in maps])(np.zeros((1, *size, 3), "float32"))
    found = {}
    for layer, output in zip(maps, outputs, strict=True):
        ratio = {size[0] / output.shape[1], size[1] / output.shape[2]}
        if len(ratio) == 1 and not isinstance(layer, keras.layers.ZeroPadding2D):
            found[ratio.pop()] = layer.name
    return {f"c{n}": found[2**n] for n in range(1, 6) if 2**n in found}


@pytest.fixture(scope="module")
def mobilenet():
    return keras.applications.MobileNetV2((None, None, 3), alpha=0.35, weights=None, include_top=False)


def test_levels_are_what_a_run_shows(mobilenet):
    assert levels(mobilenet) == by_running(mobilenet, (64, 96))
    assert list(levels(mobilenet)) == ["c1", "c2", "c3", "c4", "c5"]


@pytest.mark.parametrize("shape", [(64, 96, 3), (61, 45, 3), (33, 129, 3)])
def test_levels_do_not_depend_on_the_size_the_model_was_built_for(mobilenet, shape):
    fixed = keras.applications.MobileNetV2(shape, alpha=0.35, weights=None, include_top=False)
    assert list(levels(fixed).values()) == list(levels(mobilenet).values())


def test_valid_padding_shrinks_maps_without_changing_their_stride():
    model = keras.applications.Xception(weights=None, include_top=False, input_shape=(75, 99, 3))
    found = {level: model.get_layer(name).output.shape[1:3] for level, name in levels(model).items()}
    # The sizes are 75 -> 37 (valid, stride 2) -> 35 (valid) -> 18 -> 9 -> 5 -> 3, and similarly from 99.
    assert found == {"c1": (35, 47), "c2": (18, 24), "c3": (9, 12), "c4": (5, 6), "c5": (3, 3)}


def test_a_fixed_one_pixel_map_is_no_level():
    """Squeeze-and-excitation of a 32-pixel image has maps of 1x1, which look like stride 32."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(image, keras.layers.Multiply(name="excite")([x, squeezed]))
    assert levels(model) == {"c1": "excite"}


def test_magnifying_and_uneven_layers():
    image = keras.Input((None, None, 3))
    up = keras.layers.UpSampling2D(2, name="up")(image)
    model = keras.Model(image, keras.layers.MaxPooling2D((2, 1), name="flat")(up))
    assert strides(model) == {"up": 0.5}
    assert levels(model) == {}


def test_nested_models_built_for_one_size_are_followed():
    stem = keras.Sequential([keras.Input((40, 56, 3)), keras.layers.Conv2D(4, 4, strides=4)], name="stem")
    image = keras.Input((40, 56, 3))
    model = keras.Model(image, keras.layers.MaxPooling2D(2, name="pool")(stem(image)))
    assert levels(model) == {"c2": "stem", "c3": "pool"}


def test_features_share_weights_and_equal_the_taps(mobilenet):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 61, 45, 3)).astype("float32")
    taps = features(mobilenet, ("c2", "c5"))
    maps = taps(images)
    assert {level: map.shape[1:3] for level, map in maps.items()} == {"c2": (15, 11), "c5": (1, 1)}
    np.testing.assert_array_equal(maps["c5"], mobilenet(images))
    assert all(any(weight is other for other in mobilenet.weights) for weight in taps.weights)


def test_features_of_an_unknown_level_lists_the_known(mobilenet):
    with pytest.raises(ValueError, match=r"no level c6; it has c1, c2, c3, c4, c5"):
        features(mobilenet, ("c3", "c6"))


def test_last_feature_map_ends_the_trunk_of_a_reloaded_classifier(mobilenet, tmp_path):
    x = keras.layers.GlobalAveragePooling2D()(mobilenet.output)
    keras.Model(mobilenet.input, keras.layers.Dense(3)(x)).save(tmp_path / "model.keras")
    assert last_feature_map(keras.models.load_model(tmp_path / "model.keras")) == "out_relu"


def test_models_without_images_are_refused():
    vector = keras.Input((8,))
    model = keras.Model(vector, keras.layers.Dense(2)(vector))
    with pytest.raises(ValueError, match=r"one input \[n, height, width, channels\]"):
        levels(model)
    with pytest.raises(ValueError, match="has no layer with an output"):
        last_feature_map(model)
    with pytest.raises(ValueError, match=r"functional keras.Model, got Sequential"):
        levels(keras.Sequential([keras.layers.Dense(2)]))


def test_a_model_that_fits_one_size_says_so():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, strides=2, padding="same")(image))
    model = keras.Model(image, keras.layers.Reshape((8, 8, 1))(x))
    with pytest.raises(ValueError, match=r"does not work on an image of 136x136 pixels"):
        levels(model)
