"""Scenes out of data sets of TensorFlow Datasets: those that `pipelines.write_shards` wrote, and those of others.

TensorFlow Datasets, and with it TensorFlow, is loaded only when such data are read.
"""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.assembling import Draft, Found, divide, make_scene
from pipelines.annotations.faults import Log
from pipelines.data import Data, Scene, WrongKind
from pipelines.sources.tfds_reading import find_splits

__all__ = ["read_shards", "undecoded"]


def read_shards(
    spec: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
) -> Data:
    """Reads scenes out of TensorFlow Datasets into memory; the images stay encoded.

    Args:
        spec: What `pipelines.write_shards` returned, or the name of a data set with boxes ("voc/2007"), possibly with
            split expressions in brackets, as for `pipelines.read_data`.
        data_dir: Where TensorFlow Datasets keeps prepared data. `None` is its own default.
        valid: Fraction of the training images to validate on, if the data set has no such split.
        test: Fraction of the training images to test on, if the data set has no such split.
        seed: Decides which images are taken.

    Returns:
        A `Data` of scenes. In data sets that `write_shards` did not write, boxes without area or outside of their image
        are left out and listed, and boxes are cut at its edge, as `pipelines.annotations` describes.

    Raises:
        WrongKind: a data set with one class for each image.
        ValueError: an unknown name or split, or a data set without boxes.
        ConnectionError: a data set that could not be prepared.
    """
    name, builder, parts = find_splits(os.fspath(spec), data_dir, check=_object_features)
    features = _object_features(builder, name)
    log = Log()
    if "outline" in features:
        class_names = tuple(features["class"].names)
        given = {role: list(_own_scenes(builder, part)) for role, part in parts.items()}
    else:
        class_names = tuple(features["label"].names)
        given = {role: list(_usual_scenes(builder, part, name, class_names, log)) for role, part in parts.items()}
    return divide(given, class_names, log, valid=valid, test=test, seed=seed)


def undecoded(builder: Any) -> dict[str, Any]:
    """Returns decoders that leave images as they are in the files: `decode_any` heeds what TensorFlow's does not."""
    import tensorflow_datasets as tfds

    skip = {"image": tfds.decode.SkipDecoding()}
    return skip | ({"mask": tfds.decode.SkipDecoding()} if "mask" in builder.info.features else {})


def _object_features(builder: Any, name: str) -> dict[str, Any]:
    """Returns the features of each object.

    Raises:
        WrongKind: images with one class each.
        ValueError: no boxes with classes.
    """
    import tensorflow_datasets as tfds

    objects = dict(builder.info.features).get("objects")
    features = dict(getattr(objects, "feature", {}))
    is_own = "outline" in features
    is_usual = isinstance(features.get("bbox"), tfds.features.BBoxFeature) and "label" in features
    if not (is_own or is_usual):
        found = dict(builder.info.features)
        message = f"tfds:{name}: expected scenes: `objects` with boxes and classes; found {', '.join(found)}"
        if any(isinstance(feature, tfds.features.ClassLabel) for feature in found.values()):
            raise WrongKind(f"{message}. Read it with pipelines.read_data", expected="boxes", actual="classes")
        raise ValueError(message)
    return features


def _own_scenes(builder: Any, split: str) -> Iterator[Scene]:
    """Yields scenes of data sets that `pipelines.write_shards` wrote."""
    for example in builder.as_dataset(split=split, decoders=undecoded(builder)).as_numpy_iterator():
        objects = example["objects"]
        outlines = [json.loads(text) for text in objects["outline"]]
        mask = example.get("mask")
        yield Scene(
            example["image"],
            example["image/filename"].decode(),
            tuple(example["size"].tolist()),
            boxes=objects["box"],
            classes=objects["class"],
            crowd=objects["crowd"],
            difficult=objects["difficult"],
            identities=objects["identity"],
            outlines=[tuple(map(np.array, o)) if isinstance(o, list) else o for o in outlines],
            attributes=[json.loads(text) for text in objects["attributes"]],
            mask=None if mask is None else np.asarray(Image.open(io.BytesIO(mask))),
        )


def _usual_scenes(builder: Any, split: str, name: str, class_names: tuple[str, ...], log: Log) -> Iterator[Scene]:
    """Yields scenes of data sets whose boxes are (ymin, xmin, ymax, xmax) in shares of the image, as is usual there."""
    import tensorflow_datasets as tfds

    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    options = tfds.ReadConfig(add_tfds_id=True)
    dataset = builder.as_dataset(split=split, decoders=undecoded(builder), read_config=options)
    for example in dataset.as_numpy_iterator():
        objects = example["objects"]
        own_name = example.get("image/filename", example["tfds_id"]).decode()
        with Image.open(io.BytesIO(example["image"])) as image:
            height, width = image.height, image.width
        found = [
            Found(
                class_names[label] if label >= 0 else "no class",
                (x1 * width, y1 * height, x2 * width, y2 * height),
                None,
                difficult=bool(difficult),
                crowd=bool(crowd),
            )
            for (y1, x1, y2, x2), label, difficult, crowd in zip(
                objects["bbox"].astype(np.float64).tolist(),
                objects["label"].tolist(),
                objects.get("is_difficult", np.zeros(len(objects["label"]), bool)),
                objects.get("is_crowd", np.zeros(len(objects["label"]), bool)),
                strict=True,
            )
        ]
        draft = Draft(Path(own_name), own_name, Path(f"tfds:{name}[{split}]"), found)
        yield make_scene(draft, example["image"], (height, width), numbers, log)
