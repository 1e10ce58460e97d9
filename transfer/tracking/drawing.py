"""Tracks on frames, for people to look at: boxes with identities, trails, and what was counted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipelines.colours import class_colour
from transfer.drawing import INK, PAPER, draw, lettering
from zoo.boxes import centres
from zoo.tracking import Counts, Line, TrackedFrame, Zone
from zoo.tracking.counting import foot

__all__ = ["Trails", "draw_paths", "draw_tracks"]

Border = Line | Zone


class Trails:
    """Where identities were in the last frames.

    Args:
        length: Number of frames. Defaults to 30.
    """

    def __init__(self, length: int = 30):
        self.length = length
        self._points: dict[int, list[tuple[int, float, float]]] = {}

    def add(self, tracked: TrackedFrame) -> Mapping[int, list[tuple[float, float]]]:
        """Adds a frame, and returns the points of each identity, the oldest first."""
        for identity, (x, y) in zip(tracked.identities.tolist(), foot(tracked.boxes).tolist(), strict=True):
            self._points.setdefault(identity, []).append((tracked.frame, x, y))
        oldest = tracked.frame - self.length
        kept = {one: [p for p in points if p[0] > oldest] for one, points in self._points.items()}
        self._points = {one: points for one, points in kept.items() if points}
        return {one: [(x, y) for _, x, y in points] for one, points in self._points.items()}


def draw_tracks(
    image: np.ndarray,
    tracked: TrackedFrame,
    class_names: Sequence[str],
    *,
    trails: Mapping[int, Sequence[tuple[float, float]]] | None = None,
    borders: Sequence[Border] = (),
    counts: Sequence[Counts] = (),
) -> Image.Image:
    """Draws the tracks of a frame onto it. An identity keeps its colour.

    Args:
        image: The frame, uint8 `[h, w, 3]`.
        tracked: Its tracks.
        class_names: Name of each class.
        trails: Points (x, y) of each identity, the oldest first.
        borders: Lines and zones.
        counts: What was counted at each of them.

    Example:

    >>> from zoo.tracking import track
    >>> frame = next(track([{"boxes": [[10, 10, 40, 60]]}]))
    >>> draw_tracks(np.zeros((80, 120, 3), np.uint8), frame, ["person"], borders=[Line((0, 50), (120, 50))]).size
    (120, 80)
    """
    identities = tracked.identities.tolist()
    names = [class_names[number] for number in tracked.classes.tolist()]
    picture = draw(
        image,
        tracked.boxes,
        [f"{name} {identity}" for name, identity in zip(names, identities, strict=True)],
        [class_colour(identity) for identity in identities],
    )
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 400))
    for identity, points in (trails or {}).items():
        if len(points) > 1:
            pen.line(list(points), fill=class_colour(identity), width=width)
    for border in borders:
        _draw_border(pen, border, width)
    if counts:
        _write_counts(picture, pen, borders, counts, class_names)
    return picture


def draw_paths(image: np.ndarray, frames: Iterable[TrackedFrame]) -> Image.Image:
    """Draws the whole path of each identity onto one picture: where its box has its centre, from frame to frame.

    Args:
        image: The picture, uint8 `[h, w, 3]`.
        frames: The tracks of each frame.

    Example:

    >>> from zoo.tracking import track
    >>> frames = track([{"boxes": [[x, 10, x + 30, 60]]} for x in range(10, 50, 4)])
    >>> draw_paths(np.zeros((80, 120, 3), np.uint8), frames).size
    (120, 80)
    """
    paths: dict[int, list[tuple[float, float]]] = {}
    for tracked in frames:
        for identity, (x, y) in zip(tracked.identities.tolist(), centres(tracked.boxes).tolist(), strict=True):
            paths.setdefault(identity, []).append((x, y))
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 200))
    font = lettering(max(11, round(max(picture.size) / 30)))
    for identity, points in paths.items():
        colour = class_colour(identity)
        pen.line(points, fill=colour, width=width)
        for x, y in points:
            pen.ellipse((x - width, y - width, x + width, y + width), fill=colour)
        pen.text(points[-1], str(identity), fill=INK, font=font)
    return picture


def _draw_border(pen: Any, border: Border, width: int) -> None:
    points = [border.start, border.end] if isinstance(border, Line) else [*border.corners, border.corners[0]]
    points = [(x, y) for x, y in points]
    pen.line(points, fill=INK, width=2 * width)
    pen.line(points, fill=PAPER, width=width)


def _write_counts(
    picture: Image.Image, pen: Any, borders: Sequence[Border], counts: Sequence[Counts], class_names: Sequence[str]
) -> None:
    """Writes what was counted into the lower left corner, on a dark ground."""
    lines = []
    for border, counted in zip(borders, counts, strict=True):
        passed = [f"{class_names[number]} {way} {count}" for (number, way), count in sorted(counted.passed.items())]
        inside = sum(counted.inside.values())
        within = [f"{inside} inside"] if isinstance(border, Zone) else []
        lines.append(f"{border.name}: {', '.join([*within, *passed]) or 'none'}")
    size = max(11, round(max(picture.size) / 50))
    font = lettering(size)
    height = round(1.3 * size)
    top = picture.height - height * len(lines) - size // 2
    right = max(pen.textlength(line, font=font) for line in lines) + size
    pen.rectangle((0, top, right, picture.height), fill=INK)
    for number, line in enumerate(lines):
        pen.text((size // 2, top + number * height), line, fill=PAPER, font=font)
