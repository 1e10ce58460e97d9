"""Text, code and tables in Markdown, in which nothing that comes from the data is markup."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["as_code", "as_list", "as_table", "as_text"]

MOST_LISTED = 100  # Maximum number of names in a list.


def as_text(value: Any) -> str:
    r"""Returns text in which nothing is Markdown or HTML: characters with a meaning there get a backslash.

    >>> print(as_text("<b> & a_b|c"))
    \<b\> \& a\_b\|c
    """
    return re.sub(r"([\\`*_{}\[\]<>#|&~$!])", r"\\\1", str(value))


def as_code(value: Any) -> str:
    """Returns a value as code. A bar is escaped, since it would end a column of a table even there.

    >>> as_code("a `b` | c")
    '`` a `b` \\\\| c ``'
    """
    text = str(value).replace("|", "\\|").replace("\n", " ")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def as_list(names: Sequence[str]) -> str:
    """Returns names with commas between them, escaped. Of more than 100 names the rest is counted.

    >>> as_list(["ant", "bee"])
    'ant, bee'
    """
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(as_text(name) for name in names[:MOST_LISTED]) + more


def as_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table. The cells have to be Markdown already."""
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
