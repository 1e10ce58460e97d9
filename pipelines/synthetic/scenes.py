"""Synthetic scenes: objects cut from labelled images, put together on backgrounds, with everything about them known.

A scene is made when it is asked for, from the seed and its number alone, so that a million of them take no room:

>>> from pipelines import SyntheticScenes, cut_out, read_data
>>> digits = read_data("sklearn:digits")
>>> scenes = SyntheticScenes(cut_out(digits.train[:50], digits.class_names), 1_000_000, size=(48, 64))
>>> scene = scenes[123_456]
>>> scene.image.shape, len(scene.boxes) == len(scene.classes) == scene.instances.max()
((48, 64, 3), np.True_)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, overload

import numpy as np
from PIL import Image, ImageOps

from pipelines.annotations.outlines import instance_masks
from pipelines.data import Samples, Scene

__all__ = ["Cutouts", "SyntheticClips", "SyntheticScenes", "cut_out", "cut_out_scenes"]

ALPHAS = ("own", "brightness", "silhouette")

# A pixel is the object's where its opacity is at least this, and else only tinted by it.
_OPAQUE = 128
# A placement that covers too much of another object is drawn again so often.
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Cutouts:
    """Objects without their surroundings.

    Args:
        images: `uint8 [h, w, 4]` each, RGB and opacity.
        labels: `int32 [n]`, class indices.
        class_names: of the classes.

    Raises:
        ValueError: no objects, images of another kind, or objects without an opaque pixel.
    """

    images: Sequence[np.ndarray]
    labels: Any
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        labels = np.array(self.labels, np.int32).reshape(-1)
        if not len(self.images) or len(self.images) != len(labels):
            raise ValueError(
                f"Cutouts: expected objects and a label for each, received {len(self.images)} and {len(labels)}"
            )
        trimmed = []
        for number, image in enumerate(self.images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 4:
                raise ValueError(
                    f"Cutouts: expected uint8 [h, w, 4], received {image.dtype} {list(image.shape)} at {number}"
                )
            box = _hull(image[..., 3] >= _OPAQUE)
            if box is None:
                raise ValueError(f"Cutouts: object {number} has no pixel of an opacity of {_OPAQUE} or more")
            x1, y1, x2, y2 = box
            trimmed.append(image[y1:y2, x1:x2])
        object.__setattr__(self, "images", tuple(trimmed))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.images)


def cut_out(samples: Samples, class_names: Sequence[str], *, alpha: str | None = None) -> Cutouts:
    """Cut the object out of each labelled image.

    Args:
        samples: one object an image: files or contents (say PNGs with transparency in class folders), or pixels (say
            digits on black).
        class_names: of the labels.
        alpha: what is opaque. "own", the image's own transparency; "brightness", the brighter the more opaque, for
            writing on black; "silhouette", everything brighter than 16 of 255 and what that encloses, for photos on
            black. `None` takes "own" for files and contents, "brightness" for pixels.

    Returns:
        The objects, trimmed to their opaque pixels. Images with nothing opaque are left out.

    Raises:
        ValueError: images without transparency of their own, or nothing opaque in any.

    Example:

    >>> from pipelines import read_data
    >>> digits = read_data("sklearn:digits")
    >>> cutouts = cut_out(digits.train[:5], digits.class_names)
    >>> len(cutouts), cutouts.images[0].shape[-1]
    (5, 4)
    """
    alpha = alpha or ("brightness" if samples.decoded else "own")
    if alpha not in ALPHAS:
        raise ValueError(f"cut_out: expected `alpha` as one of {', '.join(ALPHAS)}; received {alpha!r}")
    images, labels = [], []
    for image, label, name in zip(samples.images, samples.labels.tolist(), samples.names, strict=True):
        pixels = _rgba(image, name, alpha)
        if (pixels[..., 3] >= _OPAQUE).any():
            images.append(pixels)
            labels.append(label)
    return Cutouts(images, labels, class_names)


def cut_out_scenes(scenes: Sequence[Scene], class_names: Sequence[str]) -> Cutouts:
    """Cut out every object that has an outline, or a place in `Scene.instances`; crowds are left out.

    Raises:
        ValueError: no object has one.
    """
    images, labels = [], []
    for scene in scenes:
        chosen = [
            index
            for index in range(len(scene))
            if not scene.crowd[index] and (scene.instances is not None or (scene.outlines or ())[index] is not None)
        ]
        if not chosen:
            continue
        pixels = scene.image if isinstance(scene.image, np.ndarray) else _open(scene.image).convert("RGB")
        masks = instance_masks(scene)
        for index in chosen:
            if masks[index].any():
                images.append(np.dstack([np.asarray(pixels), masks[index] * np.uint8(255)]))
                labels.append(int(scene.classes[index]))
    return Cutouts(images, labels, class_names)


@dataclass(frozen=True, eq=False)
class SyntheticScenes(Sequence[Scene]):
    """Still scenes of objects that do not hide each other too much; a sequence that makes each scene when asked.

    Scene `i` depends on the arguments and on `i` alone. `pipelines.scene_dataset` makes a tf.data data set of them, on
    the fly.

    Args:
        cutouts: the objects, drawn with equal chances for each class.
        length: how many scenes.
        size: (height, width).
        objects: fewest and most objects in a scene; fewer where there is no room.
        scale: smallest and largest longer side of an object, as shares of the shorter side of the scene.
        rotation: largest turn either way, in degrees.
        tint: multiply each object by a colour of its own.
        background: "plain" (one colour), "noise" (soft colours), or `Samples` or pixels `uint8 [n, h, w, 3]` to take
            random crops from.
        min_visible: at least this share of each object's pixels is not hidden by another.
        boxes: around what is "visible" of an object, or around the "whole" of it.
        seed: another seed, other scenes.

    A scene has exact `boxes` and `classes`, `instances` (which object each pixel shows), and for each object in
    `attributes` what share of its pixels is `visible`.

    Raises:
        ValueError: arguments out of their ranges.
    """

    cutouts: Cutouts
    length: int
    size: tuple[int, int] = (128, 128)
    objects: tuple[int, int] = (1, 5)
    scale: tuple[float, float] = (0.2, 0.4)
    rotation: float = 15.0
    tint: bool = False
    background: Any = "noise"
    min_visible: float = 0.6
    boxes: str = "visible"
    seed: int = 0

    def __post_init__(self) -> None:
        _check("SyntheticScenes", self)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Scene: ...

    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...

    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        index = range(self.length)[index]
        rng = np.random.default_rng([self.seed, index])
        canvas = _background(self.background, self.size, rng)
        sprites: list[_Sprite] = []
        corners: list[tuple[int, int]] = []
        for _ in range(int(rng.integers(self.objects[0], self.objects[1] + 1))):
            sprite = _draw_sprite(self, rng)
            for _ in range(_ATTEMPTS):
                corner = tuple(
                    int(rng.integers(0, max(1, room - side + 1)))
                    for room, side in zip(self.size, sprite.opaque.shape, strict=True)
                )
                placed = _instances([*sprites, sprite], [*corners, corner], self.size)  # type: ignore[list-item]
                if min(_visible([*sprites, sprite], placed)) >= self.min_visible:
                    sprites.append(sprite)
                    corners.append(corner)  # type: ignore[arg-type]
                    break
        return _paint(canvas, sprites, corners, name=f"{self.seed}-{index:06d}.png", boxes=self.boxes)


@dataclass(frozen=True, eq=False)
class SyntheticClips(Sequence[tuple[Scene, ...]]):
    """Clips of objects that move in front of each other; a sequence that makes each clip when asked.

    Each clip is a tuple of scenes, one a frame. An object keeps its number in `Scene.identities` throughout; it moves
    at a steady speed and turns back at the edges, or leaves. Objects in front hide those behind: `visible`, in
    `attributes`, tells how much is left of each.

    Args:
        cutouts, length, size, objects, scale, rotation, tint, background, seed: as for `SyntheticScenes`.
        frames: in a clip.
        speed: smallest and largest speed, in pixels a frame.
        fps: frames a second, for the time stamps.
        edges: "bounce" back with the object's centre at the edge, or "leave" the image.
        min_visible: objects of which less is seen are not annotated in that frame; with 0, those that are wholly hidden
            still are, as tracking benchmarks have it, but not those that have left.
        boxes: around what is "visible" of an object, or around the "whole" of it, as far as it is in the image.

    Example:

    >>> from pipelines import read_data
    >>> digits = read_data("sklearn:digits")
    >>> clips = SyntheticClips(cut_out(digits.train[:50], digits.class_names), 10, size=(48, 64), frames=5)
    >>> [scene.seconds for scene in clips[0]]
    [0.0, 0.04, 0.08, 0.12, 0.16]
    >>> bool((clips[0][0].identities == clips[0][4].identities).all())
    True

    Raises:
        ValueError: arguments out of their ranges.
    """

    cutouts: Cutouts
    length: int
    frames: int = 25
    size: tuple[int, int] = (128, 128)
    objects: tuple[int, int] = (2, 5)
    scale: tuple[float, float] = (0.2, 0.4)
    rotation: float = 15.0
    tint: bool = False
    background: Any = "noise"
    speed: tuple[float, float] = (1.0, 4.0)
    fps: float = 25.0
    edges: str = "bounce"
    min_visible: float = 0.0
    boxes: str = "whole"
    seed: int = 0

    def __post_init__(self) -> None:
        _check("SyntheticClips", self)
        if self.frames < 1 or self.fps <= 0:
            raise ValueError(
                f"SyntheticClips: expected at least one frame and fps above 0, received {self.frames} and {self.fps}"
            )
        if not 0 <= self.speed[0] <= self.speed[1]:
            raise ValueError(f"SyntheticClips: expected `speed` as (smallest, largest), received {self.speed}")
        if self.edges not in ("bounce", "leave"):
            raise ValueError(f'SyntheticClips: expected `edges` as "bounce" or "leave", received {self.edges!r}')

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> tuple[Scene, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[Scene, ...]]: ...

    def __getitem__(self, index: int | slice) -> tuple[Scene, ...] | list[tuple[Scene, ...]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        index = range(self.length)[index]
        rng = np.random.default_rng([self.seed, index])
        canvas = _background(self.background, self.size, rng)
        number = int(rng.integers(self.objects[0], self.objects[1] + 1))
        sprites = [_draw_sprite(self, rng) for _ in range(number)]
        starts = rng.uniform(0, self.size, [number, 2])
        angles = rng.uniform(0, 2 * math.pi, number)
        speeds = rng.uniform(*self.speed, number)
        steps = speeds[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        scenes = []
        for frame in range(self.frames):
            centres = starts + frame * steps
            if self.edges == "bounce":
                centres = _fold(centres, np.array(self.size, float))
            corners = [
                (round(y - sprite.opaque.shape[0] / 2), round(x - sprite.opaque.shape[1] / 2))
                for sprite, (y, x) in zip(sprites, centres.tolist(), strict=True)
            ]
            name = f"{self.seed}-{index:06d}/{frame:04d}.png"
            scene = _paint(canvas, sprites, corners, name=name, boxes=self.boxes, seconds=round(frame / self.fps, 6))
            seen = [entry["visible"] >= self.min_visible for entry in scene.attributes or ()]
            scenes.append(scene if all(seen) else scene[np.array(seen)])
        return tuple(scenes)


@dataclass(frozen=True, eq=False)
class _Sprite:
    """An object as it is painted: `rgb` (times opacity) and `opacity` `float32 [h, w, ...]`, `opaque` `bool [h, w]`."""

    rgb: np.ndarray
    opacity: np.ndarray
    opaque: np.ndarray
    label: int


def _draw_sprite(look: SyntheticScenes | SyntheticClips, rng: np.random.Generator) -> _Sprite:
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
    box = _hull(pixels[..., 3] >= _OPAQUE)
    if box is None:  # so thin that nothing opaque is left of it: its most opaque pixel stands for it
        y, x = np.unravel_index(np.argmax(pixels[..., 3]), pixels.shape[:2])
        box = (int(x), int(y), int(x) + 1, int(y) + 1)
        pixels = pixels.copy()
        pixels[y, x, 3] = 255
    x1, y1, x2, y2 = box
    pixels = pixels[y1:y2, x1:x2]
    opacity = pixels[..., 3:] / 255
    return _Sprite(pixels[..., :3] * color.astype(np.float32), opacity, pixels[..., 3] >= _OPAQUE, label)


def _window(shape: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Any, Any]:
    """Where a sprite of `shape`, its upper left corner (row, column) at `corner`, falls: slices of scene and sprite."""
    scene, sprite = [], []
    for side, start, room in zip(shape, corner, size, strict=True):
        first, last = max(0, start), min(room, start + side)
        scene.append(slice(first, max(first, last)))
        sprite.append(slice(first - start, max(first, last) - start))
    return tuple(scene), tuple(sprite)


def _instances(sprites: Sequence[_Sprite], corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Which object each pixel shows, from 1, later ones in front; `int32 [h, w]`."""
    shown = np.zeros(size, np.int32)
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        there, here = _window(sprite.opaque.shape, corner, size)
        shown[there][sprite.opaque[here]] = number
    return shown


