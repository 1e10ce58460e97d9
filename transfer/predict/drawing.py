"""Boxes on photos, for people to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["colour_of", "draw"]

INK = (16, 18, 24)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for a class, far from those of the classes before it.

    >>> colour_of(0) == colour_of(1)
    False
    """
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(0.58 + number * 0.618034 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    image: np.ndarray,
    boxes: Any,
    labels: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    longer: int | None = None,
) -> Image.Image:
    """A photo with boxes and what they are called.

    Args:
        image: uint8 [h, w, 3].
        boxes: [n, 4], xyxy in pixels of it.
        labels: of each box; an empty one is not written.
        colours: of each box.
        longer: shrink or enlarge the photo to that longer side; lines and letters keep their size.

    Example:

    >>> draw(np.zeros((40, 60, 3), np.uint8), [[5, 5, 30, 20]], ["ant 0.93"], [colour_of(0)]).size
    (60, 40)
    """
    picture = Image.fromarray(image)
    scale = 1.0 if longer is None else longer / max(picture.size)
    if scale != 1.0:
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BICUBIC)  # type: ignore[arg-type]
    width = max(2, round(max(picture.size) / 300))
    font: Any = ImageFont.load_default(max(11, round(max(picture.size) / 50)))
    pen = ImageDraw.Draw(picture)
    for corners, label, colour in zip(np.asarray(boxes, float).reshape(-1, 4), labels, colours, strict=True):
        left, top, right, bottom = (scale * corners).tolist()
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
        if label:
            place = pen.textbbox((left + width, 0), label, font=font, anchor="lt")
            height = place[3] - place[1] + 2 * width
            above = top - height if top >= height else top
            pen.rectangle((left, above, place[2] + width, above + height), fill=colour)
            pen.text((left + width, above + width), label, fill=INK, font=font, anchor="lt")
    return picture
