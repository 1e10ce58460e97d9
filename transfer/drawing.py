"""Answers on photos, for people to look at: boxes with their labels, or a few lines of text."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["INK", "PAPER", "caption", "draw", "lettering"]

INK = (16, 18, 24)
PAPER = (255, 255, 255)
READABLE = 320  # The longer side in pixels from which on a photo has room for text.


def draw(
    image: np.ndarray,
    boxes: Any,
    labels: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    longer: int | None = None,
) -> Image.Image:
    """Draws boxes with their labels onto a photo.

    Args:
        image: The photo, uint8 `[h, w, 3]`.
        boxes: The boxes, `[n, 4]`, xyxy in pixels of the photo.
        labels: The label of each box. An empty label is not written.
        colours: The colour of each box, as red, green and blue in 0..255.
        longer: The longer side in pixels that the drawing gets; lines and letters keep their size. By default the
            photo keeps its size.

    Example:

    >>> draw(np.zeros((40, 60, 3), np.uint8), [[5, 5, 30, 20]], ["ant 0.93"], [(255, 0, 0)]).size
    (60, 40)
    """
    picture, scale = _resized(image, longer)
    width = max(2, round(max(picture.size) / 300))
    font = lettering(max(11, round(max(picture.size) / 50)))
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


def caption(image: np.ndarray, lines: Sequence[str], *, longer: int | None = None) -> Image.Image:
    """Writes lines of text onto the top of a photo, on a dark band.

    Lines that are too long are cut off at the photo's edge, and lines that do not fit below each other are counted.

    Args:
        image: The photo, uint8 `[h, w, 3]`.
        lines: The text. Without any, the photo is returned as it is.
        longer: The longer side in pixels that the drawing gets. By default the photo keeps its size, but a photo that
            is too small for text is enlarged to 320 pixels.

    Example:

    >>> caption(np.zeros((240, 400, 3), np.uint8), ["ant 93.1%", "bee 4.0%"]).size
    (400, 240)
    """
    if longer is None and max(image.shape[:2]) < READABLE:
        longer = READABLE
    picture, _ = _resized(image, longer)
    if not lines:
        return picture
    margin = max(3, round(max(picture.size) / 100))
    size = max(11, round(max(picture.size) / 30))
    font = lettering(size)
    height = round(1.3 * size)
    room = max(1, (picture.height - 2 * margin) // height)
    shown = list(lines) if len(lines) <= room else [*lines[: room - 1], f"and {len(lines) - room + 1} more"]
    band = (0, 0, picture.width, min(picture.height, 2 * margin + height * len(shown)))
    dark = Image.new("RGB", (band[2], band[3]), INK)
    picture.paste(Image.blend(picture.crop(band), dark, 0.7), band)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(shown):
        text = _fitting(line, lambda text: pen.textlength(text, font=font) <= picture.width - 2 * margin)
        pen.text((margin, margin + number * height), text, fill=PAPER, font=font)
    return picture


def _resized(image: np.ndarray, longer: int | None) -> tuple[Image.Image, float]:
    """Returns a photo as a picture whose longer side is as asked for, and by which factor it was resized."""
    picture = Image.fromarray(image)
    scale = 1.0 if longer is None else longer / max(picture.size)
    if scale == 1.0:
        return picture, scale
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC), scale


def _fitting(line: str, fits: Callable[[str], bool]) -> str:
    """Returns a line that fits: itself, or its beginning and an ellipsis."""
    if fits(line):
        return line
    lengths = range(len(line) - 1, 0, -1)
    return next((f"{line[:length]}…" for length in lengths if fits(f"{line[:length]}…")), "…")


@functools.cache
def lettering(size: int) -> Any:
    """Returns DejaVu Sans, which has most alphabets and comes with Matplotlib; without it, Pillow's font of Latin."""
    matplotlib = importlib.util.find_spec("matplotlib")  # It is not imported: that would take a second.
    folders = (matplotlib.submodule_search_locations if matplotlib is not None else None) or ()
    for folder in folders:
        file = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
