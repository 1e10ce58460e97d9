"""Costs against the arithmetic of the textbook, published tables, counts by hand and TensorFlow's own shapes."""

import csv
import io
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

import zoo
from zoo.analysis.arithmetic import WITHOUT_PRODUCTS
from zoo.analysis.costs import conv_output_size, cost, multiply_adds, readable, same_padding
from zoo.layers import ResidualUnit

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "published.csv"
# Rows of the reference, and the networks of the zoo that they belong to.
PUBLISHED_QUICK = {
    "resnet18.tv_in1k": "resnet18",
    "resnet50.tv_in1k": "resnet50_v1_5",
    "mobilenetv2_100.ra_in1k": "mobilenet_v2",
    "tf_efficientnet_b0.in1k": "efficientnet_b0",
    "tf_efficientnet_lite0.in1k": "efficientnet_lite0",
    "vit_small_patch16_224.augreg_in21k_ft_in1k": "vit_small_patch16",
}
PUBLISHED_SLOW = {
    "densenet121.tv_in1k": "densenet121",
    "vgg16.tv_in1k": "vgg16",
    "vgg19.tv_in1k": "vgg19",
    "resnet34.tv_in1k": "resnet34",
    "resnet101.tv_in1k": "resnet101_v1_5",
    "resnet152.tv_in1k": "resnet152_v1_5",
    "resnext50_32x4d.tv_in1k": "resnext50_32x4d",
    "inception_v3.tf_in1k": "inception_v3",
    "inception_v4.tf_in1k": "inception_v4",
    "inception_resnet_v2.tf_in1k": "inception_resnet_v2",
    "mobilenetv3_large_100.ra_in1k": "mobilenet_v3_large",
    "mobilenetv3_small_100.lamb_in1k": "mobilenet_v3_small",
    "cspresnet50.ra_in1k": "cspresnet50",
    "cspdarknet53.ra_in1k": "cspdarknet53",
    "vit_base_patch16_224.augreg_in21k_ft_in1k": "vit_base_patch16",
    **{f"tf_efficientnet_lite{i}.in1k": f"efficientnet_lite{i}" for i in range(1, 5)},
    **{f"tf_efficientnet_b{i}.in1k": f"efficientnet_b{i}" for i in range(1, 5)},
}


PUBLISHED = [*PUBLISHED_QUICK.items(), *(pytest.param(*row, marks=pytest.mark.slow) for row in PUBLISHED_SLOW.items())]


def model_of(*layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


def test_the_textbooks_layer():
    """Source: Géron, chapter 14: 200 maps from a 5x5 layer on RGB images of 150 x 100."""
    model = model_of(keras.layers.Conv2D(200, 5, padding="same"), shape=(150, 100, 3))
    layer = cost(model).layers[0]
    assert layer.parameters == 15_200
    assert layer.multiply_adds == 225_000_000
    assert layer.activation_bytes == 12_000_000
    assert cost(model, batch_size=100).layers[0].activation_bytes == 1_200_000_000
    assert cost(model, batch_size=100).multiply_adds == 225_000_000


def test_the_textbooks_network():
    """Géron, chapter 14, exercise 3: 903,400 parameters, 12.6 MB per prediction, 526 MB of activations for 50."""
    conv = partial(keras.layers.Conv2D, kernel_size=3, strides=2, padding="same")
    model = model_of(conv(100), conv(200), conv(400), shape=(200, 300, 3))
    measured = cost(model)
    assert measured.parameters == measured.trainable == 903_400
    assert measured.inference_activation_bytes == 4 * (100 * 150 * 100 + 50 * 75 * 200)
    assert measured.inference_bytes == 9_000_000 + 3_613_600
    batch = cost(model, batch_size=50, optimizer="sgd")
    assert batch.activation_bytes == 526_000_000
    assert batch.input_bytes == 36_000_000
    assert batch.training_bytes == 526_000_000 + 36_000_000 + 2 * 3_613_600
    assert cost(model, batch_size=50).optimizer_bytes == 2 * 3_613_600


def published(name):
    if not REFERENCE.exists():
        pytest.skip("../shared/reference is not here")
    with REFERENCE.open() as file:
        return next(row for row in csv.DictReader(file) if row["model"] == name)


@pytest.mark.parametrize(("name", "variant"), PUBLISHED)
def test_published_gmacs_to_their_digits(name, variant):
    row = published(name)
    size = int(row["input"])
    measured = cost(zoo.create_model(variant, input_shape=(size, size, 3)))
    assert not measured.unknown
    digits = len(row["gmacs"].partition(".")[2])
    # The table does not write a trailing 0: 0.40 is written as 0.4.
    assert round(measured.gmacs, max(2, digits)) == float(row["gmacs"])


def test_mobilenet_has_the_papers_multiply_adds():
    """Source: Howard et al. 2017, table 8: 569 million, which only counts products."""
    assert round(cost(zoo.create_model("mobilenet_v1")).multiply_adds / 1e6) == 569


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("mobilenet_v1", 315),
        ("resnet50", 483),
        pytest.param("inception_v3", 1311, marks=pytest.mark.slow),
        pytest.param("alexnet", 195, marks=pytest.mark.slow),
    ],
)
def test_receptive_fields(name, field):
    """Source: Araujo et al. 2019, table 1."""
    measured = cost(zoo.create_model(name))
    last = next(layer for layer in reversed(measured.layers) if layer.stride)
    assert last.receptive_field == (field, field)
    assert last.stride == (32, 32)


