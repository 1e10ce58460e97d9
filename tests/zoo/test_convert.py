"""Converted and folded models against the models that they were made of."""

import keras
import numpy as np
import pytest

import zoo
from zoo.layers import DropPath, GroupedConv2D, ResidualUnit, SqueezeExcite
from zoo.surgery.conversion import fold_batch_norms, to_fully_convolutional

L = keras.layers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def randomised(model, rng):
    """Sets random weights and batch-norm statistics. Outputs stay in range: kernels are scaled by fan-in."""
    for layer in model.layers if not isinstance(model, keras.Sequential) else [model]:
        weights = []
        for weight in layer.weights:
            value = rng.normal(size=weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))
            weights.append(np.abs(value) + 0.5 if weight.name in ("moving_variance", "gamma") else value)
        layer.set_weights(weights)
    return model


def images(rng, n, height, width, channels=3):
    return rng.uniform(-1, 1, (n, height, width, channels)).astype("float32")


def vgg_like(height=32, width=48):
    image = keras.Input((height, width, 3))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same", activation="relu")(image))
    x = L.MaxPooling2D(2)(L.Conv2D(6, 3, padding="same", activation="relu")(x))
    x = L.Dropout(0.5)(L.Flatten()(x))
    x = L.Dropout(0.5)(L.Activation("relu")(L.Dense(16)(x)))
    return keras.Model(image, L.Dense(5, activation="softmax", name="top")(x))


def valid(head, height=23, width=31):
    """Returns a network of stride 4 without padding: its result for a window does not depend on what is around it."""
    image = keras.Input((height, width, 3))
    x = L.Conv2D(4, 3, activation="relu")(image)
    x = L.MaxPooling2D(2)(x)
    x = L.BatchNormalization()(L.Conv2D(6, 3)(x))
    x = L.AveragePooling2D(2)(L.ReLU()(x))
    return keras.Model(image, head(x))


def flat_head(x):
    x = L.Dense(8, activation="relu")(L.Flatten()(x))
    return L.Softmax()(L.Dense(5)(L.BatchNormalization()(x)))


def pooled_head(x):
    x = L.LayerNormalization()(L.GlobalAveragePooling2D()(x))
    return L.Dense(5, activation="softmax")(L.Dropout(0.3)(x))


def max_pooled_head(x):
    return L.Dense(5, use_bias=False)(L.GlobalMaxPooling2D()(x))


def joined_heads(x):
    pooled = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
    gate = L.Dense(6, activation="sigmoid")(pooled)
    return L.Dense(5)(L.Multiply()([L.Dense(6)(pooled), gate]))


def convolutional_head(x):
    """Adds a head as in MobileNet v1 and v3."""
    x = L.GlobalAveragePooling2D(keepdims=True)(x)
    return L.Activation("softmax")(L.Reshape((5,))(L.Conv2D(5, 1, padding="same")(L.Dropout(0.1)(x))))


HEADS = [flat_head, pooled_head, max_pooled_head, joined_heads, convolutional_head]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_the_grid_is_the_original_on_each_shifted_window(head, rng):
    model = randomised(valid(head), rng)
    sliding = to_fully_convolutional(model)
    photo = images(rng, 2, 23 + 3 * 4 + 1, 31 + 2 * 4)
    grid = np.array(sliding(photo))
    assert grid.shape == (2, 4, 3, 5)
    for row in range(4):
        for column in range(3):
            window = photo[:, 4 * row : 4 * row + 23, 4 * column : 4 * column + 31]
            np.testing.assert_allclose(grid[:, row, column], np.array(model(window)), atol=1e-5)


