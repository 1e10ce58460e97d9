"""The rows of a CSV file, as the csv module divides it, with their lines."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

__all__ = ["first_rows", "read_rows"]


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the line on which each row begins, and its cells without space around them; empty rows are left out.

    A cell may hold line breaks, and not all that Unicode calls a line ends a row. Cells are separated by commas,
    semicolons or tabs, whichever the first line has most of.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8, or not CSV.
    """
    contents = path.read_bytes()
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: byte {contents[error.start]:#04x} is not UTF-8. Save the table as UTF-8"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    start = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: is not valid CSV: {error}") from error


def first_rows(path: Path, count: int = 50) -> list[list[str]]:
    """Returns the first rows of what may be a CSV file, reading no more of it; none of what is something else."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read(1 << 16)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))][:count]


def _separator(text: str) -> str:
    return max(",;\t", key=text.split("\n", 1)[0].count)
