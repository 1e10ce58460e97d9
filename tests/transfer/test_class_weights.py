"""Weights of classes: every way to say them means the same, and what is no class is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import class_weights
from transfer.training.class_weights import numbered_weights
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.objectives import SingleLabel

NAMES = ("ant", "bee", "3")


@pytest.mark.parametrize(
    "weights",
    [
        {0: 0.5, 2: 3.0},
        {np.int64(0): np.float32(0.5), 2.0: 3},
        {"0": 0.5, " 2": 3.0},
        {"ant": 0.5, "3": 3.0},
        {"ant": 0.5, 2: 3.0},
    ],
)
def test_weights_by_number_and_by_name_mean_the_same(weights):
    assert numbered_weights(weights, 3, NAMES) == {0: 0.5, 2: 3.0}


@pytest.mark.parametrize("kind", [list, tuple, np.array, tf.constant])
def test_weights_in_order_are_those_of_pipelines(kind):
    weights = class_weights([0, 0, 0, 1], 2)
    assert numbered_weights(kind(weights), 2) == {0: pytest.approx(2 / 3), 1: 2.0}


@pytest.mark.parametrize(
    ("weights", "names", "message"),
    [
        ({"wasp": 1.0}, NAMES, r"a weight for 'wasp'; expected a number in 0\.\.2, or one of the names ant, bee"),
        ({"ant": 1.0}, (), "names of the classes are not known here.*SingleLabel"),
        ({3: 1.0}, NAMES, "a weight for 3; "),
        ({-1: 1.0}, NAMES, "a weight for -1; "),
        ({0.5: 1.0}, NAMES, r"a weight for 0\.5; "),
        ({True: 1.0}, NAMES, "a weight for True; "),
        ({("ant",): 1.0}, NAMES, "a weight for "),
        ({"ant": 1.0, 0: 2.0}, NAMES, "a class twice"),
        ({"crane": 1.0}, ("crane", "crane", "owl"), "2 classes have this name"),
        ([1.0, 2.0], NAMES, r"one weight for each of 3 classes.*got \[2\] of list"),
        ({0: -1.0}, NAMES, "0 or more, got -1.0 for class 0"),
        ({0: np.nan}, NAMES, "0 or more, got nan"),
        ({0: "2"}, NAMES, "0 or more, got '2'"),
    ],
)
def test_what_is_no_weight_of_a_class_is_refused(weights, names, message):
    with pytest.raises(ValueError, match=message):
        numbered_weights(weights, 3, names)


def test_the_names_are_those_of_the_objective_or_of_the_data():
    image = keras.Input((6, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, kernel_initializer="zeros")(image))
    model = keras.Model(image, keras.layers.Dense(2, "softmax")(x))
    images, labels = np.zeros((4, 6, 8, 3), "float32"), np.array([0, 0, 0, 1])
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    how = {"plan": Plan(head_epochs=1, epochs=0, head_learning_rate=1e-9), "progress": False}
    named = SingleLabel(class_names=("ant", "bee"))
    by_objective = fine_tune(model, data, data, objective=named, class_weight={"ant": 2.0, "bee": 4.0}, **how)
    assert by_objective.rows[0]["loss"] == pytest.approx((3 * 2 + 4) / 4 * np.log(2), rel=1e-4)
    data.class_names = ["ant", "bee"]
    by_data = fine_tune(model, data, data, class_weight={"bee": 4.0, "ant": 2.0}, **how)
    assert by_data.rows[0]["loss"] == pytest.approx(by_objective.rows[0]["loss"], rel=1e-4)
