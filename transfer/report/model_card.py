"""What somebody who is handed a model has to know of it, as one page of Markdown.

Source: Mitchell et al. 2019, "Model Cards for Model Reporting": what the model is for, what it was trained and measured
on, how good it is on each group, and what it cannot do.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines import Data
from transfer.measuring.classes import Evaluation
from transfer.measuring.intervals import Interval

__all__ = ["FEW", "as_code", "as_text", "model_card", "table"]

FEW = 30  # images of a class; with fewer, the card says that its numbers are uncertain
MOST_LISTED = 100  # classes


def model_card(
    config: Mapping[str, Any], metrics: Mapping[str, Any], evaluations: Mapping[str, Evaluation], data: Data
) -> str:
    """Writes the page.

    Args:
        config: what `config.json` of a run holds.
        metrics: what its `metrics.json` holds.
        evaluations: by the name of the part of the data, "test" or "valid"; the first one is what the card speaks of.
        data: what was trained and measured on.

    Returns:
        Markdown. Every number in it is one of the arguments', or follows from them.
    """
    part, evaluation = next(iter(evaluations.items()))
    names = evaluation.class_names
    images = len(evaluation.labels)
    accuracy = _share(evaluation.accuracy, evaluation.intervals.accuracy)
    start = "random weights" if config["weights"] is None else f"weights {as_code(config['weights'])}"
    licence = config.get("weights_licence")
    lines = [
        f"# {as_text(config['backbone'])}, fine-tuned to tell {len(names)} classes apart",
        "",
        f"**{accuracy}** of {images} images of the {_PARTS[part]} set are named rightly. Numbers in brackets are "
        "intervals of 95% confidence.",
        "",
        "## What it is for",
        "",
        f"It takes one photo and gives a probability for each of: {_list(names)}. These always sum to 1: a photo of "
        "anything else gets one of these names, too.",
        "",
        "## What it was made from",
        "",
        f"- {as_text(config['backbone'])}, {start}"
        + (f", whose licence is {as_text(licence)}" if licence else "")
        + "; a new head on it.",
        f"- {len(data)} labelled images from {as_code(config['data'])}: {len(data.train)} to train, {len(data.valid)} "
        f"to validate, {len(data.test)} to test. {_left_out(len(data.skipped))}",
        "",
        "## How good it is",
        "",
        *table(["class", "precision", "recall", "F1", "images"], _classes(evaluation)),
        "",
        *_worst_pair(evaluation),
        f"- Expected calibration error {evaluation.calibration_error:.3f}: by so much are its probabilities off, on "
        "average.",
        "",
        "## What to beware of",
        "",
        *_warnings(part, evaluation),
        "- Photos of another kind than those of the data (other cameras, places, light, people) were not measured.",
        "",
        "## How it was made",
        "",
        f"In {metrics['seconds']:.0f} s. What was exported answers as what was trained, to "
        f"{metrics['export_max_abs_diff']:.1g} of a probability.",
        "",
        *table(["setting", "value"], [(as_text(name), as_code(value)) for name, value in _settings(config)]),
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


_PARTS = {"test": "test", "valid": "validation"}


def _share(value: float, interval: Interval) -> str:
    if interval.as_list() is None:
        return "–"
    return f"{100 * value:.1f}% ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def _classes(evaluation: Evaluation) -> list[tuple[str, ...]]:
    intervals = evaluation.intervals
    return [
        (
            as_text(name),
            _share(evaluation.precision[i], intervals.precision[i]),
            _share(evaluation.recall[i], intervals.recall[i]),
            _share(evaluation.f1[i], intervals.f1[i]),
            str(evaluation.support[i]),
        )
        for i, name in enumerate(evaluation.class_names[:MOST_LISTED])
    ]


def _worst_pair(evaluation: Evaluation) -> list[str]:
    wrong = evaluation.confusion.copy()
    wrong[range(len(wrong)), range(len(wrong))] = 0
    if not wrong.any():
        return []
    true, given = divmod(int(wrong.argmax()), len(wrong))
    names = evaluation.class_names
    return [f"- Most often, {as_text(names[true])} is taken for {as_text(names[given])}: {wrong[true, given]} times."]


def _warnings(part: str, evaluation: Evaluation) -> list[str]:
    lines = []
    if part == "valid":
        lines.append(
            "- There was no test set. These numbers are of the validation set, by which the best epoch was chosen, and "
            "are too good for that."
        )
    few = [name for name, count in zip(evaluation.class_names, evaluation.support, strict=True) if count < FEW]
    if few:
        lines.append(f"- Of {_list(few)} there were fewer than {FEW} images to measure on: see the intervals.")
    return lines


def _settings(config: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Nested values as "versions.keras"."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in _settings(value))
        elif value is not None:
            yield name, value


def _left_out(number: int) -> str:
    if not number:
        return "None was left out."
    return f"{'1 image was' if number == 1 else f'{number} were'} left out; `skipped.csv` says why."


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(as_text(name) for name in names[:MOST_LISTED]) + more


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def as_text(value: Any) -> str:
    r"""Text in which nothing is Markdown or HTML: what has a meaning there gets a backslash.

    >>> print(as_text("<b> & a_b|c"))
    \<b\> \& a\_b\|c
    """
    return re.sub(r"([\\`*_{}\[\]<>#|&~$!])", r"\\\1", str(value))


def as_code(value: Any) -> str:
    """A value as code; a table's column ends at a bar even there."""
    text = str(value).replace("|", "\\|").replace("\n", " ")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"
