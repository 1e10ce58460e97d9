"""What the report and the model card of a network for segmentation say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from markupsafe import Markup
from PIL import Image

from pipelines import Scene, class_colour, image_pixels
from pipelines.annotations.outlines import class_mask
from transfer.drawing import paint
from transfer.measuring.pixels import PixelEvaluation
from transfer.measuring.table import as_number, as_percent, defined
from transfer.report.markdown import as_list
from transfer.report.pictures import embedded
from transfer.report.rendering import SPLITS, render
from transfer.report.runs import headline_tiles, measured_on, measured_split, subtitle, training_note
from transfer.report.sections import Card, Section, Sections
from transfer.tasks.learning import Finished
from transfer.tasks.segment.answers import background_of
from zoo.metrics.segmentation import IGNORE

__all__ = ["sections"]

WORST = 8  # Number of images that are shown.
PICTURE = 300  # Pixels of the longer side of each of the three parts of a picture.
GAP = 6  # pixels between the parts
WRONG = (255, 60, 60)


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a network for segmentation."""
    measured = {split: cast(PixelEvaluation, own) for split, own in run.measured.items()}
    split, scenes = measured_split(run)
    evaluation = measured[split]
    names, backbone, network = evaluation.class_names, run.settings["backbone"], run.settings["network"]
    numbers = evaluation.metrics()
    notes = {name: _note(own.metrics()) for name, own in measured.items()}
    return Sections(
        title=f"{Path(run.settings['data']).name}: {network} on {backbone}",
        subtitle=subtitle(run, names, "class", "classes"),
        tiles=headline_tiles(run, notes),
        sections=_sections(split, scenes, evaluation, run.outputs["mask"]),
        training_note=training_note(run.history),
        card=Card(
            title=f"{network} on {backbone}, trained to tell {len(names)} classes of pixels apart",
            headline=(
                f"**Mean IoU {as_number(numbers['miou'])}, mean Dice {as_number(numbers['dice'])}** on the "
                f"{len(scenes)} images of the {SPLITS[split]} set (1 is perfect)."
            ),
            purpose=(
                "It takes one photo and gives a class for each of its pixels, and how likely it is. The classes are: "
                f"{as_list(names)}. It knows no others: every pixel gets one of them."
            ),
            tables=tuple(evaluation.tables()),
        ),
    )


def _note(numbers: Mapping[str, Any]) -> str:
    return f"Dice {as_number(numbers['dice'])}, {as_percent(numbers['pixel_accuracy'])} of the pixels right"


def _sections(split: str, scenes: Any, evaluation: PixelEvaluation, masks: Any) -> tuple[Section, ...]:
    where = measured_on(split, len(scenes))
    worst = evaluation.worst()
    listed = {"measured_on": where, "rows": _classes(evaluation), "confusions": evaluation.confusions()}
    shown = [_shown(scenes[index], masks[index], evaluation, index) for index in worst[:WORST]]
    number = f"The {len(shown)} worst images" if len(shown) > 1 else "The worst image"
    return (
        Section("classes", "How well each class is found", _rendered("classes", listed)),
        Section(
            "mistakes",
            number if shown else "Mistakes",
            _rendered("mistakes", {"measured_on": where, "shown": shown, "wrong": len(worst)}),
        ),
    )


def _rendered(macro: str, values: Mapping[str, Any]) -> Markup:
    return render("section.html", macro, values, package=__package__)


def _classes(evaluation: PixelEvaluation) -> list[dict[str, Any]]:
    total, pixels = evaluation.total, evaluation.pixels()
    return [
        {
            "name": name,
            "colour": f"rgb{class_colour(number)}",
            "iou": defined(total.iou[number]),
            "dice": defined(total.dice[number]),
            "found": defined(total.accuracy[number]),
            "share": float(pixels[number] / max(1, pixels.sum())),
        }
        for number, name in enumerate(evaluation.class_names)
    ]


def _shown(scene: Scene, mask: np.ndarray, evaluation: PixelEvaluation, index: int) -> dict[str, Any]:
    names, image, truth = evaluation.class_names, image_pixels(scene.image), class_mask(scene)
    background = background_of(names)
    colours = {number: class_colour(number) for number in range(len(names)) if number != background}
    wrong = ((mask != truth) & (truth != IGNORE)).astype(np.uint8)
    parts = [
        paint(image, truth, colours, {}, longer=PICTURE),
        paint(image, mask, colours, {}, longer=PICTURE),
        paint(image, wrong, {1: WRONG}, {}, longer=PICTURE),
    ]
    picture = beside(parts)
    scores = evaluation.images[index]
    wrong_share = wrong.sum() / max(1, (truth != IGNORE).sum())
    return {
        "name": scene.name,
        "words": f"mean IoU {as_number(scores.mean_iou)}, {as_percent(wrong_share)} of the pixels wrong",
        "picture": embedded(picture),
        "width": picture.width,
        "height": picture.height,
    }


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Returns pictures of one size side by side, with a white gap between them."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for number, picture in enumerate(pictures):
        whole.paste(picture, (number * (width + GAP), 0))
    return whole
