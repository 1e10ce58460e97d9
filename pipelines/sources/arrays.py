"""Labelled images in NumPy arrays: in memory, in .npz files, and scikit-learn's handwritten digits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Data, Samples, WrongKind
from pipelines.sources.columns import sorted_names
from pipelines.sources.image_files import listed
from pipelines.sources.listing import Listing
from pipelines.sources.split_names import splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["list_digits", "read_arrays", "read_npz"]

ARRAY_KINDS = ("classes", "labels", "numbers")


def read_arrays(
    images: Any,
    labels: Any,
    *,
    held_out: Mapping[str, tuple[Any, Any]] | None = None,
    class_names: Sequence[str] | None = None,
    kind: str = "classes",
    names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
) -> Data:
    """Takes NumPy arrays as a data set.

    Args:
        images: `uint8 [n, h, w, 3]` RGB, or grey `[n, h, w]` or `[n, h, w, 1]`.
        labels: `[n]` class indices or names; for the kinds "labels" (0 or 1 each) and "numbers", `[n, k]` or `[n]`.
        held_out: Images and labels of "valid" and "test", if they are divided already.
        class_names: Names of the classes, labels or numbers. `None` takes the names that occur, or numbers them.
        kind: "classes" (the default), "labels" or "numbers"; see `pipelines.Data`.
        names: Names of the images, for reports and for dividing. `None` numbers them.
        valid: Fraction of the images to validate on; see `pipelines.read_data`.
        test: Fraction of the images to test on; see `pipelines.read_data`.
        seed: Decides which images are taken.
        group_by: Keeps images together in one split; see `pipelines.read_data`.

    Raises:
        WrongKind: numbers that are not whole where classes were asked for.
        ValueError: images of another dtype or shape, labels that are no class, or more or fewer labels than images.

    Example:

    >>> import numpy as np
    >>> data = read_arrays(np.zeros([20, 8, 9], np.uint8), np.arange(20) % 2)
    >>> data.class_names, data.train.images.shape[1:], len(data)
    (('0', '1'), (8, 9, 3), 20)
    """
    if kind not in ARRAY_KINDS:
        raise ValueError(f"read_arrays: expected `kind` as one of {', '.join(ARRAY_KINDS)}; received {kind!r}")
    unknown = sorted(set(held_out or ()) - {"valid", "test"})
    if unknown:
        raise ValueError(f'read_arrays: expected `held_out` for "valid" and "test", received {unknown}')
    parts = {"train": (images, labels), **(held_out or {})}
    targets = {role: np.asarray(part[1]) for role, part in parts.items()}
    if kind == "classes":
        found, targets = _class_indices(targets, class_names)
    else:
        targets = {role: values.reshape(len(values), -1).astype(np.float32) for role, values in targets.items()}
        width = targets["train"].shape[1]
        found = list(class_names) if class_names is not None else [str(number) for number in range(width)]
        if any(values.shape[1] != len(found) for values in targets.values()):
            shapes = [list(values.shape) for values in targets.values()]
            raise ValueError(f"read_arrays: expected labels [n, {len(found)}], received {shapes}")
        for values in targets.values():
            if not np.isfinite(values).all() or (kind == "labels" and not np.isin(values, (0, 1)).all()):
                raise ValueError(
                    f"read_arrays: expected {'0 and 1' if kind == 'labels' else 'finite numbers'} as labels"
                )
    given = {}
    for role, part in parts.items():
        pixels = _rgb(np.asarray(part[0]))
        own = names if role == "train" and names is not None else [f"{role}-{i:06d}" for i in range(len(pixels))]
        given[role] = Samples(pixels, targets[role], own)
    listing = Listing("read_arrays", found, given, kind=kind)
    return listing.divided(valid=valid, test=test, seed=seed, group_by=group_by)


def _class_indices(
    labels: Mapping[str, np.ndarray], class_names: Sequence[str] | None
) -> tuple[list[str], dict[str, np.ndarray]]:
    flat = {role: values.reshape(-1) for role, values in labels.items()}  # Keras hands out [n, 1] for CIFAR
    train = flat["train"]
    if train.dtype.kind in "iub":
        count = len(class_names) if class_names is not None else int(train.max(initial=-1)) + 1
        names = list(class_names) if class_names is not None else [str(number) for number in range(count)]
        for role, values in flat.items():
            if values.dtype.kind not in "iub" or values.min(initial=0) < 0 or values.max(initial=0) >= count:
                raise ValueError(
                    f"read_arrays: expected class indices 0 to {count - 1} in {role}, received "
                    f"{values.dtype} from {values.min(initial=0)} to {values.max(initial=0)}"
                )
        return names, {role: values.astype(np.int32) for role, values in flat.items()}
    if train.dtype.kind in "USO":
        names = list(class_names) if class_names is not None else sorted_names({str(value) for value in train})
        numbers = {name: number for number, name in enumerate(names)}
        unknown = sorted({str(v) for values in flat.values() for v in values} - set(numbers))
        if unknown:
            raise ValueError(f"read_arrays: expected labels among {names}, received {unknown}")
        return names, {r: np.array([numbers[str(v)] for v in values], np.int32) for r, values in flat.items()}
    raise WrongKind(
        f"read_arrays: expected class indices or names, received {train.dtype}. For numbers to be predicted, "
        'pass kind="numbers"',
        expected="classes",
        actual="numbers",
    )


def _rgb(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"read_arrays: expected images as uint8 [n, h, w, 3], [n, h, w, 1] or [n, h, w], received {images.dtype} "
            f"{list(images.shape)}. Images of floats in 0..1: (images * 255).round().astype('uint8')"
        )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def read_npz(path: Path, *, kind: str, valid: float, test: float, seed: int, group_by: GroupBy) -> Data:
    """Reads an .npz file of arrays `x_train`, `y_train` and, if there, `x_val`, `y_val`, `x_test` and `y_test`.

    The arguments are those of `pipelines.read_data`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: arrays that are missing, or that `read_arrays` refuses.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected NumPy arrays x_train and y_train")
    with np.load(path, allow_pickle=False) as arrays:
        names = {name.lower(): name for name in arrays.files}
        words = [name[2:] for name in names if name.startswith("x_") and f"y_{name[2:]}" in names]
        try:
            splits = splits_among(words)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if "train" not in splits:
            raise ValueError(f"{path}: expected arrays x_train and y_train, found {listed(arrays.files)}")
        parts = {split: (arrays[names[f"x_{word}"]], arrays[names[f"y_{word}"]]) for split, word in splits.items()}
    images, labels = parts.pop("train")
    return read_arrays(images, labels, held_out=parts, kind=kind, valid=valid, test=test, seed=seed, group_by=group_by)


def list_digits() -> Listing:
    """Lists scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, scaled to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # its values are 0..16
    images = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    own_names = [f"{index:04d}" for index in range(len(images))]
    names = [f"{label}/{own_name}" for label, own_name in zip(digits.target, own_names, strict=True)]
    given = {"train": Samples(images, digits.target, names)}
    return Listing("sklearn:digits", [str(name) for name in digits.target_names], given, own_names=own_names)
