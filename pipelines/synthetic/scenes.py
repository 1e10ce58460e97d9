"""Synthetic scenes and clips: objects on backgrounds, with exact annotations.

A scene is made when it is asked for, from the seed and its number alone. So a million scenes need no memory:

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
from typing import Any, TypeVar, overload

import numpy as np

from pipelines.data import Samples, Scene
from pipelines.synthetic.cutouts import Cutouts
from pipelines.synthetic.painting import Sprite, draw_sprite, make_background, paint, paint_instances, visible_shares

__all__ = ["SyntheticClips", "SyntheticScenes"]

Item = TypeVar("Item")

# Number of times that a place is drawn again for an object that hides too much of another
_ATTEMPTS = 20


class _MadeOnDemand(Sequence[Item]):
    """A sequence of `length` items, each of which is made when it is asked for, from the seed and its index."""

    length: int
    seed: int

    def _make(self, index: int, rng: np.random.Generator) -> Item:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.length))]
        index = range(self.length)[index]
        return self._make(index, np.random.default_rng([self.seed, index]))


@dataclass(frozen=True, eq=False)
class SyntheticScenes(_MadeOnDemand[Scene]):
    """A sequence of still scenes, whose objects do not hide each other too much.

    Scene `i` depends on the arguments and on `i` alone, and is made when it is asked for. `pipelines.scene_dataset`
    makes a tf.data data set of the scenes. A scene has exact `boxes`, `classes` and `instances` (the object that each
    pixel shows). Its `attributes` hold, as `visible`, the share of each object's pixels that is visible.

    Args:
        cutouts: The objects (`pipelines.cut_out`). All classes have equal chances.
        length: Number of scenes.
        size: Height and width of a scene in pixels. Defaults to (128, 128).
        objects: Smallest and largest number of objects in a scene. A scene has fewer if there is no room.
        scale: Range of an object's longer side, as a fraction of the shorter side of the scene.
        rotation: Largest angle to either side by which an object is turned, in degrees.
        tint: Whether to multiply each object by a random colour.
        background: "plain" (one colour), "noise" (soft colours), or photos for random crops, as `Samples` or pixels
            `uint8 [n, h, w, 3]`.
        min_visible: Smallest share of each object's pixels, 0 to 1, that other objects do not hide.
        boxes: "visible" for boxes around the visible pixels of an object, or "whole" for boxes around all its pixels.
        seed: Integer. Another seed gives other scenes.

    Raises:
        ValueError: An argument is out of its range.
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

    def _make(self, index: int, rng: np.random.Generator) -> Scene:
        background = make_background(self.background, self.size, rng)
        sprites: list[Sprite] = []
        corners: list[tuple[int, int]] = []
        for _ in range(int(rng.integers(self.objects[0], self.objects[1] + 1))):
            sprite = _draw_sprite(self, rng)
            for _ in range(_ATTEMPTS):
                row, column = (
                    int(rng.integers(0, max(1, room - side + 1)))
                    for room, side in zip(self.size, sprite.opaque.shape, strict=True)
                )
                instances = paint_instances([*sprites, sprite], [*corners, (row, column)], self.size)
                if min(visible_shares([*sprites, sprite], instances)) >= self.min_visible:
                    sprites.append(sprite)
                    corners.append((row, column))
                    break
        return paint(background, sprites, corners, name=f"{self.seed}-{index:06d}.png", boxes=self.boxes)


