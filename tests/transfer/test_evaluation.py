"""Evaluation against counts made by hand, and against the model itself."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.measuring.classes import Evaluation
from transfer.measuring.intervals import share_interval
from transfer.measuring.models import evaluate

NAMES = ("ant", "bee", "wasp")


def random_evaluation(n=211, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.4] * 3, n).astype("float32")
    return Evaluation(NAMES, generator.integers(0, 3, n).astype("int32"), probabilities)


def test_everything_equals_counting_by_hand():
    found = random_evaluation()
    confusion = np.zeros((3, 3), int)
    for label, row in zip(found.labels, found.probabilities, strict=True):
        confusion[label, list(row).index(max(row))] += 1
    np.testing.assert_array_equal(found.confusion, confusion)
    assert found.accuracy == pytest.approx(np.trace(confusion) / 211)
    for index in range(3):
        assert found.precision[index] == pytest.approx(confusion[index, index] / confusion[:, index].sum())
        assert found.recall[index] == pytest.approx(confusion[index, index] / confusion[index].sum())
        both = found.precision[index], found.recall[index]
        assert found.f1[index] == pytest.approx(2 * both[0] * both[1] / sum(both))
    np.testing.assert_array_equal(found.support, confusion.sum(axis=1))


def test_calibration_equals_a_naive_loop():
    found = random_evaluation()
    error = 0.0
    for low in range(10):
        rows = [
            (row.max(), row.argmax() == label)
            for row, label in zip(found.probabilities, found.labels, strict=True)
            if low / 10 < row.max() <= (low + 1) / 10
        ]
        bin = found.reliability()[low]
        assert bin.count == len(rows)
        if rows:
            confidence, right = np.mean(rows, axis=0)
            assert (bin.confidence, bin.accuracy) == (pytest.approx(confidence), pytest.approx(right))
            error += len(rows) / 211 * abs(right - confidence)
    assert found.calibration_error == pytest.approx(error)
    assert sum(bin.count for bin in found.reliability(bins=7)) == 211


def test_a_sure_and_right_model_is_calibrated_and_a_sure_and_wrong_one_is_not():
    labels = np.array([0, 1, 2, 1], "int32")
    assert Evaluation(NAMES, labels, np.eye(3)[labels]).calibration_error == 0
    assert Evaluation(NAMES, labels, np.eye(3)[(labels + 1) % 3]).calibration_error == 1
    # float32 softmax may sum, and peak, a hair above one
    assert Evaluation(NAMES, labels, np.eye(3)[labels] * 1.0000001).reliability()[-1].count == 4


def test_a_class_that_never_occurs_is_zero_without_warnings(recwarn):
    found = Evaluation(NAMES, np.array([0, 1], "int32"), np.eye(3)[[0, 0]])
    assert found.recall.tolist() == [1.0, 0.0, 0.0]
    assert found.precision.tolist() == [0.5, 0.0, 0.0]
    assert found.confusion.shape == (3, 3)
    assert json.loads(json.dumps(found.as_dict()))["classes"][2] == {
        "name": "wasp", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0,
        "precision_interval": None, "recall_interval": None, "f1_interval": None,
    }  # fmt: skip
    assert not recwarn.list


@pytest.mark.parametrize("size", [(9, 13), (None, None)])
def test_evaluate_keeps_order_over_uneven_batches(size):
    """Dropout and batch norm make a model whose training mode would answer otherwise."""
    image = keras.Input((*size, 3))
    x = keras.layers.Conv2D(5, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))
    images = np.random.default_rng(0).uniform(0, 255, (11, 9, 13, 3)).astype("float32")
    labels = np.arange(11) % 3
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    found = evaluate(model, dataset, NAMES)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.probabilities, model(images, training=False), atol=1e-5)
    assert (found.labels.dtype, found.probabilities.dtype) == (np.int32, np.float32)


def test_intervals_are_of_the_counts():
    found = random_evaluation()
    confusion = found.confusion
    assert found.intervals.accuracy == share_interval(np.trace(confusion), 211)
    for index in range(3):
        hits = confusion[index, index]
        assert found.intervals.precision[index] == share_interval(hits, confusion[:, index].sum())
        assert found.intervals.recall[index] == share_interval(hits, confusion[index].sum())
        low, high = found.intervals.f1[index]
        assert low < found.f1[index] < high
    assert found.as_dict()["accuracy_interval"] == list(found.intervals.accuracy)


def test_a_temperature_changes_how_sure_answers_are_and_not_the_answers():
    found = random_evaluation()  # of a model that knows nothing, and is often sure
    cool = found.at_temperature(found.temperature)
    assert found.temperature > 5
    np.testing.assert_array_equal(cool.predictions, found.predictions)
    assert cool.calibration_error < found.calibration_error / 3
    assert found.as_dict()["temperature"] == found.temperature


def test_mirroring_averages_over_both_views():
    image = keras.Input((4, 6, 3))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(image)))
    images = np.random.default_rng(0).uniform(0, 1, (5, 4, 6, 3)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((images, [0, 1, 2, 0, 1])).batch(2)
    expected = (np.asarray(model(images)) + np.asarray(model(images[:, :, ::-1]))) / 2
    found = evaluate(model, dataset, NAMES, mirror=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert np.abs(found.probabilities - evaluate(model, dataset, NAMES).probabilities).max() > 1e-3


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"labels in 0\.\.2 for the classes ant, bee, wasp; got 0\.\.3"):
        Evaluation(NAMES, np.array([0, 3]), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"probabilities \[2, 3\].*got \[2, 2\]"):
        Evaluation(NAMES, np.array([0, 1]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at least one label"):
        Evaluation(NAMES, np.array([], int), np.zeros((0, 3)))
    model = keras.Sequential([keras.Input((4, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    empty = tf.data.Dataset.from_tensor_slices((tf.zeros((0, 4, 6, 3)), tf.zeros((0,), tf.int32))).batch(2)
    with pytest.raises(ValueError, match="empty data set"):
        evaluate(model, empty, NAMES)


def test_metrics_and_tables_are_the_same_numbers():
    result = random_evaluation()
    assert result.metrics() == {"accuracy": result.accuracy, "interval": list(result.intervals.accuracy)}
    assert (result.headline, result.score) == ("accuracy", result.accuracy)
    (table,) = result.tables()
    low, high = result.intervals.f1[1]
    assert table.rows[1][3] == f"{100 * result.f1[1]:.1f}% ({100 * low:.0f}–{100 * high:.0f})"
    assert [row[0] for row in table.rows] == list(NAMES)
    assert [int(row[4]) for row in table.rows] == result.support.tolist()
    assert f"{result.calibration_error:.3f}" in table.note


def test_classes_that_do_not_occur_are_counted_in_the_table():
    labels = np.array([0, 1], "int32")
    (table,) = Evaluation(("a", "b", "c", "d"), labels, np.eye(4)[[0, 2]]).tables()
    assert [row[0] for row in table.rows] == ["a", "b", "c"], "c was predicted"
    assert table.rows[2][1:3] == ("0.0% (0–79)", "–")
    assert "1 class without images and predictions is left out" in table.note
