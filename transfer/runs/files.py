"""Parts of every run, whatever its task: what its folder is written with, and how long it took."""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipelines
from pipelines import Data, SceneData

__all__ = ["Clock", "write_audit", "write_csv", "write_json"]


class Clock:
    """Says what begins, and keeps how long each part took.

    Args:
        say: is told, in a few words, of each part.

    >>> clock = Clock(print)
    >>> with clock("listing the data"):
    ...     pass
    listing the data
    >>> list(clock.seconds)
    ['listing the data']
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._say(part)
        start = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - start

    @property
    def total(self) -> float:
        return time.perf_counter() - self._start


# Names of files are bytes on Linux, and need not be Unicode. What is not is written with backslashes.


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table; None becomes an empty cell."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def write_audit(data: Data | SceneData, page: Path, say: Callable[[str], None], *, advice: str = "") -> None:
    """Writes the page on what may be wrong with the data, and says what surely is.

    Args:
        data: to look through.
        page: the file to write.
        say: is told of each finding that is an error.
        advice: what may be done about it, after the name of the page.
    """
    found = pipelines.audit(data)
    pipelines.write_audit_report(page, found, title=f"{len(data)} images")
    for finding in found.findings:
        if finding.severity == "error":
            say(f"the data has {finding.kind}: {finding.message}. See {page.name}{advice}")
