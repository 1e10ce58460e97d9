"""Painting objects on a background."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipelines.data import Samples, Scene
from pipelines.synthetic.cutouts import OPAQUE, open_upright, tight_box

__all__ = ["Sprite", "draw_sprite", "instances_of", "make_background", "paint", "visible_shares"]


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object as it is painted: `rgb` (times opacity) and `opacity` `float32 [h, w, ...]`, `opaque` `bool [h, w]`."""

    rgb: np.ndarray
    opacity: np.ndarray
    opaque: np.ndarray
    label: int


def draw_sprite(look: Any, rng: np.random.Generator) -> Sprite:
    """A random object, scaled, turned and tinted."""
    cutouts = look.cutouts
    label = int(rng.choice(np.unique(cutouts.labels)))
    image = cutouts.images[int(rng.choice(np.flatnonzero(cutouts.labels == label)))]
    longer = float(rng.uniform(*look.scale)) * min(look.size)
    factor = longer / max(image.shape[:2])
    angle = float(rng.uniform(-look.rotation, look.rotation))
    color = rng.uniform(0.3, 1.0, 3) if look.tint else np.ones(3)
    # Colours times opacity ("RGBa"): resampled otherwise, transparent pixels would bleed in.
    picture = Image.fromarray(image, "RGBA").convert("RGBa")
    size = [max(1, round(side * factor)) for side in (image.shape[1], image.shape[0])]
    picture = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX)
    if angle:
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    pixels = np.asarray(picture, np.float32)
    box = tight_box(pixels[..., 3] >= OPAQUE)
    if box is None:  # so thin that nothing opaque is left of it: its most opaque pixel stands for it
        y, x = np.unravel_index(np.argmax(pixels[..., 3]), pixels.shape[:2])
        box = (int(x), int(y), int(x) + 1, int(y) + 1)
        pixels = pixels.copy()
        pixels[y, x, 3] = 255
    x1, y1, x2, y2 = box
    pixels = pixels[y1:y2, x1:x2]
    opacity = pixels[..., 3:] / 255
    return Sprite(pixels[..., :3] * color.astype(np.float32), opacity, pixels[..., 3] >= OPAQUE, label)


def _window(shape: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Any, Any]:
    """Where a sprite of `shape`, its upper left corner (row, column) at `corner`, falls: slices of scene and sprite."""
    scene, sprite = [], []
    for side, start, room in zip(shape, corner, size, strict=True):
        first, last = max(0, start), min(room, start + side)
        scene.append(slice(first, max(first, last)))
        sprite.append(slice(first - start, max(first, last) - start))
    return tuple(scene), tuple(sprite)


def instances_of(sprites: Sequence[Sprite], corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Which object each pixel shows, from 1, later ones in front; `int32 [h, w]`."""
    shown = np.zeros(size, np.int32)
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        there, here = _window(sprite.opaque.shape, corner, size)
        shown[there][sprite.opaque[here]] = number
    return shown


def visible_shares(sprites: Sequence[Sprite], shown: np.ndarray) -> list[float]:
    """The share of each object's pixels that is seen."""
    counts = np.bincount(shown.reshape(-1), minlength=len(sprites) + 1)[1:]
    return [int(count) / int(sprite.opaque.sum()) for count, sprite in zip(counts, sprites, strict=True)]


def paint(
    canvas: np.ndarray,
    sprites: Sequence[Sprite],
    corners: Sequence[tuple[int, int]],
    *,
    name: str,
    boxes: str,
    seconds: float | None = None,
) -> Scene:
    """The scene with the sprites in front of `canvas`, later ones in front of earlier ones; those outside left out."""
    size = canvas.shape[0], canvas.shape[1]
    pixels = canvas.astype(np.float32)
    for sprite, corner in zip(sprites, corners, strict=True):
        there, here = _window(sprite.opaque.shape, corner, size)
        pixels[there] = sprite.rgb[here] + pixels[there] * (1 - sprite.opacity[here])
    shown = instances_of(sprites, corners, size)
    hulls = []
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        if boxes == "visible":
            hulls.append(tight_box(shown == number))
        else:
            there, here = _window(sprite.opaque.shape, corner, size)
            hull = tight_box(sprite.opaque[here])
            y, x = there[0].start, there[1].start
            hulls.append(None if hull is None else (hull[0] + x, hull[1] + y, hull[2] + x, hull[3] + y))
    scene = Scene(
        np.clip(np.round(pixels), 0, 255).astype(np.uint8),
        name,
        size,
        boxes=[hull or (0, 0, 0, 0) for hull in hulls],
        classes=[sprite.label for sprite in sprites],
        identities=np.arange(len(sprites)),
        attributes=[{"visible": share} for share in visible_shares(sprites, shown)],
        instances=shown,
        seconds=seconds,
    )
    return scene if all(hulls) else scene[np.array([hull is not None for hull in hulls], bool)]


def make_background(kind: Any, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """`uint8 [h, w, 3]`, dark to medium where it is made up, so that bright objects stand out."""
    height, width = size
    if isinstance(kind, str):
        if kind == "plain":
            return np.full([height, width, 3], rng.integers(0, 128, 3), np.uint8)
        coarse = Image.fromarray(rng.integers(0, 160, [4, 5, 3], dtype=np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    source = kind.images if isinstance(kind, Samples) else kind
    chosen = source[int(rng.integers(len(source)))]
    photo = Image.fromarray(chosen) if isinstance(chosen, np.ndarray) else open_upright(chosen).convert("RGB")
    # The largest window of the scene's shape, or down to half of it, anywhere.
    fit = min(photo.width / width, photo.height / height) * float(rng.uniform(0.5, 1.0))
    window = max(1.0, width * fit), max(1.0, height * fit)
    left = float(rng.uniform(0, max(0.0, photo.width - window[0])))
    top = float(rng.uniform(0, max(0.0, photo.height - window[1])))
    box = (left, top, left + window[0], top + window[1])
    return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
