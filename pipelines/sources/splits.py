"""Dividing a data set into train, valid and test, so that each photo stays in its split when others are added."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import lazy_loader
import numpy as np

from pipelines.data import Samples

__all__ = ["complete", "fractions_to_take", "group_keys", "name_to_unit", "split"]

# Loaded when images are compared, because that decodes them with TensorFlow, which nothing else here needs.
duplicates = lazy_loader.load("pipelines.auditing.duplicates", suppress_warning=True)

# How far a class's share of a split may be from the one asked for, before photos are moved to correct it.
TOLERANCE = 0.02

# The ways to say which images belong together; see `group_keys`.
GroupBy: TypeAlias = Callable[[str], Any] | str | re.Pattern[str] | None


def name_to_unit(name: str, *, seed: int = 0) -> float:
    """Computes a number in [0, 1) that depends on `name` and `seed` alone: the same on every machine, in every run.

    Names are converted to Unicode's composed form (NFC), since macOS returns decomposed names for the same files.

    Example:

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
    class_names: Sequence[str] | None,
    *,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divides samples into train, valid and test; each class is divided in the same proportions.

    A name becomes a number u in [0, 1) (`name_to_unit`). u < test puts the photo into the test split and
    u >= 1 - valid into the valid split, independently of the other photos: adding photos moves none. Chance alone
    would leave a small class with too few or no photos in a split. The share of each class is therefore held to within
    2 percentage points, or one photo, of the requested share, by taking the photos next to the threshold. Only there
    can adding photos move others. The two thresholds lie far apart, so that no photo moves between valid and test.

    Args:
        names: `n` names that identify each photo within its class (not paths that change with the machine).
        labels: Class numbers `[n]`.
        class_names: Names of the classes, for the error messages; None if the labels stand for nothing.
        valid: Fraction of each class to validate on, 0 or more. 0 leaves the split empty. Defaults to 0.15.
        test: Fraction of each class to test on, 0 or more; `valid` and `test` are together below 1. Defaults to 0.15.
        seed: Decides the division.
        groups: `n` keys (`group_keys`). Photos of one key stay together: the number u is that of the key. Shares are
            then held to within 2 percentage points, or one group. A group counts for its most frequent class.

    Returns:
        The indices of the train, valid and test samples: three arrays in ascending order, disjoint, that together are
        0..n-1. Every class has at least one photo in train and in every split with a fraction above 0.

    Raises:
        ValueError: fractions out of range, a class with fewer photos (or groups) than splits, or a class that only
            shares groups with larger ones and so is missing from a split.

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
    keys, group = np.unique(np.array(names if groups is None else groups, object), return_inverse=True)
    units = np.array([name_to_unit(key, seed=seed) for key in keys])
    if groups is None:
        # Two photos of the same name, in different classes, are each divided with their class.
        units, group = units[group], np.arange(len(names))
    sizes = np.bincount(group)
    wanted = ["train"] + ["valid"] * (valid > 0) + ["test"] * (test > 0)
    role = np.zeros(len(sizes), np.int8)  # the split of each group
    owner = _most_frequent(group, labels)
    for label in np.unique(labels):
        members = np.flatnonzero(owner == label)
        if len(members) < len(wanted):
            n = int(np.sum(labels == label))
            in_groups = "" if groups is None else f" in {len(members)} group{'s' * (len(members) != 1)} of its own"
            whole, advice = "the data have", "Add photos"
            if class_names is not None:
                whole = f"class {class_names[label]!r} has"
                advice = "Add photos to the class, leave the class out"
            raise ValueError(
                f"{whole} {n} image{'s' * (n != 1)}{in_groups}, too few to split: "
                f"{', '.join(wanted)} need at least one each, {len(wanted)} in all. {advice}, "
                "or ask for fewer splits (a fraction of 0, or your own train, val and test folders)"
            )
        members = members[np.argsort(units[members], kind="stable")]
        room = len(members) - len(wanted) + 1
        num_test = _share(test, units[members] < test, sizes[members], room=room)
        room = len(members) - 1 - num_test
        num_valid = _share(valid, units[members][::-1] >= 1 - valid, sizes[members][::-1], room=room)
        role[members[:num_test]] = 2
        role[members[len(members) - num_valid :]] = 1
    roles = role[group]
    return tuple(np.flatnonzero(roles == r) for r in range(3))  # type: ignore[return-value]


