"""One self-contained HTML page on a finished run: nothing is fetched when it is opened, no script runs in it.

`write` is all that a run needs. `worst_mistakes` finds what to look at first; the figures are matplotlib's, as SVG
inside the page, in the page's own text colour, so that they suit a light and a dark screen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import matplotlib
import matplotlib.figure
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from PIL import Image

from pipelines import Data, EvaluationCrop, Samples, batches
from transfer.artifacts.exporting import Proof
from transfer.measuring.classes import Evaluation
from transfer.measuring.intervals import Interval
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
from transfer.training.fine_tuning import History
from zoo.explain import grad_cam

__all__ = ["Mistake", "worst_mistakes", "write"]

LARGEST_MATRIX = 24  # classes; above it the confusion matrix is a picture
MOST_LISTED = 200
PICTURE = 224


@dataclass(frozen=True)
class Mistake:
    """A picture that the model gave a wrong name.

    Attributes:
        name: the sample's.
        true, predicted: indices of the right and of the given class.
        true_score, score: their probabilities.
        image: uint8 [h, w, 3], as the model saw it.
        heat: float32 [h, w] in 0..1, what spoke for the given class (Grad-CAM).
    """

    name: str
    true: int
    predicted: int
    true_score: float
    score: float
    image: np.ndarray
    heat: np.ndarray


def worst_mistakes(
    model: keras.Model, samples: Samples, evaluation: Evaluation, crop: EvaluationCrop, *, count: int = 12
) -> list[Mistake]:
    """The wrong answers whose right class got the lowest probability, worst first.

    Args:
        model: a flat classifier.
        samples: what `evaluation` was made on, in the same order.
        evaluation: labels and probabilities of these samples.
        crop: how the model sees a picture.
        count: how many at most.
    """
    rows = np.arange(len(evaluation.labels))
    predicted = evaluation.predictions
    right_scores = evaluation.probabilities[rows, evaluation.labels]
    wrong = np.flatnonzero(predicted != evaluation.labels)
    worst = wrong[np.argsort(right_scores[wrong], kind="stable")][:count]
    if not len(worst):
        return []
    chosen = samples[worst]
    images = np.concatenate([images for images, _ in batches(chosen, crop, cache=False)])
    heats = grad_cam(model, images, predicted[worst].tolist())
    return [
        Mistake(
            name=chosen.names[i],
            true=int(evaluation.labels[index]),
            predicted=int(predicted[index]),
            true_score=float(right_scores[index]),
            score=float(evaluation.probabilities[index, predicted[index]]),
            image=images[i].astype("uint8"),  # a crop's values are whole numbers
            heat=heats[i],
        )
        for i, index in enumerate(worst)
    ]


def write(
    path: str | Path,
    *,
    data: Data,
    history: History,
    evaluations: Mapping[str, Evaluation],
    mistakes: Sequence[Mistake],
    proof: Proof,
    seconds: Mapping[str, float],
    config: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Writes the page.

    Args:
        path: of the HTML file.
        data: what was trained and measured on, and what was left out.
        history: of the training.
        evaluations: by the name of the part of the data, the one that the page goes into first.
        mistakes: of that first evaluation.
        proof: of the export.
        seconds: how long each part of the job took, by its name.
        config: what was asked for.
        versions: of the libraries.
    """
    part, evaluation = next(iter(evaluations.items()))
    names = data.class_names
    confusion = evaluation.confusion
    small = len(names) <= LARGEST_MATRIX
    page = template("report.html").render(
        title=f"{Path(config['data']).name}: {config['backbone']} fine-tuned",
        subtitle=f"{count(len(names), 'class', 'classes')}, {count(len(data), 'picture')}",
        tiles=_tiles(evaluations, proof, seconds),
        curves=[{"svg": svg} for svg in _curves(history)],
        training_note=_training_note(history),
        measured_on=f"On the {count(len(evaluation.labels), 'picture')} of the {_PARTS[part]} set",
        class_names=names,
        matrix=_cells(confusion) if small else None,
        matrix_figure=None if small else _matrix_figure(confusion),
        confusions=[] if len(names) == 2 else _confusions(confusion, names),
        classes=_classes(evaluation, names),
        mistakes=[_shown(mistake, names) for mistake in mistakes],
        num_mistakes=int(confusion.sum() - np.trace(confusion)),
        calibration_error=evaluation.calibration_error,
        calibration=_reliability(evaluation),
        temperature=_temperature(evaluations),
        parts=["training", "validation", "test"],
        audited=bool(config.get("audit")),
        counts=_counts(data),
        skipped=data.skipped[:MOST_LISTED],
        num_skipped=len(data.skipped),
        times=times(seconds),
        proof=proof,
        config=[(name, "–" if value is None else value) for name, value in config.items()],
        versions=list(versions.items()),
        footer=f"Written by transfer-zoo {versions.get('transfer-zoo', '')}.",
    )
    # A file's name need not be Unicode: what is not is written as a character reference.
    Path(path).write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


