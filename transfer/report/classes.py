"""Sections of the page for one class of several: confusion, calibration, metrics of the classes, worst mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipelines import Samples, canvases
from pipelines.prepare.preparation import Preparation
from transfer.measuring.classes import Evaluation
from transfer.report.calibration import calibration_section
from transfer.report.figures import matrix_figure
from transfer.report.markdown import as_text
from transfer.report.pictures import embedded, heat_overlay
from transfer.report.rendering import render
from transfer.report.runs import measured_on
from transfer.report.sections import Section
from zoo.explain import grad_cam

__all__ = ["Mistake", "class_sections", "confusion_remark", "worst_mistakes"]

TEMPLATE = "classes.html"
LARGEST_MATRIX = 24  # Number of classes above which the confusion matrix is a picture.
NARROW = 8  # Number of classes up to which the confusion matrix fits beside another section.
MOST_PAIRS = 10  # Number of pairs of classes that are listed as confused.
WORST = 12  # Number of mistakes that are shown.
PICTURE = 224  # Pixels of the longer side of a mistake's picture.


@dataclass(frozen=True)
class Mistake:
    """An image for which the model predicts a wrong class.

    Attributes:
        name: The image's name.
        true: The number of the true class.
        predicted: The number of the predicted class.
        true_score: The probability of the true class, in 0..1.
        score: The probability of the predicted class, in 0..1.
        image: What the model is given, uint8 `[h, w, 3]`.
        heat: How much each place speaks for the predicted class (Grad-CAM), float32 `[h, w]` in 0..1.
    """

    name: str
    true: int
    predicted: int
    true_score: float
    score: float
    image: np.ndarray
    heat: np.ndarray


def worst_mistakes(
    model: keras.Model, samples: Samples, evaluation: Evaluation, preparation: Preparation, *, count: int = WORST
) -> list[Mistake]:
    """Finds the wrong predictions whose true class has the lowest probability, the lowest first.

    Args:
        model: A flat classifier with one output.
        samples: The images that were evaluated, in the order of the evaluation.
        evaluation: Their labels and probabilities.
        preparation: How the model is shown an image.
        count: Maximum number of mistakes. Defaults to 12.
    """
    rows = np.arange(len(evaluation.labels))
    predicted = evaluation.predictions
    true_scores = evaluation.probabilities[rows, evaluation.labels]
    wrong = np.flatnonzero(predicted != evaluation.labels)
    worst = wrong[np.argsort(true_scores[wrong], kind="stable")][:count]
    if not len(worst):
        return []
    chosen = samples[worst]
    images = np.concatenate([images for images, _ in canvases(chosen, preparation).as_numpy_iterator()])
    heats = grad_cam(model, images, predicted[worst].tolist())
    return [
        Mistake(
            name=chosen.names[i],
            true=int(evaluation.labels[index]),
            predicted=int(predicted[index]),
            true_score=float(true_scores[index]),
            score=float(evaluation.probabilities[index, predicted[index]]),
            image=np.rint(images[i]).astype("uint8"),
            heat=heats[i],
        )
        for i, index in enumerate(worst)
    ]


def class_sections(
    evaluations: Mapping[str, Evaluation], mistakes: Sequence[Mistake], *, prefix: str = "", group: str = ""
) -> tuple[Section, ...]:
    """Makes the sections on a classifier.

    Args:
        evaluations: The evaluations by the names of the splits. The sections are about the first one.
        mistakes: The worst mistakes in that split.
        prefix: What the identifiers of the sections and figures begin with.
        group: The heading that the sections share, or "".
    """
    split, evaluation = next(iter(evaluations.items()))
    names, confusion = evaluation.class_names, evaluation.confusion
    small = len(names) <= LARGEST_MATRIX
    where = measured_on(split, len(evaluation.labels))
    confused = render(
        TEMPLATE,
        "confusion",
        {
            "measured_on": where,
            "names": names,
            "matrix": _cells(confusion) if small else None,
            "figure": None if small else matrix_figure(confusion, f"{prefix}matrix"),
            "pairs": [] if len(names) == 2 else _pairs(confusion, names),
        },
    )
    listed = render(TEMPLATE, "classes", {"measured_on": where, "rows": _rows(evaluation)})
    wrong = int(confusion.sum() - np.trace(confusion))
    shown = render(
        TEMPLATE,
        "mistakes",
        {"measured_on": where, "mistakes": [_shown(mistake, names) for mistake in mistakes], "wrong": wrong},
    )
    number = f"The {len(mistakes)} worst mistakes" if len(mistakes) > 1 else "The worst mistake"
    return (
        Section(f"{prefix}confusion", "Confusion matrix", confused, len(names) <= NARROW, group),
        calibration_section(evaluations, prefix=prefix, group=group),
        Section(f"{prefix}classes", "Precision, recall and F1 of each class", listed, group=group),
        Section(f"{prefix}mistakes", number if mistakes else "Mistakes", shown, group=group),
    )


def confusion_remark(evaluation: Evaluation) -> tuple[str, ...]:
    """Returns a sentence on the two classes that are confused most often, as Markdown; none where none are."""
    pairs = _pairs(evaluation.confusion, evaluation.class_names, most=1)
    return tuple(
        f"Most often, {as_text(pair['true'])} is mistaken for {as_text(pair['predicted'])}: {pair['count']} times."
        for pair in pairs
    )


def _cells(confusion: np.ndarray) -> list[list[dict[str, float]]]:
    """Returns each number of a confusion matrix, and its share of its row."""
    totals = np.maximum(confusion.sum(axis=1), 1)
    return [[{"count": int(c), "share": c / total} for c in row] for row, total in zip(confusion, totals, strict=True)]


def _pairs(confusion: np.ndarray, names: Sequence[str], most: int = MOST_PAIRS) -> list[dict[str, Any]]:
    """Returns the pairs of classes that are confused most often."""
    wrong = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    return [{"true": names[t], "predicted": names[p], "count": int(wrong[t, p])} for t, p in pairs if wrong[t, p]]


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns the metrics of each class; None stands for a share of nothing."""
    predicted, intervals = evaluation.confusion.sum(axis=0), evaluation.intervals
    return [
        {
            "name": name,
            "precision": float(evaluation.precision[i]) if predicted[i] else None,
            "precision_interval": intervals.precision[i].as_list(),
            "recall": float(evaluation.recall[i]) if evaluation.support[i] else None,
            "recall_interval": intervals.recall[i].as_list(),
            "f1": float(evaluation.f1[i]) if predicted[i] or evaluation.support[i] else None,
            "f1_interval": intervals.f1[i].as_list(),
            "support": int(evaluation.support[i]),
        }
        for i, name in enumerate(evaluation.class_names)
    ]


def _shown(mistake: Mistake, names: Sequence[str]) -> dict[str, Any]:
    picture, overlay = heat_overlay(mistake.image, mistake.heat, PICTURE)
    return {
        "name": mistake.name,
        "true": names[mistake.true],
        "predicted": names[mistake.predicted],
        "true_score": mistake.true_score,
        "score": mistake.score,
        "width": picture.width,
        "height": picture.height,
        "picture": embedded(picture),
        "overlay": embedded(overlay),
    }
