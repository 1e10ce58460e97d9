"""Outputs that are said to be probabilities: what is none is recognised on data, and the way out is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop
from transfer.artifacts.exporting import export
from transfer.measuring.models import measure
from transfer.models.heads import with_activation
from transfer.probabilities import NotProbabilities, check_probabilities
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.tag.answers import TagContract
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel
from transfer.training.soft_labels import SoftLabel

SIZE = (6, 8)
SHORT = Plan(head_epochs=1, epochs=0)


def headed(activation, units=2):
    """A small network with a feature map below its head."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dense(units, activation, name="head")(x))


def data(labels):
    images = np.random.default_rng(0).uniform(0, 255, (len(labels), *SIZE, 3)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)


@pytest.mark.parametrize(
    ("values", "outputs", "message"),
    [
        ("shares", [[-1.5, 2.5]], "in 0..1 with the sum 1; got values in -1.5..2.5 .*no softmax.*with_activation"),
        ("shares", [[0.0, 0.0]], "with sums in 0..0.*no softmax"),
        ("shares", [[1500.0]], "1500.*RegressContract"),
        ("shares", [[0.9, 0.8]], "MultiLabel.*TagContract"),
        ("probabilities", [[0.5, 7.0]], "in 0..1; got values in 0.5..7.*no sigmoid"),
    ],
)
def test_what_is_no_probability_is_recognised_with_the_way_out(values, outputs, message):
    with pytest.raises(NotProbabilities, match=message):
        check_probabilities(np.array(outputs), values, "the outputs")


@pytest.mark.parametrize(
    ("values", "outputs"),
    [
        ("numbers", [[-3.0, 1500.0]]),
        ("shares", [[0.251, 0.75]]),
        ("shares", [[np.nan, 1.0], [0.5, 0.5]]),
        ("shares", np.zeros((0, 2))),
        ("probabilities", [[0.9, 0.8]]),
        ("probabilities", np.zeros((3, 0))),
    ],
)
def test_what_is_a_probability_up_to_rounding_passes(values, outputs):
    check_probabilities(np.array(outputs), values, "the outputs")


ONE_HOT = np.eye(2, dtype="float32")


@pytest.mark.parametrize(
    ("objective", "labels", "activation"),
    [
        (SingleLabel(), [0, 1], None),
        (SingleLabel(), [0, 1], "sigmoid"),
        (SoftLabel(), ONE_HOT, None),
        (MultiLabel(), ONE_HOT, None),
    ],
)
def test_a_head_whose_outputs_the_loss_does_not_take_is_refused_before_training(objective, labels, activation):
    model = headed(activation)
    before = model.get_weights()
    with pytest.raises(NotProbabilities, match=type(objective).__name__):
        fine_tune(model, data(labels), data(labels), objective=objective, plan=SHORT, progress=False)
    with pytest.raises(NotProbabilities, match=type(objective).__name__):
        measure(model, data(labels), objective, ["ant", "bee"])
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))


def test_each_head_of_several_is_held_to_what_it_is_for():
    objectives = Objectives({"kind": SingleLabel(), "age": Regression()})
    objectives.check_outputs({"kind": np.array([[0.5, 0.5]]), "age": np.array([[40.0]])}, "model")
    with pytest.raises(NotProbabilities, match="model for 'kind'"):
        objectives.check_outputs({"kind": np.array([[5.0, 0.5]]), "age": np.array([[40.0]])}, "model")


def test_a_loss_of_ones_own_may_take_logits():
    class OfLogits(SingleLabel):
        def loss(self):
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    OfLogits().check_outputs(np.array([[-3.0, 4.0]]), "model")


@pytest.mark.parametrize("contract", [ClassifyContract, TagContract])
def test_logits_are_not_exported_as_probabilities(tmp_path, contract):
    model = headed(None)
    model.get_layer("head").bias.assign([-2.0, 9.0])
    message = r"outputs 'probabilities' .*with_activation\(model, '(softmax|sigmoid)'"
    with pytest.raises(NotProbabilities, match=message):
        export(model, tmp_path / "out", contract(("a", "b"), preparation=EvaluationCrop(SIZE)), formats=["keras"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_an_activation_is_put_behind_logits(activation):
    logits, images = headed(None), np.ones((2, *SIZE, 3), "float32")
    expected = getattr(keras.ops, activation)(logits(images))
    model = with_activation(logits, activation)
    np.testing.assert_allclose(model(images), expected, atol=1e-6)
    assert model.get_layer("head") is logits.get_layer("head")
    with pytest.raises(ValueError, match="softmax or sigmoid, got 'tanh'"):
        with_activation(logits, "tanh")
