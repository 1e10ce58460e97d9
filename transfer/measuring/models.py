"""Runs a Keras model over a data set in inference mode, and evaluates what it says."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer.measuring.classes import Evaluation
from transfer.measuring.heads import HeadEvaluation, HeadsEvaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.numbers import RegressionEvaluation
from transfer.probabilities import check_probabilities, of_two_classes
from transfer.training.objectives import MultiLabel, Objectives, OneOutput, Regression, SingleLabel

__all__ = ["evaluate", "measure", "run_over"]


def evaluate(
    model: keras.Model,
    dataset: Iterable[tuple[tf.Tensor, tf.Tensor]],
    class_names: Sequence[str],
    *,
    mirror: bool = False,
) -> Evaluation:
    """Runs a classifier over a data set once, in inference mode.

    Args:
        model: A model from images in 0..255 to probabilities `[n, k]`.
        dataset: Batches of images, float32 `[b, h, w, 3]`, and labels, int `[b]`, in a fixed order, as
            `pipelines.batches` gives them.
        class_names: The names of the `k` classes, in the order of the labels.
        mirror: Whether to average over each image and its mirror image (test-time augmentation), which takes twice the
            time. It does not suit images in which left and right differ in meaning, such as writing. Defaults to False.

    Returns:
        Labels and probabilities in the order of the data set, and what follows from them.

    Raises:
        ValueError: The data set is empty, or labels or outputs do not fit the class names.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    >>> dataset = tf.data.Dataset.from_tensor_slices((tf.zeros((5, 4, 6, 3)), [0, 1, 1, 0, 1])).batch(2)
    >>> evaluate(model, dataset, ["ant", "bee"]).confusion.sum()
    np.int64(5)
    """
    return measure(model, dataset, SingleLabel(), class_names, mirror=mirror)


def measure(
    model: keras.Model,
    dataset: Iterable[tuple[tf.Tensor, Any]],
    objective: SingleLabel | MultiLabel | Regression | Objectives,
    names: Any,
    *,
    mirror: bool = False,
) -> Any:
    """Runs a model over a data set once, in inference mode, and evaluates it as its training objective asks.

    Args:
        model: A model with the outputs that the objective is for.
        dataset: Batches of images, float32 `[b, h, w, 3]` in 0..255, and labels, in a fixed order.
        objective: The objective that the model was trained for.
        names: The names of the classes, labels or numbers. For `Objectives`, a dict of these by the names of the heads.
        mirror: Whether to average over each image and its mirror image, which takes twice the time. It does not suit
            images in which left and right differ in meaning, such as writing. Defaults to False.

    Returns:
        An `Evaluation`, a `MultiLabelEvaluation` or a `RegressionEvaluation`. For `Objectives`, a `HeadsEvaluation`
        with one of these for each head.

    Raises:
        ValueError: The data set is empty, labels or outputs do not fit the names, or outputs are no probabilities.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> model = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(image)))
    >>> dataset = tf.data.Dataset.from_tensor_slices((tf.zeros((5, 4, 6, 3)), [1.0, 2.0, 3.0, 4.0, 5.0])).batch(2)
    >>> measure(model, dataset, Regression(), ["age"]).mean_absolute_error.tolist()
    [3.0]
    """
    labels, outputs = run_over(model, dataset, mirror=mirror)
    if type(objective) is SingleLabel and len(names) == 2:
        outputs = of_two_classes(outputs)
    for part, output in _parts(objective, outputs):
        check_probabilities(output, part.values, f"the outputs of {model.name} for {type(part).__name__}")
    if not isinstance(objective, Objectives):
        return _evaluation(objective, names, labels, outputs)
    heads = objective.objectives
    return HeadsEvaluation(
        {name: _evaluation(head, names[name], labels[name], outputs[name]) for name, head in heads.items()}
    )


def run_over(model: keras.Model, dataset: Iterable[tuple[tf.Tensor, Any]], *, mirror: bool = False) -> tuple[Any, Any]:
    """Runs a model over a data set once, in inference mode.

    Args:
        model: A model that takes float32 images.
        dataset: Batches of images and labels, in a fixed order. Labels may be of any structure.
        mirror: Whether to average over each image and its mirror image. Defaults to False.

    Returns:
        The labels and the model's outputs for all images, as arrays in the structure that they have in a batch.

    Raises:
        ValueError: The data set is empty.
    """
    # One graph for batches of all sizes: calling the model eagerly is slower, and `predict` would lose the labels.
    shape = model.inputs[0].shape

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def predict(images: tf.Tensor) -> Any:
        outputs = model(images, training=False)
        if not mirror:
            return outputs
        mirrored = model(tf.reverse(images, [2]), training=False)
        return tf.nest.map_structure(lambda one, other: (one + other) / 2, outputs, mirrored)

    labels, outputs = [], []
    for images, batch_labels in dataset:
        outputs.append(tf.nest.map_structure(np.asarray, predict(tf.cast(images, tf.float32))))
        labels.append(tf.nest.map_structure(np.asarray, batch_labels))
    if not labels:
        raise ValueError("expected at least one batch to evaluate, got an empty data set")
    all_labels, all_outputs = (
        tf.nest.map_structure(lambda *batches: np.concatenate(batches), *values) for values in (labels, outputs)
    )
    return all_labels, all_outputs


def _parts(objective: OneOutput | Objectives, outputs: Any) -> Iterator[tuple[OneOutput, Any]]:
    """Yields each objective with the outputs that it is for."""
    if isinstance(objective, Objectives):
        for name, part in objective.objectives.items():
            yield part, outputs[name]
    else:
        yield objective, outputs


def _evaluation(objective: OneOutput, names: Sequence[str], labels: Any, outputs: Any) -> HeadEvaluation:
    if isinstance(objective, SingleLabel):
        return Evaluation(tuple(names), labels.astype(np.int32), outputs.astype(np.float32))
    if isinstance(objective, MultiLabel):
        return MultiLabelEvaluation(tuple(names), labels, outputs.astype(np.float32))
    return RegressionEvaluation(tuple(names), labels.reshape(len(labels), -1).astype(float), outputs.astype(float))
