"""Sections of the page for several labels: metrics of the labels, calibration, worst mistakes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines import Samples, image_pixels
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.table import defined
from transfer.report.calibration import calibration_section
from transfer.report.pictures import embedded, fitted
from transfer.report.rendering import render
from transfer.report.runs import measured_on
from transfer.report.sections import Section

__all__ = ["label_sections", "worst_labels"]

TEMPLATE = "labels.html"
WORST = 12  # Number of images that are shown.
MOST_LABELS = 8  # Number of labels that stand below an image.


def worst_labels(evaluation: MultiLabelEvaluation, *, count: int = WORST) -> list[int]:
    """Finds the images whose wrong labels were predicted with the most certainty, the worst first.

    An image counts 1 minus the probability of each label that it has and that was not predicted, plus the probability
    of each label that was predicted and that it lacks.

    Args:
        evaluation: The evaluation.
        count: Maximum number of images. Defaults to 12.

    Returns:
        The numbers of the images.
    """
    cost = _costs(evaluation)
    order = np.argsort(-cost, kind="stable")[:count]
    return [int(index) for index in order if cost[index] > 0]


def _costs(evaluation: MultiLabelEvaluation) -> np.ndarray:
    wrong = evaluation.predictions != evaluation.labels.astype(bool)
    return (wrong * np.abs(evaluation.labels - evaluation.probabilities)).sum(axis=1)


def label_sections(
    evaluations: Mapping[str, MultiLabelEvaluation], samples: Samples, *, prefix: str = "", group: str = ""
) -> tuple[Section, ...]:
    """Makes the sections on a model that predicts several labels.

    Args:
        evaluations: The evaluations by the names of the splits. The sections are about the first one.
        samples: The images of that split, in the order of the evaluation.
        prefix: What the identifiers of the sections and figures begin with.
        group: The heading that the sections share, or "".
    """
    split, evaluation = next(iter(evaluations.items()))
    where = measured_on(split, len(evaluation.labels))
    listed = render(
        TEMPLATE,
        "labels",
        {
            "measured_on": where,
            "rows": _rows(evaluation),
            "exact_match": evaluation.exact_match,
            "mean_f1": float(evaluation.f1.mean()),
        },
    )
    worst = worst_labels(evaluation)
    shown = render(
        TEMPLATE,
        "mistakes",
        {
            "measured_on": where,
            "mistakes": [_shown(index, evaluation, samples) for index in worst],
            "wrong": round((1 - evaluation.exact_match) * len(evaluation.labels)),
        },
    )
    number = f"The {len(worst)} worst images" if len(worst) > 1 else "The worst image"
    return (
        Section(f"{prefix}labels", "Precision, recall and F1 of each label", listed, group=group),
        calibration_section(evaluations, prefix=prefix, group=group, counted="answers"),
        Section(f"{prefix}mistakes", number if worst else "Mistakes", shown, group=group),
    )


def _rows(evaluation: MultiLabelEvaluation) -> list[dict[str, Any]]:
    """Returns the metrics of each label; None stands for a share of nothing."""
    predicted, intervals = evaluation.predictions.sum(axis=0), evaluation.intervals
    return [
        {
            "name": name,
            "average_precision": defined(evaluation.average_precision[i]),
            "precision": float(evaluation.precision[i]) if predicted[i] else None,
            "precision_interval": intervals["precision"][i].as_list(),
            "recall": float(evaluation.recall[i]) if evaluation.support[i] else None,
            "recall_interval": intervals["recall"][i].as_list(),
            "f1": float(evaluation.f1[i]) if predicted[i] or evaluation.support[i] else None,
            "f1_interval": intervals["f1"][i].as_list(),
            "threshold": float(evaluation.thresholds[i]),
            "support": int(evaluation.support[i]),
        }
        for i, name in enumerate(evaluation.class_names)
    ]


def _shown(index: int, evaluation: MultiLabelEvaluation, samples: Samples) -> dict[str, Any]:
    true, predicted = evaluation.labels[index].astype(bool), evaluation.predictions[index]
    scores = evaluation.probabilities[index]
    kinds = {"wrong": predicted & ~true, "missing": true & ~predicted, "right": true & predicted}
    picture = fitted(image_pixels(samples.images[index]))
    return {
        "name": samples.names[index],
        "picture": embedded(picture),
        "width": picture.width,
        "height": picture.height,
        "kinds": {
            kind: [
                (evaluation.class_names[i], float(scores[i]))
                for i in sorted(np.flatnonzero(members), key=lambda i: -abs(scores[i] - true[i]))[:MOST_LABELS]
            ]
            for kind, members in kinds.items()
        },
        "more": {kind: max(0, int(members.sum()) - MOST_LABELS) for kind, members in kinds.items()},
    }
