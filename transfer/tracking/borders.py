"""Lines and zones as they are written in the shell."""

from collections.abc import Iterable

from transfer.tracking.drawing import Border
from zoo.tracking import Line, Zone

__all__ = ["read_borders"]


def read_borders(texts: Iterable[str]) -> list[Border]:
    """Reads lines and zones.

    Args:
        texts: "x1,y1,x2,y2" for a line, and more points for a zone, a polygon; in pixels, with a name and a colon
            before it if they have one.

    Raises:
        ValueError: Numbers are missing, or a name is given twice.

    >>> [border.name for border in read_borders(["door:0,50,100,50", "0,0,10,0,10,10"])]
    ['door', 'zone 2']
    """
    borders: list[Border] = []
    for number, text in enumerate(texts, 1):
        name, _, rest = text.rpartition(":")
        try:
            numbers = [float(part) for part in rest.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) < 4 or len(numbers) % 2:
            raise ValueError(f"expected x1,y1,x2,y2 for a line, or three points or more for a zone, got {text!r}")
        points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        if len(points) == 2:
            borders.append(Line(*points, name=name or f"line {number}"))
        else:
            borders.append(Zone(points, name or f"zone {number}"))
    names = [border.name for border in borders]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"expected a name for each line and zone, got {twice!r} twice")
    return borders
