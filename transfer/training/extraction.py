"""Computing what frozen layers give, once for each image and view."""

import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer.training.division import CacheNotUsed, Division, alone
from transfer.training.feature_cache import VIEWS, FeatureCache
from transfer.training.feature_store import FeatureStore
from transfer.training.features import Features
from transfer.training.frozen_functions import frozen_function, openvino_function

__all__ = ["extract", "through"]

COMPARED = 4  # images: outside of a graph, TensorFlow holds all activations of all of them at once
WORTH_OPENVINO = 3000  # images: with fewer, preparing OpenVINO takes longer than it saves
TOLERANCE = 1e-5  # the most by which stored activations may change the model's outputs, as a share of their size


def extract(
    division: Division,
    model: keras.Model,
    train: tf.data.Dataset,
    valid: tf.data.Dataset | None,
    cache: FeatureCache,
    *,
    tell: Callable[[float], None] = lambda share: None,
) -> tuple[Features, Features | None]:
    """Runs the frozen part over the data: the training images once for each view, the validation images once.

    Args:
        division: The two parts of the model.
        model: The whole model; its outputs for some images are compared with those by way of what would be stored.
        train: Batches of images and labels, as `pipelines.batches` makes them.
        valid: The same for validation, or None.
        cache: How the activations are stored.
        tell: A function that is called with the share in 0..1 that is done.

    Returns:
        The activations of the training images, and those of the validation images.

    Raises:
        CacheNotUsed: The activations are of several sizes, would take more than the limit, or change an output by more
            than 1e-5.
    """
    if any(None in border.shape[1:] for border in division.borders):
        raise CacheNotUsed("images of different sizes have activations of different sizes")
    first_pass = iter(train)
    first = next(first_pass)
    images, some_labels, *weights = first
    batch_size = len(images)
    views = cache.views or VIEWS
    room = {"train": views * _count(train, batch_size), "valid": 0 if valid is None else _count(valid, batch_size)}
    total = sum(room.values())
    needed = total * sum(math.prod(border.shape[1:]) for border in division.borders) * np.dtype(cache.dtype).itemsize
    if needed > cache.limit:
        raise CacheNotUsed(
            f"activations would take {needed / 1e6:,.0f} MB, and {cache.limit / 1e6:,.0f} MB are allowed"
        )
    few, outputs = _border_and_outputs(division, model, images[:COMPARED])
    store = None
    if cache.folder is not None and not weights:  # Weights belong to one training, and are not kept.
        key = f"{cache.key} {views} {cache.dtype}" + (" training only" if valid is None else "")
        store = FeatureStore(cache.folder, key, cache.limit, division.trunk)
        few = [array.astype(cache.dtype, copy=False) for array in few]
        if stored := store.read(few, some_labels, batch_size):
            _compare(division, few, outputs)
            return stored
    run, probe = _fastest(division, images, outputs, cache.dtype, total)
    done = 0

    def count_images(number: int) -> None:
        nonlocal done
        done += number
        tell(min(1, done / total))

    passes = chain([chain([first], first_pass)], repeat(train, views - 1))
    features = _features(run, passes, views, room["train"], probe, batch_size, count_images)
    of_valid = None
    if valid is not None:
        of_valid = _features(run, [valid], 1, room["valid"], probe, batch_size, count_images)
    if store is not None:
        store.write(probe, features, of_valid)
    return features, of_valid


def through(layers: keras.Model, features: Features) -> Features:
    """Carries stored activations of one border on to a later one, through frozen layers.

    Args:
        layers: The model from the tensors of the first border to those of the second.
        features: The activations at the first border.

    Returns:
        The activations at the second border; passes and order are the same.
    """
    run = frozen_function(layers)
    parts: list[list[np.ndarray]] = [[] for _ in layers.outputs]
    passes, n = features.passes, features.images
    for number in range(passes):
        for start in range(0, n, features.batch_size):
            chosen = slice(start, start + features.batch_size)
            inputs = [
                tf.cast(array[number, chosen], tensor.dtype)
                for array, tensor in zip(features.arrays, layers.inputs, strict=True)
            ]
            for part, array in zip(parts, run(*inputs), strict=True):
                part.append(np.asarray(array).astype("float32", copy=False))
    arrays = tuple(np.concatenate(part).reshape(passes, n, *part[0].shape[1:]) for part in parts)
    return replace(features, arrays=arrays)


