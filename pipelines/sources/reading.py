"""One call for labelled images of every source: folders, tables, arrays, TensorFlow Datasets. Nothing is decoded here.

Folders, tables and arrays are read without TensorFlow.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.data import Data, WrongKind
from pipelines.sources.arrays import list_digits, read_npz
from pipelines.sources.folders import list_folder
from pipelines.sources.splits import GroupBy
from pipelines.sources.tables import TABLE_KINDS, read_table
from pipelines.sources.tfds_reading import list_tfds

__all__ = ["read_data"]


def read_data(
    spec: str | os.PathLike[str],
    *,
    kind: str | None = None,
    targets: str | Sequence[str] = (),
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    group_by: GroupBy = None,
) -> Data:
    """Lists a data set of labelled images and divides it into train, valid and test.

    Args:
        spec: What to read:

            - a folder with one sub-folder for each class (images may lie in further sub-folders of these);
            - a folder with `train` and, if there, `val` (or `valid`, `validation`, `dev`) and `test`, each such a
              folder;
            - `"tfds:NAME"`, a data set of TensorFlow Datasets, prepared (and downloaded) when it is not yet;
              `"tfds:FOLDER"`, a folder with a prepared data set, or of the layout of `tfds.ImageFolder`
              (`FOLDER/split/class/image.jpg`). Its examples are read into memory, still encoded. In brackets after
              the name, what to take: `"tfds:mnist[train[:10%]]"` to be divided, or a split expression for each
              split, `"tfds:mnist[train=train[:80%], valid=train[80%:], test=test]"`;
            - a `.csv` or `.tsv` file with a row for each image, of its path and labels (`pipelines.read_table`, with
              its defaults);
            - an `.npz` file of NumPy arrays `x_train`, `y_train` and, if there, `x_val`, `y_val`, `x_test`, `y_test`
              (`pipelines.read_arrays`);
            - `"sklearn:digits"`, scikit-learn's 1,797 handwritten digits, 8x8 pixels, scaled to 0..255.

        kind: What the labels are: "classes", "labels", "numbers" or "several"; see `pipelines.Data`. The default
            `None` stands for "classes", the only kind that folders and data sets of TensorFlow Datasets have.
        targets: Of a table, the column of the labels, or several; see `pipelines.read_table`.
        valid: Fraction of the training images to validate on, taken class by class (see
            `pipelines.sources.splits.split`), if the data does not bring a validation split along. Splits that it
            brings are used as they are.
        test: Fraction of the training images to test on, if the data brings neither a test split nor a validation split
            along: the authors of such a division want every other image to be trained on.
        seed: Decides which images are taken.
        data_dir: Where TensorFlow Datasets keeps prepared data. `None` is its own default.
        group_by: Keeps images together in one split: a function of an image's name, a regular expression that is
            searched for in the name, or "duplicates", near duplicates by their looks
            (`pipelines.sources.splits.group_keys`).

    Returns:
        A `Data`. Classes are sorted by name (TensorFlow Datasets: in the data set's own order). Hidden files and
        those of the operating system are ignored; any other file that is not an image by its name is listed in
        `skipped`. Whether the images can be decoded is for `pipelines.check_data` to find out.

    Raises:
        FileNotFoundError: there is no such folder or file.
        WrongKind: the data are of another kind: annotated images (the error names `read_scenes`), or class folders
            where numbers were asked for.
        ValueError: fewer than two classes, no images, a class without training images, a class with fewer images
            than splits, a class in `val` or `test` that is not in `train`, an unknown name.
        ConnectionError: a data set of TensorFlow Datasets could not be prepared.

    Example:

    >>> data = read_data("sklearn:digits", valid=0.1, test=0.2)
    >>> data.class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    >>> data.train.images.shape[1:], len(data)
    ((8, 8, 3), 1797)
    """
    name = os.fspath(spec)
    kind = "classes" if kind is None else kind
    if kind not in TABLE_KINDS:
        raise ValueError(f"read_data: expected `kind` as one of {', '.join(TABLE_KINDS)}; received {kind!r}")
    if name.lower().endswith((".csv", ".tsv")):
        return read_table(name, kind=kind, targets=targets, valid=valid, test=test, seed=seed, group_by=group_by)
    if targets:
        raise ValueError(
            f"{name}: has no columns to choose, received targets={targets!r}. Expected a .csv or .tsv file"
        )
    if name.lower().endswith(".npz"):
        return read_npz(Path(name).expanduser(), kind=kind, valid=valid, test=test, seed=seed, group_by=group_by)
    if name.startswith("tfds:"):
        listing = list_tfds(name.removeprefix("tfds:"), data_dir, kind=kind)
    elif name.startswith("sklearn:"):
        if name != "sklearn:digits":
            raise ValueError(f'{name}: expected "sklearn:digits", the images that scikit-learn carries')
        listing = list_digits()
    else:
        listing = list_folder(Path(name).expanduser(), kind=kind)
    if kind != listing.kind:
        raise WrongKind(
            f"{name}: holds one class for each image, and {kind} were asked for. Expected a table (.csv) that has them",
            expected=kind,
            actual=listing.kind,
        )
    return listing.divided(valid=valid, test=test, seed=seed, group_by=group_by)
