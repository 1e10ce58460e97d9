"""Cells of tables for people: a spreadsheet takes some texts for formulas, and computes them as the file is opened."""

from typing import Any

__all__ = ["guarded"]

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # What a formula begins with, in one spreadsheet or another.


def guarded(value: Any) -> Any:
    """Returns the value of a cell, with an apostrophe before a text that a spreadsheet would take for a formula.

    Numbers stay as they are. To get the text back, take away an apostrophe before one of these signs.

    >>> guarded("=1+1"), guarded("-5.jpg"), guarded(-5), guarded("sea")
    ("'=1+1", "'-5.jpg", -5, 'sea')
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value
