"""Lines and zones as they are written in the shell."""

from collections.abc import Iterable

from transfer.tracking.drawing import Border
from zoo.tracking import Line, Zone

__all__ = ["read_borders"]


def read_borders(lines: Iterable[str], zones: Iterable[str]) -> list[Border]:
    """Reads lines and zones.

    Args:
        lines: Lines as "x1,y1,x2,y2", in pixels, with a name and a colon before it if they have one.
        zones: Polygons as "x1,y1,x2,y2,x3,y3" and so on, likewise.

    Raises:
        ValueError: Numbers are missing, or a name is given twice.

    >>> [border.name for border in read_borders(["door:0,50,100,50", "0,9,9,9"], ["0,0,10,0,10,10"])]
    ['door', 'line 2', 'zone 1']
    """
    borders: list[Border] = []
    for number, text in enumerate(lines, 1):
        name, points = _points(text, f"line {number}", "four numbers x1,y1,x2,y2")
        if len(points) != 2:
            raise ValueError(f"expected a line as four numbers x1,y1,x2,y2, got {text!r}")
        borders.append(Line(points[0], points[1], name))
    for number, text in enumerate(zones, 1):
        name, points = _points(text, f"zone {number}", "six numbers or more, x1,y1,x2,y2,x3,y3")
        borders.append(Zone(tuple(points), name))
    names = [border.name for border in borders]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"expected a name for each line and zone, got {twice!r} twice")
    return borders


def _points(text: str, name: str, expected: str) -> tuple[str, list[tuple[float, float]]]:
    given, colon, rest = text.rpartition(":")
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) % 2:
        raise ValueError(f"expected {expected}, got {text!r}")
    return (given if colon else name), list(zip(numbers[::2], numbers[1::2], strict=True))