def _visible(sprites: Sequence[_Sprite], shown: np.ndarray) -> list[float]:
    """The share of each object's pixels that is seen."""
    counts = np.bincount(shown.reshape(-1), minlength=len(sprites) + 1)[1:]
    return [int(count) / int(sprite.opaque.sum()) for count, sprite in zip(counts, sprites, strict=True)]


def _paint(
    canvas: np.ndarray,
    sprites: Sequence[_Sprite],
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
    shown = _instances(sprites, corners, size)
    hulls = []
    for number, (sprite, corner) in enumerate(zip(sprites, corners, strict=True), start=1):
        if boxes == "visible":
            hulls.append(_hull(shown == number))
        else:
            there, here = _window(sprite.opaque.shape, corner, size)
            hull = _hull(sprite.opaque[here])
            y, x = there[0].start, there[1].start
            hulls.append(None if hull is None else (hull[0] + x, hull[1] + y, hull[2] + x, hull[3] + y))
    scene = Scene(
        np.clip(np.round(pixels), 0, 255).astype(np.uint8),
        name,
        size,
        boxes=[hull or (0, 0, 0, 0) for hull in hulls],
        classes=[sprite.label for sprite in sprites],
        identities=np.arange(len(sprites)),
        attributes=[{"visible": share} for share in _visible(sprites, shown)],
        instances=shown,
        seconds=seconds,
    )
    return scene if all(hulls) else scene[np.array([hull is not None for hull in hulls], bool)]


def _hull(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The smallest box around what is true in `mask`, xyxy; `None` if nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _fold(positions: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Positions reflected at 0 and at `size`, however often.

    >>> _fold(np.array([[3.0, 12.0, -2.0, 23.0]]), np.array(10.0)).tolist()
    [[3.0, 8.0, 2.0, 3.0]]
    """
    folded = np.mod(positions, 2 * size)
    return np.where(folded > size, 2 * size - folded, folded)


def _background(kind: Any, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """`uint8 [h, w, 3]`, dark to medium where it is made up, so that bright objects stand out."""
    height, width = size
    if isinstance(kind, str):
        if kind == "plain":
            return np.full([height, width, 3], rng.integers(0, 128, 3), np.uint8)
        coarse = Image.fromarray(rng.integers(0, 160, [4, 5, 3], dtype=np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    source = kind.images if isinstance(kind, Samples) else kind
    chosen = source[int(rng.integers(len(source)))]
    photo = Image.fromarray(chosen) if isinstance(chosen, np.ndarray) else _open(chosen).convert("RGB")
    # The largest window of the scene's shape, or down to half of it, anywhere.
    fit = min(photo.width / width, photo.height / height) * float(rng.uniform(0.5, 1.0))
    window = max(1.0, width * fit), max(1.0, height * fit)
    left = float(rng.uniform(0, max(0.0, photo.width - window[0])))
    top = float(rng.uniform(0, max(0.0, photo.height - window[1])))
    box = (left, top, left + window[0], top + window[1])
    return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def _open(image: str | bytes) -> Image.Image:
    """An upright image."""
    return ImageOps.exif_transpose(Image.open(BytesIO(image) if isinstance(image, bytes) else image))


def _rgba(image: Any, name: str, alpha: str) -> np.ndarray:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else _open(image)
    if alpha == "own":
        if not (picture.has_transparency_data):
            raise ValueError(
                f'{name}: has no transparency. Expected PNGs with transparency, or alpha="brightness" or '
                '"silhouette" for objects on black'
            )
        return np.asarray(picture.convert("RGBA"))
    pixels = np.asarray(picture.convert("RGB"))
    brightness = pixels.max(axis=-1)
    if alpha == "silhouette":
        from scipy.ndimage import binary_fill_holes

        return np.dstack([pixels, binary_fill_holes(brightness > 16) * np.uint8(255)])
    # What is half as bright is half as opaque, and then has its full colour.
    full = np.round(pixels * (255.0 / np.maximum(brightness, 1)[..., None])).astype(np.uint8)
    return np.dstack([full, brightness])


def _check(what: str, look: Any) -> None:
    def refuse(expected: str, received: object) -> None:
        raise ValueError(f"{what}: expected {expected}, received {received!r}")

    if look.length < 0:
        refuse("a `length` of 0 or more", look.length)
    if min(look.size) < 1:
        refuse("`size` as (height, width) in pixels", look.size)
    if not 0 <= look.objects[0] <= look.objects[1]:
        refuse("`objects` as (fewest, most)", look.objects)
    if not 0 < look.scale[0] <= look.scale[1] <= 1:
        refuse("`scale` as (smallest, largest), above 0 and at most 1", look.scale)
    if not 0 <= look.min_visible <= 1:
        refuse("`min_visible` from 0 to 1", look.min_visible)
    if look.boxes not in ("visible", "whole"):
        refuse('`boxes` as "visible" or "whole"', look.boxes)
    known = isinstance(look.background, Samples | np.ndarray) or look.background in ("plain", "noise")
    if not known or (not isinstance(look.background, str) and not len(look.background)):
        refuse('`background` as "plain", "noise", Samples, or pixels uint8 [n, h, w, 3]', look.background)
