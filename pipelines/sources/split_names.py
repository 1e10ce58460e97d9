"""The words by which people name the three splits, in folders, files, columns and descriptions of every format."""

import re
from collections.abc import Callable, Iterable

__all__ = ["SPLIT_WORDS", "split_in", "split_of", "splits_among"]

# In small letters; readers take any capitalisation.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_BOTH = "trainval"  # in Pascal VOC, the images of train and val together


def split_of(word: str) -> str | None:
    """Returns the split that a word stands for: "train", "valid", "test", or `None` for any other word.

    >>> split_of("Validation"), split_of("trainers")
    ('valid', None)
    """
    return SPLIT_WORDS.get(word.strip().lower())


def split_in(name: str) -> str | None:
    """Returns the split that a file or folder belongs to by a word in its name, or `None`.

    >>> split_in("instances_val2017"), split_in("test_set"), split_in("TrainingSet"), split_in("trainers")
    ('valid', 'test', 'train', None)
    """
    words = re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    return next((split for word in words if (split := split_of(re.sub(r"(?i)set$", "", word))) is not None), None)


def splits_among(names: Iterable[str], split_of: Callable[[str], str | None] = split_of) -> dict[str, str]:
    """Returns the names that stand for splits, by split; other names are left out.

    "trainval" counts only where no other name stands for the training images.

    Args:
        names: The names.
        split_of: Which split a name stands for. Defaults to `split_of`; `split_in` looks for words in the names.

    Raises:
        ValueError: two names stand for one split.

    Example:

    >>> splits_among(["Train", "trainval", "val", "extra"])
    {'train': 'Train', 'valid': 'val'}
    """
    chosen: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name.strip().lower() == _BOTH):
        split = split_of(name)
        if split is None or (split in chosen and name.strip().lower() == _BOTH):
            continue
        if split in chosen:
            raise ValueError(
                f"found both {chosen[split]} and {name}. Expected one name for each split: train, val, test"
            )
        chosen[split] = name
    return {split: chosen[split] for split in ("train", "valid", "test") if split in chosen}