@dataclass(frozen=True, eq=False)
class SyntheticClips(_MadeOnDemand[tuple[Scene, ...]]):
    """A sequence of clips, whose objects move in front of each other.

    A clip is a tuple of scenes, one for each frame, and is made when it is asked for. An object keeps its number in
    `Scene.identities` throughout the clip. It moves at a constant speed, and turns back at the edges or leaves the
    image. Objects in front hide the objects behind them; `attributes` holds, as `visible`, the share of each object's
    pixels that is visible.

    Args:
        cutouts: The objects (`pipelines.cut_out`). All classes have equal chances.
        length: Number of clips.
        frames: Number of frames in a clip. Defaults to 25.
        size: Height and width of a frame in pixels. Defaults to (128, 128).
        objects: Smallest and largest number of objects in a clip.
        scale: Range of an object's longer side, as a fraction of the shorter side of the frame.
        rotation: Largest angle to either side by which an object is turned, in degrees.
        tint: Whether to multiply each object by a random colour.
        background: "plain" (one colour), "noise" (soft colours), or photos for random crops, as `Samples` or pixels
            `uint8 [n, h, w, 3]`.
        speed: Smallest and largest speed, in pixels for each frame.
        fps: Frames per second, for the time stamps.
        edges: "bounce" for objects that turn back when their centre reaches the edge, or "leave" for objects that
            leave the image.
        min_visible: An object of which a smaller share is visible is not annotated in that frame. With 0, objects that
            are hidden completely are still annotated, as in tracking benchmarks; objects that have left are not.
        boxes: "visible" for boxes around the visible pixels of an object, or "whole" for boxes around all its pixels in
            the image.
        seed: Integer. Another seed gives other clips.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> from pipelines import cut_out, read_data
    >>> digits = read_data("sklearn:digits")
    >>> clips = SyntheticClips(cut_out(digits.train[:50], digits.class_names), 10, size=(48, 64), frames=5)
    >>> [scene.seconds for scene in clips[0]]
    [0.0, 0.04, 0.08, 0.12, 0.16]
    >>> bool((clips[0][0].identities == clips[0][4].identities).all())
    True
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
                "SyntheticClips: expected `frames` of 1 or more and `fps` above 0, received "
                f"{self.frames} and {self.fps}"
            )
        if not 0 <= self.speed[0] <= self.speed[1]:
            raise ValueError(
                f"SyntheticClips: expected `speed` as (smallest, largest), 0 or more; received {self.speed}"
            )
        if self.edges not in ("bounce", "leave"):
            raise ValueError(f'SyntheticClips: expected `edges` as "bounce" or "leave", received {self.edges!r}')

    def _make(self, index: int, rng: np.random.Generator) -> tuple[Scene, ...]:
        background = make_background(self.background, self.size, rng)
        count = int(rng.integers(self.objects[0], self.objects[1] + 1))
        sprites = [_draw_sprite(self, rng) for _ in range(count)]
        starts = rng.uniform(0, self.size, [count, 2])
        angles = rng.uniform(0, 2 * math.pi, count)
        speeds = rng.uniform(*self.speed, count)
        steps = speeds[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        scenes = []
        for frame in range(self.frames):
            centres = starts + frame * steps
            if self.edges == "bounce":
                centres = _reflect(centres, np.array(self.size, float))
            corners = [
                (round(y - sprite.opaque.shape[0] / 2), round(x - sprite.opaque.shape[1] / 2))
                for sprite, (y, x) in zip(sprites, centres.tolist(), strict=True)
            ]
            name = f"{self.seed}-{index:06d}/{frame:04d}.png"
            seconds = round(frame / self.fps, 6)
            scene = paint(background, sprites, corners, name=name, boxes=self.boxes, seconds=seconds)
            is_visible = [entry["visible"] >= self.min_visible for entry in scene.attributes or ()]
            scenes.append(scene if all(is_visible) else scene[np.array(is_visible)])
        return tuple(scenes)


def _draw_sprite(sequence: SyntheticScenes | SyntheticClips, rng: np.random.Generator) -> Sprite:
    return draw_sprite(
        sequence.cutouts,
        rng,
        size=sequence.size,
        scale=sequence.scale,
        rotation=sequence.rotation,
        tint=sequence.tint,
    )


def _reflect(positions: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Reflects positions at 0 and at `size`, as often as needed to bring them between the two.

    >>> _reflect(np.array([[3.0, 12.0, -2.0, 23.0]]), np.array(10.0)).tolist()
    [[3.0, 8.0, 2.0, 3.0]]
    """
    folded = np.mod(positions, 2 * size)
    return np.where(folded > size, 2 * size - folded, folded)


def _check(name: str, sequence: SyntheticScenes | SyntheticClips) -> None:
    """Raises a ValueError if an argument that scenes and clips share is out of its range."""

    def refuse(expected: str, received: object) -> None:
        raise ValueError(f"{name}: expected {expected}, received {received!r}")

    if sequence.length < 0:
        refuse("a `length` of 0 or more", sequence.length)
    if min(sequence.size) < 1:
        refuse("`size` as (height, width) in pixels", sequence.size)
    if not 0 <= sequence.objects[0] <= sequence.objects[1]:
        refuse("`objects` as (smallest, largest number), 0 or more", sequence.objects)
    if not 0 < sequence.scale[0] <= sequence.scale[1] <= 1:
        refuse("`scale` as (smallest, largest), above 0 and at most 1", sequence.scale)
    if not 0 <= sequence.min_visible <= 1:
        refuse("`min_visible` from 0 to 1", sequence.min_visible)
    if sequence.boxes not in ("visible", "whole"):
        refuse('`boxes` as "visible" or "whole"', sequence.boxes)
    background = sequence.background
    known = isinstance(background, Samples | np.ndarray) or background in ("plain", "noise")
    if not known or (not isinstance(background, str) and not len(background)):
        refuse('`background` as "plain", "noise", Samples, or pixels uint8 [n, h, w, 3]', background)