def test_receptive_field_is_where_a_gradient_comes_from():
    """One output pixel has a gradient to exactly the input pixels of its receptive field."""
    image = keras.Input((61, 73, 1))
    x = keras.layers.Conv2D(1, (3, 5), strides=(2, 1), kernel_initializer="ones")(image)
    x = keras.layers.DepthwiseConv2D(3, dilation_rate=2, depthwise_initializer="ones")(x)
    x = keras.layers.AveragePooling2D((3, 2), strides=(1, 2))(x)
    branch = keras.layers.SeparableConv2D(
        1, 3, padding="same", depthwise_initializer="ones", pointwise_initializer="ones"
    )(x)
    x = keras.layers.Add()([x, branch])
    x = keras.layers.Conv2DTranspose(1, 4, strides=2, kernel_initializer="ones")(x)
    model = keras.Model(image, x)
    import tensorflow as tf

    inputs = tf.ones((1, 61, 73, 1))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        pixel = model(inputs)[0, 20, 31, 0]
    rows, columns = np.nonzero(tape.gradient(pixel, inputs)[0, :, :, 0])
    last = cost(model).layers[-1]
    assert last.receptive_field == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert last.stride == (1, 1)


WINDOWS = [(13, 5, 2, 1), (14, 3, 3, 1), (17, 3, 1, 4), (8, 1, 3, 1), (6, 4, 1, 1)]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "kernel", "strides", "dilation"), WINDOWS)
def test_sizes_are_those_of_keras(size, kernel, strides, dilation, padding):
    layer = keras.layers.Conv2D(1, kernel, strides=strides, dilation_rate=dilation, padding=padding)
    expected = layer.compute_output_shape((None, size, size, 1))[1]
    assert conv_output_size(size, kernel, strides=strides, padding=padding, dilation_rate=dilation) == expected


@pytest.mark.parametrize(("size", "kernel", "strides", "dilation"), WINDOWS)
def test_padding_for_same_is_what_keras_pads(size, kernel, strides, dilation):
    values = np.random.default_rng(0).normal(size=(1, size, size, 1)).astype("float32")
    conv = keras.layers.Conv2D(1, kernel, strides=strides, dilation_rate=dilation, padding="same")
    expected = np.array(conv(values))
    pad = same_padding(size, kernel, strides=strides, dilation_rate=dilation)
    conv.padding = "valid"
    padded = np.pad(values, ((0, 0), pad, pad, (0, 0)))
    np.testing.assert_allclose(np.array(conv(padded)), expected, atol=1e-6)


def test_explicit_padding_and_what_does_not_fit():
    assert conv_output_size(224, 7, strides=2, padding=3) == 112
    assert conv_output_size(5, 5) == 1
    with pytest.raises(ValueError, match="covers 9 pixels does not fit into 7 with 0"):
        conv_output_size(7, 3, dilation_rate=4)
    with pytest.raises(ValueError, match="got 'full'"):
        conv_output_size(7, 3, padding="full")
    with pytest.raises(ValueError, match="expected strides of at least 1, got 0"):
        same_padding(7, 3, strides=0)


