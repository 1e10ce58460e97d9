"""Models of one output unit: a sigmoid with the labels 0 and 1 is a classifier of two classes, everywhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop
from transfer.artifacts.exporting import export
from transfer.measuring.models import evaluate
from transfer.predict.loading import load
from transfer.tasks.classify.answers import ClassifyContract
from transfer.training.binary_label import BinaryLabel, fitting_objective
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.objectives import MultiLabel, SingleLabel

SIZE = (6, 8)
LABELS = np.array([0, 1, 1, 0, 1, 1])
IMAGES = np.where(LABELS[:, None, None, None] == 1, 200, 40) * np.ones((6, *SIZE, 3), "float32")


def one_unit(activation):
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(1, activation)(x))


def data(labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(3)


def test_a_sigmoid_of_one_unit_is_trained_measured_and_exported_as_two_classes(tmp_path):
    model = one_unit("sigmoid")
    plan = Plan(head_epochs=20, epochs=0, head_learning_rate=0.3)
    history = fine_tune(model, data(), data(LABELS[:, None]), plan=plan, class_weight={0: 2.0}, progress=False)
    assert isinstance(history.objective, BinaryLabel)
    assert history.best["val_accuracy"] == 1
    result = evaluate(model, data(), ["dark", "light"])
    assert result.accuracy == 1
    answers = np.array(model(IMAGES))
    np.testing.assert_allclose(result.probabilities, np.concatenate([1 - answers, answers], 1), atol=1e-6)
    contract = ClassifyContract(("dark", "light"), preparation=EvaluationCrop(SIZE))
    export(model, tmp_path / "out", contract, formats=["keras"])
    [light] = load(tmp_path / "out").predict(IMAGES[1].astype("uint8"))
    assert light.predictions[0].label == "light"
    assert light.predictions[0].score == pytest.approx(float(answers[1, 0]), abs=1e-5)


def test_the_loss_is_that_of_two_classes():
    labels, scores = np.array([0, 1, 1]), np.array([[0.2], [0.7], [0.4]], "float32")
    two = np.concatenate([1 - scores, scores], axis=1)
    expected = SingleLabel().loss()(labels, two)
    assert float(BinaryLabel().loss()(labels, scores)) == pytest.approx(float(expected), rel=1e-5)
    focal = SingleLabel(focal_gamma=2.0).loss()(labels, two)
    assert float(BinaryLabel(focal_gamma=2.0).loss()(labels, scores)) == pytest.approx(float(focal), rel=1e-4)


def test_labels_that_are_not_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"have to be in 0\.\.1.*got 0\.\.2"):
        fine_tune(one_unit("sigmoid"), data(LABELS * 2), data(LABELS * 2), progress=False)
    logits = one_unit(None)
    logits.layers[-1].bias.assign([-3.0])
    with pytest.raises(ValueError, match="no sigmoid"):
        fine_tune(logits, data(), data(), progress=False)


def test_a_softmax_of_one_unit_warns():
    with pytest.warns(UserWarning, match="softmax of one unit, which is always 1"):
        fitting_objective(SingleLabel(), one_unit("softmax"))


def test_other_objectives_stay_what_they_are():
    objective = MultiLabel()
    assert fitting_objective(objective, one_unit("sigmoid")) is objective
