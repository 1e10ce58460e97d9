"""From scenes to a `tf.data.Dataset` of samples with boxes, and to batches of them.

One sample is one dict, the same for every source. It holds, as present:

    image      uint8 [h, w, 3], upright RGB
    boxes      float32 [n, 4], xyxy, absolute pixels of that image
    classes    int32 [n]
    crowd      bool [n]
    difficult  bool [n]
    ids        int32 [n], identities within a clip, -1 for none
    path       string, the file, or the image's name where it is not a file
    label      int32 [], or float32 [k] for several labels or numbers, instead of boxes
    mask       uint8 [h, w], class of each pixel          if masks="classes"
    instances  bool [n, h, w], the pixels of each object  if masks="instances"
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.annotations.outlines import class_mask, instance_masks
from pipelines.data import Samples, Scene
from pipelines.loading.python_decoding import decode_any, decode_in_python

__all__ = ["padded_batches", "sample_dataset", "scene_dataset", "scene_reader"]

# Key in a sample -> field of a scene, for everything that each object has.
_COLUMNS = {"boxes": "boxes", "classes": "classes", "crowd": "crowd", "difficult": "difficult", "ids": "identities"}
# Kind of masks -> key in a sample, dtype, and the function that draws the mask.
_MASKS: dict[str, tuple[str, Any, Callable[[Scene], np.ndarray]]] = {
    "classes": ("mask", tf.uint8, class_mask),
    "instances": ("instances", tf.bool, instance_masks),
}
# The values of padding; everything else that is ragged is padded with zeros.
_PADDING = {"classes": -1, "ids": -1}


def scene_dataset(
    scenes: Sequence[Scene],
    *,
    masks: str | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> tf.data.Dataset:
    """Makes a data set of samples, one dict for each scene (see the head of this module), with images of any size.

    Args:
        scenes: The scenes, for example `read_scenes(folder).train`. Images without objects are samples too. Tuples and
            lists are prepared once; any other sequence (`SyntheticScenes`) is asked for each scene when it is needed.
        masks: `None`, "classes" (`pipelines.annotations.outlines.class_mask`) or "instances" (`instance_masks`).
        shuffle: Whether each epoch has a new order, over all scenes.
        seed: Decides the orders.

    Returns:
        A `tf.data.Dataset`, one epoch long. Resize its samples, then make batches with `padded_batches`.

    Raises:
        ValueError: no scenes, or an unknown kind of `masks`.

    Example:

    >>> scene = Scene(np.zeros([6, 8, 3], np.uint8), "a", (6, 8), boxes=[[1, 2, 5, 6]], classes=[3])
    >>> sample = next(iter(scene_dataset([scene], masks="classes")))
    >>> sample["image"].shape, sample["boxes"].numpy().tolist(), int(sample["mask"][3, 3])
    (TensorShape([6, 8, 3]), [[1.0, 2.0, 5.0, 6.0]], 4)
    """
    if not len(scenes):
        raise ValueError("scene_dataset: expected at least one scene, received none")
    if masks not in (None, "classes", "instances"):
        raise ValueError(f'scene_dataset: expected `masks` as None, "classes" or "instances"; received {masks!r}')
    make = scene_reader(scenes, masks)
    dataset = tf.data.Dataset.range(len(scenes))
    if shuffle and len(scenes) > 1:
        dataset = dataset.shuffle(len(scenes), seed=seed)
    return dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def sample_dataset(samples: Samples, *, shuffle: bool = False, seed: int = 0) -> tf.data.Dataset:
    """Makes a data set of samples with labels, one dict for each image (`image`, `label`, `path`), of any size.

    It leads from `read_data` to everything that takes dicts (`ResizePolicy`, `augment`), as `scene_dataset` leads from
    `read_scenes`. `pipelines.batches` is the shorter way to train a classifier.

    Args:
        samples: The samples, for example `read_data(folder).train`.
        shuffle: Whether each epoch has a new order, over all samples.
        seed: Decides the orders.

    Raises:
        ValueError: no samples.

    Example:

    >>> from pipelines import read_data
    >>> sample = next(iter(sample_dataset(read_data("sklearn:digits").train)))
    >>> sorted(sample), sample["image"].shape
    (['image', 'label', 'path'], TensorShape([8, 8, 3]))
    """
    if not len(samples):
        raise ValueError("sample_dataset: expected at least one sample, received none")
    images, labels = samples.images, tf.constant(samples.labels)
    is_path = not samples.decoded and isinstance(images[0], str)
    paths = tf.constant([os.fsencode(entry) for entry in (images if is_path else samples.names)], tf.string)
    stored = paths if is_path else tf.constant(images if samples.decoded else list(images))

    @tf.autograph.experimental.do_not_convert
    def make(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image = stored[index]
        if not samples.decoded:
            image = decode_any(tf.io.read_file(image) if is_path else image)
        return {"image": image, "label": labels[index], "path": paths[index]}

    dataset = tf.data.Dataset.range(len(samples))
    if shuffle and len(samples) > 1:
        dataset = dataset.shuffle(len(samples), seed=seed)
    return dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def scene_reader(scenes: Sequence[Scene], masks: str | None = None) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the function from the number of a scene to its sample, as `scene_dataset` describes it, in a graph."""
    return _prepared(scenes, masks) if isinstance(scenes, tuple | list) else _on_demand(scenes, masks)


