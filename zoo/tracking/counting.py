"""Counting who passes a line and who enters a zone: with hysteresis, and once for each identity and direction.

A box trembles. So an object has passed only when it is on the other side by more than a margin, and one that trembles
on the line is counted once or not at all.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from zoo import boxes

__all__ = ["Border", "Counts", "Line", "Zone", "count", "foot"]

FORGOTTEN = 1000  # Frames after which an identity that is not seen is forgotten, so that memory stays bounded.


class Border(Protocol):
    """What divides a picture into two sides."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def directions(self) -> tuple[str, str]:
        """What passing from the first side to the second is called, and from the second to the first."""

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Returns how far points `[n, 2]` are beyond the border in pixels, `[n]`; below 0 on the first side."""

    def passes(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Tells whether the way between two points that lie on different sides leads over the border itself."""


@dataclass(frozen=True)
class Line:
    """A line between two points. Who looks from the first to the second has its first side on the left.

    Args:
        start: x and y in pixels.
        end: x and y in pixels.
        name: Its name. Defaults to "line".

    Raises:
        ValueError: Both points are the same.

    >>> Line((0, 10), (100, 10)).depth(np.array([[50, 4], [50, 13]])).tolist()
    [-6.0, 3.0]
    """

    start: tuple[float, float]
    end: tuple[float, float]
    name: str = "line"
    directions: tuple[str, str] = ("left to right", "right to left")

    def __post_init__(self) -> None:
        points = np.asarray([self.start, self.end], float)
        if points.shape != (2, 2) or not np.isfinite(points).all() or (points[0] == points[1]).all():
            raise ValueError(f"expected a line between two different points, got {self.start} and {self.end}")

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Returns how far points `[n, 2]` are on the right of the line in pixels, `[n]`; below 0 on the left."""
        return _cross(np.asarray(self.start, float), np.asarray(self.end, float), points)

    def passes(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Tells whether the way between two points leads over the line, and not past its ends."""
        sides = _cross(before, after, np.array([self.start, self.end], float))
        return bool(sides[0] * sides[1] <= 0)


@dataclass(frozen=True)
class Zone:
    """A polygon. Its first side is the outside.

    Args:
        corners: x and y of its corners in pixels, three or more.
        name: Its name. Defaults to "zone".

    Raises:
        ValueError: There are fewer than three corners.

    >>> Zone([(0, 0), (10, 0), (10, 10), (0, 10)]).depth(np.array([[5, 4], [13, 14]])).tolist()
    [4.0, -5.0]
    """

    corners: Sequence[tuple[float, float]]
    name: str = "zone"
    directions: tuple[str, str] = ("in", "out")

    def __post_init__(self) -> None:
        corners = np.asarray(self.corners, float)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
            raise ValueError(f"expected three corners (x, y) or more, got {self.corners}")

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Returns how far points `[n, 2]` are inside in pixels, `[n]`; below 0 outside."""
        a = np.asarray(self.corners, float)
        b = np.roll(a, -1, axis=0)
        way, to_point = b - a, np.asarray(points, float)[:, None] - a
        along = np.clip((to_point * way).sum(2) / np.maximum((way**2).sum(1), 1e-12), 0, 1)
        distance = np.linalg.norm(to_point - along[..., None] * way, axis=2).min(axis=1)
        x, y = np.asarray(points, float).T[:, :, None]
        above = (a[:, 1] > y) != (b[:, 1] > y)  # A ray to the right crosses the edges at whose height the point is.
        rise = np.where(b[:, 1] == a[:, 1], 1, b[:, 1] - a[:, 1])
        inside = (above & (x < a[:, 0] + (y - a[:, 1]) * way[:, 0] / rise)).sum(axis=1) % 2 == 1
        return np.where(inside, distance, -distance)

    def passes(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Tells that a way from the outside to the inside leads over the border."""
        return True


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted at a border.

    Attributes:
        passed: Number of identities by (class, direction).
        inside: Number of objects that are beyond the border in the last frame, by class. For a zone these are the
            objects in it.
        known: For each identity its side (-1 or 1), the point where it was last known to be on it, the directions in
            which it was counted, and the number of the frame.
        frame: Number of frames so far.
    """

    passed: Mapping[tuple[int, str], int] = field(default_factory=dict)
    inside: Mapping[int, int] = field(default_factory=dict)
    known: Mapping[int, tuple[int, np.ndarray, frozenset[str], int]] = field(default_factory=dict)
    frame: int = 0

    def total(self, direction: str | None = None) -> int:
        """Returns how many passed, in one direction or in both."""
        return sum(number for (_, way), number in self.passed.items() if direction in (None, way))


def count(border: Border, counts: Counts, tracked: Any, *, margin: float = 0.1) -> Counts:
    """Goes on by one frame.

    Args:
        border: A line or a zone.
        counts: What was counted before; `Counts()` before the first frame. It is not changed.
        tracked: The tracks of the frame, with `identities`, `boxes` and `classes` (`zoo.tracking.TrackedFrame`). An
            object is where it stands: in the middle of the lower edge of its box.
        margin: By how much of its height an object has to be beyond the border. Defaults to 0.1.

    Returns:
        The new counts.

    Raises:
        ValueError: The margin is below 0.
    """
    if margin < 0:
        raise ValueError(f"expected a margin of 0 or more, got {margin}")
    points = foot(tracked.boxes)
    depth = border.depth(points) if len(points) else np.zeros(0)
    enough = margin * (tracked.boxes[:, 3] - tracked.boxes[:, 1])
    known, passed = dict(counts.known), Counter(counts.passed)
    for row, identity in enumerate(tracked.identities.tolist()):
        side, place, counted, _ = known.get(identity, (0, points[row], frozenset[str](), 0))
        if abs(depth[row]) > enough[row]:
            now = 1 if depth[row] > 0 else -1
            direction = border.directions[0 if now > 0 else 1]
            if side == -now and direction not in counted and border.passes(place, points[row]):
                passed[int(tracked.classes[row]), direction] += 1
                counted |= {direction}
            side, place = now, points[row]
        known[identity] = side, place, counted, counts.frame
    for identity in [one for one, entry in known.items() if entry[3] < counts.frame - FORGOTTEN]:
        del known[identity]
    inside = Counter(int(one) for one in tracked.classes[depth > 0])
    return Counts(dict(passed), dict(inside), known, counts.frame + 1)


def foot(corners: np.ndarray) -> np.ndarray:
    """Returns the middle of the lower edge (x, y), float `[n, 2]`, of boxes xyxy `[n, 4]`."""
    points = boxes.centres(np.asarray(corners, np.float64).reshape(-1, 4)).copy()
    points[:, 1] = np.asarray(corners).reshape(-1, 4)[:, 3]
    return points


def _cross(start: np.ndarray, end: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns the signed distances `[n]` of points `[n, 2]` from the line through two points."""
    way = end - start
    to_point = np.asarray(points, float) - start
    return (way[0] * to_point[:, 1] - way[1] * to_point[:, 0]) / max(float(np.hypot(*way)), 1e-12)