def _most_frequent(group: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns for each group the label that most of its members have; of equally frequent labels the smallest."""
    if not len(labels):
        return np.zeros(0, int)
    pairs, counts = np.unique(np.stack([group, labels]), axis=1, return_counts=True)
    owner = np.zeros(group.max() + 1, int)
    # Ascending by count and, among equals, descending by label: the last to be written stays.
    order = np.lexsort([-pairs[1], counts])
    owner[pairs[0, order]] = pairs[1, order]
    return owner


def _share(fraction: float, past: np.ndarray, sizes: np.ndarray, *, room: int) -> int:
    """Returns how many groups of a class, from the first, go into a split: from 1 to `room`.

    These are the groups past the threshold, if their photos are near the fraction; or else as few more or fewer as
    bring them there.
    """
    if fraction == 0:
        return 0
    total = sizes.sum()
    numbers = np.arange(1, room + 1)
    photos = np.cumsum(sizes)[:room]
    slack = max(float(sizes.max()), TOLERANCE * total)
    allowed = np.abs(photos - fraction * total) <= slack
    if not allowed.any():
        return int(numbers[np.argmin(np.abs(photos - fraction * total))])
    return int(numbers[allowed][np.argmin(np.abs(numbers[allowed] - past.sum()))])


def fractions_to_take(given: Iterable[str], *, valid: float, test: float) -> tuple[float, float]:
    """Returns the fractions to take from the training images, when a source brings the splits `given` along.

    Splits that it brings are used as they are. Data with a validation split and no test split gets no test split,
    because its authors wanted every other image to be trained on.

    Example:

    >>> fractions_to_take(["train", "test"], valid=0.15, test=0.2)
    (0.15, 0.0)
    """
    if "valid" in given:
        return 0.0, 0.0
    return valid, 0.0 if "test" in given else test


def complete(
    given: Mapping[str, Samples],
    class_names: Sequence[str] | None,
    *,
    valid: float,
    test: float,
    seed: int,
    group_by: GroupBy = None,
    own_names: Sequence[str] | None = None,
) -> tuple[Samples, Samples, Samples]:
    """Returns train, valid and test: those that the source brings along, and others taken from its training images.

    Args:
        given: Samples by split: "train" and, if the source has them, "valid" and "test".
        class_names: Names of the classes, which are divided one by one. `None` divides all images together.
        valid: Fraction to validate on; see `fractions_to_take`.
        test: Fraction to test on; see `fractions_to_take`.
        seed: Decides the division.
        group_by: Keeps images together; see `group_keys`.
        own_names: What decides about each training image, if that is not its whole name.
    """
    pool = given["train"]
    groups = group_keys(given, group_by)
    valid, test = fractions_to_take(given, valid=valid, test=test)
    labels = np.zeros(len(pool), int) if class_names is None else pool.labels
    names = pool.names if own_names is None else own_names
    parts = split(names, labels, class_names, valid=valid, test=test, seed=seed, groups=groups)
    train, taken_valid, taken_test = (pool[chosen] for chosen in parts)
    return train, given.get("valid", taken_valid), given.get("test", taken_test)


def group_keys(given: Mapping[str, Samples], group_by: GroupBy) -> list[str] | None:
    r"""Returns the key of each training image's group; images of one group must not be in two splits.

    Args:
        given: Samples by split: "train", and those that the source brings along.
        group_by: `None` for no groups, or

            - a function from an image's name to its key (anything with a text form);
            - a regular expression that is searched for in the name: the key is the text that its first group matched,
              or the whole match if it has no group. A name without a match is a group of its own;
            - `"duplicates"`: near duplicates by their perceptual hash (`pipelines.near_duplicates`) are one group.

    Returns:
        One key for each of `given["train"]`, for `split`; `None` without `group_by`.

    Raises:
        ValueError: a group is in two of the splits that the source brings along, or a broken regular expression.

    Example:

    >>> samples = Samples(["a", "b", "c"], [0, 0, 1], ["p1_left.jpg", "p1_right.jpg", "p2_left.jpg"])
    >>> group_keys({"train": samples}, r"(p\d+)_")
    ['p1', 'p1', 'p2']
    """
    if group_by is None:
        return None
    if group_by == "duplicates":
        keys = _keys_of_duplicates(given)
    else:
        function = group_by if callable(group_by) else _key_by_pattern(group_by)
        keys = {role: [str(function(name)) for name in samples.names] for role, samples in given.items()}
    for role, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = sorted(set(keys.get(role, ())) & set(keys.get(other, ())))
        if shared:
            names = [
                next(name for name, key in zip(given[r].names, keys[r], strict=True) if key == shared[0])
                for r in (role, other)
            ]
            raise ValueError(
                f"group_by: {len(shared)} group{'s' * (len(shared) != 1)} of images cross the splits that the data "
                f"brings along; {names[0]!r} is in {role} and {names[1]!r} in {other} (group {shared[0]!r}). "
                "Remove one of each pair, or read the data without its own splits to have it divided by group"
            )
    return keys["train"]


def _key_by_pattern(pattern: str | re.Pattern[str]) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f'group_by: expected a function, "duplicates" or a regular expression; {pattern!r}: {error}'
        ) from error

    def key(name: str) -> str:
        match = compiled.search(name)
        if match is None:
            return name
        return str(match.group(1 if compiled.groups else 0))

    return key


def _keys_of_duplicates(given: Mapping[str, Samples]) -> dict[str, list[str]]:
    parts = list(given.values())
    together = Samples(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [name for part in parts for name in part.names],
    )
    group = np.asarray(duplicates.near_duplicates(together))
    # A group is called by its first name, which stays when the order of the files does not.
    first: dict[int, str] = {}
    for number, name in zip(group.tolist(), together.names, strict=True):
        first[number] = min(first.get(number, name), name)
    keys = iter([first[number] for number in group.tolist()])
    return {role: [next(keys) for _ in part.names] for role, part in given.items()}
