"""What the sections of all tasks say about a run in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transfer.measuring.table import as_number, as_percent, count
from transfer.report.markdown import as_list
from transfer.report.rendering import SPLITS, duration
from transfer.report.sections import Tile
from transfer.tasks.learning import Finished
from transfer.tasks.task import Metric
from transfer.training.history import History

__all__ = [
    "FEW",
    "few_warning",
    "headline_sentence",
    "headline_tiles",
    "measured_on",
    "measured_split",
    "subtitle",
    "training_note",
]

FEW = 30  # Number of images below which the card says that the metrics of a class are uncertain.


def measured_split(run: Finished) -> tuple[str, Any]:
    """Returns the name of the split that the report is about, and its images."""
    name = next(iter(run.measured))
    return name, run.data.splits[name]


def measured_on(split: str, number: int) -> str:
    """Returns the beginning of a sentence that says which images were measured.

    >>> measured_on("valid", 18)
    'On the 18 images of the validation set'
    """
    return f"On the {count(number, 'image')} of the {SPLITS[split]} set"


def subtitle(run: Finished, names: Sequence[str], one: str, many: str | None = None) -> str:
    """Returns the line below the page's title: how many classes, labels or numbers, and how many images."""
    return f"{count(len(names), one, many)}, {count(len(run.data), 'image')}"


def headline_tiles(run: Finished, notes: Mapping[str, str] | None = None) -> tuple[Tile, ...]:
    """Returns a tile with the headline metric of each split that was measured.

    Args:
        run: The finished run.
        notes: What stands below the number, by the name of the split. Defaults to the interval, where there is one, and
            the number of images.
    """
    tiles = []
    for split, measured in run.measured.items():
        metrics = measured.metrics()
        words = [_interval(metrics["interval"], run.headline)] if metrics.get("interval") else []
        note = ", ".join([*words, count(len(run.data.splits[split]), "image")])
        tiles.append(
            Tile(
                name=f"{SPLITS[split].capitalize()} {run.headline.label}",
                value=run.headline.text(metrics[run.headline.name]),
                note=note if notes is None else notes[split],
            )
        )
    return tuple(tiles)


def _interval(interval: Sequence[float], metric: Metric) -> str:
    if metric.percent:
        return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}%"
    return f"{interval[0]:.4g}–{interval[1]:.4g}"


def headline_sentence(run: Finished, words: str) -> str:
    """Returns the first sentence of the model card, as Markdown: the headline metric in bold, and what it is.

    Args:
        run: The finished run.
        words: What the metric says of the images, such as "of 85 images of the test set are recognised".
    """
    metrics = next(iter(run.measured.values())).metrics()
    interval = metrics.get("interval")
    value = (as_percent if run.headline.percent else as_number)(metrics[run.headline.name], interval)
    sentence = f"**{value}** {words}."
    return f"{sentence} Numbers in brackets are intervals of 95% confidence." if interval else sentence


def few_warning(names: Sequence[str], counts: np.ndarray | Sequence[int], counted: str = "images") -> tuple[str, ...]:
    """Returns a warning on classes of which there were few images to measure on, as Markdown; none where there are
    enough.

    Args:
        names: The names of the classes.
        counts: The number of images of each.
        counted: What is counted. Defaults to "images".
    """
    few = [name for name, number in zip(names, counts, strict=True) if number < FEW]
    if not few:
        return ()
    return (
        f"There were fewer than {FEW} {counted} of {as_list(few)} to measure on, so that their metrics are uncertain.",
    )


def training_note(history: History) -> str:
    """Returns which layers were trained, in their order, and whether frozen layers ran in each epoch."""
    names = [phase.name for phase in history.phases]
    part = "the whole network" if history.phases[-1].unfrozen in ("all", 1.0) else "the top of the network"
    if history.readout is not None:
        note = "The new head was solved: its weights are the best ones for the network's features, up to rounding."
        if len(names) > 1:
            reached, best = _headline(history, history.readout), _headline(history, history.best)
            note += (
                f" The solved head alone reached {reached} in validation; then {part} was trained with it, and the "
                f"kept epoch, {history.best['epoch']}, reached {best}."
            )
    elif names == ["head"]:
        note = "Only the new head was trained; the network below it stayed as it was."
    elif names[0] != "head":
        note = f"The new head and {part} were trained together."
    elif len(names) == 2:
        note = f"First the new head was trained alone, and then, right of the line, {part} with it."
    else:
        note = "First the new head was trained alone, and then, right of each line, more of the network with it."
    if history.readout is not None and names == ["head"]:
        return f"{note} Frozen layers ran once, in {duration(history.extraction_seconds)}."
    if any(phase.cached for phase in history.phases):
        return f"{note} Frozen layers ran once, in {duration(history.extraction_seconds)}, and not in each epoch."
    return f"{note} Frozen layers ran in each epoch: {history.not_cached}." if history.not_cached else note


def _headline(history: History, row: Mapping[str, Any]) -> str:
    """Returns what the first curve of the objective shows for an epoch in validation, such as "accuracy 0.948"."""
    column, title = history.objective.curves[0]
    return f"{title[:1].lower()}{title[1:]} {row[f'val_{column}']:.4g}"
