"""Lines and zones: once for each identity and direction, by class, and not when a box trembles."""

from types import SimpleNamespace

import numpy as np
import pytest

from zoo.tracking import Counts, Line, Zone, count
from zoo.tracking.counting import FORGOTTEN

LINE = Line((50, 100), (50, 0))  # Upwards: its left is at smaller x.
SQUARE = Zone([(20, 20), (60, 20), (60, 60), (20, 60)])


def frame(feet, *, identities=None, classes=None, height=20):
    feet = np.asarray(feet, float).reshape(-1, 2)
    boxes = np.concatenate([feet - (5, height), feet + (5, 0)], axis=1)
    n = len(feet)
    return SimpleNamespace(
        boxes=boxes,
        identities=np.arange(n) if identities is None else np.array(identities),
        classes=np.zeros(n, int) if classes is None else np.array(classes),
    )


def counted(border, path, **options):
    counts = Counts()
    for x, y in path:
        counts = count(border, counts, frame([(x, y)]), **options)
    return counts.passed


def test_who_passes_is_counted_once_with_direction():
    assert counted(LINE, [(x, 50) for x in range(20, 80, 3)]) == {(0, "left to right"): 1}
    assert counted(LINE, [(x, 50) for x in range(80, 20, -3)]) == {(0, "right to left"): 1}
    there_and_back = [(x, 50) for x in [*range(20, 80, 3), *range(80, 20, -3)] * 3]
    assert counted(LINE, there_and_back) == {(0, "left to right"): 1, (0, "right to left"): 1}


def test_who_trembles_on_the_line_is_not_counted_twice():
    rng = np.random.default_rng(0)
    path = [(x + rng.uniform(-1.5, 1.5), 50) for x in [*np.linspace(30, 50, 40), *[50] * 60, *np.linspace(50, 70, 40)]]
    assert counted(LINE, path) == {(0, "left to right"): 1}
    assert counted(LINE, [(50 + (-1) ** i * 1.9, 50) for i in range(50)]) == {}
    assert len(counted(LINE, [(50 + (-1) ** i * 1.9, 50) for i in range(50)], margin=0)) == 2


def test_who_passes_the_end_of_a_line_is_not_counted():
    assert counted(LINE, [(x, 140) for x in range(20, 80, 3)]) == {}


def test_a_zone_counts_who_comes_in_and_goes_out():
    path = [(x, 40) for x in range(0, 90, 4)]
    assert counted(SQUARE, path) == {(0, "in"): 1, (0, "out"): 1}
    counts = count(SQUARE, Counts(), frame([(30, 30), (40, 50), (90, 90)], classes=[0, 1, 1]))
    assert counts.inside == {0: 1, 1: 1}
    assert counts.passed == {}


def test_classes_are_counted_apart_and_the_old_counts_stay():
    first = count(LINE, Counts(), frame([(20, 50), (80, 40)], identities=[7, 9], classes=[0, 2]))
    second = count(LINE, first, frame([(80, 50), (20, 40)], identities=[7, 9], classes=[0, 2]))
    assert second.passed == {(0, "left to right"): 1, (2, "right to left"): 1}
    assert (second.total(), second.total("left to right"), first.total()) == (2, 1, 0)


def test_depths_equal_a_plain_computation():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 80, (200, 2))
    dx, dy = np.abs(points - 40).T
    outside = np.hypot(np.maximum(dx - 20, 0), np.maximum(dy - 20, 0))
    np.testing.assert_allclose(SQUARE.depth(points), np.where(outside > 0, -outside, 20 - np.maximum(dx, dy)))
    np.testing.assert_allclose(LINE.depth(points), points[:, 0] - 50)


def test_memory_is_bounded():
    counts = Counts()
    for i in range(FORGOTTEN + 50):
        counts = count(LINE, counts, frame([(20, 50)], identities=[i]))
    assert len(counts.known) == FORGOTTEN + 1


def test_what_is_no_border_is_refused():
    with pytest.raises(ValueError, match="two different points"):
        Line((1, 1), (1, 1))
    with pytest.raises(ValueError, match="three corners"):
        Zone([(0, 0), (1, 1)])
    with pytest.raises(ValueError, match="margin"):
        count(LINE, Counts(), frame([]), margin=-1)
