"""One self-contained HTML page on a finished run of any task: opening it fetches nothing, and it runs no script."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from transfer.report.counts import count_table
from transfer.report.figures import curve_figure
from transfer.report.nested import flat
from transfer.report.rendering import duration, render_page, times
from transfer.report.sections import Section, Sections, Tile
from transfer.tasks.learning import Finished
from transfer.training.history import History

__all__ = ["write"]

MOST_LISTED = 200  # Maximum number of faults that are listed.


def write(path: str | Path, run: Finished, sections: Sections) -> None:
    """Writes the page.

    Args:
        path: The HTML file.
        run: The finished run.
        sections: What only its task has to say.
    """
    facts = dict(run.config)
    versions = facts.pop("versions", {})
    groups = _groups(sections.sections)
    page = render_page(
        "base.html",
        {
            "title": sections.title,
            "subtitle": sections.subtitle,
            "tiles": [*sections.tiles, *_tiles(run)],
            "links": _links(groups),
            "training_note": sections.training_note,
            "curves": _curves(run.history),
            "groups": groups,
            "counts": count_table(run.data),
            "audited": bool(run.settings.get("audit")),
            "faults": run.data.faults[:MOST_LISTED],
            "num_faults": len(run.data.faults),
            "num_skipped": len(run.data.skipped),
            "times": times(run.seconds),
            "proof": run.proof,
            "configuration": [_values(run.settings), _values({**facts, "versions": versions})],
            "footer": f"Written by transfer-zoo {versions.get('transfer-zoo', '')}.",
        },
    )
    # The name of a file need not be Unicode: what is not is written as a character reference.
    Path(path).write_text(page, encoding="utf-8", errors="xmlcharrefreplace")


def _tiles(run: Finished) -> list[Tile]:
    if run.proof is None:
        export = Tile("Export", "not proven", "the trained model is kept")
    else:
        export = Tile("Export differs by", f"{run.proof.max_abs_diff:.1g}", f"{run.proof.tolerance:g} allowed")
    return [export, Tile("Time", duration(sum(run.seconds.values())), "from data to report")]


def _links(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns the identifiers and the names of what the navigation links to: groups of sections, and other sections."""
    links = [("training", "Training")]
    for group in groups:
        own = [section for row in group["rows"] for section in row]
        # A section without a group is named by its identifier, which is shorter than its heading.
        links += [(group["id"], group["heading"])] if group["heading"] else [(s.id, s.id.capitalize()) for s in own]
    return [*links, *((name, name.capitalize()) for name in ("data", "time", "export", "configuration"))]


def _groups(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Returns the sections under the headings that they share, in rows: narrow ones stand beside each other."""
    groups = []
    for heading, members in groupby(sections, key=lambda section: section.group):
        rows: list[list[Section]] = []
        for section in members:
            if rows and section.narrow and rows[-1][-1].narrow:
                rows[-1].append(section)
            else:
                rows.append([section])
        groups.append({"heading": heading, "id": f"{rows[0][0].id}-group", "rows": rows})
    return groups


def _curves(history: History) -> list[Markup]:
    figures = [
        curve_figure(history.rows, column, title, f"curve-{number}")
        for number, (column, title) in enumerate(history.objective.curves)
    ]
    return [figure for figure in figures if figure is not None]


def _values(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, "–" if value is None else value) for name, value in flat(document).items()]
