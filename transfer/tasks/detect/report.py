"""The page and the model card of a finished detector's run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from pipelines import Scene, SceneData
from transfer.contract import Proof
from transfer.measuring.boxes import Measured, Mistakes
from transfer.predict.drawing import colour_of, draw
from transfer.predict.predictor import pixels_of
from transfer.report.figures import (
    BLUE,
    INK,
    ORANGE,
    STYLE,
    as_svg,
    count,
    duration,
    embedded,
    new_figure,
    template,
    times,
)
from transfer.report.model_card import FEW, as_code, as_text, table
from transfer.tasks.detect.training import Training
from zoo.metrics.errors import KINDS

__all__ = ["model_card", "write"]

PARTS = {"train": "training", "valid": "validation", "test": "test"}
MOST_LISTED = 200
MOST_CURVES = 12  # classes; of more, those with the most objects are drawn
WORST = 12
PICTURE = 560  # pixels of the longer side
FOUND, WRONG, MISSED = (60, 200, 110), (255, 150, 50), (255, 70, 90)


def write(
    path: str | Path,
    *,
    data: SceneData,
    training: Training,
    measured: Mapping[str, Measured],
    scenes: Sequence[Scene],
    thresholds: Mapping[str, float],
    proof: Proof,
    seconds: Mapping[str, float],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Writes the page: self-contained, without scripts, for light and dark screens.

    Args:
        path: of the HTML file.
        data: what was trained and measured on, with its faults.
        training: its epochs.
        measured: by the name of the part of the data, the one that the page goes into first.
        scenes: of that part.
        thresholds: of each class the score from which detections are shown.
        proof: of the export.
        seconds: how long each part of the job took, by its name.
        config: what was asked for.
        versions: of the libraries.
    """
    part, judged = next(iter(measured.items()))
    mistakes = judged.mistakes(dict(thresholds))
    page = template("detection.html").render(
        title=f"{Path(config['data']).name}: {config['detector']} on {config['backbone']}",
        subtitle=f"{count(len(data.class_names), 'class', 'classes')}, {count(len(data), 'picture')}",
        tiles=_tiles(measured, proof, seconds),
        training=_training_figures(training),
        measured_on=f"On the {count(len(judged.truths), 'picture')} of the {PARTS[part]} set",
        classes=_classes(judged, thresholds),
        table=judged.coco.table(),
        curves=_curves(judged),
        errors=_errors(judged),
        errors_map=_number(judged.errors.map),
        mistakes=[_shown(mistake, scenes[mistake.index], judged, thresholds) for mistake in mistakes[:WORST]],
        num_mistakes=len(mistakes),
        keys=[(name, f"rgb{colour}") for name, colour in (("found", FOUND), ("wrong", WRONG), ("missed", MISSED))],
        parts=list(PARTS.values()),
        counts=_counts(data),
        audited=bool(config.get("audit")),
        faults=data.faults[:MOST_LISTED],
        num_faults=len(data.faults),
        times=times(seconds),
        proof=proof,
        config=[(name, "–" if value is None else value) for name, value in config.items()],
        versions=list(versions.items()),
        footer=f"Written by transfer-zoo {versions.get('transfer-zoo', '')}.",
    )
    # A file's name need not be Unicode: what is not is written as a character reference.
    Path(path).write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _tiles(measured: Mapping[str, Measured], proof: Proof, seconds: Mapping[str, float]) -> list[dict[str, str]]:
    tiles = []
    for part, found in measured.items():
        numbers = found.summary()
        tiles.append(
            {
                "name": f"{PARTS[part]} mAP50".capitalize().replace("map50", "mAP50"),
                "value": "–" if math.isnan(numbers["map50"]) else f"{numbers['map50']:.3f}",
                "note": f"mAP {numbers['map']:.3f}, {count(int(found.objects().sum()), 'object')}",
            }
        )
    return [
        *tiles,
        {"name": "Export differs by", "value": f"{proof.max_abs_diff:.1g}", "note": f"{proof.tolerance:g} allowed"},
        {"name": "Time", "value": duration(sum(seconds.values())), "note": "from data to report"},
    ]