@pytest.mark.parametrize("build", [vgg_like, *(lambda head=head: valid(head) for head in HEADS)])
def test_the_same_at_the_trained_size(build, rng):
    model = randomised(build(), rng)
    photo = images(rng, 3, *model.input_shape[1:3])
    expected = np.array(model(photo))
    new = to_fully_convolutional(model)
    np.testing.assert_allclose(np.array(new(photo))[:, 0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(new.predict(photo, verbose=0)[:, 0, 0], expected, atol=1e-5)
    assert not any(isinstance(layer, L.Flatten | L.Dense) for layer in new.layers)
    assert sum(isinstance(layer, L.Dropout) for layer in new.layers) == sum(
        isinstance(layer, L.Dropout) for layer in model.layers
    )
    np.testing.assert_array_equal(np.array(model(photo)), expected)


def test_probabilities_are_along_the_channels(rng):
    grid = np.array(to_fully_convolutional(randomised(vgg_like(), rng))(images(rng, 1, 64, 96)))
    assert grid.shape == (1, 9, 13, 5)
    np.testing.assert_allclose(grid.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.slow
def test_a_stride_of_32_gives_8x8_at_twice_the_size(rng):
    for name, head in (("MobileNetV2", "predictions"), ("VGG16", "predictions")):
        settings = {"alpha": 0.35} if name == "MobileNetV2" else {}
        model = getattr(keras.applications, name)(weights=None, classes=7, **settings)
        new = to_fully_convolutional(model)
        assert new.compute_output_shape((None, 448, 448, 3)) == (None, 8, 8, 7)
        assert new.compute_output_shape((None, 224, 224, 3)) == (None, 1, 1, 7)
        assert isinstance(new.get_layer(head), L.Conv2D)
        keras.backend.clear_session()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("efficientnet_b0", (64, 96, 3)), ("mobilenet_v3_small", (64, 96, 3)), ("mobilenet_v1_025", (64, 96, 3))],
)
def test_gates_of_squeeze_and_excitation_stay_in_the_trunk(name, shape, rng):
    model = zoo.create_model(name, input_shape=shape, num_classes=5)
    new = to_fully_convolutional(model)
    photo = 255 * np.abs(images(rng, 2, *shape[:2]))
    np.testing.assert_allclose(np.array(new(photo))[:, 0, 0], np.array(model(photo)), atol=1e-5)
    assert new.compute_output_shape((None, 128, 160, 3)) == (None, 3, 3, 5)


def test_several_heads_are_all_converted(rng):
    model = zoo.create_model("googlenet_auxiliary", input_shape=(96, 128, 3), num_classes=5)
    new = to_fully_convolutional(model)
    photo = 255 * np.abs(images(rng, 1, 96, 128))
    expected, grids = model(photo), new(photo)
    assert grids.keys() == expected.keys()
    for key, grid in grids.items():
        np.testing.assert_allclose(np.array(grid)[:, 0, 0], np.array(expected[key]), atol=1e-5)


def test_nested_and_sequential_models_and_open_sizes(rng):
    trunk = keras.Sequential([keras.Input((None, None, 3)), ResidualUnit(8, strides=2), SqueezeExcite(reduced=2)])
    model = keras.Sequential([keras.Input((None, None, 3)), trunk, L.GlobalAveragePooling2D(), L.Dense(5)])
    with pytest.raises(ValueError, match=r"leaves its input size open .*input_shape=\(224, 224, 3\)"):
        to_fully_convolutional(model)
    new = to_fully_convolutional(model, input_shape=(16, 24, 3))
    photo = images(rng, 2, 16, 24)
    np.testing.assert_allclose(np.array(new(photo))[:, 0, 0], np.array(model(photo)), atol=1e-5)


def test_models_are_not_changed_and_share_nothing(rng):
    model = randomised(vgg_like(), rng)
    before = [weight.copy() for weight in model.get_weights()]
    nodes = [len(operation._inbound_nodes) for operation in model.operations]
    for new in (to_fully_convolutional(model), fold_batch_norms(model)):
        assert not {id(weight) for weight in new.weights} & {id(weight) for weight in model.weights}
        new.set_weights([0 * weight for weight in new.get_weights()])
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert nodes == [len(operation._inbound_nodes) for operation in model.operations]


def test_converted_models_can_be_saved(tmp_path, rng):
    for number, new in enumerate((to_fully_convolutional(vgg_like()), fold_batch_norms(valid(flat_head)))):
        path = tmp_path / f"{number}.keras"
        new.save(path)
        photo = images(rng, 1, 32, 48) if number == 0 else images(rng, 1, 23, 31)
        np.testing.assert_allclose(np.array(keras.models.load_model(path)(photo)), np.array(new(photo)), atol=1e-6)


def test_what_cannot_be_converted_is_refused_by_name():
    image = keras.Input((16, 24, 3))
    trunk = L.Conv2D(4, 3)(image)
    with pytest.raises(ValueError, match=r"has no dense head to convert.*\(None, 14, 22, 4\).*include_top=True"):
        to_fully_convolutional(keras.Model(image, trunk))
    odd = L.Dense(5)(L.BatchNormalization(name="odd")(L.Flatten()(trunk)))
    with pytest.raises(ValueError, match=r"'odd' .*between Flatten \(of 14 x 22 pixels\) and a dense layer"):
        to_fully_convolutional(keras.Model(image, odd))
    repeated = L.LSTM(4, name="memory")(L.RepeatVector(3, name="again")(L.GlobalAveragePooling2D()(trunk)))
    with pytest.raises(ValueError, match=r"RepeatVector 'again' .* it has no convolutional form"):
        to_fully_convolutional(keras.Model(image, repeated))
    with pytest.raises(ValueError, match=r"one input \[n, height, width, channels\], got \[\(None, 7\)\]"):
        to_fully_convolutional(keras.Sequential([keras.Input((7,)), L.Dense(5)]))


def norm_between(*layers, shape=(9, 11, 4)):
    return keras.Sequential([keras.Input(shape), *layers])


BEHIND = {
    "conv": (L.Conv2D(6, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU()),
    "conv with bias": (L.Conv2D(6, 3, strides=2), L.BatchNormalization(scale=False, epsilon=1e-5)),
    "groups": (L.Conv2D(6, 3, groups=2), L.BatchNormalization(center=False)),
    "grouped": (GroupedConv2D(6, 3, groups=2), L.BatchNormalization()),
    "depthwise": (L.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), L.BatchNormalization()),
    "separable": (L.SeparableConv2D(6, 3, depth_multiplier=2), L.BatchNormalization()),
    "transposed": (L.Conv2DTranspose(6, 3, strides=2), L.BatchNormalization()),
    "dense": (L.Dense(6, use_bias=False), L.BatchNormalization()),
    "two in a row": (L.Conv2D(6, 3), L.BatchNormalization(), L.BatchNormalization()),
}
BEFORE = {
    "valid conv": (L.BatchNormalization(), L.Conv2D(6, 3, strides=2, activation="relu")),
    "pointwise conv": (L.BatchNormalization(), L.Conv2D(6, 1, padding="same", use_bias=False)),
    "groups": (L.BatchNormalization(), L.Conv2D(6, 3, groups=2, use_bias=False)),
    "dilated": (L.BatchNormalization(), L.Conv2D(6, 3, dilation_rate=2)),
    "depthwise": (L.BatchNormalization(), L.DepthwiseConv2D(3, depth_multiplier=2)),
    "dense": (L.BatchNormalization(), L.Dense(6, activation="tanh")),
    "both sides": (L.BatchNormalization(), L.Conv2D(6, 3, use_bias=False), L.BatchNormalization(), L.ReLU()),
}


@pytest.mark.parametrize(
    "layers", [*BEHIND.values(), *BEFORE.values()], ids=[*BEHIND, *(f"before {k}" for k in BEFORE)]
)
def test_folded_norms_are_gone_and_the_output_stays(layers, rng):
    model = randomised(norm_between(*layers), rng)
    folded = fold_batch_norms(model)
    photo = images(rng, 2, 9, 11, 4)
    np.testing.assert_allclose(np.array(folded(photo)), np.array(model(photo)), atol=1e-4)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)


