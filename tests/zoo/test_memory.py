"""Tensors kept for gradients against TensorFlow's own graph, and predictions against the peak memory of real steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import zoo
from zoo.analysis.memory import TrainingStep, largest_batch, predict_memory
from zoo.analysis.optimizers import slot_bytes
from zoo.layers import DepthPool, DropPath, LayerScale, LocalResponseNormalization, ScaledAdd

ROOT = Path(__file__).parents[2]
L = keras.layers
VIEWS = {"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient", "IdentityN"}
ONLY_SIZES = {"Shape", "ShapeN", "Size", "Rank"}
BATCH = 2


def kept_by_tensorflow(model):
    """Returns the bytes of the forward pass's tensors that the backward pass of the graph reads, apart from weights."""
    at_gradient = []

    @tf.function
    def step(*images):
        with tf.GradientTape() as tape:
            outputs = model(images[0] if len(images) == 1 else list(images), training=True)
            loss = tf.add_n([tf.reduce_sum(tf.cast(output, "float32")) for output in tf.nest.flatten(outputs)])
        at_gradient.append(len(tf.compat.v1.get_default_graph().get_operations()))
        return tape.gradient(loss, model.trainable_variables)

    images = [tf.TensorSpec((BATCH, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    graph = step.get_concrete_function(*images).graph
    operations = graph.get_operations()
    order = {operation.name: number for number, operation in enumerate(operations)}
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs]

    def buffer(tensor):
        while tensor.op.type in VIEWS and tensor.op.inputs:
            tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
        return tensor

    def is_weight(tensor):
        if tensor.op.type == "Cast":
            return is_weight(buffer(tensor.op.inputs[0]))
        captured = {placeholder.op.name for placeholder in graph.inputs[len(images) :]}
        return tensor.op.type in ("Const", "ReadVariableOp", "VarHandleOp") or tensor.op.name in captured

    kept = {}
    for operation in operations[at_gradient[0] :]:
        if operation.name in needed and operation.type not in VIEWS | ONLY_SIZES:
            for tensor in map(buffer, operation.inputs):
                if order[tensor.op.name] < at_gradient[0] and tensor.dtype != tf.resource and not is_weight(tensor):
                    kept[tensor.name] = tensor.shape.num_elements() * tensor.dtype.size
    return sum(kept.values())


def kept_by_rules(model):
    return BATCH * TrainingStep.of(model).kept


def behind_a_convolution(*layers, channels=32, policy="float32"):
    first = L.Conv2D(channels, 1, dtype=policy)
    return keras.Sequential([keras.Input((8, 10, 3)), first, *layers])


ACTIVATIONS = ["relu", "relu6", "sigmoid", "tanh", "elu", "selu", "softmax", "log_softmax", "silu", "gelu", "softplus"]
ACTIVATIONS += ["leaky_relu", "hard_silu", "hard_sigmoid", "exponential", "softsign", "mish", "linear"]
LAYERS = [
    L.Conv2D(16, 3, strides=2),
    L.Conv2D(16, 3, activation="relu"),
    L.Conv2D(16, 3, activation="silu"),
    L.Conv2D(16, 3, trainable=False),
    L.Conv2DTranspose(16, 3),
    L.DepthwiseConv2D(3),
    L.SeparableConv2D(16, 3),
    L.Dense(16, activation="tanh"),
    L.BatchNormalization(),
    L.BatchNormalization(trainable=False),
    L.LayerNormalization(),
    L.GroupNormalization(4),
    L.RMSNormalization(),
    L.ReLU(),
    L.ReLU(6.0),
    L.LeakyReLU(),
    L.ELU(),
    L.Softmax(),
    L.PReLU(shared_axes=(1, 2)),
    L.MaxPooling2D(),
    L.AveragePooling2D(2),
    L.GlobalAveragePooling2D(),
    L.GlobalMaxPooling2D(),
    L.Dropout(0.5),
    L.SpatialDropout2D(0.5),
    L.GaussianDropout(0.5),
    L.UpSampling2D(),
    L.UpSampling2D(interpolation="bilinear"),
    L.ZeroPadding2D(),
    L.Flatten(),
    L.Rescaling(2.0, offset=1.0),
    DepthPool(2),
    DepthPool(2, mode="average"),
    DropPath(0.5),
    LayerScale(),
    LocalResponseNormalization(),
]


@pytest.mark.parametrize("layer", [*map(L.Activation, ACTIVATIONS), *LAYERS], ids=lambda layer: layer.name)
def test_layers_keep_what_tensorflows_gradient_reads(layer):
    model = behind_a_convolution(layer)
    # Statistics of channels or pixels are also kept, and are small: one value for each of 32 channels.
    assert kept_by_rules(model) == pytest.approx(kept_by_tensorflow(model), rel=0.05, abs=4 * 32)


@pytest.mark.parametrize(
    "kind", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "scaled"]
)
def test_merging_layers_keep_what_tensorflows_gradient_reads(kind):
    image = keras.Input((8, 10, 3))
    merge = ScaledAdd(0.5) if kind == "scaled" else getattr(L, kind)()
    model = keras.Model(image, merge([L.Conv2D(32, 1)(image), L.Conv2D(32, 1)(image)]))
    assert kept_by_rules(model) == kept_by_tensorflow(model)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_keeps_what_tensorflows_gradient_reads(dropout):
    tokens = keras.Input((24, 32))
    x = L.Dense(32)(tokens)
    model = keras.Model(tokens, L.MultiHeadAttention(2, 16, dropout=dropout)(x, x))
    assert kept_by_rules(model) == pytest.approx(kept_by_tensorflow(model), rel=0.05)


@pytest.mark.parametrize(
    "layer", [L.Conv2D(16, 3, dtype="mixed_bfloat16"), L.BatchNormalization(dtype="mixed_bfloat16")]
)
def test_mixed_precision_keeps_half_except_for_normalisation(layer):
    model = behind_a_convolution(layer, policy="mixed_bfloat16")
    image = BATCH * 8 * 10 * 3 * 2  # the first layer's copy of the images in bfloat16
    assert kept_by_rules(model) == pytest.approx(kept_by_tensorflow(model), abs=3 * image, rel=0.02)


MODELS = {
    "mobilenet_v2_035": (64, 96, 3),
    "efficientnet_b0": (64, 96, 3),
    "resnet18": (64, 96, 3),
    "vgg11": (64, 96, 3),
    "googlenet": (64, 96, 3),
    "convnext_tiny": (64, 96, 3),
}


SLOW = ("convnext_tiny", "efficientnet_b0", "vgg11")


@pytest.mark.parametrize(
    ("name", "shape"),
    [pytest.param(*row, marks=pytest.mark.slow if row[0] in SLOW else ()) for row in MODELS.items()],
)
def test_whole_networks_keep_what_tensorflows_graph_reads(name, shape):
    model = zoo.create_model(name, input_shape=shape)
    assert kept_by_rules(model) == pytest.approx(kept_by_tensorflow(model), rel=0.03)
    assert not predict_memory(model, 1).unknown


def test_nothing_is_kept_behind_a_frozen_trunk():
    image = keras.Input((32, 48, 3))
    trunk = L.Conv2D(16, 3, activation="relu", trainable=False)(L.Conv2D(8, 3, trainable=False)(image))
    model = keras.Model(image, L.Dense(5)(L.GlobalAveragePooling2D()(trunk)))
    assert TrainingStep.of(model).kept == 4 * 16 == kept_by_tensorflow(model) / BATCH
    memory = predict_memory(model, 8)
    assert memory.moment.startswith("forward")
    assert memory.optimizer == 2 * 4 * (16 * 5 + 5)


def test_the_parts_add_up_and_grow_with_the_batch():
    model = zoo.create_model("mobilenet_v2_035", input_shape=(64, 96, 3))
    small, large = predict_memory(model, 4, "sgd"), predict_memory(model, 400, "sgd")
    assert small.total == sum(getattr(small, part) for part in small.PARTS)
    assert (small.weights, small.optimizer) == (large.weights, large.optimizer)
    assert large.activations == pytest.approx(100 * small.activations, rel=0.2)
    assert predict_memory(model, 4, "adam").optimizer == 8 * sum(
        weight.shape.num_elements() if hasattr(weight.shape, "num_elements") else keras.ops.size(weight)
        for weight in model.trainable_weights
    )
    assert predict_memory(model, 400, dtype="mixed_bfloat16").activations < 0.9 * large.activations


def test_optimizers_that_wait_for_all_gradients_hold_them_together():
    model = keras.Sequential([keras.Input((1000,)), *(L.Dense(1000) for _ in range(8))])
    clipped = predict_memory(model, 1, keras.optimizers.SGD(global_clipnorm=1.0))
    assert clipped.gradients > 8 * 4_000_000
    assert predict_memory(model, 1, keras.optimizers.SGD()).gradients < 4 * 4_010_000
    assert predict_memory(model, 1, "sgd", "mixed_float16").gradients > 8 * 4_000_000


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop", "adafactor", "lion", "ftrl", "nadam"])
def test_slots_are_those_that_the_optimizer_makes(optimizer):
    model = keras.Sequential([keras.Input((9, 11, 3)), L.Conv2D(4, (3, 5)), L.Flatten(), L.Dense(7)])
    real = keras.optimizers.get(optimizer)
    before = {id(variable) for variable in real.variables}
    expected = slot_bytes(real, model.trainable_weights)
    real.build(model.trainable_weights)
    slots = [variable for variable in real.variables if id(variable) not in before and len(variable.shape)]
    assert expected == sum(4 * int(keras.ops.size(slot)) for slot in slots)


def test_averages_and_accumulators_are_slots():
    weights = [keras.Variable(keras.ops.zeros((6, 7)))]
    assert slot_bytes(keras.optimizers.SGD(momentum=0.9, use_ema=True), weights) == 2 * 4 * 42
    assert slot_bytes(keras.optimizers.SGD(gradient_accumulation_steps=4), weights) == 4 * 42
    with pytest.raises(ValueError, match="adamm"):
        slot_bytes("adamm", weights)


def test_largest_batch_is_the_last_that_fits():
    model = zoo.create_model("mobilenet_v2_035", input_shape=(64, 96, 3))
    for memory in (2e9, "3.5 GB", "2 GiB"):
        fits = largest_batch(model, memory)
        available = {2e9: 2e9, "3.5 GB": 3.5e9, "2 GiB": 2**31}[memory]
        assert predict_memory(model, fits).total <= available < predict_memory(model, fits + 1).total
    assert largest_batch(model, 3e9, optimizer="sgd", dtype="mixed_bfloat16") > largest_batch(model, 3e9)


def test_what_is_refused():
    model = behind_a_convolution()
    with pytest.raises(ValueError, match=r"one image takes about 7\d\d MB, and there are 500 MB"):
        largest_batch(model, "500MB")
    with pytest.raises(ValueError, match="got '8 gigs'"):
        largest_batch(model, "8 gigs")
    with pytest.raises(ValueError, match="expected a batch_size of at least 1, got 0"):
        predict_memory(model, 0)
    image = keras.Input((None, None, 3), name="image")
    with pytest.raises(ValueError, match="give input_shape"):
        predict_memory(keras.Model(image, L.Conv2D(4, 3)(image)))


def test_unknown_layers_are_taken_to_keep_all_and_listed():
    class Tripling(keras.layers.Layer):
        def call(self, inputs):
            return 3 * inputs

    model = behind_a_convolution(Tripling(name="thrice"))
    assert predict_memory(model, 1).unknown == ("thrice (Tripling)",)
    assert kept_by_rules(model) >= kept_by_tensorflow(model)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch_size"), [("ResNet50", 16), ("MobileNetV2", 16), ("VGG16", 8)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_prediction_is_within_a_quarter_of_the_measured_peak(name, batch_size, optimizer):
    command = [sys.executable, "-m", "benchmarks.memory", "--models", name, "--batch-size", str(batch_size)]
    done = subprocess.run(
        [*command, "--optimizer", optimizer],
        cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    ratio = json.loads(done.stdout.splitlines()[-1])["ratio"]
    assert 0.8 < min(ratio.values()) <= max(ratio.values()) < 1.25