def _training_figures(training: Training) -> list[Markup]:
    rows = training.rows
    epochs = [row["epoch"] for row in rows]
    measured = [row for row in rows if row["valid_map50"] is not None]
    figures = []
    with matplotlib.rc_context(STYLE):
        for name, title, lines in (
            ("loss", "Loss in training", [(epochs, [row["loss"] for row in rows], "loss", ORANGE)]),
            (
                "precision",
                "Average precision in validation",
                [
                    ([row["epoch"] for row in measured], [row[f"valid_{key}"] for row in measured], label, colour)
                    for key, label, colour in (("map50", "mAP50", BLUE), ("map", "mAP", ORANGE))
                ],
            ),
        ):
            figure = new_figure(5, 3.1)
            axes = figure.add_subplot(title=title, xlabel="epoch")
            for x, y, label, colour in lines:
                axes.plot(x, y, "o-", color=colour, label=label, markersize=3.5, linewidth=1.8)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y", color=INK, alpha=0.13)
            if len(lines) > 1:
                axes.legend()
            last = lines[0][1][-1] if lines[0][1] else float("nan")
            figures.append(as_svg(figure, name, f"{title} over {len(rows)} epochs, at the end {last:.3f}"))
    return figures


def _classes(measured: Measured, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    half, mean, objects = measured.coco.per_class(threshold=0.5), measured.coco.per_class(), measured.objects()
    return [
        {
            "name": name,
            "ap50": _number(half[number]),
            "ap": _number(mean[number]),
            "threshold": thresholds.get(name, 0.0),
            "objects": int(objects[number]),
        }
        for number, name in enumerate(measured.class_names)
    ]


def _curves(measured: Measured) -> Markup:
    objects = measured.objects()
    drawn = [number for number in np.argsort(-objects, kind="stable")[:MOST_CURVES].tolist() if objects[number]]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5.4, 4)
        axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        for number in drawn:
            curve = measured.curves.curves[number]
            colour = [level / 255 for level in colour_of(number)]
            axes.step(curve.recall, curve.precision, where="post", color=colour, linewidth=1.6)
            axes.plot([], [], color=colour, label=measured.class_names[number])
        axes.grid(color=INK, alpha=0.13)
        if drawn:
            axes.legend(loc="lower left", fontsize=8)
        found = "; ".join(f"{measured.class_names[number]} {measured.curves.per_class[number]:.3f}" for number in drawn)
        return as_svg(figure, "curves", f"Precision over recall; the areas are {found or 'none'}")


def _errors(measured: Measured) -> list[dict[str, Any]]:
    found = measured.errors
    return [
        {"kind": kind, "what": what, "count": found.counts[kind], "gain": _number(found.gains[kind])}
        for kind, what in KINDS.items()
    ]


def _shown(mistakes: Mistakes, scene: Scene, measured: Measured, thresholds: Mapping[str, float]) -> dict[str, Any]:
    names = measured.class_names
    found = measured.shown(mistakes.index, dict(thresholds))
    truth = measured.truths[mistakes.index]
    missed = {name: truth[name][mistakes.missed] for name in ("boxes", "classes")}
    right = np.isin(mistakes.kinds, ("correct", "ignored", "uncounted"))
    # What is right at the bottom and without words: it is the rest that is to be looked at
    order = np.argsort(~right, kind="stable")
    labels = ["" if right[i] else f"{names[found['classes'][i]]} {found['scores'][i]:.2f}" for i in order]
    labels += [names[number] for number in missed["classes"]]
    colours = [FOUND if right[i] else WRONG for i in order] + [MISSED] * len(missed["classes"])
    picture = draw(
        _pixels(scene), np.concatenate([found["boxes"][order], missed["boxes"]]), labels, colours, longer=PICTURE
    )
    kinds, counts = np.unique(mistakes.kinds[~right], return_counts=True)
    words = [f"{number} {kind}" for kind, number in zip(kinds.tolist(), counts.tolist(), strict=True)]
    words += [f"{int(mistakes.missed.sum())} missed"] * bool(mistakes.missed.any())
    return {"name": scene.name, "words": ", ".join(words), "picture": embedded(picture)}


