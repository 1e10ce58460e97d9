"""Compares the loss that Keras lacks with its formulas."""

import keras
import numpy as np
import pytest

from zoo.losses import SparseFocalCrossentropy


def answers(n=7, k=5, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, k, n), generator.dirichlet([1.0] * k, n).astype("float32")


@pytest.mark.parametrize(("gamma", "smoothing"), [(0, 0), (2, 0), (0, 0.1), (1.5, 0.2)])
def test_it_is_the_formula(gamma, smoothing):
    labels, probabilities = answers()
    expected = []
    for label, row in zip(labels, probabilities.astype("float64"), strict=True):
        target = np.full(5, smoothing / 5)
        target[label] += 1 - smoothing
        expected.append(-np.sum(target * (1 - row) ** gamma * np.log(row)))
    loss = SparseFocalCrossentropy(gamma, smoothing)
    np.testing.assert_allclose(float(loss(labels, probabilities)), np.mean(expected), rtol=1e-5)
    # Keras passes labels [n] on as [n, 1].
    np.testing.assert_allclose(float(loss(labels[:, None], probabilities)), np.mean(expected), rtol=1e-5)


def test_with_neither_it_is_keras_own():
    labels, probabilities = answers()
    expected = keras.losses.SparseCategoricalCrossentropy()(labels, probabilities)
    np.testing.assert_allclose(SparseFocalCrossentropy()(labels, probabilities), expected, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_without_a_class_is_not_left_out_in_silence(label):
    labels, probabilities = answers()
    labels[3] = label
    assert np.isnan(float(SparseFocalCrossentropy(label_smoothing=0.1)(labels, probabilities)))


def test_a_model_with_it_trains_saves_and_loads(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "softmax")])
    model.compile("sgd", SparseFocalCrossentropy(2.0, 0.1))
    labels, images = answers()[0], np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    history = model.fit(images, labels, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.loss.gamma, loaded.loss.label_smoothing) == (2.0, 0.1)
    np.testing.assert_allclose(loaded.evaluate(images, labels, verbose=0), model.evaluate(images, labels, verbose=0))


def test_bad_arguments():
    with pytest.raises(ValueError, match="gamma is 0 or more, got -1"):
        SparseFocalCrossentropy(-1)
    with pytest.raises(ValueError, match=r"label_smoothing is a share in \[0, 1\), got 1"):
        SparseFocalCrossentropy(label_smoothing=1)
