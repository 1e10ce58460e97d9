"""Checks heads on a pooled map: the pooling, and the names and seeds that keep several heads apart."""

import keras
import numpy as np
import pytest

from zoo.heads import POOLINGS, answers, classifier, pooled


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_over_the_pixels(pooling):
    maps = keras.Input((5, 7, 4))
    values = np.random.default_rng(0).normal(size=(3, 5, 7, 4)).astype("float32")
    expected = {"average": values.mean((1, 2)), "max": values.max((1, 2))}
    expected["both"] = np.concatenate([expected["average"], expected["max"]], axis=1)
    np.testing.assert_allclose(keras.Model(maps, pooled(maps, pooling))(values), expected[pooling], atol=1e-6)


def test_an_unknown_pooling():
    with pytest.raises(ValueError, match="pooling is one of average, max, both; got 'sum'"):
        classifier(keras.Input((5, 7, 4)), 2, pooling="sum")


def test_prefixes_and_seeds_keep_heads_apart():
    x = keras.Input((6,))
    model = keras.Model(x, [answers(x, 3, hidden=[5, 5], dropout=0.1, seed=1, prefix=f"{p}_") for p in ("a", "b")])
    a, b = (model.get_layer(f"{p}_hidden2").get_weights()[0] for p in ("a", "b"))
    np.testing.assert_array_equal(a, b)
    other = keras.Model(x, answers(x, 3, hidden=[5, 5], dropout=0.1, seed=2)).get_layer("hidden2").get_weights()[0]
    assert np.abs(a - other).max() > 1e-3
    assert model.get_layer("a_top_dropout").rate == 0.1


def test_answers_are_in_float32_whatever_the_policy():
    x = keras.Input((6,), dtype="float16")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert answers(x, 3, hidden=[4]).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
