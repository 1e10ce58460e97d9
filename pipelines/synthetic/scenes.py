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
from typing import Any, overload

import numpy as np

from pipelines.data import Samples, Scene
from pipelines.synthetic.cutouts import Cutouts
from pipelines.synthetic.painting import Sprite, draw_sprite, instances_of, make_background, paint, visible_shares

__all__ = ["SyntheticClips", "SyntheticScenes"]

# A placement that covers too much of another object is drawn again so often.
_ATTEMPTS = 20


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
        canvas = make_background(self.background, self.size, rng)
        sprites: list[Sprite] = []
        corners: list[tuple[int, int]] = []
        for _ in range(int(rng.integers(self.objects[0], self.objects[1] + 1))):
            sprite = draw_sprite(self, rng)
            for _ in range(_ATTEMPTS):
                corner = tuple(
                    int(rng.integers(0, max(1, room - side + 1)))
                    for room, side in zip(self.size, sprite.opaque.shape, strict=True)
                )
                placed = instances_of([*sprites, sprite], [*corners, corner], self.size)  # type: ignore[list-item]
                if min(visible_shares([*sprites, sprite], placed)) >= self.min_visible:
                    sprites.append(sprite)
                    corners.append(corner)  # type: ignore[arg-type]
                    break
        return paint(canvas, sprites, corners, name=f"{self.seed}-{index:06d}.png", boxes=self.boxes)


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

    >>> from pipelines import cut_out, read_data
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
        canvas = make_background(self.background, self.size, rng)
        number = int(rng.integers(self.objects[0], self.objects[1] + 1))
        sprites = [draw_sprite(self, rng) for _ in range(number)]
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
            scene = paint(canvas, sprites, corners, name=name, boxes=self.boxes, seconds=round(frame / self.fps, 6))
            seen = [entry["visible"] >= self.min_visible for entry in scene.attributes or ()]
            scenes.append(scene if all(seen) else scene[np.array(seen)])
        return tuple(scenes)


def _fold(positions: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Positions reflected at 0 and at `size`, however often.

    >>> _fold(np.array([[3.0, 12.0, -2.0, 23.0]]), np.array(10.0)).tolist()
    [[3.0, 8.0, 2.0, 3.0]]
    """
    folded = np.mod(positions, 2 * size)
    return np.where(folded > size, 2 * size - folded, folded)


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
