"""Dividing a data set into train, valid and test, so that each photo stays where it is when others are added."""

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["name_to_unit", "split"]

# How far a class's share of a split may be from the one asked for, before photos are moved to correct it.
TOLERANCE = 0.02


def name_to_unit(name: str, *, seed: int = 0) -> float:
    """A number in [0, 1) that depends on `name` and `seed` alone: the same on every machine, in every run.

    Names are taken in Unicode's composed form (NFC), since macOS hands out decomposed names for the same files.

    >>> name_to_unit("bees/39747887.jpg")
    0.84038...
    >>> name_to_unit("cafe\\u0301.jpg") == name_to_unit("caf\\u00e9.jpg")
    True
    """
    text = f"{seed}/{unicodedata.normalize('NFC', name)}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: what a float holds exactly


def split(
    names: Sequence[str],
    labels: Any,
    class_names: Sequence[str],
    *,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the train, valid and test samples; each class is divided in the same proportions.

    A name becomes a number u in [0, 1) (`name_to_unit`). u < test puts the photo into the test split and
    u >= 1 - valid into the valid split, whichever other photos there are: adding photos moves none. Chance alone
    would leave a small class with too few or none in a split, so the share of each class is held to within 2
    percentage points, or one photo, of the one asked for, by taking the photos next to the threshold. Only
    there can adding photos move others; the two thresholds lie far apart, so that none moves between valid and test.

    Args:
        names: `n` names that identify each photo within its class (not a path that changes with the machine).
        labels: `[n]`, class indices.
        class_names: for the error messages.
        valid, test: fractions of each class, 0 or more and together below 1; 0 leaves that split empty.
        seed: another seed gives another division.

    Returns:
        Three arrays of indices in ascending order, disjoint, that together are 0..n-1. Every class has at least
        one photo in train and in every split with a fraction above 0.

    Raises:
        ValueError: fractions out of range, or a class with fewer photos than splits.

    Example:

    >>> names = [f"{i}.jpg" for i in range(40)]
    >>> train, valid, test = split(names, [0] * 20 + [1] * 20, ["ants", "bees"], valid=0.2, test=0.1)
    >>> len(train), len(valid), len(test)
    (28, 7, 5)
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(
            "expected fractions `valid` and `test` of 0 or more, together below 1, to leave photos to train on; "
            f"received valid={valid}, test={test}"
        )
    labels = np.asarray(labels)
    units = np.array([name_to_unit(name, seed=seed) for name in names])
    wanted = ["train"] + ["valid"] * (valid > 0) + ["test"] * (test > 0)
    role = np.zeros(len(labels), np.int8)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n = len(members)
        if n < len(wanted):
            raise ValueError(
                f"class {class_names[label]!r} has {n} image{'s' * (n != 1)}, too few to split: {', '.join(wanted)} "
                f"need at least one each, {len(wanted)} in all. Add photos to the class, leave the class out, "
                "or ask for fewer splits (a fraction of 0, or your own train, val and test folders)"
            )
        members = members[np.argsort(units[members], kind="stable")]
        num_test = _share(test, units[members] < test, room=n - len(wanted) + 1)
        num_valid = _share(valid, units[members] >= 1 - valid, room=n - 1 - num_test)
        role[members[:num_test]] = 2
        role[members[n - num_valid :]] = 1
    return tuple(np.flatnonzero(role == r) for r in range(3))  # type: ignore[return-value]


def _share(fraction: float, past: np.ndarray, *, room: int) -> int:
    """How many of a class go into a split: those past the threshold, held near the fraction, from 1 to `room`."""
    if fraction == 0:
        return 0
    n = len(past)
    slack = max(1.0, TOLERANCE * n)
    fewest, most = math.ceil(fraction * n - slack), math.floor(fraction * n + slack)
    return max(1, min(max(int(past.sum()), fewest), most, room))
