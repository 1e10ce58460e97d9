"""What a task contributes to the report and to the model card of a finished run.

A task's `sections.py` returns a `Sections`. The page and the card themselves, with all that tasks have in common, are
made by `transfer.report.page` and `transfer.report.card`.
"""

from dataclasses import dataclass

from markupsafe import Markup

from transfer.measuring.table import Table

__all__ = ["Card", "Section", "Sections", "Tile"]


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        id: Its identifier in links: letters, digits and hyphens. It is unique on the page.
        heading: Its heading, as text.
        html: Its contents. Whatever comes from the data has to be escaped, as `transfer.report.rendering.render` does.
        narrow: Whether it may stand beside another narrow section.
        group: The heading that it shares with other sections, such as the name of a head; "" for none.
    """

    id: str
    heading: str
    html: Markup
    narrow: bool = False
    group: str = ""


@dataclass(frozen=True)
class Tile:
    """One number at the top of the page.

    Attributes:
        name: What the number is.
        value: The number, as text.
        note: A few words below it.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Card:
    """What the model card says about a model of one task.

    All texts are Markdown, except for the title and the tables. Names that come from the data have to be escaped with
    `transfer.report.markdown.as_text`.

    Attributes:
        title: The heading, as text.
        headline: How good the model is, in one or two sentences.
        purpose: What the model takes and gives, and what it does with an image that shows something else.
        tables: How good it is in detail.
        remarks: Sentences that stand below the tables.
        warnings: Sentences on what to beware of.
    """

    title: str
    headline: str
    purpose: str
    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sections:
    """What a task contributes to the report and to the model card.

    Attributes:
        title: The heading of the page, as text.
        subtitle: The line below it, as text.
        tiles: The numbers at the top of the page. Those on the export and on the time follow by themselves.
        sections: The sections, in their order. They stand between those on the training and on the data.
        training_note: A sentence on the course of the training, as text.
        card: What the model card says.
    """

    title: str
    subtitle: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    training_note: str
    card: Card