LAYERS = keras.layers
COUNTED = [
    (LAYERS.Conv2D(8, 3, groups=2), (9, 11, 4), 7 * 9 * 8 * 9 * 2),
    (LAYERS.Conv2D(8, 3, strides=2, dilation_rate=1, padding="same"), (9, 11, 4), 5 * 6 * 8 * 9 * 4),
    (LAYERS.Conv1D(8, 3), (9, 4), 7 * 8 * 3 * 4),
    (LAYERS.Conv3D(2, 3), (5, 6, 7, 4), 3 * 4 * 5 * 2 * 27 * 4),
    (LAYERS.Conv2DTranspose(8, 4, strides=2), (5, 7, 3), 5 * 7 * 3 * 16 * 8),
    (LAYERS.DepthwiseConv2D(3, depth_multiplier=2), (9, 11, 4), 7 * 9 * 8 * 9),
    (LAYERS.SeparableConv2D(8, 3, depth_multiplier=2), (9, 11, 4), 7 * 9 * (8 * 9 + 8 * 8)),
    (LAYERS.Dense(5), (7,), 35),
    (LAYERS.Dense(5), (6, 7), 6 * 35),
    (LAYERS.EinsumDense("abc,cd->abd", output_shape=(6, 5)), (6, 7), 6 * 7 * 5),
    (LAYERS.EinsumDense("...x,xyz->...yz", output_shape=(2, 3)), (6, 7), 6 * 7 * 2 * 3),
    (LAYERS.LSTM(5), (6, 7), 6 * 4 * 5 * (7 + 5)),
    (LAYERS.GRU(5), (6, 7), 6 * 3 * 5 * (7 + 5)),
    (LAYERS.SimpleRNN(5), (6, 7), 6 * 5 * (7 + 5)),
    (LAYERS.Bidirectional(LAYERS.GRU(5)), (6, 7), 2 * 6 * 3 * 5 * (7 + 5)),
    (LAYERS.TimeDistributed(LAYERS.Conv2D(8, 3)), (2, 9, 11, 4), 2 * 7 * 9 * 8 * 9 * 4),
    (zoo.layers.LocalResponseNormalization(depth_radius=2), (9, 11, 4), 9 * 11 * 4 * 5),
    (zoo.layers.RadialBasis(np.ones((10, 84))), (84,), 840),
    (zoo.layers.GroupedConv2D(8, 3, groups=4), (9, 11, 4), 7 * 9 * 8 * 9),
    (LAYERS.BatchNormalization(), (9, 11, 4), 0),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), COUNTED, ids=lambda value: getattr(value, "name", None))
def test_multiply_adds_counted_by_hand(layer, shape, expected):
    image = keras.Input(shape)
    assert cost(keras.Model(image, layer(image))).multiply_adds == expected


def test_attention_counts_projections_scores_and_means():
    query, value = keras.Input((6, 16)), keras.Input((9, 12))
    attention = keras.layers.MultiHeadAttention(4, 8, value_dim=3)
    model = keras.Model([query, value], attention(query, value))
    projections = 6 * 16 * 32 + 9 * 12 * 32 + 9 * 12 * 12 + 6 * 12 * 16
    assert cost(model).multiply_adds == projections + 6 * 9 * 32 + 6 * 9 * 12
    # The kernels are the projections: each is multiplied with every token of its input.
    kernels = {weight.path.split("/")[-2]: weight.shape for weight in attention.weights if "kernel" in weight.path}
    lengths = {"query": 6, "key": 9, "value": 9, "attention_output": 6}
    assert projections == sum(np.prod(shape) * lengths[name] for name, shape in kernels.items())


def test_products_of_keras_ops():
    a, b = keras.Input((6, 16)), keras.Input((16, 5))
    model = keras.Model([a, b], keras.ops.matmul(a, b) + keras.ops.einsum("nij,njk->nik", a, b))
    assert cost(model).multiply_adds == 2 * 6 * 16 * 5
    dot = keras.layers.Dot((2, 1))([a, b])
    assert cost(keras.Model([a, b], dot)).multiply_adds == 6 * 16 * 5


def test_unknown_layers_are_listed_until_they_are_registered():
    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    image = keras.Input((7, 9, 3))
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(Doubling(name="twice")(image)))
    measured = cost(model)
    assert measured.unknown == ("twice (Doubling)",)
    assert measured.layers[0].multiply_adds is None
    assert measured.multiply_adds == 5 * 7 * 4 * 27
    assert "twice (Doubling)" in rendered(measured)
    multiply_adds.register(Doubling)(lambda layer, inputs, output: int(np.prod(output)))
    assert cost(model).unknown == ()
    assert cost(model).layers[0].multiply_adds == 7 * 9 * 3


