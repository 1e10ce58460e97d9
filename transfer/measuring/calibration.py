"""Calibrates probabilities: one temperature for a trained model, and a threshold for each class.

Both are chosen on images that were not trained on, and have to be measured on yet other images.
"""

import warnings
from collections.abc import Sequence
from itertools import compress

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.metrics import precision_recall_curve

from zoo.surgery.graph import rebuild

__all__ = ["choose_thresholds", "cooled", "find_temperature", "with_temperature"]

LOWEST, HIGHEST = 0.05, 20.0  # The range of temperatures that are tried.
SMALLEST = 1e-12  # The smallest probability: what float32 rounds to 0 or 1 has no logarithm.


def find_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Finds the temperature at which the probabilities fit the labels best. It is above 1 where they are too high.

    All logits are divided by it, which changes the probabilities, but not which class has the highest one.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2: the temperature of the smallest
    negative log-likelihood on validation data.

    Args:
        labels: The true classes of a softmax, int `[n]`; or 0 and 1 for each of `k` sigmoids, `[n, k]`.
        probabilities: The probabilities of a model, float `[n, k]`.

    Returns:
        The temperature, between 0.05 and 20.

    Raises:
        ValueError: Labels and probabilities do not fit each other.

    Example:

    >>> sure = np.tile([[0.99, 0.01], [0.01, 0.99]], (5, 1))  # Of 10 answers, given with 99%, 8 are right.
    >>> temperature = find_temperature(np.array([0, 1, 0, 1, 0, 1, 0, 1, 1, 0]), sure)
    >>> round(temperature, 2), cooled(sure, temperature).max().round(2)
    (3.31, np.float64(0.8))
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    several = labels.ndim == 2
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[: labels.ndim] or not labels.size:
        raise ValueError(
            "expected labels [n] of classes, or [n, k] of 0 and 1, with probabilities [n, k]; got "
            f"{list(labels.shape)} and {list(probabilities.shape)}"
        )
    logits = _logits(probabilities, several=several)

    def loss(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        if several:
            return float(np.mean(np.logaddexp(0, scaled) - labels * scaled))
        return -float(np.mean(log_softmax(scaled, axis=1)[np.arange(len(labels)), labels]))

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(best.x))


def cooled(probabilities: np.ndarray, temperature: float, *, several: bool = False) -> np.ndarray:
    """Returns the probabilities that a model gives where all of its logits are divided by a temperature.

    Args:
        probabilities: The probabilities of the model, float `[n, k]`.
        temperature: The temperature, a positive number. With 1 nothing changes.
        several: Whether they come from `k` sigmoids, rather than from one softmax. Defaults to False.

    >>> cooled(np.array([[0.9, 0.1]]), 2.0).round(3).tolist()
    [[0.75, 0.25]]
    """
    _check_temperature(temperature)
    logits = _logits(probabilities, several=several) / temperature
    result = expit(logits) if several else softmax(logits, axis=1)
    return result.astype(np.asarray(probabilities).dtype)


def _logits(probabilities: np.ndarray, *, several: bool) -> np.ndarray:
    """Returns logits that give these probabilities. Those of a softmax are known except for a constant."""
    inside = np.clip(np.asarray(probabilities, "float64"), SMALLEST, 1 - SMALLEST if several else 1)
    return logit(inside) if several else np.log(inside)


def with_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """Returns a new model whose probabilities have a temperature: the weights of its last layer are divided by it.

    No layer is added, so that the model exports and runs as before.

    Args:
        model: A functional model whose last layer is a Dense layer with softmax or sigmoid.
        temperature: The temperature, a positive number, as `find_temperature` finds it.

    Returns:
        A copy that is not compiled. The model that was given does not change.

    Raises:
        ValueError: The model has another last layer, or the temperature is not positive.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> model = keras.Model(image, keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(image)))
    >>> with_temperature(model, 2.0).output_shape
    (None, 2)
    """
    _check_temperature(temperature)
    copy = rebuild(model)
    last = copy.layers[-1]
    kind = getattr(getattr(last, "activation", None), "__name__", None)
    if len(copy.outputs) != 1 or not isinstance(last, keras.layers.Dense) or kind not in ("softmax", "sigmoid"):
        raise ValueError(
            f"expected a model that ends in one Dense layer with softmax or sigmoid, as transfer.classifier makes it; "
            f"{model.name} ends in {type(last).__name__} {last.name!r}"
        )
    last.set_weights([weight / temperature for weight in last.get_weights()])
    return copy


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"a temperature is a positive number, got {temperature}")


def choose_thresholds(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """Chooses the threshold of the highest F1 on these images for each label, halfway to the next lower score.

    Choose thresholds on validation images: on training images the scores are higher than on other ones.

    Source: Lipton et al. 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure".

    Args:
        labels: 1 where an image has a label, otherwise 0, `[n, k]`.
        probabilities: The probabilities of a model, float `[n, k]`.
        class_names: The names of the `k` labels, for the warning. Defaults to their numbers.

    Returns:
        The thresholds, float64 `[k]` in 0..1. A label is predicted where its probability is at least the threshold. It
        is 0.5 for a label that no image has, or that all have, and a warning names that label.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:

    >>> choose_thresholds(np.array([[0], [0], [1], [1]]), np.array([[0.05], [0.1], [0.2], [0.3]])).round(2).tolist()
    [0.15]
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, "float64")
    if labels.ndim != 2 or labels.shape != probabilities.shape:
        raise ValueError(
            f"expected labels and probabilities [n, k], got {list(labels.shape)} and {list(probabilities.shape)}"
        )
    constant = (labels == labels[:1]).all(axis=0)
    if constant.any():
        names = class_names if class_names is not None else [f"number {i}" for i in range(labels.shape[1])]
        warnings.warn(
            f"none or all of the {len(labels)} images have {', '.join(compress(names, constant))}: the threshold stays "
            "0.5 there",
            stacklevel=2,
        )
    return np.array(
        [0.5 if constant[i] else _best_threshold(labels[:, i], probabilities[:, i]) for i in range(labels.shape[1])]
    )


def _best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, steps = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, SMALLEST)
    best = int(np.argmax(f1[:-1]))  # The last one belongs to a threshold above all scores.
    lower = scores[scores < steps[best]]
    return float((steps[best] + lower.max()) / 2 if lower.size else steps[best])