_PARTS = {"train": "training", "valid": "validation", "test": "test"}


def _tiles(evaluations: Mapping[str, Evaluation], proof: Proof, seconds: Mapping[str, float]) -> list[dict[str, str]]:
    tiles = [
        {
            "name": f"{_PARTS[part]} accuracy".capitalize(),
            "value": f"{100 * evaluation.accuracy:.1f}%",
            "note": f"{_percents(evaluation.intervals.accuracy)}%, {count(len(evaluation.labels), 'picture')}",
        }
        for part, evaluation in evaluations.items()
    ]
    return [
        *tiles,
        {"name": "Export differs by", "value": f"{proof.max_abs_diff:.1g}", "note": f"{proof.tolerance:g} allowed"},
        {"name": "Time", "value": duration(sum(seconds.values())), "note": "from data to report"},
    ]


def _percents(interval: Interval) -> str:
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f}"


def _cells(confusion: np.ndarray) -> list[list[dict[str, float]]]:
    """Each count, and its share of its row."""
    totals = np.maximum(confusion.sum(axis=1), 1)
    return [[{"count": int(c), "share": c / total} for c in row] for row, total in zip(confusion, totals, strict=True)]


def _confusions(confusion: np.ndarray, names: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for each other most often."""
    wrong = confusion * (1 - np.eye(len(confusion), dtype=confusion.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [np.unravel_index(flat, wrong.shape) for flat in order]
    return [{"true": names[t], "predicted": names[p], "count": int(wrong[t, p])} for t, p in pairs if wrong[t, p]]


def _classes(evaluation: Evaluation, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of each class; None stands for a share of nothing."""
    given, intervals = evaluation.confusion.sum(axis=0), evaluation.intervals
    return [
        {
            "name": name,
            "precision": float(evaluation.precision[i]) if given[i] else None,
            "precision_interval": intervals.precision[i].as_list(),
            "recall": float(evaluation.recall[i]) if evaluation.support[i] else None,
            "recall_interval": intervals.recall[i].as_list(),
            "f1": float(evaluation.f1[i]) if given[i] or evaluation.support[i] else None,
            "f1_interval": intervals.f1[i].as_list(),
            "support": int(evaluation.support[i]),
        }
        for i, name in enumerate(names)
    ]


def _temperature(evaluations: Mapping[str, Evaluation]) -> dict[str, float] | None:
    """What the temperature of the validation set does to the first part; None where that is the validation set itself.

    Measured where it was chosen, a temperature would always look good.
    """
    part, evaluation = next(iter(evaluations.items()))
    if part == "valid" or "valid" not in evaluations:
        return None
    temperature = evaluations["valid"].temperature
    return {"value": temperature, "error": evaluation.at_temperature(temperature).calibration_error}


def _counts(data: Data) -> list[dict[str, Any]]:
    counts = [np.bincount(part.labels, minlength=len(data.class_names)) for part in (data.train, data.valid, data.test)]
    return [{"name": name, "counts": [int(c[i]) for c in counts]} for i, name in enumerate(data.class_names)]


def _shown(mistake: Mistake, names: Sequence[str]) -> dict[str, Any]:
    height, width = mistake.image.shape[:2]
    size = (PICTURE, round(PICTURE * height / width))
    image = Image.fromarray(mistake.image).resize(size, Image.Resampling.BICUBIC)
    heat = Image.fromarray(np.uint8(np.rint(255 * mistake.heat))).resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(heat, "float32")[..., np.newaxis] / 255
    colours = 255 * matplotlib.colormaps["inferno"](strength[..., 0])[..., :3]
    overlay = np.asarray(image) * (0.75 - 0.35 * strength) + colours * (0.15 + 0.45 * strength)
    return {
        "name": mistake.name,
        "true": names[mistake.true],
        "predicted": names[mistake.predicted],
        "true_score": mistake.true_score,
        "score": mistake.score,
        "height": size[1],
        "picture": embedded(image),
        "overlay": embedded(Image.fromarray(np.clip(overlay, 0, 255).astype("uint8"))),
    }


def _training_note(history: History) -> str:
    names = [phase.name for phase in history.phases]
    note = {
        ("head", "top"): "First the new head alone, then, right of the line, the top of the network with it.",
        ("head",): "The new head alone; the network under it stayed as it was.",
    }.get(tuple(names), "The new head and the top of the network together.")
    if any(phase.cached for phase in history.phases):
        return f"{note} What is frozen ran once, in {duration(history.extraction_seconds)}, and not in each epoch."
    return f"{note} Frozen layers ran in each epoch: {history.not_cached}." if history.not_cached else note


def _curves(history: History) -> list[Markup]:
    """Accuracy and loss, of training and validation, over the epochs of all phases."""
    rows = history.rows
    epochs = np.arange(1, len(rows) + 1)
    borders = [i + 0.5 for i in range(1, len(rows)) if rows[i]["phase"] != rows[i - 1]["phase"]]
    figures = []
    with matplotlib.rc_context(STYLE):
        for key, title in (("accuracy", "Accuracy"), ("loss", "Loss")):
            figure = new_figure(5, 3.1)
            axes = figure.add_subplot(title=title, xlabel="epoch")
            for prefix, label, colour in (("", "training", ORANGE), ("val_", "validation", BLUE)):
                values = [row[prefix + key] for row in rows]
                axes.plot(epochs, values, "o-", color=colour, label=label, markersize=3.5, linewidth=1.8)
            for border in borders:
                axes.axvline(border, color=INK, alpha=0.45, linewidth=1, linestyle="--")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y", color=INK, alpha=0.13)
            axes.legend()
            last = rows[-1]["val_" + key] if rows else float("nan")
            words = f"{title} of training and validation over {len(rows)} epochs, at the end {last:.3f} in validation"
            figures.append(as_svg(figure, f"curve-{key}", words))
    return figures


def _reliability(evaluation: Evaluation) -> Markup:
    """How often answers are right against the probability they were given with, over how many there are of each."""
    bins = evaluation.reliability()
    used = [each for each in bins if each.count]
    middles = [(each.low + each.high) / 2 for each in used]
    width = bins[0].high - bins[0].low
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5, 4)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.bar(middles, [each.accuracy for each in used], 0.9 * width, color=BLUE, alpha=0.75, label="right")
        top.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1, linestyle="--", label="as promised")
        top.plot([each.confidence for each in used], [each.accuracy for each in used], "o", color=ORANGE, markersize=5)
        top.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        top.legend(loc="upper left")
        below.bar(middles, [each.count for each in used], 0.9 * width, color=INK, alpha=0.35)
        below.set(xlabel="probability given", ylabel="pictures")
        words = "; ".join(
            f"of {each.count} given with about {each.confidence:.2f}, {each.accuracy:.2f} are right" for each in used
        )
        return as_svg(figure, "calibration", f"Reliability diagram: {words}")


def _matrix_figure(confusion: np.ndarray) -> Markup:
    """The confusion matrix of many classes as a picture, each row divided by its sum."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = new_figure(6, 5.4)
        axes = figure.add_subplot(xlabel="index of the class given", ylabel="index of the true class")
        image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        figure.colorbar(image, label="share of the row").outline.set_visible(False)
        return as_svg(figure, "confusion", f"Confusion matrix of {len(confusion)} classes")
