"""Evaluations of tags and of numbers against counts made by hand, and of several heads at once."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop
from transfer import TagContract, export, load
from transfer.measuring.classes import Evaluation
from transfer.measuring.heads import HeadsEvaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.models import measure
from transfer.measuring.numbers import RegressionEvaluation
from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel

NAMES = ("ant", "bee", "fly")


def tags(n=83, seed=0, k=3):
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, k)) < 0.3).astype(int)
    return MultiLabelEvaluation(NAMES[:k], labels, np.clip(generator.normal(0.3 + 0.25 * labels, 0.2), 0, 1))


@pytest.mark.parametrize("k", [1, 3])
def test_tags_equal_counting_by_hand(k):
    found = tags(k=k).with_thresholds(np.linspace(0.4, 0.6, k))
    for i in range(k):
        hits = misses = false = 0
        for label, score in zip(found.labels[:, i], found.probabilities[:, i], strict=True):
            called = score >= np.linspace(0.4, 0.6, k)[i]
            hits, misses, false = hits + (called and label), misses + (label and not called), false + (called > label)
        assert found.precision[i] == pytest.approx(hits / (hits + false))
        assert found.recall[i] == pytest.approx(hits / (hits + misses))
        assert found.f1[i] == pytest.approx(2 * hits / (2 * hits + misses + false))
        assert found.support[i] == hits + misses
        for name in ("precision", "recall", "f1"):
            low, high = found.intervals[name][i]
            assert low < getattr(found, name)[i] < high
    assert found.exact_match == np.mean([all(a) for a in found.predictions == found.labels])
    assert 0 < found.mean_average_precision <= 1


def test_thresholds_are_better_than_one_half_and_go_into_the_contract(tmp_path):
    found = tags()
    best = found.best_thresholds()
    assert found.with_thresholds(best).f1.mean() > found.f1.mean()
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(3, "sigmoid")(x))
    contract = TagContract(NAMES, thresholds=best, preparation=EvaluationCrop((32, 48)))
    export(model, tmp_path / "run", contract, formats=["keras"])
    predictor = load(tmp_path / "run")
    assert predictor.contract.thresholds == pytest.approx(best)
    photos = [np.full((40, 60, 3), shade, "uint8") for shade in (0, 128, 255)]
    for answer, row in zip(predictor.predict(photos), predictor.probabilities(photos), strict=True):
        expected = {name for name, score in zip(NAMES, row, strict=True) if score >= best[name]}
        assert {prediction.label for prediction in answer.predictions} == expected


def test_a_temperature_leaves_the_tags_as_they_are():
    found = tags().with_thresholds([0.3, 0.5, 0.6])
    cool = found.at_temperature(2.0)
    np.testing.assert_array_equal(cool.predictions, found.predictions)
    assert np.abs(cool.probabilities - 0.5).mean() < np.abs(found.probabilities - 0.5).mean()
    assert sum(each.count for each in found.reliability()) == found.labels.size


def test_tags_without_a_class_are_plain_json_without_warnings(recwarn):
    found = MultiLabelEvaluation(NAMES, np.array([[0, 1, 1], [0, 0, 1]]), np.array([[0.1, 0.9, 0.9]] * 2, "float32"))
    assert np.isnan(found.average_precision[0])
    row = json.loads(json.dumps(found.as_dict(), allow_nan=False))["classes"][0]
    assert (row["average_precision"], row["precision"], row["recall_interval"]) == (None, 0, None)
    assert not recwarn.list


def test_numbers_equal_counting_by_hand():
    generator = np.random.default_rng(0)
    labels = generator.normal(100, 20, (40, 2))
    found = RegressionEvaluation(("age", "weight"), labels, labels + generator.normal(3, 5, (40, 2)))
    for i in range(2):
        errors = [p - y for p, y in zip(found.predictions[:, i], labels[:, i], strict=True)]
        assert found.mean_absolute_error[i] == pytest.approx(sum(map(abs, errors)) / 40)
        assert found.root_mean_squared_error[i] == pytest.approx((sum(e * e for e in errors) / 40) ** 0.5)
        assert found.bias[i] == pytest.approx(sum(errors) / 40)
        spread = sum((y - labels[:, i].mean()) ** 2 for y in labels[:, i])
        assert found.r2[i] == pytest.approx(1 - sum(e * e for e in errors) / spread)
        assert found.intervals[i].low < found.mean_absolute_error[i] < found.intervals[i].high
    assert [row["name"] for row in json.loads(json.dumps(found.as_dict()))["numbers"]] == ["age", "weight"]


def test_an_error_that_is_always_the_same_has_no_interval(recwarn):
    found = RegressionEvaluation(("age",), np.zeros((3, 1)), np.ones((3, 1)))
    assert found.as_dict()["numbers"][0]["mean_absolute_error_interval"] is None
    assert not recwarn.list


def test_metrics_and_tables_of_tags():
    found = tags().with_thresholds([0.3, 0.5, 0.6])
    assert found.metrics() == {
        "mean_average_precision": found.mean_average_precision,
        "mean_f1": found.f1.mean(),
        "exact_match": found.exact_match,
    }
    (table,) = found.tables()
    assert [row[0] for row in table.rows] == list(NAMES)
    assert [row[5] for row in table.rows] == ["0.30", "0.50", "0.60"]
    assert table.rows[0][1] == f"{found.average_precision[0]:.3f}"
    assert f"{100 * found.exact_match:.1f}%" in table.note
    never = MultiLabelEvaluation(NAMES, np.array([[0, 1, 1]]), np.array([[0.1, 0.2, 0.9]], "float32"))
    assert never.tables()[0].rows[0][1:5] == ("–", "–", "–", "–")
    assert MultiLabelEvaluation(NAMES, np.zeros((2, 3)), np.zeros((2, 3))).metrics()["mean_average_precision"] is None


def test_calibration_of_tags_is_that_of_all_labels_together():
    found = tags()
    error = sum(abs(bin.accuracy - bin.confidence) * bin.count for bin in found.reliability() if bin.count)
    assert found.calibration_error == pytest.approx(error / found.labels.size)
    assert found.as_dict()["calibration_error"] == found.calibration_error


def test_metrics_and_tables_of_numbers():
    labels = np.array([[1.0, 100.0], [2.0, 300.0], [6.0, 200.0]])
    both = RegressionEvaluation(("age", "weight"), labels, labels + [[1.0, 0.0], [0.0, 10.0], [-2.0, 0.0]])
    mean = (1 + 10 / 3) / 2
    assert both.metrics() == {"mean_absolute_error": pytest.approx(mean), "r2": pytest.approx(both.r2.mean())}
    one = RegressionEvaluation(("age",), both.labels[:, :1], both.predictions[:, :1])
    assert one.metrics()["interval"] == list(one.intervals[0])
    low, high = one.intervals[0]
    assert one.tables()[0].rows == (
        ("age", f"1.000 ({low:.4g}–{high:.4g})", f"{one.root_mean_squared_error[0]:.3f}", "-0.333", f"{one.r2[0]:.3f}"),
    )
    far = RegressionEvaluation(("age",), labels[:, :1], -labels[:, :1])
    assert far.r2[0] < 0
    assert far.score == 0


def test_numbers_of_one_image_have_no_variance(recwarn):
    found = RegressionEvaluation(("age",), np.ones((1, 1)), np.zeros((1, 1)))
    assert found.metrics() == {"mean_absolute_error": 1.0, "r2": None, "interval": None}
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["numbers"][0]["r2"] is None
    assert not recwarn.list


def heads():
    labels = np.arange(83) % 3
    classes = Evaluation(NAMES, labels.astype("int32"), np.eye(3)[labels * (labels != 2)])
    numbers = RegressionEvaluation(("days",), np.arange(83.0)[:, None], np.arange(83.0)[:, None] * 1.1)
    return HeadsEvaluation({"kind": classes, "tags": tags(), "age": numbers})


def test_heads_have_a_mean_score_and_their_own_headlines():
    found = heads()
    kind, several, age = found.results.values()
    assert found.metrics() == {
        "score": pytest.approx((kind.accuracy + several.mean_average_precision + age.r2[0]) / 3),
        "kind_accuracy": kind.accuracy,
        "tags_mean_average_precision": several.mean_average_precision,
        "age_mean_absolute_error": age.mean_absolute_error[0],
    }
    assert [table.title for table in found.tables()] == ["kind", "tags", "age"]
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["heads"]["age"]["numbers"][0]["name"] == "days"


def test_heads_have_to_be_measured_on_the_same_images():
    with pytest.raises(ValueError, match=r"the same images, got \{'a': 83, 'b': 2\}"):
        HeadsEvaluation({"a": tags(), "b": RegressionEvaluation(("x",), np.zeros((2, 1)), np.zeros((2, 1)))})
    with pytest.raises(ValueError, match="one or more heads"):
        HeadsEvaluation({})


def test_several_heads_are_measured_each_by_its_objective():
    image = keras.Input((5, 7, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    outputs = {
        "kind": keras.layers.Dense(3, "softmax")(x),
        "tags": keras.layers.Dense(2, "sigmoid")(x),
        "age": keras.layers.Dense(1)(x),
    }
    model = keras.Model(image, outputs)
    images = np.random.default_rng(0).uniform(0, 255, (5, 5, 7, 3)).astype("float32")
    labels = {
        "kind": np.array([0, 1, 2, 1, 0]),
        "tags": np.array([[0, 1], [1, 0], [1, 1], [0, 0], [0, 1]]),
        "age": np.array([1, 4, 7, 6, 3], "float32"),
    }
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    names = {"kind": NAMES, "tags": ("wing", "leg"), "age": ("years",)}
    objectives = Objectives({"kind": SingleLabel(), "tags": MultiLabel(), "age": Regression()})
    found = measure(model, dataset, objectives, names, mirror=True)
    assert isinstance(found, HeadsEvaluation)
    assert isinstance(found["kind"], Evaluation)
    assert isinstance(found["tags"], MultiLabelEvaluation)
    mirrored = {key: (value + model(images[:, :, ::-1])[key]) / 2 for key, value in model(images).items()}
    np.testing.assert_allclose(found["kind"].probabilities, mirrored["kind"], atol=1e-6)
    np.testing.assert_allclose(found["tags"].probabilities, mirrored["tags"], atol=1e-6)
    np.testing.assert_allclose(found["age"].predictions, mirrored["age"], atol=1e-5)
    np.testing.assert_array_equal(found["age"].labels[:, 0], labels["age"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiLabelEvaluation(NAMES, np.zeros((2, 2)), np.zeros((2, 2))), r"labels \[n, 3\].*got \[2, 2\]"),
        (lambda: MultiLabelEvaluation(NAMES, np.zeros((2, 3)), np.zeros((2, 2))), r"\[2, 3\] like the labels, got"),
        (lambda: MultiLabelEvaluation(NAMES, np.full((2, 3), 2), np.zeros((2, 3))), "labels of 0 and 1"),
        (lambda: tags().with_thresholds(1.5), r"threshold in 0\.\.1, or 3 of them, got 1\.5"),
        (lambda: tags().with_thresholds([0.5, 0.5]), "or 3 of them"),
        (
            lambda: RegressionEvaluation(("a",), np.zeros((0, 1)), np.zeros((0, 1))),
            r"predictions \[n, 1\], got \[0, 1\]",
        ),
        (lambda: RegressionEvaluation(("a",), np.zeros((2, 1)), np.zeros((2, 2))), r"got \[2, 1\] and \[2, 2\]"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
