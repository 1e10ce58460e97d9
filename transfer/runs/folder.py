"""What a run writes into its folder, what it says, and what it keeps when something goes wrong late."""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipelines
from pipelines import Data
from pipelines.outputs.cells import guarded

__all__ = ["Clock", "RunUnfinished", "free_name", "write_audit", "write_csv", "write_json"]


class RunUnfinished(RuntimeError):
    """A model was trained, and a later step of the run failed. The trained model and all that was written are kept.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, message: str, folder: Path):
        super().__init__(message)
        self.folder = folder


class Clock:
    """Says what begins, and keeps how long each part of a run took.

    Args:
        announce: Is told each part in a few words.

    >>> clock = Clock(print)
    >>> with clock("listing the data"):
    ...     pass
    listing the data
    >>> list(clock.seconds)
    ['listing the data']
    """

    def __init__(self, announce: Callable[[str], None]):
        self._announce = announce
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._announce(part)
        start = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start


def free_name(path: Path) -> Path:
    """Returns the path, or the first of `PATH.2`, `PATH.3` and so on that does not exist yet."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate


# Names of files are bytes on Linux, and need not be Unicode. What is not Unicode is written with backslashes.


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table; None becomes an empty cell, and no text is taken for a formula."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([guarded(column) for column in columns])
        writer.writerows([guarded(cell) for cell in row] for row in rows)


def write_audit(data: Data, page: Path, announce: Callable[[str], None]) -> None:
    """Writes the page on what may be wrong with the data, and announces what surely is.

    Args:
        data: The data.
        page: The file to write.
        announce: Is told each finding that is an error.
    """
    audit = pipelines.audit(data)
    pipelines.write_audit_report(page, audit, title=f"{len(data)} images")
    for finding in audit.findings:
        if finding.severity == "error":
            announce(f"the data has {finding.kind}: {finding.message}. See {page.name}, or zoo audit --exclude-to")