def _pixels(scene: Scene) -> np.ndarray:
    try:
        return pixels_of(scene.image)
    except ValueError:  # formats that Pillow is not asked to read, and the graph is
        from pipelines import decode_any

        return decode_any(Path(scene.image).read_bytes() if isinstance(scene.image, str) else scene.image).numpy()


def _counts(data: SceneData) -> list[dict[str, Any]]:
    splits = list(data.splits.values())
    per_part = [
        np.bincount(
            np.concatenate([scene.classes for scene in part] or [np.zeros(0, int)]), minlength=len(data.class_names)
        )
        for part in splits
    ]
    rows = [{"name": name, "counts": [int(c[i]) for c in per_part]} for i, name in enumerate(data.class_names)]
    empty = [sum(not len(scene) for scene in part) for part in splits]
    return [
        *rows,
        {"name": "(pictures)", "counts": [len(part) for part in splits]},
        {"name": "(pictures without an object)", "counts": empty},
    ]


def model_card(
    config: Mapping[str, Any], metrics: Mapping[str, Any], measured: Mapping[str, Measured], data: SceneData
) -> str:
    """What somebody who is handed the detector has to know of it, as one page of Markdown.

    Args:
        config: what `config.json` of a run holds.
        metrics: what its `metrics.json` holds.
        measured: by the name of the part of the data, "test" or "valid"; the first one is what the card speaks of.
        data: what was trained and measured on.
    """
    part, judged = next(iter(measured.items()))
    numbers, rows = judged.summary(), _classes(judged, config["thresholds"])
    names = ", ".join(as_text(name) for name in judged.class_names)
    few = [as_text(row["name"]) for row in rows if row["objects"] < FEW]
    start = "random weights" if config["weights"] is None else f"weights {as_code(config['weights'])}"
    licence = f", whose licence is {as_text(config['weights_licence'])}" if config["weights_licence"] else ""
    beware = ["- Photos of another kind (other cameras, places, light, sizes of objects) were not measured."]
    if few:
        beware.insert(0, f"- Of {', '.join(few)} there were fewer than {FEW} objects to measure on.")
    if part == "valid":
        beware.insert(
            0,
            "- There was no test set. These numbers are of the validation set, which chose nothing but the thresholds.",
        )
    settings = [(as_text(name), as_code(value)) for name, value in config.items() if value is not None]
    lines = [
        f"# {as_text(config['detector'])} on {as_text(config['backbone'])}, to find {len(judged.class_names)} classes",
        "",
        f"**mAP50 {numbers['map50']:.3f}, mAP {numbers['map']:.3f}** on the {len(judged.truths)} images of the "
        f"{PARTS[part]} set, as COCO counts.",
        "",
        "## What it is for",
        "",
        f"It takes one photo and gives boxes, each with a class and a score. It knows: {names}.",
        "",
        "## What it was made from",
        "",
        f"- {as_text(config['backbone'])}, {start}{licence}; a new {as_text(config['detector'])} on it.",
        f"- {len(data)} annotated images from {as_code(config['data'])}: {len(data.train)} to train, "
        f"{len(data.valid)} to validate, {len(data.test)} to test. {len(data.skipped)} things were left out; "
        "`skipped.csv` says why.",
        "",
        "## How good it is",
        "",
        *table(
            ["class", "AP50", "AP", "threshold", "objects"],
            [
                (
                    as_text(row["name"]),
                    *("–" if row[key] is None else f"{row[key]:.3f}" for key in ("ap50", "ap")),
                    f"{row['threshold']:.2f}",
                    str(row["objects"]),
                )
                for row in rows
            ],
        ),
        "",
        "## What to beware of",
        "",
        *beware,
        "",
        "## How it was made",
        "",
        f"In {metrics['seconds']:.0f} s. What was exported finds what was trained to find, to "
        f"{metrics['export_max_abs_diff']:.1g} of a score and of the size.",
        "",
        *table(["setting", "value"], settings),
        "",
        "## How to use it",
        "",
        "```python",
        "import transfer",
        "",
        'model = transfer.load("THIS FOLDER")',
        'print(model.predict("photo.jpg"))',
        "```",
        "",
    ]
    return "\n".join(lines)
