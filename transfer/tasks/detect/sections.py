"""What the report and the model card of a detector say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
from markupsafe import Markup

from pipelines import Scene, image_pixels
from transfer.drawing import draw
from transfer.measuring.boxes import DetectionEvaluation, Mistakes
from transfer.measuring.table import Table, as_number, count, defined
from transfer.report.figures import COLOURS, GREY, INK, STYLE, as_svg, new_figure
from transfer.report.markdown import as_list
from transfer.report.pictures import embedded
from transfer.report.rendering import SPLITS, render
from transfer.report.runs import few_warning, headline_tiles, measured_on, measured_split, subtitle, training_note
from transfer.report.sections import Card, Section, Sections
from transfer.tasks.learning import Finished
from zoo.metrics.errors import KINDS

__all__ = ["sections"]

MOST_CURVES = len(COLOURS)  # Number of classes whose curves are drawn; of more, those with the most objects.
WORST = 12  # Number of images that are shown.
PICTURE = 560  # Pixels of the longer side of a picture.
WORDS = {  # What the kinds of mistakes are called below an image.
    "class": "wrong class",
    "location": "wrong location",
    "both": "wrong class and location",
    "duplicate": "duplicate",
    "background": "background",
}
RIGHT, WRONG, MISSED = (60, 200, 110), (255, 150, 50), (255, 70, 90)  # The colours of the boxes.


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a detector."""
    measured = {split: cast(DetectionEvaluation, own) for split, own in run.measured.items()}
    split, scenes = measured_split(run)
    evaluation = measured[split]
    thresholds = run.contract.thresholds  # type: ignore[attr-defined]
    names, backbone, detector = evaluation.class_names, run.settings["backbone"], run.settings["detector"]
    numbers = evaluation.metrics()
    notes = {
        name: f"mAP {as_number(own.metrics()['map'])}, {count(int(own.objects().sum()), 'object')}"
        for name, own in measured.items()
    }
    rows = _classes(evaluation, thresholds)
    return Sections(
        title=f"{Path(run.settings['data']).name}: {detector} on {backbone}",
        subtitle=subtitle(run, names, "class", "classes"),
        tiles=headline_tiles(run, notes),
        sections=_sections(split, scenes, evaluation, thresholds, rows),
        training_note=(
            f"{training_note(run.history)} The model has the weights of the last epoch: the validation images chose "
            "none of the epochs."
        ),
        card=Card(
            title=f"{detector} on {backbone}, trained to detect objects of {len(names)} classes",
            headline=(
                f"**mAP50 {as_number(numbers['map50'])}, mAP {as_number(numbers['map'])}** on the {len(scenes)} images "
                f"of the {SPLITS[split]} set, as COCO defines them (1 is perfect)."
            ),
            purpose=(
                "It takes one photo and gives any number of boxes, each with a class and a score. The classes are: "
                f"{as_list(names)}."
            ),
            tables=(_card_table(rows),),
            warnings=few_warning(names, evaluation.objects(), "objects"),
        ),
    )


def _card_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        (row["name"], as_number(row["ap50"]), as_number(row["ap"]), f"{row['threshold']:.2f}", str(row["objects"]))
        for row in rows
    ]
    note = (
        "AP50 is the average precision at an overlap (IoU) of 0.5, and AP its mean over overlaps from 0.50 to 0.95. "
        "Detections below the threshold are not shown."
    )
    return Table(("class", "AP50", "AP", "threshold", "objects"), tuple(cells), note)


