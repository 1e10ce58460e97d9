"""A table of measured numbers as text, for the shell, the model card and the report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Table", "as_number", "as_percent", "count", "defined"]

UNDEFINED = "–"  # What stands where a number is not defined, such as a share of nothing.


@dataclass(frozen=True)
class Table:
    """A table for the shell, the model card and the report.

    Attributes:
        columns: The headings.
        rows: The cells, as text.
        note: A sentence that stands below it, or "".
        title: What stands above it where there are several, or "".
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    title: str = ""


def count(number: int, one: str, many: str | None = None) -> str:
    """Returns a number of things in words.

    >>> count(1, "class", "classes"), count(1200, "image")
    ('1 class', '1,200 images')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def defined(value: float | None) -> float | None:
    """Returns a number as JSON can hold it: None where it is NaN or infinite.

    >>> defined(float("nan")), defined(0.5)
    (None, 0.5)
    """
    return None if value is None or not np.isfinite(value) else float(value)


def as_percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """Returns a share as people read it, with its interval in brackets where there is one.

    Args:
        value: The share in 0..1; None or NaN where it is not defined.
        interval: Its low and its high end, or None.

    >>> as_percent(0.9481), as_percent(0.9, (0.851, 0.95)), as_percent(None)
    ('94.8%', '90.0% (85–95)', '–')
    """
    if defined(value) is None:
        return UNDEFINED
    text = f"{100 * value:.1f}%"  # type: ignore[operator]
    if interval is None or defined(interval[0]) is None:
        return text
    return f"{text} ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def as_number(value: float | None, interval: Sequence[float] | None = None) -> str:
    """Returns a number as people read it, with its interval in brackets where there is one.

    Args:
        value: The number; None or NaN where it is not defined.
        interval: Its low and its high end, or None.

    >>> as_number(0.81249), as_number(1234.5), as_number(12.5, (11, 14.25)), as_number(float("nan"))
    ('0.812', '1234', '12.5 (11–14.25)', '–')
    """
    if defined(value) is None:
        return UNDEFINED
    text = f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"  # type: ignore[arg-type]
    if interval is None or defined(interval[0]) is None:
        return text
    return f"{text} ({interval[0]:.4g}–{interval[1]:.4g})"
