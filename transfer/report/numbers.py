"""Sections of the page for numbers: their errors, predicted over true numbers, worst images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines import Samples, image_pixels
from transfer.measuring.numbers import RegressionEvaluation
from transfer.measuring.table import as_number
from transfer.report.figures import histogram_figure, scatter_figure
from transfer.report.pictures import embedded, fitted
from transfer.report.rendering import render
from transfer.report.runs import measured_on
from transfer.report.sections import Section

__all__ = ["number_sections", "worst_numbers"]

TEMPLATE = "numbers.html"
WORST = 12  # Number of images that are shown.
MOST_DRAWN = 6  # Number of numbers of which figures are drawn, and which stand below an image.


def _relative_errors(evaluation: RegressionEvaluation) -> np.ndarray:
    """Returns the absolute errors as shares of the spread of the true numbers, `[n, k]`."""
    spread = evaluation.labels.std(axis=0)
    return np.abs(evaluation.errors) / np.where(spread > 0, spread, 1)


def worst_numbers(evaluation: RegressionEvaluation, *, count: int = WORST) -> list[int]:
    """Finds the images with the largest errors, as shares of the standard deviation of the true numbers.

    Args:
        evaluation: The evaluation.
        count: Maximum number of images. Defaults to 12.

    Returns:
        The numbers of the images, the largest error first. Images without any error are left out.
    """
    largest = _relative_errors(evaluation).max(axis=1)
    order = np.argsort(-largest, kind="stable")[:count]
    return [int(index) for index in order if largest[index] > 0]


def number_sections(
    evaluations: Mapping[str, RegressionEvaluation], samples: Samples, *, prefix: str = "", group: str = ""
) -> tuple[Section, ...]:
    """Makes the sections on a model that predicts numbers.

    Args:
        evaluations: The evaluations by the names of the splits. The sections are about the first one.
        samples: The images of that split, in the order of the evaluation.
        prefix: What the identifiers of the sections and figures begin with.
        group: The heading that the sections share, or "".
    """
    split, evaluation = next(iter(evaluations.items()))
    where = measured_on(split, len(evaluation.labels))
    table = evaluation.tables()[0]
    listed = render(TEMPLATE, "numbers", {"measured_on": where, "shown": table})
    drawn_numbers = range(min(len(evaluation.names), MOST_DRAWN))
    drawn = render(
        TEMPLATE,
        "errors",
        {
            "measured_on": where,
            "figures": [figure for i in drawn_numbers for figure in _figures(evaluation, i, prefix)],
            "more": max(0, len(evaluation.names) - MOST_DRAWN),
        },
    )
    worst = worst_numbers(evaluation)
    shown = render(
        TEMPLATE,
        "mistakes",
        {"measured_on": where, "mistakes": [_shown(index, evaluation, samples) for index in worst]},
    )
    heading = (
        f"The {len(worst)} images with the largest errors" if len(worst) > 1 else "The image with the largest error"
    )
    return (
        Section(f"{prefix}numbers", "Errors of each number", listed, group=group),
        Section(f"{prefix}errors", "Predicted and true numbers", drawn, group=group),
        Section(f"{prefix}mistakes", heading if worst else "Images with errors", shown, group=group),
    )


def _figures(evaluation: RegressionEvaluation, i: int, prefix: str) -> list[Any]:
    name = evaluation.names[i]
    scatter = scatter_figure(evaluation.labels[:, i], evaluation.predictions[:, i], name, f"{prefix}scatter-{i}")
    histogram = histogram_figure(
        evaluation.errors[:, i],
        f"{prefix}histogram-{i}",
        title=f"Errors of {name}",
        label="predicted minus true",
        mark=0.0,
    )
    return [scatter, histogram]


def _shown(index: int, evaluation: RegressionEvaluation, samples: Samples) -> dict[str, Any]:
    picture = fitted(image_pixels(samples.images[index]))
    order = np.argsort(-_relative_errors(evaluation)[index], kind="stable")[:MOST_DRAWN]
    return {
        "name": samples.names[index],
        "picture": embedded(picture),
        "width": picture.width,
        "height": picture.height,
        "numbers": [
            {
                "name": evaluation.names[i],
                "predicted": as_number(evaluation.predictions[index, i]),
                "true": as_number(evaluation.labels[index, i]),
                "error": f"{evaluation.errors[index, i]:+.3g}",
            }
            for i in order
        ],
    }
