"""What the report and the model card of a network for one object say."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from pipelines import image_pixels
from transfer.drawing import draw
from transfer.measuring.places import IOU, NO_OBJECT, LocalisationEvaluation
from transfer.report.figures import histogram_figure
from transfer.report.markdown import as_list
from transfer.report.pictures import embedded
from transfer.report.rendering import SPLITS, render
from transfer.report.runs import (
    few_warning,
    headline_sentence,
    headline_tiles,
    measured_on,
    measured_split,
    subtitle,
    training_note,
)
from transfer.report.sections import Card, Section, Sections
from transfer.tasks.learning import Finished

__all__ = ["sections", "worst_places"]

WORST = 12  # Number of images that are shown.
PICTURE = 400  # Pixels of the longer side of a picture.
TRUE, PREDICTED = (60, 200, 110), (255, 150, 50)  # The colours of the boxes.


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a network for one object."""
    split, scenes = measured_split(run)
    evaluation = cast(LocalisationEvaluation, run.measured[split])
    names = evaluation.class_names
    backbone = run.settings["backbone"]
    counted = int(evaluation.counted.sum())
    answer = "one class and one box"
    if evaluation.objectness is not None:
        answer += ", and the probability that there is an object at all"
    return Sections(
        title=f"{Path(run.settings['data']).name}: {backbone} fine-tuned",
        subtitle=subtitle(run, names, "class", "classes"),
        tiles=headline_tiles(run),
        sections=_sections(split, scenes, evaluation),
        training_note=training_note(run.history),
        card=Card(
            title=f"{backbone}, fine-tuned to locate one object of {len(names)} classes",
            headline=headline_sentence(
                run,
                f"of {counted} images of the {SPLITS[split]} set get the right class and a box that overlaps the true "
                "one with an IoU of at least 0.5",
            ),
            purpose=f"It takes one photo and gives {answer}. The classes are: {as_list(names)}.",
            tables=tuple(evaluation.tables()),
            warnings=(
                *few_warning(names, evaluation.support),
                "It gives one object for each image. Of several objects it was trained to give the largest one.",
            ),
        ),
    )


def worst_places(evaluation: LocalisationEvaluation, *, count: int = WORST) -> list[int]:
    """Finds the images with wrong answers: first those with a wrong class, then those with the lowest IoU.

    Args:
        evaluation: The evaluation.
        count: Maximum number of images. Defaults to 12.

    Returns:
        The numbers of the images.
    """
    wrong = np.flatnonzero(~evaluation.right & evaluation.counted)
    other = evaluation.predictions[wrong] != evaluation.labels[wrong]
    order = np.lexsort((wrong, evaluation.ious[wrong], ~other))
    return wrong[order][:count].tolist()


def _sections(split: str, scenes: Any, evaluation: LocalisationEvaluation) -> tuple[Section, ...]:
    where = measured_on(split, len(scenes))
    table = evaluation.tables()[0]
    listed = _rendered("classes", {"measured_on": where, "rows": evaluation.per_class(), "note": table.note})
    ious = evaluation.ious[evaluation.has_object]
    figure = histogram_figure(ious, "ious", title="IoU", label="IoU of the predicted and the true box", limits=(0, 1),
                              mark=IOU)  # fmt: skip
    share = float((ious >= IOU).mean()) if len(ious) else None
    drawn = _rendered("overlap", {"measured_on": where, "figure": figure, "share": share})
    worst = worst_places(evaluation)
    shown = _rendered(
        "mistakes",
        {
            "measured_on": where,
            "mistakes": [_shown(index, scenes[index], evaluation) for index in worst],
            "wrong": int((~evaluation.right & evaluation.counted).sum()),
            "keys": [("true", f"rgb{TRUE}"), ("predicted", f"rgb{PREDICTED}")],
        },
    )
    number = f"The {len(worst)} worst images" if len(worst) > 1 else "The worst image"
    return (
        Section("classes", "Right answers of each class", listed),
        Section("overlap", "Overlap of the boxes", drawn),
        Section("mistakes", number if worst else "Mistakes", shown),
    )


def _rendered(macro: str, values: dict[str, Any]) -> Any:
    return render("section.html", macro, values, package=__package__)


def _shown(index: int, scene: Any, evaluation: LocalisationEvaluation) -> dict[str, Any]:
    true, predicted = int(evaluation.labels[index]), int(evaluation.predictions[index])
    both = [(true, evaluation.boxes, TRUE), (predicted, evaluation.predicted_boxes, PREDICTED)]
    shown = [(boxes[index], colour) for number, boxes, colour in both if number != NO_OBJECT]
    # Without labels, which would lie upon each other: the words below the picture name the classes.
    boxes, colours = [box for box, _ in shown], [colour for _, colour in shown]
    picture = draw(image_pixels(scene.image), np.reshape(boxes, (-1, 4)), [""] * len(boxes), colours, longer=PICTURE)
    return {
        "name": scene.name,
        "picture": embedded(picture),
        "width": picture.width,
        "height": picture.height,
        "true": "no object" if true == NO_OBJECT else evaluation.class_names[true],
        "predicted": "no object" if predicted == NO_OBJECT else evaluation.class_names[predicted],
        "score": None if predicted == NO_OBJECT else float(evaluation.probabilities[index, predicted]),
        "iou": float(evaluation.ious[index]) if NO_OBJECT not in (true, predicted) else None,
    }
