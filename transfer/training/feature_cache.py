"""What is frozen is computed once: its activations are stored, and only what is above them is trained.

The frozen part of a network is a constant function. An image, or an augmented view of it, always gives the same
activations where the frozen part ends; to compute them again in each epoch, as a training of the whole network does,
is most of the work of fine-tuning. `divide` finds that border in any flat model, `Features` holds what comes out there,
and the part above is an ordinary `keras.Model` that shares its layers with the whole.
"""

import hashlib
import importlib.util
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Samples
from zoo.layers import DropPath

__all__ = [
    "CacheNotUsed",
    "Division",
    "FeatureCache",
    "Features",
    "between",
    "divide",
    "extract",
    "fingerprint",
    "through",
]

DIGESTS = "digests.json"
COMPARED = 4  # images: outside of a graph, TensorFlow holds all activations of all of them at once
WORTH_OPENVINO = 3000  # images: with fewer, preparing OpenVINO takes longer than it saves
# Views that do as well as more, measured: a head alone gains nothing from a third (see benchmarks/RESULTS.md).
VIEWS, VIEWS_OF_HEAD = 4, 2
TOLERANCE = 1e-5  # by which stored activations may change the model's outputs, at most


class CacheNotUsed(Exception):
    """Why activations are not stored. Training goes on without them."""


@dataclass(frozen=True)
class FeatureCache:
    """How activations are stored.

    Attributes:
        views: how often each training image is augmented and stored. Epochs take the views in turn. None for as many as
            do as well as more: 4, and 2 where only the head is trained.
        limit: bytes that all stored activations may take; what needs more is not stored.
        dtype: "float32"; or "float16", in half the space, where that keeps the outputs within 1e-5.
        folder: where they are kept for later trainings on the same data, each under a key of its own; None keeps them
            in memory, for this training only.
        key: stands for the data: their contents, order, preprocessing and augmentation. Needed with a folder. That of
            the frozen weights is added to it.
    """

    views: int | None = None
    limit: int = 2 * 10**9
    dtype: str = "float32"
    folder: Path | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if (self.views is not None and self.views < 1) or self.limit < 0:
            raise ValueError(f"expected at least one view and a limit in bytes, got {self.views} and {self.limit}")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"activations are stored as float16 or float32, got {self.dtype!r}")
        if self.folder is not None and not self.key:
            raise ValueError("activations kept in a folder need a key that stands for the data; got none")


@dataclass(frozen=True)
class Division:
    """A model in two parts at the border of what is frozen.

    Attributes:
        trunk: from the model's inputs to `[tensor, ...]` at the border; a constant function.
        top: from these to the model's outputs. Both share their layers with the model.
    """

    trunk: keras.Model
    top: keras.Model

    @property
    def borders(self) -> list[keras.KerasTensor]:
        return list(self.trunk.outputs)


def divide(model: keras.Model) -> Division | None:
    """Finds the constant part of a model as its layers are frozen now.

    Constant is a layer that neither trains nor draws at random, on inputs that are constant. Batch norms are if they
    are frozen: their moving statistics do not move then.

    Args:
        model: functional, and flat.

    Returns:
        The two parts; None if nothing is constant.

    Raises:
        CacheNotUsed: a layer is called more than once, or maps at the border have no fixed size.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, trainable=False)(image)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Dropout(0.2)(x)))
    >>> [tuple(tensor.shape) for tensor in divide(model).borders]
    [(None, 4)]
    """
    constant = {id(tensor) for tensor in model.inputs}
    border: dict[int, keras.KerasTensor] = {}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inputs, outputs = _tensors(operation, model)
        if _is_constant(operation) and all(id(tensor) in constant for tensor in inputs):
            constant |= {id(tensor) for tensor in outputs}
        else:
            border |= {id(tensor): tensor for tensor in inputs if id(tensor) in constant}
    tensors = list(border.values())
    if not tensors or {id(tensor) for tensor in tensors} <= {id(tensor) for tensor in model.inputs}:
        return None
    if any(None in tensor.shape[1:] for tensor in tensors):
        raise CacheNotUsed(f"the sizes of {[tuple(tensor.shape) for tensor in tensors]} are open")
    trunk = keras.Model(model.input, tensors, name=f"{model.name}_trunk")
    return Division(trunk, keras.Model(_alone(tensors), model.output, name=f"{model.name}_top"))


def _alone(tensors: Any) -> Any:
    """One tensor is passed as such, several as a list."""
    return tensors[0] if len(tensors) == 1 else tensors


def _tensors(operation: keras.Operation, model: keras.Model) -> tuple[list, list]:
    """What goes into an operation and what comes out, in this model: others may share the layer."""
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    nodes = [node for node in operation._inbound_nodes if id(node) in own]
    if len(nodes) != 1:
        raise CacheNotUsed(f"layer {operation.name} is called {len(nodes)} times")
    return nodes[0].input_tensors, nodes[0].output_tensors


