"""The report on an audit: one HTML page that loads nothing from the network and runs no script."""

import base64
import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2

from pipelines.auditing.findings import Audit, Finding
from pipelines.outputs.durable import new_file
from pipelines.prepare.pillow_decoding import open_upright

__all__ = ["write_audit_report"]

MOST_LISTED = 200
MOST_GROUPS, MOST_PICTURES = 12, 4  # groups of each finding, and pictures of each group
_COPIES = ("duplicates across splits", "label conflict", "exact duplicates", "near duplicates")
_SHOWN = (*_COPIES, "constant", "long", "tiny")


def write_audit_report(path: str | os.PathLike[str], audit: Audit, *, title: str) -> None:
    """Writes an HTML page about an audit: its findings with pictures, the classes, and statistics of the images.

    Args:
        path: Path of the HTML file.
        audit: Result of `pipelines.audit`.
        title: Title of the page, such as the name of the data set.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audit_report(f"{folder}/a.html", Audit((), ("ant",), {"train": [3]}, {"num_images": 3}), title="Ants")
    ...     "no problems" in Path(folder, "a.html").read_text()
    True
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.auditing"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    statistics = audit.statistics
    quantiles = [(name, value) for name, value in statistics.items() if isinstance(value, dict) and "median" in value]
    counts = {split: numbers for split, numbers in audit.counts.items() if numbers}
    kinds = [
        (name, ", ".join(f"{key} {count}" for key, count in statistics[name].items()))
        for name in ("formats", "modes", "orientations")
        if name in statistics
    ]
    verdict = "no errors" if audit.ok else "with errors"
    page = environment.get_template("audit.html").render(
        title=title,
        subtitle=f"{statistics['num_images']} images, {len(audit.class_names)} classes, {verdict}",
        findings=[_shown(finding) for finding in audit.findings],
        splits=list(counts),
        classes=[
            {"name": name, "counts": [numbers[index] for numbers in counts.values()]}
            for index, name in enumerate(audit.class_names)
            if counts
        ],
        quantile_names=list(quantiles[0][1]) if quantiles else [],
        quantiles=[{"name": name.replace("_", " "), "numbers": list(values.values())} for name, values in quantiles],
        kinds=kinds,
    )
    with new_file(Path(path)) as new:
        new.write_text(page, encoding="utf-8", errors="backslashreplace")


def _shown(finding: Finding) -> dict[str, Any]:
    pictures = []
    if finding.kind in _SHOWN:
        groups = [place if isinstance(place, tuple) else (place,) for place in finding.where[:MOST_GROUPS]]
        pictures = [list(_pictures(group[:MOST_PICTURES])) for group in groups]
    separator = " = " if finding.kind in _COPIES else ": "
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "message": finding.message,
        "num_where": len(finding.where),
        "where": [
            separator.join(map(str, place)) if isinstance(place, tuple) else place
            for place in finding.where[:MOST_LISTED]
        ],
        "pictures": [group for group in pictures if group],
    }


def _pictures(paths: Iterable[str]) -> Iterable[dict[str, str]]:
    for path in paths:
        try:
            small = open_upright(path, at_least=(200, 200)).convert("RGB")
        except Exception:  # the page lists the names of images that cannot be shown
            continue
        small.thumbnail((200, 160))
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=80)
        yield {"path": path, "source": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"}
