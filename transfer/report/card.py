"""What a person who is handed a model has to know about it, as one page of Markdown.

Source: Mitchell et al. 2019, "Model Cards for Model Reporting": what the model is for, what it was trained and measured
on, how good it is on each group, and what it cannot do.
"""

from collections.abc import Iterable

from transfer.measuring.table import Table
from transfer.report.markdown import MOST_LISTED, as_code, as_table, as_text
from transfer.report.nested import flat
from transfer.report.rendering import duration
from transfer.report.runs import measured_split
from transfer.report.sections import Sections
from transfer.tasks.learning import Finished

__all__ = ["model_card"]


def model_card(run: Finished, sections: Sections) -> str:
    """Writes the model card of a finished run.

    Args:
        run: The finished run.
        sections: What only its task has to say.

    Returns:
        The page as Markdown. Every number in it is one of the run's, or follows from them.
    """
    card = sections.card
    lines = [
        f"# {as_text(card.title)}",
        "",
        card.headline,
        "",
        "## What it is for",
        "",
        card.purpose,
        "",
        "## What it was made from",
        "",
        *_origin(run),
        "",
        "## How good it is",
        "",
        *(line for shown in card.tables for line in _table(shown)),
        *_bullets(card.remarks),
        *([""] if card.remarks else []),
        "## What to beware of",
        "",
        *_bullets([*_no_test_set(run), *card.warnings]),
        "- It was not measured on images of another kind than the data: other cameras, places, light or people.",
        "",
        "## How it was made",
        "",
        _making(run),
        "",
        *_settings(run),
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


def _bullets(sentences: Iterable[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]


def _origin(run: Finished) -> list[str]:
    settings, data, licence = run.settings, run.data, run.config.get("weights_licence")
    weights = settings["weights"]
    start = "random weights" if weights is None else f"the weights {as_code(weights)}"
    terms = f", whose licence is {as_text(licence)}" if licence else ""
    return [
        f"- {as_text(settings['backbone'])} with {start}{terms}, and new last layers.",
        f"- {len(data)} annotated images from {as_code(settings['data'])}: {len(data.train)} to train, "
        f"{len(data.valid)} to validate, {len(data.test)} to test. {_left_out(len(data.skipped))}",
    ]


def _left_out(number: int) -> str:
    if not number:
        return "Nothing was left out."
    words = "1 image or object was" if number == 1 else f"{number} images or objects were"
    return f"{words} left out; `skipped.csv` says why."


def _no_test_set(run: Finished) -> list[str]:
    if measured_split(run)[0] != "valid":
        return []
    return [
        "There was no test set. These metrics are of the validation set, on which choices such as the best epoch or "
        "the thresholds were made, so that they are better than on new images."
    ]


def _table(shown: Table) -> list[str]:
    """Returns the lines of a table, of at most 100 rows, with its title and its note."""
    rows = [tuple(as_text(cell) for cell in row) for row in shown.rows[:MOST_LISTED]]
    title = [f"### {as_text(shown.title)}", ""] if shown.title else []
    more = len(shown.rows) - len(rows)
    left = [f"The other {more} rows are in `report.html`.", ""] if more else []
    note = [as_text(shown.note), ""] if shown.note else []
    return [*title, *as_table([as_text(column) for column in shown.columns], rows), "", *left, *note]


def _making(run: Finished) -> str:
    time = f"Making it took {duration(sum(run.seconds.values()))}."
    if run.proof is None:
        return f"{time} The exported model was not proven to answer as the trained one does, and must not be used."
    return (
        f"{time} The exported model answers as the trained one does, with a largest difference of "
        f"{run.proof.max_abs_diff:.1g}."
    )


def _settings(run: Finished) -> list[str]:
    values = {**flat(run.settings), **flat(run.config)}
    rows = [(as_text(name), as_code(value)) for name, value in values.items() if value is not None]
    return as_table(["setting", "value"], rows)
