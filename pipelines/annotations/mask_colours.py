"""Tables of names and colours of classes, which lie beside colour-coded masks."""

import re
from pathlib import Path

from pipelines.annotations.documents import read_text
from pipelines.annotations.faults import Log

__all__ = ["COLOUR_TABLES", "find_colours"]

COLOUR_TABLES = ("labelmap.txt", "class_dict.csv", "classes.csv", "label_colors.txt")


def find_colours(root: Path, log: Log) -> dict[str, tuple[int, int, int]]:
    """Returns the colours of classes from the first table of names and colours in the folder."""
    for name in COLOUR_TABLES:
        path = root / name
        text = (read_text(path, log) or "") if path.is_file() else ""
        colors: dict[str, tuple[int, int, int]] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            named = _named_colour(line)
            if named is not None:
                colors[named[0]] = named[1]
            elif number > 1:  # the first line may hold the names of the columns
                reason = f"expected a name and three numbers, received {line!r}; the line is left out"
                log.add("broken", path, number, reason)
        if colors:
            return colors
    return {}


def _named_colour(line: str) -> tuple[str, tuple[int, int, int]] | None:
    """Returns the name and the colour in a line: `name:r,g,b::`, `name,r,g,b` or `r g b name`.

    >>> _named_colour("sky:0,0,255::"), _named_colour("64 128 64\tAnimal"), _named_colour("name,r,g,b")
    (('sky', (0, 0, 255)), ('Animal', (64, 128, 64)), None)
    """
    number = r"\s*(\d{1,3})\s*"
    before = re.match(rf"(.*?)[:,;\s]{number}[,;\s]{number}[,;\s]{number}(\D|$)", line)
    after = re.match(rf"{number}[,;\s]{number}[,;\s]{number}[,;\s](.*)", line)
    if after is not None and after[4].strip():
        return after[4].strip(), (int(after[1]), int(after[2]), int(after[3]))
    if before is None or not before[1].strip():
        return None
    return before[1].strip().strip('"'), (int(before[2]), int(before[3]), int(before[4]))
