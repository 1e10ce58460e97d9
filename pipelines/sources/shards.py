"""Prepared copies: a data set is written into TFRecord shards with TensorFlow Datasets, and read as a stream.

A hundred thousand small files are slow to open one by one, above all from a network file system; a few hundred shards
are not. Images are stored as their files are, byte for byte. The result is an ordinary data set of TensorFlow Datasets:
`tfds.builder_from_directory` reads it anywhere, with expressions such as `train[:10%]`.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.annotations.outlines import class_mask
from pipelines.data import Data, Samples, Scene
from pipelines.loading.python_decoding import decode_any
from pipelines.sources.reading import read_data
from pipelines.sources.scene_shards import undecoded

__all__ = ["shard_dataset", "write_shards"]

# TensorFlow Datasets' names of the splits.
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def write_shards(data: Data | str | os.PathLike[str], folder: str | os.PathLike[str], *, name: str = "local") -> Path:
    """Writes a data set into shards.

    Args:
        data: A `Data` of the kind "classes" or "boxes"; or what `read_data` takes, for example a
            folder of class folders.
        folder: Folder of data sets. It is created if it does not exist.
        name: Name of the data set, of small letters, digits and underscores. Defaults to "local".

    Returns:
        The folder that was written, `FOLDER/NAME/1.0.0`. `read_data(f"tfds:{path}")` or `read_scenes(f"tfds:{path}")`
        read it into memory, `shard_dataset(path, "train")` reads one sample after the other.

    Raises:
        FileExistsError: a data set of that name exists.
        ValueError: no samples to train on, a data set that is not of classes, or a name that TensorFlow Datasets
            cannot take.

    Example:

    >>> import tempfile
    >>> from pipelines import read_arrays
    >>> data = read_arrays(np.zeros([30, 4, 5], np.uint8), np.arange(30) % 3)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = write_shards(data, folder.name)
    >>> len(list(shard_dataset(path, "train"))) == len(data.train)
    True
    """
    if isinstance(data, str | os.PathLike):
        data = read_data(data)
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"write_shards: expected a name of small letters, digits and underscores, received {name!r}")
    if data.kind not in ("classes", "boxes"):
        raise ValueError(f"write_shards: expected images with one class each, or scenes; received {data.kind}")
    path = Path(folder).expanduser() / name / "1.0.0"
    if path.exists():
        raise FileExistsError(f"{path}: exists already. Remove it, or choose another folder or name")
    parts = data.splits
    if not len(parts["train"]):
        raise ValueError("write_shards: expected samples to train on, received none")
    class_names = list(data.class_names)
    has_masks = data.kind == "boxes" and any(s.mask is not None for part in data.splits.values() for s in part)
    if data.kind == "classes":
        features = _sample_features(class_names)
        examples = {role: _sample_examples(part) for role, part in parts.items()}
    else:
        features = _scene_features(class_names, has_masks)
        examples = {role: _scene_examples(part, has_masks) for role, part in parts.items()}
    with contextlib.redirect_stdout(sys.stderr):  # TensorFlow Datasets prints what it does
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=features,
            split_datasets={_SPLITS[role]: examples[role] for role, part in parts.items() if len(part)},
            data_dir=os.fspath(Path(folder).expanduser()),
            description="Written by transfer-zoo from local files.",
        )
    return path


def shard_dataset(
    folder: str | os.PathLike[str], split: str = "train", *, shuffle: bool = False, seed: int = 0
) -> tf.data.Dataset:
    """Makes a data set of samples from shards, one after the other, without holding all of them in memory.

    Args:
        folder: What `write_shards` returned.
        split: A split expression: "train", "validation", "test", "train[:10%]", "train[500:]+test", ... Defaults to
            "train".
        shuffle: Whether the shards are read in a new order each epoch, and samples are shuffled among 1,000.
        seed: Decides the orders.

    Returns:
        A `tf.data.Dataset` of dicts with `image` `uint8 [h, w, 3]` (upright), `path` (the image's name), and `label`
        `int32`; or for scenes what `scene_dataset` gives, with `mask` where there are masks of classes.

    Raises:
        ValueError: no shards, or an unknown split.
    """
    builder = _builder(folder)
    options = tfds.ReadConfig(shuffle_seed=seed, shuffle_reshuffle_each_iteration=True)
    try:
        dataset = builder.as_dataset(
            split=split, decoders=undecoded(builder), shuffle_files=shuffle, read_config=options
        )
    except ValueError as error:
        raise ValueError(
            f"{folder}: expected a split expression over {', '.join(builder.info.splits)}, received {split!r}: {error}"
        ) from error
    if shuffle:
        dataset = dataset.shuffle(1000, seed=seed)
    return dataset.map(_decoded, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _builder(folder: str | os.PathLike[str]) -> Any:
    path = Path(folder).expanduser()
    if not (path / "dataset_info.json").is_file():
        raise ValueError(f"{path}: holds no data set of TensorFlow Datasets (a folder with dataset_info.json)")
    return tfds.builder_from_directory(path)


@tf.autograph.experimental.do_not_convert
def _decoded(example: dict[str, Any]) -> dict[str, tf.Tensor]:
    sample = {"image": decode_any(example["image"]), "path": example["image/filename"]}
    if "label" in example:
        return sample | {"label": tf.cast(example["label"], tf.int32)}
    objects = example["objects"]
    sample |= {key: objects[own] for key, own in (("boxes", "box"), ("crowd", "crowd"), ("difficult", "difficult"))}
    sample["classes"] = tf.cast(objects["class"], tf.int32)
    sample["ids"] = objects["identity"]
    if "mask" in example:
        sample["mask"] = tf.io.decode_png(example["mask"], channels=1)[..., 0]
    return sample


# Samples


def _sample_features(class_names: list[str]) -> Any:
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image/filename": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=class_names),
        }
    )


def _sample_examples(samples: Samples) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in range(len(samples)):
        yield (
            index,
            {
                "image": _file(samples.images[index]),
                "image/filename": samples.names[index],
                "label": int(samples.labels[index]),
            },
        )


def _file(image: Any) -> Any:
    """Returns an image for TensorFlow Datasets, which stores files byte for byte, and pixels as PNG."""
    return io.BytesIO(image) if isinstance(image, bytes) else image


# Scenes


def _scene_features(class_names: list[str], has_masks: bool) -> Any:
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "image/filename": tfds.features.Text(),
        "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        "objects": tfds.features.Sequence(
            {
                "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),  # xyxy, pixels
                "class": tfds.features.ClassLabel(names=class_names),
                "crowd": tfds.features.Scalar(np.bool_),
                "difficult": tfds.features.Scalar(np.bool_),
                "identity": tfds.features.Scalar(np.int32),
                "outline": tfds.features.Text(),  # JSON, as COCO has it
                "attributes": tfds.features.Text(),  # JSON
            }
        ),
    }
    if has_masks:
        features["mask"] = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
    return tfds.features.FeaturesDict(features)


def _scene_examples(scenes: tuple[Scene, ...], has_masks: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, scene in enumerate(scenes):
        example = {
            "image": _file(scene.image),
            "image/filename": scene.name,
            "size": np.array(scene.size, np.int32),
            "objects": [
                {
                    "box": scene.boxes[i],
                    "class": int(scene.classes[i]),
                    "crowd": bool(scene.crowd[i]),
                    "difficult": bool(scene.difficult[i]),
                    "identity": int(scene.identities[i]),
                    "outline": _outline_text((scene.outlines or ())[i]),
                    "attributes": json.dumps(dict((scene.attributes or ())[i])),
                }
                for i in range(len(scene))
            ],
        }
        if has_masks:
            example["mask"] = class_mask(scene)[..., np.newaxis]
        yield index, example


def _outline_text(outline: Any) -> str:
    if outline is None or isinstance(outline, Mapping):
        return json.dumps(outline)
    return json.dumps([np.asarray(points).tolist() for points in outline])