def _sections(
    split: str,
    scenes: Any,
    evaluation: DetectionEvaluation,
    thresholds: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
) -> tuple[Section, ...]:
    where = measured_on(split, len(scenes))
    listed = _rendered("classes", {"measured_on": where, "rows": rows, "coco": evaluation.coco.table()})
    drawn = _rendered("curves", {"measured_on": where, "figure": _curves(evaluation)})
    counted = _rendered(
        "errors", {"measured_on": where, "rows": _errors(evaluation), "map": defined(evaluation.errors.map)}
    )
    mistakes = evaluation.mistakes(thresholds)
    worst = mistakes[:WORST]
    shown = _rendered(
        "mistakes",
        {
            "measured_on": where,
            "mistakes": [_shown(own, scenes[own.index], evaluation, thresholds) for own in worst],
            "wrong": len(mistakes),
            "keys": [
                (name, f"rgb{colour}") for name, colour in (("right", RIGHT), ("wrong", WRONG), ("missed", MISSED))
            ],
        },
    )
    number = f"The {len(worst)} worst images" if len(worst) > 1 else "The worst image"
    return (
        Section("classes", "Average precision of each class", listed),
        Section("curves", "Precision over recall", drawn, narrow=True),
        Section("errors", "What goes wrong", counted, narrow=True),
        Section("mistakes", number if worst else "Mistakes", shown),
    )


def _rendered(macro: str, values: Mapping[str, Any]) -> Markup:
    return render("section.html", macro, values, package=__package__)


def _classes(evaluation: DetectionEvaluation, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    half, mean = evaluation.coco.per_class(threshold=0.5), evaluation.coco.per_class()
    objects = evaluation.objects()
    return [
        {
            "name": name,
            "ap50": defined(half[number]),
            "ap": defined(mean[number]),
            "threshold": thresholds.get(name, 0.0),
            "objects": int(objects[number]),
        }
        for number, name in enumerate(evaluation.class_names)
    ]


def _curves(evaluation: DetectionEvaluation) -> Markup:
    """Draws precision over recall of the classes with the most objects."""
    objects, names = evaluation.objects(), evaluation.class_names
    drawn = [number for number in np.argsort(-objects, kind="stable")[:MOST_CURVES].tolist() if objects[number]]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5.4, 4)
        axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        for place, number in enumerate(drawn):
            curve = evaluation.curves.curves[number]
            colour = COLOURS[place]
            axes.step(curve.recall, curve.precision, where="post", color=colour, linewidth=1.6)
            axes.plot([], [], color=colour, label=names[number])
        axes.grid(color=INK, alpha=GREY)
        if drawn:
            axes.legend(loc="lower left", fontsize=8)
        areas = "; ".join(f"{names[number]} {evaluation.curves.per_class[number]:.3f}" for number in drawn)
        return as_svg(figure, "curves", f"Precision over recall; the areas are {areas or 'none'}")


def _errors(evaluation: DetectionEvaluation) -> list[dict[str, Any]]:
    breakdown = evaluation.errors
    return [
        {"kind": kind, "what": what, "count": breakdown.counts[kind], "gain": defined(breakdown.gains[kind])}
        for kind, what in KINDS.items()
    ]


def _shown(
    mistakes: Mistakes, scene: Scene, evaluation: DetectionEvaluation, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    names = evaluation.class_names
    detections = evaluation.shown(mistakes.index, thresholds)
    truth = evaluation.truths[mistakes.index]
    missed = {name: truth[name][mistakes.missed] for name in ("boxes", "classes")}
    # Right detections lie at the bottom and have no words: the others are to be looked at.
    order = np.argsort(mistakes.wrong, kind="stable")
    labels = [
        f"{names[detections['classes'][i]]} {detections['scores'][i]:.2f}" if mistakes.wrong[i] else "" for i in order
    ]
    labels += [names[number] for number in missed["classes"]]
    colours = [WRONG if mistakes.wrong[i] else RIGHT for i in order] + [MISSED] * len(missed["classes"])
    boxes = np.concatenate([detections["boxes"][order], missed["boxes"]])
    picture = draw(image_pixels(scene.image), boxes, labels, colours, longer=PICTURE)
    kinds, counts = np.unique(mistakes.kinds[mistakes.wrong], return_counts=True)
    words = [f"{WORDS[kind]}: {number}" for kind, number in zip(kinds.tolist(), counts.tolist(), strict=True)]
    words += [f"missed: {int(mistakes.missed.sum())}"] * bool(mistakes.missed.any())
    return {
        "name": scene.name,
        "words": ", ".join(words),
        "picture": embedded(picture),
        "width": picture.width,
        "height": picture.height,
    }