def dense_1d(rng):
    layers = [L.Conv1D(6, 3), L.BatchNormalization(), L.Flatten(), L.Dense(5), L.BatchNormalization()]
    return randomised(norm_between(*layers, shape=(9, 4)), rng), rng.normal(size=(2, 9, 4)).astype("float32")


def test_other_ranks(rng):
    model, values = dense_1d(rng)
    folded = fold_batch_norms(model)
    np.testing.assert_allclose(np.array(folded(values)), np.array(model(values)), atol=1e-4)
    assert len(folded.layers) == len(model.layers) - 2 + 1  # a sequential model does not list its input layer


KEPT = {
    "activation before": (L.Conv2D(6, 3, activation="relu"), L.BatchNormalization()),
    "padded conv behind": (L.BatchNormalization(), L.Conv2D(6, 3, padding="same")),
    "activation between": (L.BatchNormalization(), L.ReLU(), L.Conv2D(6, 3)),
    "pooling between": (L.Conv2D(6, 3), L.MaxPooling2D(2), L.BatchNormalization()),
    "another axis": (L.Conv2D(6, 3), L.BatchNormalization(axis=1)),
}


@pytest.mark.parametrize("layers", KEPT.values(), ids=KEPT)
def test_norms_that_cannot_be_folded_exactly_stay(layers, rng):
    model = randomised(norm_between(*layers), rng)
    folded = fold_batch_norms(model)
    photo = images(rng, 2, 9, 11, 4)
    np.testing.assert_allclose(np.array(folded(photo)), np.array(model(photo)), atol=1e-6)
    assert any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)