def _prepared(scenes: Sequence[Scene], masks: str | None) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the function from the number of a scene to its sample, with all boxes of all scenes in a few tensors."""
    starts = np.concatenate([[0], np.cumsum([len(scene) for scene in scenes])])
    columns = {key: np.concatenate([getattr(scene, name) for scene in scenes]) for key, name in _COLUMNS.items()}
    paths = tf.constant([_path(scene) for scene in scenes], tf.string)
    load = _image_loader(scenes, paths)

    @tf.autograph.experimental.do_not_convert
    def make(index: tf.Tensor) -> dict[str, tf.Tensor]:
        start, end = tf.unstack(tf.gather(starts, [index, index + 1]))
        sample = {key: tf.convert_to_tensor(column)[start:end] for key, column in columns.items()}
        sample["image"] = load(index)
        sample["path"] = paths[index]
        if masks is not None:
            key, dtype, function = _MASKS[masks]
            mask = tf.numpy_function(lambda i: function(scenes[i]), [index], dtype, stateful=False)
            sample[key] = tf.ensure_shape(mask, [None] * (2 if masks == "classes" else 3))
        return sample

    return make


def _on_demand(scenes: Sequence[Scene], masks: str | None) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the function from the number of a scene to its sample, for scenes that are made at that moment."""
    keys = [*_COLUMNS, "image", "path"]
    dtypes = [tf.float32, tf.int32, tf.bool, tf.bool, tf.int32, tf.uint8, tf.string]
    shapes: list[list[int | None]] = [[None, 4], [None], [None], [None], [None], [None, None, 3], []]
    if masks is not None:
        keys.append(_MASKS[masks][0])
        dtypes.append(_MASKS[masks][1])
        shapes.append([None] * (2 if masks == "classes" else 3))

    def values(index: int) -> list[Any]:
        scene = scenes[int(index)]
        mask = [] if masks is None else [_MASKS[masks][2](scene)]
        return [*(getattr(scene, name) for name in _COLUMNS.values()), _pixels(scene), _path(scene), *mask]

    @tf.autograph.experimental.do_not_convert
    def make(index: tf.Tensor) -> dict[str, tf.Tensor]:
        made = tf.numpy_function(values, [index], dtypes, stateful=False)
        return {key: tf.ensure_shape(v, shape) for key, v, shape in zip(keys, made, shapes, strict=True)}

    return make


def _path(scene: Scene) -> bytes:
    return os.fsencode(scene.image if isinstance(scene.image, str) else scene.name)


def _pixels(scene: Scene) -> np.ndarray:
    if isinstance(scene.image, np.ndarray):
        return scene.image
    return decode_in_python(scene.image if isinstance(scene.image, bytes) else Path(scene.image).read_bytes())


