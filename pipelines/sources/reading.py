"""Where labelled images come from: folders, tables, arrays, TensorFlow Datasets. Nothing is decoded here.

Folders and scikit-learn's digits are read without TensorFlow.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Data, Fault, Samples
from pipelines.sources.splits import GroupBy, complete
from pipelines.sources.tables import read_arrays, read_table

__all__ = ["IMAGE_SUFFIXES", "read_data"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff")

# Names under which people, and TensorFlow Datasets, keep the three splits.
_ROLES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
# Files that operating systems leave behind; like hidden files they are no part of anybody's data.
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


def read_data(
    spec: str | os.PathLike[str],
    *,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    group_by: GroupBy = None,
) -> Data:
    """List a classification data set and divide it into train, valid and test.

    Args:
        spec: what to read:

            - a folder with one sub-folder a class (images may lie in further sub-folders of these);
            - a folder with `train` and, if there, `val` (or `valid`, `validation`) and `test`, each such a folder;
            - `"tfds:NAME"`, a data set of TensorFlow Datasets, prepared (and downloaded) when it is not yet;
              `"tfds:FOLDER"`, a folder with a prepared data set, or of the layout of `tfds.ImageFolder`
              (`FOLDER/split/class/image.jpg`). Its examples are read into memory, still encoded. In brackets after
              the name, what to take: `"tfds:mnist[train[:10%]]"` to be divided, or a split expression for each
              split, `"tfds:mnist[train=train[:80%], valid=train[80%:], test=test]"`;
            - a `.csv` file with a row an image, of its path and class (`pipelines.read_table`, with its defaults);
            - an `.npz` file of NumPy arrays `x_train`, `y_train` and, if there, `x_val`, `y_val`, `x_test`, `y_test`
              (`pipelines.read_arrays`);
            - `"sklearn:digits"`, scikit-learn's 1,797 handwritten digits, 8x8 pixels, scaled to 0..255.

        valid, test: fractions to take from the training images, class by class (see `pipelines.sources.splits.split`),
            for splits that the data does not bring along. Splits that it brings are used as they are. One
            exception: data with a validation split and no test split gets no test split, since whoever made the
            division wanted every other image to be trained on.
        seed: decides which images are taken.
        data_dir: where TensorFlow Datasets keeps prepared data; its own default when `None`.
        group_by: keep images together in one split: a function of an image's name, a regular expression that is
            searched for in the name, or "duplicates", near duplicates by their looks
            (`pipelines.sources.splits.group_keys`).

    Returns:
        A `Data`. Classes are sorted by name (TensorFlow Datasets: in the data set's own order). Hidden files and
        those of the operating system are ignored; any other file that is not an image by its name is listed in
        `skipped`. Whether the images can be decoded is for `pipelines.check` to find out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: fewer than two classes, no images, a class without training images, a class with fewer images
            than splits, a class in `val` or `test` that is not in `train`, an unknown name.
        ConnectionError: a data set of TensorFlow Datasets could not be prepared.

    A folder of annotated images (Pascal VOC, YOLO, COCO, ...) is refused, and the error names `read_scenes`.

    Example:

    >>> data = read_data("sklearn:digits", valid=0.1, test=0.2)
    >>> data.class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    >>> data.train.images.shape[1:], len(data)
    ((8, 8, 3), 1797)
    """
    name = os.fspath(spec)
    if name.lower().endswith((".csv", ".tsv")):
        return read_table(name, valid=valid, test=test, seed=seed, group_by=group_by)
    if name.lower().endswith(".npz"):
        return _read_npz(Path(name).expanduser(), valid=valid, test=test, seed=seed, group_by=group_by)
    if name.startswith("tfds:"):
        class_names, given, skipped = _read_tfds(name.removeprefix("tfds:"), data_dir)
    elif name.startswith("sklearn:"):
        class_names, given, skipped = _read_sklearn(name.removeprefix("sklearn:"))
    else:
        class_names, given, skipped = _read_folder(Path(name).expanduser())
    if len(class_names) < 2:
        raise ValueError(
            f"{name}: expected two or more classes, found one ({class_names[0]!r}). Add a folder for each further "
            "class; or, if that folder is the one that holds the class folders, pass it instead"
        )
    # The name without the class: renaming a class folder then moves nothing.
    own_names = [name.split("/", 1)[-1] for name in given["train"].names]
    splits = complete(given, class_names, valid=valid, test=test, seed=seed, group_by=group_by, own_names=own_names)
    return Data(tuple(class_names), *splits, tuple(skipped))


_Given = dict[str, Samples]  # "train", and as the source brings them along "valid" and "test"


# Folders


def _read_folder(folder: Path) -> tuple[list[str], _Given, list[Fault]]:
    if not folder.exists():
        raise FileNotFoundError(
            f"{folder}: no such folder. Expected a folder with one sub-folder of images for each class"
        )
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: is a file. Expected a folder with one sub-folder of images for each class, "
            '"tfds:NAME" or "sklearn:digits"'
        )
    _refuse_annotated(folder)
    parts, others = _split_folders(folder)
    skipped = [Fault(str(other), "not one of the folders train, val and test") for other in others]
    for place in dict.fromkeys([folder, *parts.values()]):
        skipped += [Fault(str(image), "an image outside of the class folders") for image in _images_in(place)]
    class_names = [child.name for child in _folders_in(parts["train"])]
    if not class_names:
        raise ValueError(
            f"{parts['train']}: found {len(_images_in(parts['train']))} images and no sub-folders. Expected the images "
            "of each class in a sub-folder named after it, for example ants/ and bees/"
        )
    given = {}
    for role, part in parts.items():
        unknown = [child.name for child in _folders_in(part) if child.name not in class_names]
        if unknown:
            raise ValueError(
                f"{part}: holds classes that {parts['train']} does not: {_listed(unknown)}. "
                "Every class needs images to train on: add them there, or remove these folders"
            )
        given[role], left_out = _list_classes(part, class_names)
        skipped += left_out
    _require_every_class(given["train"], class_names, parts["train"], skipped)
    return class_names, given, skipped


def _refuse_annotated(folder: Path) -> None:
    """Raises a ValueError for folders that hold annotations, whose sub-folders would otherwise pass for classes."""
    children = list(folder.iterdir())
    names = {child.name.lower() for child in children}
    signs = names & {"annotations", "labels", "masks", "segmentationclass", "imagesets"}
    if not signs and not any(name.endswith((".yaml", ".yml", ".json", ".xml")) for name in names):
        exported = (
            child / name for child in children for name in ("_annotations.coco.json", "labels", "_darknet.labels")
        )
        if not any(path.exists() for path in exported):
            return
    from pipelines.annotations.reading import layout_of  # needs Pillow, which plain folders do not

    layout = layout_of(folder)
    if layout is not None:
        raise ValueError(
            f"{folder}: holds annotated images (layout {layout!r}), not one folder a class. "
            f"Read it with pipelines.read_scenes({str(folder)!r})"
        )


def _split_folders(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The folder of each split, and the folders that are none; a folder without splits is all for training.

    A sub-folder named `train` is a split only when it holds folders: pictures of railways may well have a class of
    that name.
    """
    children = _folders_in(folder)
    parts: dict[str, Path] = {}
    for child in children:
        role = _ROLES.get(child.name.lower())
        if role is None or not _folders_in(child):
            continue
        if role in parts:
            raise ValueError(
                f"{folder}: found both {parts[role].name} and {child.name}. "
                "Expected one folder for each split: train, val, test"
            )
        parts[role] = child
    if not parts:
        return {"train": folder}, []
    if "train" not in parts:
        raise ValueError(
            f"{folder}: found {_listed(part.name for part in parts.values())}, but no train. Add a train folder with "
            "the same class folders, or pass a folder of class folders to have it divided"
        )
    return parts, [child for child in children if child not in parts.values()]


def _list_classes(part: Path, class_names: Sequence[str]) -> tuple[Samples, list[Fault]]:
    """Every image below the class folders of `part`, and the files that are none."""
    paths: list[str] = []
    labels: list[int] = []
    skipped: list[Fault] = []
    for label, class_name in enumerate(class_names):
        for path in _files_below(part / class_name):
            if _is_image(path):
                paths.append(path)
                labels.append(label)
            else:
                skipped.append(Fault(path, f"not an image by its name: expected {', '.join(IMAGE_SUFFIXES)}"))
    start = len(str(part)) + 1
    return Samples(paths, labels, [path[start:].replace(os.sep, "/") for path in paths]), skipped


def _require_every_class(train: Samples, class_names: Sequence[str], place: Path, skipped: Sequence[Fault]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if not empty:
        return
    found = f" First of {len(skipped)} files left out: {skipped[0]}" if skipped else ""
    if len(empty) == len(class_names):
        raise ValueError(
            f"{place}: found no images in {len(class_names)} sub-folder{'s' * (len(class_names) != 1)}. "
            f"Expected files named {', '.join(IMAGE_SUFFIXES)}.{found}"
        )
    raise ValueError(
        f"{place}: {len(empty)} of {len(class_names)} classes have no images: {_listed(empty)}. "
        f"Put images into these folders, or remove them.{found}"
    )


def _folders_in(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if _is_image(child.name) and child.is_file())


def _files_below(folder: Path) -> Iterator[str]:
    """Every file below `folder` but hidden and system ones, in the order of their names; each real folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up would go round forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in _SYSTEM_FILES:
                yield os.path.join(place, name)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not os.path.basename(name).startswith(".")


def _listed(names: Iterable[str]) -> str:
    """The names, quoted; of many only the first ten."""
    names = list(names)
    text = ", ".join(repr(name) for name in names[:10])
    return text if len(names) <= 10 else f"{text} and {len(names) - 10} more"


# Arrays


def _read_npz(path: Path, *, valid: float, test: float, seed: int, group_by: GroupBy) -> Data:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Expected NumPy arrays x_train and y_train")
    with np.load(path, allow_pickle=False) as arrays:
        names = {role: role if role != "valid" else "val" for role in ("train", "valid", "test")}
        missing = {"x_train", "y_train"} - set(arrays.files)
        if missing:
            raise ValueError(f"{path}: expected arrays x_train and y_train, found {_listed(arrays.files)}")
        parts = {
            role: (arrays[f"x_{name}"], arrays[f"y_{name}"])
            for role, name in names.items()
            if f"x_{name}" in arrays.files and f"y_{name}" in arrays.files
        }
    images, labels = parts.pop("train")
    return read_arrays(images, labels, held_out=parts, valid=valid, test=test, seed=seed, group_by=group_by)


# scikit-learn


def _read_sklearn(name: str) -> tuple[list[str], _Given, list[Fault]]:
    if name != "digits":
        raise ValueError(f'sklearn:{name}: expected "sklearn:digits", the images that scikit-learn carries')
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # its values are 0..16
    images = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    names = [f"{label}/{index:04d}" for index, label in enumerate(digits.target)]
    return [str(n) for n in digits.target_names], {"train": Samples(images, digits.target, names)}, []


# TensorFlow Datasets


def _read_tfds(spec: str, data_dir: str | os.PathLike[str] | None) -> tuple[list[str], _Given, list[Fault]]:
    import tensorflow_datasets as tfds

    name, builder, parts = find_splits(spec, data_dir, check=_image_and_label)
    image_key, label_key = _image_and_label(builder, name)
    class_names = builder.info.features[label_key].names
    skipped = [
        Fault(f"tfds:{name}[{part}]", "not one of the splits train, validation and test")
        for part in builder.info.splits
        if not any(part in expression for expression in parts.values())
    ]
    given = {}
    roles: dict[bytes, str] = {}  # of each example, by TensorFlow Datasets' own number for it
    for role, part in parts.items():
        try:
            dataset = builder.as_dataset(
                split=part,
                decoders={image_key: tfds.decode.SkipDecoding()},
                read_config=tfds.ReadConfig(add_tfds_id=True),
            )
        except (ValueError, AssertionError) as error:
            raise ValueError(
                f"tfds:{name}: cannot read the split {part!r}: {error}. Expected a split expression over "
                f"{_listed(builder.info.splits)}, for example train[:10%]"
            ) from error
        images, labels, names = [], [], []
        for index, example in enumerate(dataset.as_numpy_iterator()):
            label = int(example[label_key])
            own_name = _own_name(example, default=f"{part}-{index:06d}")
            if label < 0:  # how TensorFlow Datasets marks the unlabelled test images of a contest
                skipped.append(Fault(f"tfds:{name}[{part}]/{own_name}", "has no label", kind="no label"))
                continue
            if roles.setdefault(example.get("tfds_id", f"{role}{index}".encode()), role) != role:
                other = roles[example["tfds_id"]]
                raise ValueError(
                    f"tfds:{name}: {parts[other]!r} and {part!r} overlap: {own_name} is in {other} and in {role}. "
                    "Expected expressions that share no example"
                )
            images.append(example[image_key])
            labels.append(label)
            names.append(f"{class_names[label]}/{own_name}")
        given[role] = Samples(images, labels, names)
    return list(class_names), given, skipped


def find_splits(
    spec: str, data_dir: str | os.PathLike[str] | None, *, check: Callable[[Any, str], Any]
) -> tuple[str, Any, dict[str, str]]:
    """A data set of TensorFlow Datasets, prepared: its name, its builder, and the split expression for each split.

    `check(builder, name)` raises an error where the data is not what is wanted, before any of it is downloaded.
    """
    # A folder may have brackets in its name.
    name, parts = (spec, None) if Path(spec).expanduser().is_dir() else parse_splits(spec)
    builder = _find_builder(name, data_dir)
    check(builder, name)
    _prepare(builder, name)
    if parts is None:
        parts = {_ROLES[part.lower()]: part for part in builder.info.splits if part.lower() in _ROLES}
        if "train" not in parts and len(builder.info.splits) == 1:
            parts = {"train": next(iter(builder.info.splits))}
        if "train" not in parts:
            raise ValueError(f"tfds:{name}: expected a split named train, found {_listed(builder.info.splits)}")
    return name, builder, parts


def parse_splits(spec: str) -> tuple[str, dict[str, str] | None]:
    """A name of TensorFlow Datasets and, if it ends in brackets, the split expression for each split.

    Raises:
        ValueError: brackets that do not match, or several expressions without saying which is for what.

    >>> parse_splits("mnist"), parse_splits("mnist[train[:10%]]")
    (('mnist', None), ('mnist', {'train': 'train[:10%]'}))
    >>> parse_splits("mnist[train=train[:80%], valid=train[80%:], test=test]")[1]
    {'train': 'train[:80%]', 'valid': 'train[80%:]', 'test': 'test'}
    """
    name, bracket, rest = spec.partition("[")
    if not bracket:
        return name, None
    expected = "NAME[train[:10%]] or NAME[train=..., valid=..., test=...]"
    if not rest.endswith("]") or spec.count("[") != spec.count("]"):
        raise ValueError(f"tfds:{spec}: expected {expected}: the brackets do not match")
    entries = [entry.strip() for entry in rest[:-1].split(",")]
    if len(entries) == 1 and "=" not in entries[0]:
        return name, {"train": entries[0]}
    parts = {}
    for entry in entries:
        role, equals, expression = (part.strip() for part in entry.partition("="))
        role = _ROLES.get(role.lower(), "") if equals else ""
        if not role or not expression or role in parts:
            raise ValueError(f"tfds:{spec}: expected {expected}, received {entry!r}")
        parts[role] = expression
    if "train" not in parts:
        raise ValueError(f"tfds:{spec}: expected {expected}: there is nothing to train on")
    return name, parts


def _find_builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets as tfds

    folder = Path(name).expanduser()
    if os.sep in name and folder.is_dir():
        if folder.joinpath("dataset_info.json").exists():
            return tfds.builder_from_directory(folder)
        return tfds.ImageFolder(str(folder))
    try:
        return tfds.builder(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name, known, n=5)
        raise ValueError(
            f"tfds:{name}: TensorFlow Datasets knows no data set of that name"
            + (f"; near matches: {', '.join(near)}. " if near else ". ")
            + "Expected one of tfds.list_builders(), or a folder (written with a slash, as in tfds:./flowers)"
        ) from error


def _image_and_label(builder: Any, name: str) -> tuple[str, str]:
    """Keys of the image and of its class: the data set's own choice, or else the first of each kind."""
    import tensorflow_datasets as tfds

    kinds = dict(builder.info.features.items())
    keys = [key for key in builder.info.supervised_keys or () if isinstance(key, str)] + list(kinds)
    images = [key for key in keys if isinstance(kinds.get(key), tfds.features.Image)]
    labels = [key for key in keys if isinstance(kinds.get(key), tfds.features.ClassLabel)]
    if not (images and labels):
        raise ValueError(f"tfds:{name}: expected an image and a class label in each example; found {_listed(kinds)}")
    return images[0], labels[0]


def _prepare(builder: Any, name: str) -> None:
    """Download and convert the data set unless that has been done before."""
    import tensorflow_datasets as tfds

    if isinstance(builder, tfds.ImageFolder):  # reads the files as they are
        return
    try:
        builder.download_and_prepare()
    except OSError as error:
        raise ConnectionError(
            f"tfds:{name}: is not prepared in {builder.data_dir}, and preparing it failed: {error}. "
            "Run once where a network is, or pass the `data_dir` of a prepared copy"
        ) from error


def _own_name(example: dict[str, Any], *, default: str) -> str:
    """What tells this example from the others of its class, and stays when the data set grows."""
    if "image/filename" in example:
        return os.path.basename(example["image/filename"].decode())
    return example["tfds_id"].decode() if "tfds_id" in example else default
