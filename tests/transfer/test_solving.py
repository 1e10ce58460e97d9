"""The head solved in place of its training, through `fine_tune` and through a run."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests_tiny import tiny_settings

import transfer
from pipelines.loading.batches import epoch_order
from transfer.runs import fitting
from transfer.tasks import learning_of
from transfer.training import freezing, job
from transfer.training.division import divide
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel
from transfer.training.optimization import Optimization
from transfer.training.readout import linear_readout
from transfer.training.soft_labels import SoftLabel
from transfer.training.solving import linear_heads

L = keras.layers
H, W = 12, 20
SOLVED = Plan(epochs=0, head="solved")


def trunk(seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((H, W, 3))
    x = L.Conv2D(6, 3, strides=2, padding="same", name="conv")(L.Rescaling(1 / 127.5, offset=-1)(image))
    x = L.ReLU()(L.BatchNormalization(name="norm")(x))
    return image, L.GlobalAveragePooling2D()(L.ReLU()(L.Conv2D(9, 3, name="deep")(x)))


def head(x, units=3, activation="softmax", rate=0.2):
    return L.Dense(units, activation=activation, name="predictions")(L.Dropout(rate)(x))


def photos(n=24, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.uniform(0, 200, (n, H, W, 3)).astype("float32")
    images[np.arange(n), :, : W // 2, labels] += 50
    return images, labels.astype("int32")


def data(images, *rest):
    return tf.data.Dataset.from_tensor_slices((images, *rest)).batch(5)


def pooled(model, images):
    freezing.freeze(model)
    return np.asarray(keras.tree.flatten(divide(model).trunk(images))[0])


CASES = {
    "classes": (SingleLabel(), "softmax", 3, lambda y: y),
    "smoothed": (SingleLabel(label_smoothing=0.2), "softmax", 3, lambda y: y),
    "mixed": (SoftLabel(), "softmax", 3, lambda y: np.eye(3, dtype="float32")[y] * 0.9 + np.float32(0.1 / 3)),
    "tags": (MultiLabel(), "sigmoid", 2, lambda y: np.stack([y > 0, y == 1], 1).astype("float32")),
    "numbers": (Regression(), None, 2, lambda y: np.stack([y, 1000.0 * y * y], 1).astype("float32")),
    "two classes": (SingleLabel(), "sigmoid", 1, lambda y: (y == 2).astype("int32")),
}


@pytest.mark.parametrize("case", CASES)
def test_keras_gives_what_the_readout_gives(case):
    objective, activation, units, labels_of = CASES[case]
    image, x = trunk()
    model = keras.Model(image, head(x, units, activation))
    images, classes = photos()
    labels = labels_of(classes)
    history = fine_tune(
        model, data(images, labels), data(images[:9], labels[:9]), objective=objective, plan=SOLVED, progress=False
    )
    assert [(row["phase"], row["epoch"]) for row in history.rows] == [("head", 1)]
    features = pooled(model, images)
    targets = labels.reshape(-1, 1) if units == 1 else objective.targets(labels, units)
    link = {"softmax": "softmax", "sigmoid": "sigmoid", None: "linear"}[activation]
    expected = linear_readout(features, targets, link)(features)
    scale = np.abs(expected).max() if link == "linear" else 1
    np.testing.assert_allclose(model.predict(images, verbose=0) / scale, expected / scale, atol=1e-5)


def test_several_heads_are_solved_each_by_itself():
    image, x = trunk()
    outputs = {
        "kind": L.Dense(3, activation="softmax", name="kind_predictions")(L.Dropout(0.2)(x)),
        "size": L.Rescaling(40.0, offset=100.0)(L.Dense(1, name="size_predictions")(x)),
    }
    model = keras.Model(image, outputs)
    images, classes = photos()
    labels = {"kind": classes, "size": (classes * 50 + 80.0)[:, None].astype("float32")}
    objective = Objectives({"kind": SingleLabel(), "size": Regression()})
    history = fine_tune(
        model, data(images, labels), data(images, labels), objective=objective, plan=SOLVED, progress=False
    )
    assert {"kind_accuracy", "val_size_loss"} <= set(history.rows[0])
    features, answers = pooled(model, images), model.predict(images, verbose=0)
    expected = linear_readout(features, labels["size"], "linear")(features)
    np.testing.assert_allclose(answers["size"], expected, rtol=1e-5)
    expected = linear_readout(features, np.eye(3)[classes], "softmax")(features)
    np.testing.assert_allclose(answers["kind"], expected, atol=1e-5)


@pytest.mark.parametrize("by", ["class_weight", "rows"])
def test_images_count_as_they_are_told(by):
    image, x = trunk()
    model = keras.Model(image, head(x))
    images, classes = photos()
    weights = np.where(classes == 1, 5.0, 1.0).astype("float32")
    train = data(images, classes, weights) if by == "rows" else data(images, classes)
    fine_tune(
        model, train, data(images, classes), plan=SOLVED, progress=False,
        class_weight={1: 5.0} if by == "class_weight" else None,
    )  # fmt: skip
    features = pooled(model, images)
    expected = linear_readout(features, np.eye(3)[classes], "softmax", weights=weights)(features)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)


def test_the_row_says_what_the_model_reaches_and_frozen_weights_stay():
    image, x = trunk()
    model = keras.Model(image, head(x))
    before = model.get_layer("conv").get_weights()
    images, classes = photos()
    other, other_classes = photos(12, seed=5)
    row = fine_tune(model, data(images, classes), data(other, other_classes), plan=SOLVED, progress=False).rows[0]
    for prefix, (some, labels) in {"": (images, classes), "val_": (other, other_classes)}.items():
        answers = model.predict(some, verbose=0)
        assert row[f"{prefix}accuracy"] == pytest.approx((answers.argmax(1) == labels).mean())
        loss = -np.log(answers[np.arange(len(labels)), labels]).mean()
        assert row[f"{prefix}loss"] == pytest.approx(loss, rel=1e-4)
    for one, two in zip(before, model.get_layer("conv").get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_with_and_without_the_cache_it_is_the_same_head():
    images, classes = photos()
    kernels = []
    for cache in (True, False):
        image, x = trunk()
        model = keras.Model(image, head(x))
        plan = Plan(epochs=1, unfreeze="none", head="solved")
        fine_tune(model, data(images, classes), data(images, classes), plan=plan, cache=cache, progress=False)
        kernels.append(model.get_layer("predictions").get_weights()[0])
    np.testing.assert_allclose(*kernels, atol=1e-5)


def test_fine_tuning_begins_at_the_solved_head_and_the_better_one_is_kept():
    image, x = trunk()
    model = keras.Model(image, head(x))
    images, classes = photos()
    plan = Plan(epochs=2, unfreeze="all", learning_rate=10.0, head="auto")  # That rate destroys everything.
    history = fine_tune(model, data(images, classes), data(images, classes), plan=plan, progress=False)
    assert [row["phase"] for row in history.rows] == ["head", "top", "top"]
    assert history.best["phase"] == "head"
    features = pooled(model, images)
    expected = linear_readout(features, np.eye(3)[classes], "softmax")(features)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


def test_callbacks_see_it_as_an_epoch():
    image, x = trunk()
    model = keras.Model(image, head(x))
    images, classes = photos()
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))),
        on_train_end=lambda logs: seen.append("end"),
    )
    fine_tune(model, data(images, classes), data(images, classes), plan=SOLVED, callbacks=[callback], progress=False)
    assert seen == ["begin", (0, ["accuracy", "loss", "val_accuracy", "val_loss"]), "end"]


# What is not solved


def test_auto_trains_where_a_training_was_asked_for():
    image, x = trunk()
    model = keras.Model(image, head(x))
    images, classes = photos()
    own = [
        {"optimization": Optimization("sgd")},
        {"plan": Plan(head_epochs=2, epochs=0, head_learning_rate=0.1, head="auto")},
        {"objective": SingleLabel(focal_gamma=2.0)},
    ]
    for options in own:
        options = {"plan": Plan(head_epochs=2, epochs=0, head="auto")} | options
        history = fine_tune(model, data(images, classes), data(images, classes), progress=False, **options)
        assert len(history.rows) == 2, options


@pytest.mark.parametrize(
    ("make", "objective", "reason"),
    [
        (lambda x: head(L.Dense(4, name="hidden")(x)), SingleLabel(), "hidden is more than a linear head"),
        (lambda x: head(x), SingleLabel(focal_gamma=1.0), "no plain one"),
        (lambda x: L.Dense(3, "softmax", kernel_regularizer="l2", name="own")(x), SingleLabel(), "own has a penalty"),
        (lambda x: L.Dense(3, "softmax", use_bias=False)(x), SingleLabel(), "no dense layer with a bias"),
    ],
)
def test_what_cannot_be_solved_is_refused_with_the_reason(make, objective, reason):
    image, x = trunk()
    images, classes = photos()
    model = keras.Model(image, make(x))
    with pytest.raises(ValueError, match=rf"the head cannot be solved: .*{reason}.*--head trained"):
        fine_tune(model, data(images, classes), data(images, classes), objective=objective, plan=SOLVED, progress=False)


def test_a_plan_without_the_phase_that_solves_is_refused():
    with pytest.raises(ValueError, match="head_epochs=0 leaves out"):
        Plan(head_epochs=0, head="solved")


def test_a_softmax_may_be_a_layer_of_its_own():
    image, x = trunk()
    model = keras.Model(image, L.Softmax()(L.Dense(3)(x)))
    freezing.freeze(model)
    assert linear_heads(model, SingleLabel())[""].link == "softmax"


# The run


def test_a_fast_run_stops_at_the_readout_and_says_at_once_what_it_reaches(photos, tmp_path, capsys):
    settings = tiny_settings("classify", fast=True, augment="light")
    run = transfer.fit(photos, tmp_path / "run", settings)
    assert "epoch 1/1 solved head loss" in capsys.readouterr().err
    assert (run.folder / "history.csv").read_text().count("\n") == 2
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert {"training", "exporting and proving it"} <= set(metrics["seconds_by_part"])
    assert "solved" in (run.folder / "report.html").read_text()


def test_the_report_says_what_fine_tuning_was_worth(photos, tmp_path):
    settings = tiny_settings("classify", head_learning_rate=1e-3, epochs=1)
    run = transfer.fit(photos, tmp_path / "run", settings, progress=False)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert set(metrics["readout"]) == {"val_loss", "val_accuracy"}
    page = (run.folder / "report.html").read_text()
    assert "The solved head alone reached" in page


@pytest.mark.slow
def test_a_resumed_run_keeps_the_solved_head(photos, tmp_path):
    settings = tiny_settings("classify", head_learning_rate=1e-3, epochs=2, unfreeze="c5")

    class Stop(keras.callbacks.Callback):
        left = 2

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    for cache in (True, False):
        own = transfer.Classify.from_dict(settings.as_dict() | {"cache": cache})
        whole = transfer.fit(photos, tmp_path / f"whole{cache}", own, progress=False)
        with pytest.raises(KeyboardInterrupt):
            transfer.fit(photos, tmp_path / f"run{cache}", own, resume=True, progress=False, callbacks=[Stop()])
        again = transfer.fit(photos, tmp_path / f"run{cache}", own, resume=True, progress=False)
        models = [keras.models.load_model(run.folder / "model.keras") for run in (whole, again)]
        for one, other in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_photo_whose_features_are_no_numbers_is_named(photos, tmp_path, monkeypatch):
    """The 5th row of the first pass is the photo that the order of that pass has there."""
    settings = tiny_settings("classify", fast=True)
    data = learning_of("classify").read(str(photos), settings, valid=settings.valid, test=settings.test, seed=0)
    expected = data.train.images[epoch_order(data.train.labels, 0, shuffle=True)[4]]
    found = job.solve_heads

    def spoilt(heads, features, *rest, **options):
        features.arrays[0][0, 4] = np.nan
        return found(heads, features, *rest, **options)

    monkeypatch.setattr(job, "solve_heads", spoilt)
    monkeypatch.setattr(fitting, "_features_folder", lambda: tmp_path / "features")
    with pytest.raises(ValueError, match="features of 1 training photos are NaN") as error:
        transfer.fit(photos, tmp_path / "run", settings, progress=False)
    assert str(expected) in str(error.value)


def test_a_task_without_a_linear_head_refuses_to_be_fast(tmp_path, tiny_data):
    with pytest.raises(ValueError, match="the head cannot be solved"):
        transfer.fit(tiny_data("locate"), tmp_path / "run", tiny_settings("locate", fast=True), progress=False)