def test_every_layer_of_keras_is_accounted_or_deliberately_unknown():
    kinds = {value for value in vars(keras.layers).values() if isinstance(value, type)}
    layers = {kind for kind in kinds if issubclass(kind, keras.layers.Layer)}
    counted = {kind for kind in layers if multiply_adds.dispatch(kind) is not multiply_adds.dispatch(object)}
    without = {kind for kind in layers if issubclass(kind, WITHOUT_PRODUCTS)}
    unknown = {kind.__name__ for kind in layers - counted - without}
    assert not counted & without
    # No unknown layer is one of a convolutional network.
    usual = (
        "Conv1",
        "Conv2",
        "Conv3",
        "Dense",
        "Depthwise",
        "Separable",
        "MaxP",
        "Ave",
        "Global",
        "Zero",
        "Batch",
        "Re",
    )
    assert not [name for name in unknown if name.startswith(usual)]
    assert unknown.isdisjoint({"Activation", "Add", "Concatenate", "MultiHeadAttention", "Dropout", "Flatten"})


@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", "ConvNeXtTiny", pytest.param("NASNetMobile", marks=pytest.mark.slow)]
)
def test_keras_applications_have_no_unknown_layers(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 128, 3), include_top=False)
    measured = cost(model)
    assert measured.unknown == ()
    assert measured.parameters == model.count_params()


def test_open_sizes_are_given_or_refused():
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(4, 3, strides=2)(image))
    assert cost(model, (7, 9, 3)).layers[0].output_shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"open sizes \(None, None, 3\).*input_shape=\(224, 224, 3\)"):
        cost(model)
    with pytest.raises(ValueError, match="expected a batch_size of at least 1, got 0"):
        cost(model, (7, 9, 3), batch_size=0)
    with pytest.raises(ValueError, match=r"Conv2D .* does not work on \(1, 2, 2, 3\)"):
        cost(model, (2, 2, 3))


def test_shared_layers_and_blocks_are_counted_once():
    image = keras.Input((7, 9, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same")
    model = keras.Model(image, conv(conv(image)))
    measured = cost(model)
    assert measured.parameters == model.count_params()
    assert measured.parameter_bytes == 4 * model.count_params()
    assert measured.multiply_adds == 2 * 7 * 9 * 3 * 27
    blocks = keras.Sequential([keras.Input((7, 9, 3)), ResidualUnit(8, strides=2)])
    assert cost(blocks).parameters == blocks.count_params()
    assert not cost(blocks).unknown


def test_branches_are_held_until_they_meet():
    image = keras.Input((4, 5, 1))
    one, two = keras.layers.Conv2D(2, 1)(image), keras.layers.Conv2D(3, 1)(image)
    model = keras.Model(image, keras.layers.Concatenate()([one, two]))
    # Both branches and their concatenation are held; the image is no longer needed then.
    assert cost(model).inference_activation_bytes == 4 * 20 * (2 + 3 + 5)


def test_mixed_precision_halves_activations_not_parameters():
    layers = [keras.layers.Conv2D(8, 3, dtype="mixed_bfloat16"), keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")]
    measured = cost(model_of(*layers, shape=(9, 11, 3)))
    assert measured.activation_bytes == 2 * (7 * 9 * 8 + 5 * 7 * 4)
    assert measured.parameter_bytes == 4 * measured.parameters


def rendered(measured):
    console = Console(width=200, file=io.StringIO())
    console.print(measured)
    return console.file.getvalue()


def test_table_frame_and_chart_show_the_same():
    measured = zoo.cost(zoo.create_model("mobilenet_v2_035", input_shape=(64, 96, 3)), batch_size=2)
    text = rendered(measured)
    assert f"{measured.parameters:,}" in text
    assert readable(measured.multiply_adds) in text
    assert all(layer.name in text for layer in measured.layers)
    frame = measured.frame()
    assert frame["parameters"].sum() == measured.parameters
    assert frame["multiply_adds"].sum() == measured.multiply_adds
    assert frame["activation_bytes"].sum() == measured.activation_bytes
    axes = measured.plot().axes
    assert sum(bar.get_height() for bar in axes[0].patches) == measured.multiply_adds
    assert sum(bar.get_height() for bar in axes[1].patches) == measured.parameters


def test_module_and_function_share_the_name():
    assert zoo.analysis.costs.conv_output_size(7, 3) == 5
    model = model_of(keras.layers.Conv2D(2, 3), shape=(7, 9, 3))
    assert zoo.cost(model) == zoo.analysis.costs.cost(model)


def test_readable_numbers():
    assert [readable(n) for n in (0, 5, 999, 1000, 999_499, 999_500, 12_613_600)] == [
        "0", "5", "999", "1 k", "999 k", "1 M", "12.6 M",
    ]  # fmt: skip
