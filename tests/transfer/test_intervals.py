"""Intervals: Wilson's formula, and that they hold what they promise."""

import math

import numpy as np
import pytest

from transfer.measuring.intervals import Interval, f1_intervals, share_interval


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (3, 7), (50, 50), (190, 211)])
def test_a_share_has_wilsons_interval(hits, total):
    z, share = 1.959963984540054, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    assert share_interval(hits, total) == pytest.approx((max(middle - half, 0), min(middle + half, 1)), abs=1e-9)
    narrow = share_interval(hits, total, level=0.5)
    assert narrow.high - narrow.low < 2 * half


def test_a_share_of_nothing():
    assert all(np.isnan(share_interval(0, 0)))
    assert share_interval(0, 0).as_list() is None
    assert Interval(0.25, 0.5).as_list() == [0.25, 0.5]


def by_drawing_images(labels, predictions, index, seed=0):
    """The slow way: images are drawn again, and F1 counted anew each time."""
    generator = np.random.default_rng(seed)
    scores = []
    for _ in range(2000):
        chosen = generator.integers(0, len(labels), len(labels))
        is_it, called = labels[chosen] == index, predictions[chosen] == index
        scores.append(2 * (is_it & called).sum() / max(is_it.sum() + called.sum(), 1))
    return np.quantile(scores, [0.025, 0.975])


def test_f1_intervals_equal_those_of_drawing_the_images_again():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 90)
    predictions = np.where(generator.random(90) < 0.7, labels, generator.integers(0, 3, 90))
    hits = np.array([((labels == i) & (predictions == i)).sum() for i in range(3)])
    called, support = np.bincount(predictions, minlength=3), np.bincount(labels, minlength=3)
    found = f1_intervals(hits, called, support, 90)
    for index in range(3):
        np.testing.assert_allclose(found[index], by_drawing_images(labels, predictions, index), atol=0.02)
    assert found == f1_intervals(hits, called, support, 90)
    assert found != f1_intervals(hits, called, support, 90, seed=1)


def test_a_class_without_images_has_no_f1():
    found = f1_intervals(np.array([0, 3]), np.array([0, 3]), np.array([0, 3]), 3)
    assert all(np.isnan(found[0]))


@pytest.mark.parametrize(("hits", "predicted", "support"), [(0, 0, 1), (0, 3, 0), (0, 2, 4), (1, 1, 1), (20, 20, 20)])
def test_an_interval_of_f1_is_no_point_where_all_answers_are_alike(hits, predicted, support):
    [found] = f1_intervals(np.array([hits]), np.array([predicted]), np.array([support]), 40)
    recall = share_interval(hits, support) if support else share_interval(hits, predicted)
    exact = 1.0 if hits else 0.0
    assert found.low <= exact <= found.high
    assert found.high - found.low > 0.05
    if hits:
        assert found.low == pytest.approx(2 * recall.low / (1 + recall.low))
        assert found.high == pytest.approx(1)
