"""The section of the page on calibration: whether probabilities can be taken at their word."""

from collections.abc import Mapping

from transfer.measuring.classes import Evaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.report.figures import reliability_figure
from transfer.report.rendering import render
from transfer.report.runs import measured_on
from transfer.report.sections import Section

Calibrated = Evaluation | MultiLabelEvaluation

__all__ = ["calibration_section", "temperature_of"]


def calibration_section(
    evaluations: Mapping[str, Calibrated], *, prefix: str = "", group: str = "",
    counted: str = "images",
) -> Section:  # fmt: skip
    """Makes the section.

    Args:
        evaluations: The evaluations by the names of the splits. The section is about the first one.
        prefix: What the identifiers of the section and of its figure begin with.
        group: The heading that the section shares with others, or "".
        counted: What the answers are counted in. Defaults to "images".
    """
    split, evaluation = next(iter(evaluations.items()))
    html = render(
        "calibration.html",
        "calibration",
        {
            "measured_on": measured_on(split, len(evaluation.labels)),
            "error": evaluation.calibration_error,
            "temperature": temperature_of(evaluations),
            "figure": reliability_figure(evaluation.reliability(), f"{prefix}reliability", counted),
        },
    )
    return Section(f"{prefix}calibration", "Calibration", html, narrow=True, group=group)


def temperature_of(
    evaluations: Mapping[str, Calibrated],
) -> dict[str, float] | None:
    """Returns the temperature of the validation set, and the calibration error that it gives on the first split.

    It is None where the first split is the validation set itself: measured where it was chosen, a temperature would
    always look good.
    """
    split, evaluation = next(iter(evaluations.items()))
    if split == "valid" or "valid" not in evaluations:
        return None
    temperature = evaluations["valid"].temperature
    return {"value": temperature, "error": evaluation.at_temperature(temperature).calibration_error}
