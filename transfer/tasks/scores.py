"""What the answering halves of several tasks share: scores of classes, and comparing numbers. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transfer.tasks.task import Arrays, Difference

__all__ = ["Prediction", "compare_numbers", "prediction_rows", "predictions_of", "ranked", "reaching"]


@dataclass(frozen=True)
class Prediction:
    """One class, or one label, and its score.

    Attributes:
        index: Its place in the model's output.
        label: Its name.
        score: Its probability, in 0..1.
        wnid: WordNet's identifier, for models that know the classes of ImageNet; otherwise None.
    """

    index: int
    label: str
    score: float
    wnid: str | None = None


def ranked(
    scores: np.ndarray, names: Sequence[str], *, top: int | None, threshold: float | None, own: Mapping[str, float],
    wnids: Sequence[str] | None = None, least: float = 0.0,
) -> tuple[Prediction, ...]:  # fmt: skip
    """Returns the classes with the highest scores, highest first, that reach their thresholds.

    Args:
        scores: float `[k]`.
        names: The names of the `k` classes.
        top: Maximum number of classes; None takes all.
        threshold: The threshold for all classes. Where it is None, `own` holds.
        own: Thresholds of some classes, by name.
        wnids: WordNet's identifiers of the classes, or None.
        least: The threshold of classes that have none of their own.

    >>> ranked(np.array([0.2, 0.7]), ["ant", "bee"], top=None, threshold=0.5, own={})
    (Prediction(index=1, label='bee', score=0.7, wnid=None),)
    """
    chosen = []
    for index in np.argsort(-scores, kind="stable")[:top].tolist():
        name = names[index]
        if scores[index] >= (own.get(name, least) if threshold is None else threshold):
            chosen.append(Prediction(index, name, float(scores[index]), wnids[index] if wnids else None))
    return tuple(chosen)


def reaching(scores: np.ndarray, names: Sequence[str], own: Mapping[str, float], *, least: float) -> np.ndarray:
    """Returns which scores reach the thresholds of their classes: bool, of the shape of `scores`, `[..., k]`."""
    return scores >= np.array([own.get(name, least) for name in names])


def prediction_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Returns predictions as JSON can hold them; what is None is left out."""
    return [{name: value for name, value in asdict(one).items() if value is not None} for one in predictions]


def predictions_of(rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    """Returns predictions side by side, as columns of a table: label1, score1, label2, score2 and so on.

    >>> predictions_of([{"label": "ant", "score": 0.5}], 2)
    {'label1': 'ant', 'score1': 0.5}
    """
    flat: dict[str, Any] = {}
    for rank, row in enumerate(rows[:count], 1):
        flat |= {f"label{rank}": row["label"], f"score{rank}": row["score"]}
    return flat


def compare_numbers(expected: Arrays, actual: Arrays, name: str, words: Sequence[str], tolerance: float,
                    *, unit: float = 1.0) -> Difference:  # fmt: skip
    """Compares one output, a number for each of some names.

    Args:
        expected: Outputs of the trained model for one photo.
        actual: Outputs of an artifact.
        name: The name of the output.
        words: What each of its numbers is called, in messages.
        tolerance: The largest difference that is allowed, in `unit`.
        unit: What a difference of 1 stands for, such as the longer side of the photo for coordinates.
    """
    difference = np.abs(np.asarray(expected[name], float) - np.asarray(actual[name], float)).reshape(-1) / unit
    difference[~np.isfinite(difference)] = np.inf
    if not len(difference):
        return Difference(0.0)
    worst = int(difference.argmax())
    value = float(difference[worst])
    if value <= tolerance:
        return Difference(value)
    got, said = np.ravel(actual[name])[worst], np.ravel(expected[name])[worst]
    return Difference(
        value,
        f"it got {got:.6g} for {words[worst]}, and the trained model says {said:.6g}: a difference of {value:.3g}",
    )
