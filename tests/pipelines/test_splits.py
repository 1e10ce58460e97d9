"""Splits are stratified, seeded, and decided by each file's own name."""

import subprocess
import sys

import numpy as np
import pytest

from pipelines import split
from pipelines.sources.splits import name_to_unit


def roles(names, labels=None, **options):
    """The split of each name: 0 train, 1 valid, 2 test."""
    labels = [0] * len(names) if labels is None else labels
    role = np.full(len(names), -1)
    for number, indices in enumerate(split(names, labels, [f"class {i}" for i in range(9)], **options)):
        role[indices] = number
    return role


def photo_names(count, start=0):
    return [f"IMG_{number:05d}.jpg" for number in range(start, start + count)]


def test_every_sample_is_in_one_split_and_each_class_keeps_the_proportions():
    labels = np.repeat([0, 1, 2], [20, 120, 1000])
    names = [f"{label}-{i}.jpg" for i, label in enumerate(labels)]
    role = roles(names, labels, valid=0.2, test=0.1)
    assert set(role) == {0, 1, 2}
    for label in range(3):
        n = np.sum(labels == label)
        for number, fraction in ((1, 0.2), (2, 0.1)):
            count = np.sum(role[labels == label] == number)
            assert abs(count - fraction * n) <= max(1, 0.02 * n), (label, number)


@pytest.mark.parametrize("n", [20, 50, 100, 300, 1000])
def test_adding_a_tenth_more_photos_moves_nearly_none(n):
    moves = []
    for seed in range(20):
        before = roles(photo_names(n), seed=seed)
        after = roles(photo_names(n + n // 10), seed=seed)[:n]
        moves.append(np.sum(before != after))
        assert not np.any((before > 0) & (after > 0) & (before != after))  # never between valid and test
    assert np.mean(moves) <= 2
    assert np.max(moves) <= max(4, 0.03 * n)


def test_a_photo_of_a_large_class_stays_whatever_is_added():
    before = roles(photo_names(20_000))
    after = roles(photo_names(23_000))[:20_000]
    assert np.array_equal(before, after)


def test_neither_order_nor_other_classes_matter():
    names = photo_names(60)
    role = roles(names)
    shuffled = np.random.default_rng(0).permutation(60)
    assert np.array_equal(roles([names[i] for i in shuffled]), role[shuffled])
    with_others = roles(names + photo_names(30, start=900), [1] * 60 + [0] * 30)
    assert np.array_equal(with_others[:60], role)


def test_the_seed_decides():
    names = photo_names(200)
    assert np.array_equal(roles(names, seed=3), roles(names, seed=3))
    assert not np.array_equal(roles(names, seed=3), roles(names, seed=4))


def test_the_same_in_another_process():
    """Python's own hash of a string differs from process to process."""
    code = "from pipelines import split; print(*split([str(i) for i in range(30)], [0] * 30, ['a'])[1])"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    expected = split([str(i) for i in range(30)], [0] * 30, ["a"])[1]
    assert [run.stdout.split() for run in runs] == [[str(i) for i in expected]] * 2


def test_numbers_are_even_in_the_unit_interval():
    units = np.sort([name_to_unit(name) for name in photo_names(4000)])
    assert units[0] >= 0
    assert units[-1] < 1
    assert np.max(np.abs(units - np.linspace(0, 1, 4000))) < 0.03  # Kolmogorov-Smirnov, p < 0.002 otherwise


def test_names_may_be_no_unicode_and_either_form_of_it():
    assert 0 <= name_to_unit("caf\udce9.jpg") < 1  # a byte that is not UTF-8, as os.listdir hands it out
    assert name_to_unit("é.jpg") == name_to_unit("e\u0301.jpg")


@pytest.mark.parametrize(
    ("count", "fractions"),
    [
        (3, (0.15, 0.15)),
        (3, (0.6, 0.2)),
        (3, (0.2, 0.6)),
        (2, (0.15, 0)),
        (2, (0, 0.9)),
        (1, (0, 0)),
        (10, (0.5, 0.49)),
    ],
)
def test_small_classes_have_one_in_each_split_asked_for(count, fractions):
    valid, test = fractions
    for seed in range(20):
        role = roles(photo_names(count), valid=valid, test=test, seed=seed)
        assert np.any(role == 0)
        assert np.any(role == 1) == (valid > 0)
        assert np.any(role == 2) == (test > 0)


def test_a_class_too_small_to_split_is_named_with_the_remedy():
    with pytest.raises(ValueError, match=r"'class 1' has 2 images.*train, valid, test need.*3 in all.*Add photos"):
        split(photo_names(12), [0] * 10 + [1] * 2, ["class 0", "class 1"])
    with pytest.raises(ValueError, match=r"'class 1' has 1 image, .*train, test need.*2 in all"):
        split(photo_names(11), [0] * 10 + [1], ["class 0", "class 1"], valid=0)


@pytest.mark.parametrize(("valid", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.2), (float("nan"), 0.1)])
def test_fractions_out_of_range(valid, test):
    with pytest.raises(ValueError, match="together below 1"):
        split(photo_names(10), [0] * 10, ["a"], valid=valid, test=test)