def _is_constant(operation: keras.Operation) -> bool:
    if not isinstance(operation, keras.layers.Layer):
        return True
    if operation.trainable_weights or isinstance(operation, keras.Model):
        return False
    if isinstance(operation, keras.layers.BatchNormalization):
        return not operation.trainable
    if isinstance(operation, DropPath):
        return not operation.trainable or operation.rate == 0
    return not any(variable.path.endswith("seed_generator_state") for variable in operation.variables)


@dataclass(frozen=True)
class Features:
    """Activations of a number of images, and their labels, over one or several passes through the images.

    Attributes:
        arrays: one for each tensor at the border, `[passes, images, ...]`.
        labels: `[passes, images, ...]`, or a dict of such: passes differ in order.
        batch_size: of the data that they were computed from.
    """

    arrays: tuple[np.ndarray, ...]
    labels: Any
    batch_size: int

    @property
    def passes(self) -> int:
        return self.arrays[0].shape[0]

    @property
    def images(self) -> int:
        return self.arrays[0].shape[1]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def batches(self, *, seed: int | None = None, epoch: int = 0, batch: int = 0) -> "FeatureBatches":
        """One pass an epoch, in turn, for `fit`; with a seed, in a new order each epoch. They begin at an `epoch`, and
        in it at a `batch`."""
        return FeatureBatches(self, seed, epoch, batch)


class FeatureBatches(keras.utils.PyDataset):
    """Batches of stored activations. Which images a batch has depends on seed, epoch and number alone."""

    def __init__(self, features: Features, seed: int | None, epoch: int, batch: int):
        super().__init__()
        self.features, self.seed, self.epoch, self.first = features, seed, epoch, batch
        self._reorder()

    def __len__(self) -> int:
        return math.ceil(self.features.images / self.features.batch_size) - self.first

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        start = (self.first + index) * self.features.batch_size
        chosen = self.order[start : start + self.features.batch_size]
        number = self.epoch % self.features.passes
        arrays = tuple(array[number][chosen].astype("float32", copy=False) for array in self.features.arrays)
        return _alone(arrays), keras.tree.map_structure(lambda each: each[number][chosen], self.features.labels)

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._reorder()

    def _reorder(self) -> None:
        n = self.features.images
        self.order = (
            np.arange(n) if self.seed is None else np.random.default_rng([self.seed, self.epoch]).permutation(n)
        )


