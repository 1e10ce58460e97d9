"""Data sets of TensorFlow Datasets, with one class for each image.

TensorFlow Datasets, and with it TensorFlow, is loaded only when such data are read.
"""

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.data import Fault, Samples, WrongKind
from pipelines.sources.image_files import listed
from pipelines.sources.listing import Listing
from pipelines.sources.split_names import split_of, splits_among

__all__ = ["find_splits", "list_tfds", "parse_splits"]


_EXPECTED = "NAME[train[:10%]] or NAME[train=..., valid=..., test=...]"


def list_tfds(spec: str, data_dir: str | os.PathLike[str] | None, *, kind: str = "classes") -> Listing:
    """Lists a data set of TensorFlow Datasets; its examples are read into memory, still encoded.

    Args:
        spec: Name of the data set, or its folder, and possibly split expressions in brackets; see
            `pipelines.read_data`.
        data_dir: Where TensorFlow Datasets keeps prepared data. `None` is its own default.
        kind: Kind of data that is expected, for the error about annotated images.

    Raises:
        WrongKind: data with boxes.
        ValueError: an unknown name or split, or data without a class for each image.
        ConnectionError: the data set could not be prepared.
    """
    import tensorflow_datasets as tfds

    name, builder, parts = find_splits(spec, data_dir, check=partial(_image_and_label, kind=kind))
    image_key, label_key = _image_and_label(builder, name, kind=kind)
    class_names = builder.info.features[label_key].names
    faults = [
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
                f"{listed(builder.info.splits)}, for example train[:10%]"
            ) from error
        images, labels, names = [], [], []
        for index, example in enumerate(dataset.as_numpy_iterator()):
            label = int(example[label_key])
            own_name = _own_name(example, default=f"{part}-{index:06d}")
            if label < 0:  # how TensorFlow Datasets marks the unlabelled test images of a contest
                faults.append(Fault(f"tfds:{name}[{part}]/{own_name}", "has no label", kind="no label"))
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
    own_names = [name.split("/", 1)[-1] for name in given["train"].names]
    return Listing(f"tfds:{name}", list(class_names), given, faults, own_names=own_names)


def find_splits(
    spec: str, data_dir: str | os.PathLike[str] | None, *, check: Callable[[Any, str], Any]
) -> tuple[str, Any, dict[str, str]]:
    """Prepares a data set of TensorFlow Datasets.

    Args:
        spec: Name of the data set, or its folder, and possibly split expressions in brackets.
        data_dir: Where TensorFlow Datasets keeps prepared data. `None` is its own default.
        check: A function of the builder and the name that raises an error where the data set is not what is wanted,
            before any of it is downloaded.

    Returns:
        The name, the builder, and the split expression for each split.

    Raises:
        ValueError: an unknown name, or no split to train on.
        ConnectionError: the data set could not be prepared.
    """
    # A folder may have brackets in its name.
    name, parts = (spec, None) if Path(spec).expanduser().is_dir() else parse_splits(spec)
    builder = _find_builder(name, data_dir)
    check(builder, name)
    _prepare(builder, name)
    if parts is None:
        try:
            parts = splits_among(builder.info.splits)
        except ValueError as error:
            raise ValueError(f"tfds:{name}: {error}; or say what to take, {_EXPECTED}") from error
        if "train" not in parts and len(builder.info.splits) == 1:
            parts = {"train": next(iter(builder.info.splits))}
        if "train" not in parts:
            raise ValueError(f"tfds:{name}: expected a split named train, found {listed(builder.info.splits)}")
    return name, builder, parts


def parse_splits(spec: str) -> tuple[str, dict[str, str] | None]:
    """Returns a name of TensorFlow Datasets and, if it ends in brackets, the split expression for each split.

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
    if not rest.endswith("]") or spec.count("[") != spec.count("]"):
        raise ValueError(f"tfds:{spec}: expected {_EXPECTED}: the brackets do not match")
    entries = [entry.strip() for entry in rest[:-1].split(",")]
    if len(entries) == 1 and "=" not in entries[0]:
        return name, {"train": entries[0]}
    parts = {}
    for entry in entries:
        role, equals, expression = (part.strip() for part in entry.partition("="))
        role = (split_of(role) or "") if equals else ""
        if not role or not expression or role in parts:
            raise ValueError(f"tfds:{spec}: expected {_EXPECTED}, received {entry!r}")
        parts[role] = expression
    if "train" not in parts:
        raise ValueError(f"tfds:{spec}: expected {_EXPECTED}: there is nothing to train on")
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


def _image_and_label(builder: Any, name: str, *, kind: str) -> tuple[str, str]:
    """Returns the keys of the image and of its class: the data set's own choice, or else the first of each kind."""
    import tensorflow_datasets as tfds

    kinds = dict(builder.info.features.items())
    keys = [key for key in builder.info.supervised_keys or () if isinstance(key, str)] + list(kinds)
    images = [key for key in keys if isinstance(kinds.get(key), tfds.features.Image)]
    labels = [key for key in keys if isinstance(kinds.get(key), tfds.features.ClassLabel)]
    if not (images and labels):
        message = f"tfds:{name}: expected an image and a class label in each example; found {listed(kinds)}"
        if images and "objects" in kinds:
            raise WrongKind(f"{message}. Read it with pipelines.read_scenes", expected=kind, actual="boxes")
        raise ValueError(message)
    return images[0], labels[0]


def _prepare(builder: Any, name: str) -> None:
    """Downloads and converts the data set unless that has been done before."""
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
    """Returns what tells this example from the others of its class, and stays when the data set grows."""
    if "image/filename" in example:
        return os.path.basename(example["image/filename"].decode())
    return example["tfds_id"].decode() if "tfds_id" in example else default
