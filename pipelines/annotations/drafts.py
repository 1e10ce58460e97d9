"""Images and objects as annotations describe them, before they are checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Draft", "Found"]


@dataclass(frozen=True, slots=True)
class Found:
    """An object as its annotation describes it.

    Attributes:
        class_name: Name of the class.
        box: The box (xyxy), in pixels, or in fractions of the image if the draft is `relative`.
        line: Line of the annotation, or None.
        difficult: Whether the object is "difficult", as in Pascal VOC.
        crowd: Whether the box holds an uncountable group, as in COCO.
        outline: Polygons or run lengths, as in `pipelines.Scene`, or None.
        attributes: Everything else that the annotation says.
    """

    class_name: str
    box: tuple[float, float, float, float]
    line: int | None
    difficult: bool = False
    crowd: bool = False
    outline: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """An image as its annotation describes it.

    Attributes:
        image: Path at which the image should be.
        name: Name of the image.
        source: File of the annotation.
        objects: The objects in the image.
        line: Line of the annotation, or None.
        size: Height and width that the annotation states, or None.
        relative: Whether boxes and outlines are in fractions of the image.
        number: Number of the image in the source, or None.
        mask: A `pipelines.annotations.masks.MaskFile`, or None.
    """

    image: Path
    name: str
    source: Path
    objects: Sequence[Found] = ()
    line: int | None = None
    size: tuple[int, int] | None = None
    relative: bool = False
    number: int | str | None = None
    mask: Any = None