def test_layers_that_others_use_too_are_not_folded_into(rng):
    image = keras.Input((9, 11, 4))
    shared = L.Conv2D(4, 3, padding="same")
    once = L.BatchNormalization()(shared(image))
    models = {
        "convolution twice": keras.Model(image, L.Add()([once, shared(once)])),
        "another consumer": (lambda x: keras.Model(image, L.Add()([x, L.BatchNormalization()(x)])))(
            L.Conv2D(4, 3)(image)
        ),
        "an output": (lambda x: keras.Model(image, [x, L.BatchNormalization()(x)]))(L.Conv2D(4, 3)(image)),
    }
    norm = L.BatchNormalization()
    models["norm twice"] = keras.Model(image, norm(L.Conv2D(4, 1)(norm(L.Conv2D(4, 1)(image)))))
    photo = images(rng, 2, 9, 11, 4)
    for name, model in models.items():
        randomised(model, rng)
        folded = fold_batch_norms(model)
        assert len(folded.layers) == len(model.layers), name
        for new, old in zip(keras.tree.flatten(folded(photo)), keras.tree.flatten(model(photo)), strict=True):
            np.testing.assert_allclose(np.array(new), np.array(old), atol=1e-6, err_msg=name)


def test_a_subclass_of_a_convolution_is_left_alone(rng):
    @keras.saving.register_keras_serializable(package="test_convert")
    class Squared(L.Conv2D):
        def call(self, inputs):
            return super().call(inputs) ** 2

    model = randomised(norm_between(Squared(6, 3), L.BatchNormalization()), rng)
    folded = fold_batch_norms(model)
    photo = images(rng, 2, 9, 11, 4)
    np.testing.assert_allclose(np.array(folded(photo)), np.array(model(photo)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("mobilenet_v2_035", 0),
        ("efficientnet_b0", 0),
        pytest.param("densenet121", 62, marks=pytest.mark.slow),
        pytest.param("resnet50_v2", 17, marks=pytest.mark.slow),
    ],
)
def test_whole_networks(name, left, rng):
    model = randomised(zoo.create_model(name, input_shape=(64, 96, 3), num_classes=5), rng)
    folded = fold_batch_norms(model)
    photo = 255 * np.abs(images(rng, 2, 64, 96))
    np.testing.assert_allclose(np.array(folded(photo)), np.array(model(photo)), atol=1e-4)
    norms = [sum(isinstance(layer, L.BatchNormalization) for layer in m.layers) for m in (model, folded)]
    assert norms[1] == left
    assert len(folded.layers) == len(model.layers) - (norms[0] - left)


def test_stochastic_depth_and_dropout_stay_in_folded_models():
    model = zoo.create_model("efficientnet_b0", input_shape=(64, 96, 3), num_classes=5)
    for kind in (DropPath, L.Dropout):
        count = sum(isinstance(layer, kind) for layer in model.layers)
        assert count
        assert count == sum(isinstance(layer, kind) for layer in fold_batch_norms(model).layers)
