"""Graphs that are walked, rebuilt and refused: nested ones, shared layers, several inputs."""

import keras
import numpy as np
import pytest

from zoo.layers import ResidualUnit
from zoo.surgery.graph import graph_of, rebuild

RANDOM = np.random.default_rng(0)


def randomised(model):
    """Sets weights and batch-norm statistics that no two layers share. Variances stay positive."""
    for layer in model.layers:
        layer.set_weights([RANDOM.uniform(0.1, 1.0, weight.shape) for weight in layer.get_weights()])
    return model


def nested():
    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="conv"), ResidualUnit(6, name="unit")]
    trunk = keras.Sequential(layers, name="trunk")
    image = keras.Input((9, 11, 3))
    x = keras.layers.GlobalAveragePooling2D()(trunk(keras.layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, keras.layers.Dense(5)(x), name="nested")


def test_nested_models_and_blocks_are_entered():
    calls = graph_of(nested()).calls
    convolutions = {call.name for call in calls if type(call.operation) is keras.layers.Conv2D}
    assert convolutions == {"trunk/conv", *(f"trunk/unit/unit_{part}_conv" for part in ("1", "2", "shortcut"))}
    assert not any(isinstance(call.operation, keras.Model | ResidualUnit) for call in calls)


def test_shapes_are_those_of_the_asked_size():
    shapes = [call.output.shape for call in graph_of(nested(), input_shape=(15, 9, 3), batch_size=2).calls]
    assert shapes[0] == (2, 15, 9, 3)
    assert shapes[1] == (2, 13, 7, 4)


def test_rebuilding_copies_weights_into_a_flat_model_and_changes_nothing():
    model = nested()
    randomised(model)
    images = RANDOM.uniform(0, 255, (2, 9, 11, 3)).astype("float32")
    before = [len(operation._inbound_nodes) for operation in model.operations]
    expected = np.array(model(images))
    new = rebuild(model)
    np.testing.assert_array_equal(np.array(new(images)), expected)
    assert [len(operation._inbound_nodes) for operation in model.operations] == before
    assert not any(isinstance(layer, keras.Model | ResidualUnit) for layer in new.layers)
    assert not {id(weight) for weight in new.weights} & {id(weight) for weight in model.weights}
    new.layers[-1].kernel.assign(new.layers[-1].kernel * 2)
    np.testing.assert_array_equal(np.array(model(images)), expected)


def test_shared_layers_stay_shared():
    image = keras.Input((7, 9, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same")
    model = keras.Model(image, conv(conv(image)))
    new = rebuild(model)
    assert len(new.layers) == 2
    assert len(new.weights) == 2


def test_structures_of_inputs_and_outputs_and_operations_of_keras_ops():
    a, b = keras.Input((4, 5, 3), name="a"), keras.Input((4, 5, 3), name="b")
    model = keras.Model({"a": a, "b": b}, {"sum": a * 2 + b, "rest": [keras.ops.relu(a - b)]})
    new = rebuild(model)
    values = {key: RANDOM.normal(size=(2, 4, 5, 3)).astype("float32") for key in "ab"}
    np.testing.assert_allclose(new(values)["sum"], model(values)["sum"])
    np.testing.assert_allclose(new(values)["rest"][0], model(values)["rest"][0])
    graph = graph_of(model, input_shape={"a": (6, 7, 3), "b": (6, 7, 3)})
    assert {tensor.shape for tensor in graph.outputs} == {(None, 6, 7, 3)}


def test_two_layers_of_one_name_get_two_names():
    inner = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense")], name=n) for n in "ab"]
    outer = keras.Sequential([keras.Input((3,)), *inner])
    assert [layer.name for layer in rebuild(outer).layers][1:] == ["dense", "b_dense"]


def test_a_sequential_model_that_is_not_built_needs_a_shape():
    model = keras.Sequential([keras.layers.Conv2D(4, 3)])
    with pytest.raises(ValueError, match="give its input_shape"):
        graph_of(model)
    assert graph_of(model, input_shape=(7, 9, 3)).outputs[0].shape == (None, 5, 7, 4)
    assert not model.built


def test_what_is_refused_is_named():
    class Custom(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match=r"Custom: a subclass of keras.Model"):
        graph_of(Custom())
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="stem")(image))
    model = keras.Model(image, keras.layers.Dense(5, name="top")(x))
    with pytest.raises(ValueError, match=r"Dense 'top' does not work on .*144 features, not 576"):
        graph_of(model, input_shape=(14, 14, 3))
    with pytest.raises(ValueError, match="Conv2D 'stem' does not work on"):
        graph_of(model, input_shape=(2, 2, 3))
    with pytest.raises(ValueError, match=r"like \(8, 8, 3\), without the batch; got \(1, 8, 8, 3\)"):
        graph_of(model, input_shape=(1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"like \(8, 8, 3\)"):
        graph_of(model, input_shape=(8, 8, 1))