def extract(
    division: Division,
    model: keras.Model,
    train: tf.data.Dataset,
    valid: tf.data.Dataset,
    cache: FeatureCache,
    *,
    tell: Callable[[float], None] = lambda share: None,
) -> tuple[Features, Features]:
    """Runs the frozen part over the data: the training images once for each view, the validation images once.

    Args:
        division: of the model.
        model: the whole; its outputs for some images are compared with those by way of what would be stored.
        train, valid: batches of images and labels, as `pipelines.batches` makes them.
        cache: how the activations are stored.
        tell: is called with the share in 0..1 that is done.

    Returns:
        Those of the training and of the validation images.

    Raises:
        CacheNotUsed: they would take more than the limit, or change an output by more than 1e-5.
    """
    images, some_labels = next(iter(train))
    batch_size = len(images)
    views = cache.views or VIEWS
    total = views * _count(train, batch_size) + _count(valid, batch_size)
    needed = total * sum(math.prod(border.shape[1:]) for border in division.borders) * np.dtype(cache.dtype).itemsize
    if needed > cache.limit:
        raise CacheNotUsed(
            f"activations would take {needed / 1e6:,.0f} MB, and {cache.limit / 1e6:,.0f} MB are allowed"
        )
    few, outputs = _border_and_outputs(division, model, images[:COMPARED])
    store = None if cache.folder is None else _Store(cache, division.trunk)
    if store is not None:
        few = [array.astype(cache.dtype, copy=False) for array in few]
        if stored := store.read(few, some_labels, batch_size):
            _compare(division, few, outputs)
            return stored
    run, probe = _fastest(division, images, outputs, cache.dtype, total)
    done = 0

    def passes(data: tf.data.Dataset, number: int) -> Features:
        nonlocal done
        room = number * _count(data, batch_size)
        arrays = [np.empty((room, *array.shape[1:]), cache.dtype) for array in probe]
        labels = keras.tree.map_structure(
            lambda each: np.empty((room, *each.shape[1:]), each.dtype.as_numpy_dtype), some_labels
        )
        end = 0
        for _ in range(number):
            for images, classes in data:
                start, end = end, end + len(images)
                for array, values in zip(arrays, run(images), strict=True):
                    array[start:end] = values
                for known, each in zip(keras.tree.flatten(labels), keras.tree.flatten(classes), strict=True):
                    known[start:end] = each
                done += len(images)
                tell(min(1, done / total))

        def by_pass(array: np.ndarray) -> np.ndarray:
            return array[:end].reshape(number, end // number, *array.shape[1:])

        return Features(tuple(map(by_pass, arrays)), keras.tree.map_structure(by_pass, labels), batch_size)

    features = passes(train, views), passes(valid, 1)
    if store is not None:
        store.write(probe, *features)
    return features


def through(between: keras.Model, features: Features) -> Features:
    """Stored activations of one border carried on to a later one, through frozen layers.

    Args:
        between: from the tensors of the first border to those of the second.
        features: at the first border.

    Returns:
        At the second border, passes and order unchanged.
    """
    run = frozen_function(between)
    parts: list[list[np.ndarray]] = [[] for _ in between.outputs]
    passes, n = features.passes, features.images
    for number in range(passes):
        for start in range(0, n, features.batch_size):
            chosen = slice(start, start + features.batch_size)
            inputs = [
                tf.cast(array[number, chosen], tensor.dtype)
                for array, tensor in zip(features.arrays, between.inputs, strict=True)
            ]
            for part, array in zip(parts, run(*inputs), strict=True):
                part.append(np.asarray(array).astype("float32", copy=False))
    arrays = tuple(np.concatenate(part).reshape(passes, n, *part[0].shape[1:]) for part in parts)
    return replace(features, arrays=arrays)


def fingerprint(samples: Samples) -> str:
    """Stands for images and labels in their order: of files the names, sizes and times of change; else the contents.

    >>> import numpy as np
    >>> pixels = np.zeros((2, 4, 6, 3), "uint8")
    >>> fingerprint(Samples(pixels, [0, 1], "ab")) == fingerprint(Samples(pixels, [0, 0], "ab"))
    False
    """
    digest = hashlib.blake2b(samples.labels.tobytes(), digest_size=16)
    for image in samples.images:
        if isinstance(image, str):
            status = os.stat(image)
            image = f"{image} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
        digest.update(image if isinstance(image, bytes) else image.tobytes())
    return digest.hexdigest()


def frozen_function(model: keras.Model) -> Callable[..., list[Any]]:
    """The model as a TensorFlow graph with its weights as constants, in inference: TensorFlow can then join batch
    norms with convolutions, which it cannot where weights are variables. `run(tensor, ...) -> [tensor, ...]`."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    function = tf.function(lambda *inputs: keras.tree.flatten(model(_alone(inputs), training=False)), autograph=False)
    return convert_variables_to_constants_v2(function.get_concrete_function(*specs))


def _border_and_outputs(division: Division, model: keras.Model, images: Any) -> tuple[list[np.ndarray], ...]:
    """What the whole model has at the border for some images, and what it gives, in one go and outside of a graph."""
    whole = keras.Model(model.inputs, [division.borders, keras.tree.flatten(model.outputs)])
    border, outputs = whole(images, training=False)
    return [np.asarray(each) for each in border], [np.asarray(each) for each in outputs]


def _fastest(
    division: Division, images: Any, outputs: list[np.ndarray], dtype: str, total: int
) -> tuple[Callable[..., list[Any]], list[np.ndarray]]:
    """A function for the trunk, and what it gives for some images, for the first of which the model gives `outputs`."""
    ways: list[Callable[[keras.Model], Callable[..., list[Any]]]] = [frozen_function]
    if total >= WORTH_OPENVINO and importlib.util.find_spec("openvino") is not None:
        ways.insert(0, openvino_function)
    for number, way in enumerate(ways, 1):
        try:
            run = way(division.trunk)
            probe = [np.asarray(array).astype(dtype, copy=False) for array in run(images)]
            _compare(division, [array[: len(outputs[0])] for array in probe], outputs)
        except (CacheNotUsed, RuntimeError):  # too far off, or an operation that OpenVINO does not know
            if number == len(ways):
                raise
        else:
            break
    return run, probe


def openvino_function(model: keras.Model) -> Callable[..., list[Any]]:
    """The model for OpenVINO, in float32, on all cores: a quarter faster than TensorFlow, after seconds of preparation.
    `run(tensor, ...) -> [array, ...]`."""
    import openvino

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]

    def answer(*inputs: Any) -> list[Any]:
        return keras.tree.flatten(model(_alone(inputs), training=False))

    converted = openvino.convert_model(tf.function(answer, input_signature=specs, autograph=False))
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.compile_model(converted, "CPU", hints).create_infer_request()

    def run(*inputs: Any) -> list[Any]:
        request.infer([np.asarray(each) for each in inputs])
        return [request.get_output_tensor(i).data.copy() for i in range(len(model.outputs))]

    return run


def _count(data: tf.data.Dataset, batch_size: int) -> int:
    """Number of images, at most: the last batch may be smaller."""
    batches = int(data.cardinality())
    if batches < 0:  # unknown, after a filter
        batches = sum(1 for _ in data)
    return batches * batch_size


def _compare(division: Division, stored: list[np.ndarray], expected: list[np.ndarray]) -> None:
    inputs = [array.astype("float32") for array in stored]
    outputs = keras.tree.flatten(division.top(_alone(inputs), training=False))
    pairs = zip(outputs, expected, strict=True)
    difference = max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)
    if not difference <= TOLERANCE:
        raise CacheNotUsed(f"stored activations would change the outputs by {difference:.1e}, more than {TOLERANCE:g}")


class _Store:
    """Activations on disk: NumPy files in a folder of their own, with a digest of each.

    Beside them lies a probe: what came out for the first batch when they were written. If the same batch gives
    something else now, then data or layers are not what the key says, and the activations are computed anew.
    """

    def __init__(self, cache: FeatureCache, trunk: keras.Model):
        digest = hashlib.blake2b(f"{cache.key} {cache.views or VIEWS} {cache.dtype}".encode(), digest_size=16)
        for weight in trunk.weights:
            digest.update(weight.numpy().tobytes())
        assert cache.folder is not None
        self.limit = cache.limit
        self.folder = cache.folder / digest.hexdigest()

    def read(self, probe: list[np.ndarray], labels: Any, batch_size: int) -> tuple[Features, Features] | None:
        """What was written; None where nothing was, or what was is damaged, or is of something else. `labels` are some
        of those to be found, for their structure."""
        try:
            digests = json.loads((self.folder / DIGESTS).read_text())
            if any(_digest(self.folder / name) != digest for name, digest in digests.items()):
                _say_altered(self.folder)
                return None
            known = self._load("probe")
            fits = len(known) == len(probe) and all(
                a[: len(b)].shape == b.shape and np.allclose(a[: len(b)], b, rtol=1e-3, atol=1e-3)
                for a, b in zip(known, probe, strict=True)
            )
            if not fits:
                return None
            (self.folder / DIGESTS).touch()  # used last: now
            found = [keras.tree.pack_sequence_as(labels, self._load(name)) for name in ("train_labels", "valid_labels")]
            return (
                Features(self._load("train"), found[0], batch_size),
                Features(self._load("valid"), found[1], batch_size),
            )
        except FileNotFoundError:
            if self.folder.exists():
                _say_altered(self.folder)
            return None
        except (OSError, ValueError):
            _say_altered(self.folder)
            return None

    def write(self, probe: list[np.ndarray], train: Features, valid: Features) -> None:
        """Keeps them for later if it can; a full disk is no reason to stop."""
        work = self.folder.with_suffix(".writing")
        groups = {"probe": probe, "train": train.arrays, "valid": valid.arrays}
        groups |= {
            "train_labels": keras.tree.flatten(train.labels),
            "valid_labels": keras.tree.flatten(valid.labels),
        }
        try:
            self._make_room(train.nbytes + valid.nbytes)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            for name, arrays in groups.items():
                for i, array in enumerate(arrays):
                    np.save(work / f"{name}-{i}.npy", array, allow_pickle=False)
            digests = {path.name: _digest(path) for path in work.glob("*.npy")}
            (work / DIGESTS).write_text(json.dumps(digests))
            shutil.rmtree(self.folder, ignore_errors=True)
            work.rename(self.folder)
        except OSError:
            shutil.rmtree(work, ignore_errors=True)

    def _load(self, name: str) -> tuple[np.ndarray, ...]:
        paths = (self.folder / f"{name}-{i}.npy" for i in count())
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in takewhile(Path.exists, paths))

    def _make_room(self, needed: int) -> None:
        """Removes what was used longest ago until all that is kept stays inside the limit."""
        used = sorted(self.folder.parent.glob(f"*/{DIGESTS}"), key=lambda path: path.stat().st_mtime)
        sizes = {path.parent: sum(file.stat().st_size for file in path.parent.iterdir()) for path in used}
        for entry in list(sizes):
            if sum(sizes.values()) + needed <= self.limit:
                return
            shutil.rmtree(entry)
            del sizes[entry]


def _say_altered(folder: Path) -> None:
    warnings.warn(f"stored activations in {folder} are cut short or altered; they are computed anew", stacklevel=2)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def between(first: Division, second: Division) -> keras.Model | None:
    """The frozen layers from the border of one division to that of another with more frozen; None if it is the same."""
    if [id(tensor) for tensor in first.borders] == [id(tensor) for tensor in second.borders]:
        return None
    return keras.Model(_alone(first.borders), second.borders, name="between")
