"""Painting objects in front of backgrounds, with exact boxes, masks and visibilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipelines.data import Samples, Scene
from pipelines.prepare.pillow_decoding import open_upright
from pipelines.synthetic.cutouts import OPAQUE, Cutouts, tight_box

__all__ = ["Sprite", "draw_sprite", "make_background", "paint", "paint_instances", "visible_shares"]


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object that is ready to be painted.

    Attributes:
        rgb: Colours times opacity, `float32 [h, w, 3]` in 0..255.
        opacity: `float32 [h, w, 1]` in 0..1.
        opaque: The pixels that belong to the object, `bool [h, w]`.
        label: Class index.
    """

    rgb: np.ndarray
    opacity: np.ndarray
    opaque: np.ndarray
    label: int


def draw_sprite(
    cutouts: Cutouts,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    rotation: float,
    tint: bool,
) -> Sprite:
    """Draws a random object, and scales, turns and tints it at random.

    Args:
        cutouts: The objects. All classes have equal chances.
        rng: Generator of random numbers.
        size: Height and width of the scene.
        scale: Range of the object's longer side, as a fraction of the shorter side of the scene.
        rotation: Largest angle to either side, in degrees.
        tint: Whether to multiply the object by a random colour.
    """
    label = int(rng.choice(np.unique(cutouts.labels)))
    image = cutouts.images[int(rng.choice(np.flatnonzero(cutouts.labels == label)))]
    longer = float(rng.uniform(*scale)) * min(size)
    factor = longer / max(image.shape[:2])
    angle = float(rng.uniform(-rotation, rotation))
    colour = rng.uniform(0.3, 1.0, 3) if tint else np.ones(3)
    # Colours times opacity ("RGBa"), because otherwise the colours of transparent pixels would bleed in.
    picture = Image.fromarray(image, "RGBA").convert("RGBa")
    width, height = (max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    picture = picture.resize((width, height), Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX)
    if angle:
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    pixels = np.asarray(picture, np.float32)
    box = tight_box(pixels[..., 3] >= OPAQUE)
    if box is None:  # The object is so thin that no pixel is opaque, so its most opaque pixel represents it.
        y, x = np.unravel_index(np.argmax(pixels[..., 3]), pixels.shape[:2])
        box = (int(x), int(y), int(x) + 1, int(y) + 1)
        pixels = pixels.copy()
        pixels[y, x, 3] = 255
    x1, y1, x2, y2 = box
    pixels = pixels[y1:y2, x1:x2]
    opacity = pixels[..., 3:] / 255
    return Sprite(pixels[..., :3] * colour.astype(np.float32), opacity, pixels[..., 3] >= OPAQUE, label)


def _overlap(shape: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Any, Any]:
    """Returns the slices of the scene, and those of the sprite, where the two overlap.

    Args:
        shape: Height and width of the sprite.
        corner: Row and column of its upper left corner in the scene.
        size: Height and width of the scene.
    """
    scene, sprite = [], []
    for side, start, room in zip(shape, corner, size, strict=True):
        first, last = max(0, start), min(room, start + side)
        scene.append(slice(first, max(first, last)))
        sprite.append(slice(first - start, max(first, last) - start))
    return tuple(scene), tuple(sprite)


def paint_instances(sprites: Sequence[Sprite], corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Returns the number of the object that each pixel shows: `int32 [h, w]`, from 1, and 0 for the background.

    Args:
        sprites: The objects, from back to front.
        corners: Row and column of the upper left corner of each object.
        size: Height and width of the scene.
    """
    instances = np.zeros(size, np.int32)
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        there, here = _overlap(sprite.opaque.shape, corner, size)
        instances[there][sprite.opaque[here]] = number
    return instances


def visible_shares(sprites: Sequence[Sprite], instances: np.ndarray) -> list[float]:
    """Returns the share of each object's pixels that is visible in `instances` (`paint_instances`)."""
    counts = np.bincount(instances.reshape(-1), minlength=len(sprites) + 1)[1:]
    return [int(count) / int(sprite.opaque.sum()) for count, sprite in zip(counts, sprites, strict=True)]


def paint(
    background: np.ndarray,
    sprites: Sequence[Sprite],
    corners: Sequence[tuple[int, int]],
    *,
    name: str,
    boxes: str,
    seconds: float | None = None,
) -> Scene:
    """Paints objects in front of a background, and returns the scene with its annotations.

    Args:
        background: `uint8 [h, w, 3]`.
        sprites: The objects, from back to front. Those that are outside of the image get no annotation.
        corners: Row and column of the upper left corner of each object.
        name: Name of the image.
        boxes: "visible" for boxes around the visible pixels, or "whole" for boxes around all pixels in the image.
        seconds: Time stamp of the scene within a clip.
    """
    size = background.shape[0], background.shape[1]
    pixels = background.astype(np.float32)
    for sprite, corner in zip(sprites, corners, strict=True):
        there, here = _overlap(sprite.opaque.shape, corner, size)
        pixels[there] = sprite.rgb[here] + pixels[there] * (1 - sprite.opacity[here])
    instances = paint_instances(sprites, corners, size)
    tight_boxes = []
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        if boxes == "visible":
            tight_boxes.append(tight_box(instances == number))
        else:
            there, here = _overlap(sprite.opaque.shape, corner, size)
            box = tight_box(sprite.opaque[here])
            y, x = there[0].start, there[1].start
            tight_boxes.append(None if box is None else (box[0] + x, box[1] + y, box[2] + x, box[3] + y))
    scene = Scene(
        np.clip(np.round(pixels), 0, 255).astype(np.uint8),
        name,
        size,
        boxes=[box or (0, 0, 0, 0) for box in tight_boxes],
        classes=[sprite.label for sprite in sprites],
        identities=np.arange(len(sprites)),
        attributes=[{"visible": share} for share in visible_shares(sprites, instances)],
        instances=instances,
        seconds=seconds,
    )
    return scene if all(tight_boxes) else scene[np.array([box is not None for box in tight_boxes], bool)]


def make_background(kind: Any, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Makes a background `uint8 [h, w, 3]`.

    Args:
        kind: "plain" (one colour) or "noise" (soft colours), both dark to medium so that bright objects stand out; or
            photos, as `Samples` or pixels `uint8 [n, h, w, 3]`, for a random crop of a random photo.
        size: Height and width of the background.
        rng: Generator of random numbers.
    """
    height, width = size
    if isinstance(kind, str):
        if kind == "plain":
            return np.full([height, width, 3], rng.integers(0, 128, 3), np.uint8)
        coarse = Image.fromarray(rng.integers(0, 160, [4, 5, 3], dtype=np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    source = kind.images if isinstance(kind, Samples) else kind
    chosen = source[int(rng.integers(len(source)))]
    photo = Image.fromarray(chosen) if isinstance(chosen, np.ndarray) else open_upright(chosen).convert("RGB")
    # A window of the scene's shape at a random place: the largest that fits, or down to half of that
    fit = min(photo.width / width, photo.height / height) * float(rng.uniform(0.5, 1.0))
    window = max(1.0, width * fit), max(1.0, height * fit)
    left = float(rng.uniform(0, max(0.0, photo.width - window[0])))
    top = float(rng.uniform(0, max(0.0, photo.height - window[1])))
    box = (left, top, left + window[0], top + window[1])
    return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