def _features(
    run: Callable[..., list[Any]],
    passes: Iterable[Iterable[Any]],
    number: int,
    room: int,
    probe: list[np.ndarray],
    batch_size: int,
    done: Callable[[int], None],
) -> Features:
    """Runs frozen layers over some passes through the data; there is room for a number of images."""
    arrays = [np.empty((room, *array.shape[1:]), array.dtype) for array in probe]
    batches: list[Any] = []
    weights: list[np.ndarray] = []
    end = 0
    for images, labels, *own_weights in chain.from_iterable(passes):
        start, end = end, end + len(images)
        for array, values in zip(arrays, run(images), strict=True):
            array[start:end] = values
        batches.append(keras.tree.map_structure(np.asarray, labels))
        weights += map(np.asarray, own_weights)
        done(len(images))

    def by_pass(array: np.ndarray) -> np.ndarray:
        return array[:end].reshape(number, end // number, *array.shape[1:])

    labels = keras.tree.map_structure(lambda *parts: by_pass(_joined(parts)), *batches)
    return Features(
        tuple(map(by_pass, arrays)), labels, batch_size, by_pass(np.concatenate(weights)) if weights else None
    )


def _joined(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Joins the labels of batches, which may differ in how many boxes there is room for; the others get zeros."""
    longest = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    if all(part.shape[1:] == tuple(longest) for part in parts):
        return np.concatenate(parts)
    joined = np.zeros((sum(map(len, parts)), *longest), parts[0].dtype)
    start = 0
    for part in parts:
        joined[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return joined


def _border_and_outputs(division: Division, model: keras.Model, images: Any) -> tuple[list[np.ndarray], ...]:
    """Returns what the whole model has at the border for some images, and its outputs, outside of a graph."""
    whole = keras.Model(model.inputs, [division.borders, keras.tree.flatten(model.outputs)])
    border, outputs = whole(images, training=False)
    return [np.asarray(array) for array in border], [np.asarray(array) for array in outputs]


def _fastest(
    division: Division, images: Any, outputs: list[np.ndarray], dtype: str, total: int
) -> tuple[Callable[..., list[Any]], list[np.ndarray]]:
    """Returns a function for the trunk, and what it gives for some images; the model gives `outputs` for the first."""
    ways: list[Callable[[keras.Model], Callable[..., list[Any]]]] = [frozen_function]
    if total >= WORTH_OPENVINO and importlib.util.find_spec("openvino") is not None:
        ways.insert(0, openvino_function)
    for number, way in enumerate(ways, 1):
        try:
            run = way(division.trunk)
            probe = [np.asarray(array).astype(dtype, copy=False) for array in run(images)]
            _compare(division, [array[: len(outputs[0])] for array in probe], outputs)
        except (CacheNotUsed, RuntimeError):  # It is too far off, or has an operation that OpenVINO does not know.
            if number == len(ways):
                raise
        else:
            break
    return run, probe


def _count(data: tf.data.Dataset, batch_size: int) -> int:
    """Returns the number of images at most: the last batch may be smaller."""
    batches = int(data.cardinality())
    if batches < 0:  # It is unknown after a filter.
        batches = sum(1 for _ in data)
    return batches * batch_size


def _compare(division: Division, stored: list[np.ndarray], expected: list[np.ndarray]) -> None:
    inputs = [array.astype("float32") for array in stored]
    outputs = [np.asarray(output) for output in keras.tree.flatten(division.top(alone(inputs), training=False))]
    difference = float(np.max([_difference(*pair) for pair in zip(outputs, expected, strict=True)]))
    if not difference <= TOLERANCE:
        raise CacheNotUsed(
            f"stored activations would change the outputs by {difference:.1e} of their size, more than {TOLERANCE:g}"
        )


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference of two outputs, as a share of the largest value, or of 1 if that is larger."""
    if not actual.size:
        return 0.0
    return float(np.max(np.abs(actual - expected)) / max(1.0, float(np.max(np.abs(expected)))))
