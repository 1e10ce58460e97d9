"""Temperatures against data whose temperature is known, and thresholds against trying all."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from transfer.measuring.calibration import choose_thresholds, cooled, find_temperature, with_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 4))
    labels = np.array([generator.choice(4, p=row) for row in softmax(logits / temperature, axis=1)])
    assert find_temperature(labels, softmax(logits, axis=1)) == pytest.approx(temperature, rel=0.05)
    several = (generator.random(logits.shape) < expit(logits / temperature)).astype(int)
    assert find_temperature(several, expit(logits)) == pytest.approx(temperature, rel=0.05)


def test_probabilities_that_float32_rounded_to_0_and_1_are_no_obstacle():
    labels = np.array([0, 0, 1])
    assert find_temperature(labels, np.eye(2, dtype="float32")[[0, 1, 1]]) > 5
    assert np.isfinite(cooled(np.eye(2, dtype="float32"), 2.0)).all()
    assert cooled(np.eye(2, dtype="float32"), 2.0).dtype == np.float32


def model(activation, units=3):
    keras.utils.set_random_seed(0)
    image = keras.Input((5, 7, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    return keras.Model(image, keras.layers.Dense(units, activation=activation, name="predictions")(x))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_model_with_a_temperature_answers_as_the_cooled_probabilities_say(activation):
    original = model(activation)
    images = np.random.default_rng(0).uniform(0, 255, (6, 5, 7, 3)).astype("float32") / 50
    before = np.asarray(original(images))
    copy = with_temperature(original, 2.5)
    np.testing.assert_allclose(copy(images), cooled(before, 2.5, several=activation == "sigmoid"), atol=1e-5)
    np.testing.assert_array_equal(original(images), before)
    assert [layer.name for layer in copy.layers[1:]] == [layer.name for layer in original.layers[1:]]


def test_what_has_no_temperature():
    with pytest.raises(ValueError, match="ends in Dense 'predictions'"):
        with_temperature(model(None), 2.0)
    with pytest.raises(ValueError, match="a temperature is a positive number, got 0"):
        with_temperature(model("softmax"), 0)
    with pytest.raises(ValueError, match=r"got \[3\] and \[2, 4\]"):
        find_temperature(np.zeros(3, int), np.zeros((2, 4)))


def f1(labels, found):
    return 2 * (labels & found).sum() / max(labels.sum() + found.sum(), 1)


def test_thresholds_have_the_highest_f1_of_all():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (60, 5))
    scores = np.clip(generator.normal(0.3 + 0.2 * labels, 0.2), 0, 1).round(2)  # with ties
    chosen = choose_thresholds(labels, scores)
    for i in range(5):
        best = max(f1(labels[:, i], scores[:, i] >= threshold) for threshold in np.arange(0, 1.01, 0.005))
        assert f1(labels[:, i], scores[:, i] >= chosen[i]) == pytest.approx(best)
        assert chosen[i] not in scores[:, i] or chosen[i] == scores[:, i].min()


def test_a_class_that_validation_does_not_have_is_said():
    labels, scores = np.array([[0, 1, 1], [0, 0, 1]]), np.array([[0.1, 0.8, 0.9], [0.2, 0.1, 0.9]])
    with pytest.warns(UserWarning, match="none or all of the 2 images have ant, fly: the threshold stays 0.5"):
        chosen = choose_thresholds(labels, scores, ["ant", "bee", "fly"])
    assert chosen.tolist() == [0.5, pytest.approx(0.45), 0.5]
    with pytest.raises(ValueError, match=r"\[n, k\], got \[2\] and \[2, 3\]"):
        choose_thresholds(np.array([0, 1]), scores)
