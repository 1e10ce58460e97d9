"""What each objective compiles, what it calls good, and which labels it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.training.objectives import MultiLabel, Objectives, Regression, SingleLabel

H, W, N = 5, 7, 6


def images(n=N, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, H, W, 3)).astype("float32")


def pooled():
    image = keras.Input((H, W, 3))
    return image, keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))


def one_head(units, activation):
    image, x = pooled()
    return keras.Model(image, keras.layers.Dense(units, activation=activation)(x))


def three_heads():
    """Layers whose names are not those of the outputs, and outputs whose order is not alphabetical."""
    image, x = pooled()
    kinds, years = keras.layers.Dense(3, "softmax", name="z")(x), keras.layers.Dense(1, name="y")(x)
    tags = keras.layers.Dense(2, "sigmoid", name="x")(x)
    return keras.Model(image, {"kind": kinds, "age": years, "tags": tags})


TARGETS = {
    "kind": np.array([0, 1, 2, 0, 1, 1]),
    "age": np.array([1, 5, 2, 8, 3, 4], "float32"),
    "tags": np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]]),
}
SEVERAL = Objectives(
    {"kind": SingleLabel(label_smoothing=0.1), "age": Regression("huber"), "tags": MultiLabel()}, weights={"age": 0.1}
)


@pytest.mark.parametrize(
    ("objective", "model", "labels"),
    [
        (SingleLabel(), lambda: one_head(3, "softmax"), TARGETS["kind"]),
        (SingleLabel(0.1, 2.0), lambda: one_head(3, "softmax"), TARGETS["kind"]),
        (MultiLabel(), lambda: one_head(2, "sigmoid"), TARGETS["tags"]),
        (MultiLabel(0.1, 2.0), lambda: one_head(2, "sigmoid"), TARGETS["tags"]),
        (Regression(), lambda: one_head(1, None), TARGETS["age"]),
        (Regression("absolute"), lambda: one_head(2, None), np.stack([TARGETS["age"]] * 2, 1)),
        (SEVERAL, three_heads, TARGETS),
    ],
)
def test_an_objective_trains_with_plain_fit_and_its_columns_are_the_logs(objective, model, labels, tmp_path):
    model = model()
    dataset = tf.data.Dataset.from_tensor_slices((images(), labels)).batch(4)
    objective.check_labels(dataset.element_spec[1], model, "train")
    objective.check_values(labels, model, "train")
    model.compile("adam", loss=objective.loss(), metrics=objective.metrics(), loss_weights=objective.loss_weights())
    logs = model.fit(dataset, validation_data=dataset, epochs=1, shuffle=False, verbose=0).history
    assert set(objective.columns) == set(logs)
    assert len(set(objective.columns)) == len(objective.columns)
    assert np.isfinite(objective.goodness({key: values[0] for key, values in logs.items()})).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").evaluate(dataset, verbose=0, return_dict=True)
    assert again["loss"] == pytest.approx(logs["val_loss"][0], rel=1e-4)


def test_the_losses_of_several_heads_are_weighted():
    model = three_heads()
    model.compile("sgd", loss=SEVERAL.loss(), metrics=SEVERAL.metrics(), loss_weights=SEVERAL.loss_weights())
    logs = model.evaluate(images(), TARGETS, verbose=0, return_dict=True)
    expected = logs["kind_loss"] + 0.1 * logs["age_loss"] + logs["tags_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_one_number_for_each_image_is_not_compared_with_those_of_others():
    """[n] against [n, 1] would be spread to [n, n] if it were only subtracted."""
    objective, model = Regression(), one_head(1, None)
    model.compile("sgd", loss=objective.loss(), metrics=objective.metrics())
    logs = model.evaluate(images(), TARGETS["age"], verbose=0, return_dict=True)
    difference = np.asarray(model(images()))[:, 0] - TARGETS["age"]
    assert logs["loss"] == pytest.approx(np.mean(difference**2), rel=1e-5)
    assert logs["mean_absolute_error"] == pytest.approx(np.mean(np.abs(difference)), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "better", "worse"),
    [
        (SingleLabel(), {"val_accuracy": 0.9, "val_loss": 2.0}, {"val_accuracy": 0.8, "val_loss": 0.1}),
        (SingleLabel(), {"val_accuracy": 0.9, "val_loss": 0.1}, {"val_accuracy": 0.9, "val_loss": 0.2}),
        (
            MultiLabel(),
            {"val_average_precision": 0.9, "val_loss": 2.0},
            {"val_average_precision": 0.8, "val_loss": 0.1},
        ),
        (
            Regression(),
            {"val_mean_absolute_error": 0.1, "val_loss": 2.0},
            {"val_mean_absolute_error": 0.2, "val_loss": 0.1},
        ),
        (SEVERAL, {"val_loss": 0.1}, {"val_loss": 0.2}),
    ],
)
def test_the_better_epoch(objective, better, worse):
    assert objective.goodness(better) > objective.goodness(worse)


INT, FLOAT = tf.int32, tf.float32


@pytest.mark.parametrize(
    ("objective", "model", "spec", "message"),
    [
        (SingleLabel(), (3, "softmax"), ([None, 3], FLOAT), "not one-hot rows.*argmax.*MultiLabel"),
        (SingleLabel(), (3, "softmax"), ([None], FLOAT), r"int \[n\] in 0\.\.2; got labels .* of float32"),
        (SingleLabel(), (3, "softmax"), ([None, 2], INT), r"got labels \(None, 2\) of int32"),
        (MultiLabel(), (2, "sigmoid"), ([None], INT), r"0 or 1 for each class, \[n, 2\].*objective=SingleLabel"),
        (MultiLabel(), (2, "sigmoid"), ([None, 3], INT), r"got \(None, 3\) of int32"),
        (MultiLabel(), (2, "sigmoid"), ([None, 2], tf.string), "got string"),
        (Regression(), (2, None), ([None], FLOAT), r"float \[n, 2\]; got \(None,\)"),
        (Regression(), (1, None), ([None], tf.string), r"float \[n, 1\] or \[n\]; got .*string"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(objective, model, spec, message):
    with pytest.raises(ValueError, match=f"the labels of train have to be .*{message}"):
        objective.check_labels(tf.TensorSpec(*spec), one_head(*model), "train")


def test_labels_of_several_heads_that_do_not_fit():
    spec = tf.data.Dataset.from_tensor_slices((images(), TARGETS)).batch(4).element_spec[1]
    with pytest.raises(ValueError, match="dict of labels for age, kind, tags; got labels for age, tags"):
        SEVERAL.check_labels({name: spec[name] for name in ("tags", "age")}, three_heads(), "valid")
    with pytest.raises(ValueError, match="dict of labels for age, kind, tags; got TensorSpec"):
        SEVERAL.check_labels(spec["age"], three_heads(), "valid")
    with pytest.raises(ValueError, match="valid for 'kind' have to be class indices"):
        SEVERAL.check_labels({**spec, "kind": spec["age"]}, three_heads(), "valid")
    with pytest.raises(ValueError, match="has no dict as output"):
        SEVERAL.check_labels(spec, one_head(3, "softmax"), "valid")
    with pytest.raises(ValueError, match="has 3; give Objectives"):
        SingleLabel().check_labels(spec["kind"], three_heads(), "valid")


@pytest.mark.parametrize(
    ("objective", "labels", "message"),
    [
        (SingleLabel(), [0, 3, 1], r"valid have to be in 0\.\.2, for the model tells 3 .*got 0\.\.3.*other classes"),
        (SingleLabel(), [0, -1, 1], r"got -1\.\.1"),
        (MultiLabel(), [[0, 2, 1]], "have to be 0 or 1; got 2, 1 such in all"),
        (Regression(), [[0, np.nan, 1]], "finite numbers"),
    ],
)
def test_values_that_the_model_does_not_know_are_refused(objective, labels, message):
    with pytest.raises(ValueError, match=message):
        objective.check_values(np.array(labels), one_head(3, None), "valid")
    with pytest.raises(ValueError, match=r"valid for 'kind' have to be in 0\.\.2"):
        SEVERAL.check_values({**TARGETS, "kind": [3]}, three_heads(), "valid")


def test_bad_objectives():
    with pytest.raises(ValueError, match=r"label_smoothing is a share in \[0, 1\), got 1"):
        SingleLabel(label_smoothing=1)
    with pytest.raises(ValueError, match="focal_gamma is 0 or more, got -1"):
        MultiLabel(focal_gamma=-1)
    with pytest.raises(ValueError, match='error is "squared", "absolute" or "huber", got \'cubed\''):
        Regression("cubed")
    with pytest.raises(ValueError, match="delta is a positive number"):
        Regression("huber", delta=0)
    with pytest.raises(ValueError, match="at least one objective"):
        Objectives({})
    with pytest.raises(ValueError, match="positive numbers for some of a; got 1 for 'b'"):
        Objectives({"a": SingleLabel()}, weights={"b": 1})
