"""Each objective through `fine_tune`, from what is frozen and stored to the best epoch."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, Samples, batches
from transfer.measuring.models import measure
from transfer.models.backbones import Backbone
from transfer.models.heads import Head, classifier, multi_label, regressor, several_heads
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel

H, W, N = 24, 31, 48
CROP = EvaluationCrop((H, W), fraction=1.0)


@pytest.fixture
def trunk():
    image = keras.Input((H, W, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for i, filters in enumerate((8, 12)):
        start = keras.initializers.HeNormal(seed=i)
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", kernel_initializer=start, name=f"conv{i}")(x)
        x = keras.layers.ReLU(name=f"relu{i}")(keras.layers.BatchNormalization(name=f"norm{i}")(x))
    return Backbone("tiny", keras.Model(image, x, name="tiny"), CROP, None, None)


def colours(seed=0):
    """Pictures of one colour with noise, and how much red and green there is in each, in 0..1."""
    generator = np.random.default_rng(seed)
    amounts = generator.random((N, 2)).astype("float32")
    means = np.concatenate([amounts, np.full((N, 1), 0.5)], axis=1)
    pixels = 255 * means[:, None, None] + generator.normal(0, 10, (N, H, W, 3))
    return np.clip(pixels, 0, 255).astype("uint8"), amounts


PICTURES, AMOUNTS = colours()
TAGS = (AMOUNTS > 0.5).astype("float32")
NAMES = [str(i) for i in range(N)]
PLAN = Plan(head_epochs=12, epochs=0, head_learning_rate=0.05)
QUICK = {"plan": PLAN, "progress": False}
BOTH_WAYS = pytest.mark.parametrize("cache", [True, pytest.param(False, marks=pytest.mark.slow)])


@BOTH_WAYS
def test_tags_from_the_pipeline(trunk, cache):
    data = batches(Samples(PICTURES, TAGS, NAMES), CROP, batch_size=16)
    model = multi_label(trunk, 2, dropout=0)
    history = fine_tune(model, data, data, objective=MultiLabel(label_smoothing=0.02), cache=cache, **QUICK)
    assert history.phases[0].cached == cache, history.not_cached
    assert set(MultiLabel().columns) < set(history.rows[0])
    assert history.best["val_average_precision"] == max(row["val_average_precision"] for row in history.rows) > 0.9
    found = measure(model, data, MultiLabel(), ("red", "green"))
    assert found.mean_average_precision > 0.9
    assert found.with_thresholds(found.best_thresholds()).f1.min() > 0.8


@BOTH_WAYS
def test_numbers_in_their_own_unit(trunk, cache):
    grams = 1000 + 400 * AMOUNTS[:, :1]
    data = batches(Samples(PICTURES, grams, NAMES), CROP, batch_size=16)
    model = regressor(trunk, mean=float(grams.mean()), deviation=float(grams.std()), dropout=0)
    history = fine_tune(model, data, data, objective=Regression("huber", delta=50.0), cache=cache, **QUICK)
    best = history.best["val_mean_absolute_error"]
    assert (
        best == min(row["val_mean_absolute_error"] for row in history.rows) < 0.5 * np.abs(grams - grams.mean()).mean()
    )
    assert measure(model, data, Regression(), ["grams"]).mean_absolute_error[0] == pytest.approx(best, rel=1e-3)


def three_objectives(trunk):
    labels = {"kind": (AMOUNTS[:, 0] > 0.5).astype("int32"), "tags": TAGS, "red": AMOUNTS[:, 0]}
    data = tf.data.Dataset.from_tensor_slices((PICTURES.astype("float32"), labels)).batch(16)
    data = data.map(lambda images, labels: (tf.ensure_shape(images, (None, H, W, 3)), labels))
    model = several_heads(trunk, {"kind": Head(2), "tags": Head(2, "sigmoid"), "red": Head(1, "linear", dropout=0)})
    objectives = Objectives({"kind": SingleLabel(), "tags": MultiLabel(), "red": Regression()}, weights={"red": 0.5})
    return data, model, objectives


@BOTH_WAYS
def test_several_heads_at_once(trunk, cache):
    data, model, objectives = three_objectives(trunk)
    history = fine_tune(model, data, data, objective=objectives, cache=cache, **QUICK)
    assert history.phases[0].cached == cache, history.not_cached
    assert history.best["val_loss"] == min(row["val_loss"] for row in history.rows)
    assert history.rows[-1]["val_loss"] < 0.7 * history.rows[0]["val_loss"]
    found = measure(model, data, objectives, {"kind": ("dark", "red"), "tags": ("red", "green"), "red": ("red",)})
    assert found["kind"].accuracy > 0.8


@pytest.mark.slow
def test_several_heads_with_the_top_of_the_trunk(trunk):
    data, model, objectives = three_objectives(trunk)
    history = fine_tune(
        model, data, data, objective=objectives, progress=False, plan=replace(PLAN, epochs=2, unfreeze="c2")
    )
    assert [(phase.name, phase.cached) for phase in history.phases] == [("head", True), ("top", True)]
    assert history.rows[-1]["val_loss"] < 0.7 * history.rows[0]["val_loss"]


def test_smoothed_and_focal_losses_train_a_classifier(trunk):
    labels = (AMOUNTS[:, 0] > 0.5).astype("int32")
    data = batches(Samples(PICTURES, labels, NAMES), CROP, batch_size=16)
    model = classifier(trunk, 2, pooling="both", hidden=[8], dropout=0.1)
    history = fine_tune(model, data, data, objective=SingleLabel(label_smoothing=0.1, focal_gamma=1.0), **QUICK)
    assert history.best["val_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("make", "objective", "labels", "message"),
    [
        (lambda t: classifier(t, 2), SingleLabel(), (AMOUNTS[:, 0] * 4).astype("int32"), r"labels of valid .* 0\.\.1"),
        (lambda t: classifier(t, 2), SingleLabel(), TAGS.astype("int32"), "not one-hot rows"),
        (lambda t: multi_label(t, 2), MultiLabel(), TAGS * 3, "have to be 0 or 1; got 3"),
        (lambda t: regressor(t), Regression(), np.full(N, np.nan, "float32"), "finite numbers"),
        (lambda t: multi_label(t, 2), Objectives({"a": MultiLabel()}), TAGS, "build it with an output for each"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused_before_training(trunk, make, objective, labels, message):
    data = tf.data.Dataset.from_tensor_slices((PICTURES.astype("float32"), labels)).batch(16)
    with pytest.raises(ValueError, match=message):
        fine_tune(make(trunk), data, data, objective=objective, **QUICK)
