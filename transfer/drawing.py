"""Answers on photos, for people to look at: boxes with their labels, masks, or a few lines of text."""

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.colours import class_colour

__all__ = ["INK", "PAPER", "caption", "draw", "indexed", "lettering", "paint"]

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


OPACITY = 0.45  # of the colour of a class over the photo; its border is opaque


def paint(
    image: np.ndarray,
    mask: np.ndarray,
    colours: Mapping[int, tuple[int, int, int]],
    labels: Mapping[int, str],
    *,
    longer: int | None = None,
) -> Image.Image:
    """Lays a map of classes over a photo: each class in its colour, with an opaque border, and a list of their names.

    Args:
        image: The photo, uint8 `[h, w, 3]`.
        mask: The number of the class of each pixel, int `[h, w]`. Classes without a colour are not painted.
        colours: The colour of each class, as red, green and blue in 0..255.
        labels: The names of the classes that are listed, by their numbers.
        longer: The longer side in pixels that the drawing gets. By default the photo keeps its size.

    Example:

    >>> mask = np.zeros((40, 60), np.uint8)
    >>> mask[10:20, 10:30] = 1
    >>> paint(np.zeros((40, 60, 3), np.uint8), mask, {1: (255, 0, 0)}, {}).getpixel((10, 10))
    (255, 0, 0)
    """
    picture, scale = _resized(image, longer)
    if scale != 1.0:
        mask = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST))
    table = np.zeros((256, 3), np.float32)
    painted = np.zeros(256, bool)
    for number, colour in colours.items():
        table[number], painted[number] = colour, True
    numbers = np.asarray(mask, np.uint8)
    is_border = np.zeros(numbers.shape, bool)  # Where a neighbour has another class.
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = numbers[here] != numbers[there]
        is_border[here] |= differs
        is_border[there] |= differs
    weight = np.where(painted[numbers], np.where(is_border, 1.0, OPACITY), 0.0)[..., None].astype(np.float32)
    pixels = np.asarray(picture, np.float32) * (1 - weight) + table[numbers] * weight
    picture = Image.fromarray(np.rint(pixels).astype(np.uint8))
    if max(picture.size) >= READABLE:
        _list(picture, [(labels[number], colours[number]) for number in labels if number in colours])
    return picture


def _list(picture: Image.Image, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Writes names on their colours at the top left of a picture, below each other, as far as there is room."""
    size = max(11, round(max(picture.size) / 50))
    font, height = lettering(size), round(1.4 * size)
    pen = ImageDraw.Draw(picture)
    for number, (label, colour) in enumerate(entries[: picture.height // height]):
        width = pen.textlength(label, font=font)
        top = number * height
        pen.rectangle((0, top, width + size, top + height - 1), fill=colour)
        pen.text((size / 2, top + height / 2), label, fill=INK, font=font, anchor="lm")


def indexed(mask: np.ndarray) -> Image.Image:
    """Returns a map of classes as an image with a palette, whose pixels are the numbers of the classes.

    Class 0 is black, 255 is white, and the others have the colours in which they are drawn.

    >>> image = indexed(np.array([[0, 1], [255, 1]], np.uint8))
    >>> image.mode, np.asarray(image).tolist(), image.convert("RGB").getpixel((1, 0)) == class_colour(1)
    ('P', [[0, 1], [255, 1]], True)
    """
    image = Image.fromarray(np.asarray(mask, np.uint8))
    colours = [(0, 0, 0), *(class_colour(number) for number in range(1, 255)), PAPER]
    image.putpalette([value for colour in colours for value in colour])
    return image


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