def _image_loader(scenes: Sequence[Scene], paths: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from the number of a scene to its pixels; files are read and decoded in the graph."""
    kinds = {type(scene.image) for scene in scenes}
    if kinds == {str}:
        return lambda index: decode_any(tf.io.read_file(paths[index]))
    if kinds == {bytes}:
        contents = tf.constant([scene.image for scene in scenes], tf.string)
        return lambda index: decode_any(contents[index])

    def pixels(index: int) -> np.ndarray:
        return _pixels(scenes[index])

    return lambda index: tf.ensure_shape(tf.numpy_function(pixels, [index], tf.uint8, stateful=False), [None, None, 3])


def padded_batches(
    dataset: tf.data.Dataset,
    batch_size: int,
    *,
    max_boxes: int | None = None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Makes batches of samples of one size, in which every image has the same number of rows for boxes.

    Args:
        dataset: A data set of sample dicts (`scene_dataset`) whose images were resized to one size.
        batch_size: Number of images in a batch.
        max_boxes: Number of rows for boxes. `None` takes the number that the fullest image of each batch needs.
        drop_remainder: Whether a last batch of fewer images is left out.

    Returns:
        A data set of dicts: `image` `[b, H, W, 3]`, `boxes` `float32 [b, m, 4]`, `classes` `int32 [b, m]` and
        everything else that the samples have, padded at the end with boxes of zeros, of class -1 and identity -1; and
        the number of real boxes of each image, `num_boxes` `int32 [b]`.

    Raises:
        ValueError: images without a fixed size, or a `batch_size` below 1.
        tf.errors.InvalidArgumentError: while reading, an image with more than `max_boxes` boxes.

    Example:

    >>> scenes = [Scene(np.zeros([6, 8, 3], np.uint8), str(n), (6, 8), [[0, 0, 2, 2]] * n, [1] * n) for n in range(3)]
    >>> fix = lambda sample: sample | {"image": tf.ensure_shape(sample["image"], [6, 8, 3])}
    >>> fixed = scene_dataset(scenes).map(fix)
    >>> batch = next(iter(padded_batches(fixed, 3)))
    >>> batch["boxes"].shape, batch["num_boxes"].numpy().tolist(), batch["classes"].numpy().tolist()
    (TensorShape([3, 2, 4]), [0, 1, 2], [[-1, -1], [1, -1], [1, 1]])
    """
    spec = dataset.element_spec
    if batch_size < 1:
        raise ValueError(f"padded_batches: expected a batch_size of 1 or more, received {batch_size}")
    if not spec["image"].shape.is_fully_defined():
        raise ValueError(
            f"padded_batches: expected images of one size, received {spec['image'].shape}. Resize each sample first, "
            "boxes and masks with the image"
        )

    @tf.autograph.experimental.do_not_convert
    def count(sample: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        number = tf.shape(sample["boxes"])[0]
        if max_boxes is not None:
            fits = tf.debugging.Assert(
                number <= max_boxes,
                ["more boxes than max_boxes in", sample.get("path", ""), "boxes:", number, "max_boxes:", max_boxes],
            )
            with tf.control_dependencies([fits]):
                number = tf.identity(number)
        return sample | {"num_boxes": number}

    shapes = {key: list(tensor.shape) for key, tensor in spec.items()} | {"num_boxes": []}
    padding: dict[str, Any] = {}
    for key, shape in shapes.items():
        # The first axis of everything that each object has is open; masks have the image's size by now.
        if max_boxes is not None and key in (*_COLUMNS, "instances"):
            shape[0] = max_boxes
        dtype = tf.int32 if key == "num_boxes" else spec[key].dtype
        empty = b"" if dtype == tf.string else _PADDING.get(key, 0)
        padding[key] = tf.constant(empty, dtype) if dtype == tf.string else tf.cast(empty, dtype)
    batches = dataset.map(count, num_parallel_calls=tf.data.AUTOTUNE).padded_batch(
        batch_size, padded_shapes=shapes, padding_values=padding, drop_remainder=drop_remainder
    )
    return batches.prefetch(tf.data.AUTOTUNE)
