"""Two balls that bounce off each other: with motion alone a tracker swaps them, and with their colours it does not."""

from collections.abc import Iterator

import numpy as np

from pipelines.data import Scene

__all__ = ["bouncing_balls"]

COLOURS = ((220, 40, 40), (40, 70, 220))


def bouncing_balls(frames: int = 41, *, size: tuple[int, int] = (80, 240), radius: int = 12) -> Iterator[Scene]:
    """Yields scenes in which a red ball comes from the left and a blue one from the right, and both turn back.

    From their boxes alone nobody can tell whether they bounce off each other or fly past each other.

    Args:
        frames: Number of frames. The balls touch in the middle one.
        size: Height and width in pixels.
        radius: Of the balls, in pixels.

    Yields:
        `Scene`s with boxes, the class 0, and the identities 0 (red) and 1 (blue).

    Raises:
        ValueError: The balls do not fit.

    >>> scenes = list(bouncing_balls(21))
    >>> scenes[0].boxes.tolist() == scenes[20].boxes.tolist(), scenes[10].boxes[:, 0].tolist()
    (True, [96.0, 120.0])
    """
    height, width = size
    if height < 2 * radius or width < 4 * radius or frames < 1 or radius < 1:
        raise ValueError(f"expected balls that fit, got radius={radius} in {height} x {width}, frames={frames}")
    middle = (frames - 1) / 2
    rows, columns = np.mgrid[:height, :width] + 0.5
    for index in range(frames):
        away = abs(index - middle) / max(middle, 1) * (width / 2 - 2 * radius)
        image = np.full((height, width, 3), 235, np.uint8)
        boxes = []
        for side, colour in zip((-1, 1), COLOURS, strict=True):
            x, y = width / 2 + side * (radius + away), height / 2
            image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = colour
            boxes.append([x - radius, y - radius, x + radius, y + radius])
        name, seconds = f"{index:04d}.png", round(index / 25, 6)
        yield Scene(image, name, size, boxes=boxes, classes=[0, 0], identities=[0, 1], seconds=seconds)
