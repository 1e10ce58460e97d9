"""Images with objects in them: what the readers of annotations, and the makers of synthetic scenes, hand over.

One `Scene` is one image that is not decoded yet, with its boxes, classes, outlines and masks. A data set is three
tuples of scenes and the faults that were found on the way (`SceneData`). No TensorFlow here; `pipelines.scene_dataset`
makes a `tf.data.Dataset` of scenes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipelines.samples import Skipped

__all__ = ["Fault", "Scene", "SceneData"]


@dataclass(frozen=True)
class Fault:
    """Something wrong in an annotation, and what was done about it.

    Args:
        path: the file it is in.
        line: the line in that file, from 1; `None` where the fault is the file as a whole.
        kind: one of a few words to count by: "missing image", "unreadable image", "other size", "unknown class",
            "no area", "outside", "clipped", "not a number", "broken", "encoding", "refused", "duplicate",
            "no annotation", "not listed", "lossy".
        reason: what was found, and what was done, in words.
        kept: whether the object or image was kept (changed as the reason says) rather than left out.

    >>> print(Fault("a.xml", 12, "no area", "'bee': xmax 40 is not above xmin 52; left out"))
    a.xml:12: 'bee': xmax 40 is not above xmin 52; left out
    """

    path: str
    line: int | None
    kind: str
    reason: str
    kept: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    @property
    def place(self) -> str:
        """The file and, if there is one, the line: `"labels/7.txt:3"`."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, eq=False)
class Scene:
    """One image, and the `n` objects in it. Arrays are checked, copied to the stated dtypes, and read-only.

    Args:
        image: a file's path (`str`), its contents (`bytes`), or pixels (`uint8 [h, w, 3]`, RGB).
        name: what the image is called in reports; below its folder, with `/` between the parts.
        size: (height, width) in pixels of the upright image.
        boxes: `float32 [n, 4]`, xyxy, absolute pixels of the upright image.
        classes: `int32 [n]`.
        difficult: `bool [n]`; objects that Pascal VOC's evaluation neither rewards nor punishes. All false if left out.
        crowd: `bool [n]`; COCO's `iscrowd`: the box holds an uncountable group. All false if left out.
        identities: `int32 [n]`, the same number for the same object throughout a clip; all -1 if left out.
        outlines: for each object `None`, or its polygons (a tuple of `float64 [k, 2]`, x and y in absolute pixels), or
            COCO's run lengths (`{"size": [h, w], "counts": ...}`).
        attributes: for each object a dict of what else its annotation says.
        mask: class index of each pixel, or `None`: `uint8 [h, w]`, or what has `read() -> uint8 [h, w]`
            (`pipelines.annotations.masks.MaskFile`).
        instances: `int32 [h, w]`, 0 for background and `i + 1` where object `i` is seen; or `None`.
        number: what the source calls the image, where that is more than its name (COCO's image id).
        seconds: time stamp within a video, or `None`.

    Raises:
        ValueError: arrays that do not fit together.

    Example:

    >>> scene = Scene("a.jpg", "a.jpg", (80, 100), boxes=[[10, 20, 30, 60]], classes=[2])
    >>> scene.boxes.dtype, scene.difficult.tolist(), len(scene)
    (dtype('float32'), [False], 1)
    """

    image: Any
    name: str
    size: tuple[int, int]
    boxes: Any = ()
    classes: Any = ()
    difficult: Any = None
    crowd: Any = None
    identities: Any = None
    outlines: Sequence[Any] | None = None
    attributes: Sequence[Mapping[str, Any]] | None = None
    mask: Any = None
    instances: Any = None
    number: int | str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        n = len(boxes)
        columns = {
            "boxes": boxes,
            "classes": np.array(self.classes, np.int32).reshape(-1),
            "difficult": np.zeros(n, bool) if self.difficult is None else np.array(self.difficult, bool).reshape(-1),
            "crowd": np.zeros(n, bool) if self.crowd is None else np.array(self.crowd, bool).reshape(-1),
            "identities": (
                np.full(n, -1, np.int32) if self.identities is None else np.array(self.identities, np.int32).reshape(-1)
            ),
        }
        for name, array in columns.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "outlines", (None,) * n if self.outlines is None else tuple(self.outlines))
        object.__setattr__(
            self, "attributes", tuple({} for _ in range(n)) if self.attributes is None else tuple(self.attributes)
        )
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))
        lengths = {key: len(getattr(self, key)) for key in (*columns, "outlines", "attributes")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Scene {self.name!r}: expected one entry an object in each column; received {lengths}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, indices: Any) -> "Scene":
        """The same image with only the objects at `indices`: a slice, an array of integers, or a mask `[n]`."""
        chosen = np.arange(len(self))[indices].reshape(-1)
        instances = self.instances
        if instances is not None:
            renumbered = np.zeros(len(self) + 1, np.int32)
            renumbered[chosen + 1] = np.arange(1, len(chosen) + 1)
            instances = renumbered[instances]
        return replace(
            self,
            **{key: getattr(self, key)[chosen] for key in ("boxes", "classes", "difficult", "crowd", "identities")},
            outlines=[self.outlines[i] for i in chosen],  # type: ignore[index]
            attributes=[self.attributes[i] for i in chosen],  # type: ignore[index]
            instances=instances,
        )


@dataclass(frozen=True, eq=False)
class SceneData:
    """A data set of scenes: class `i` is called `class_names[i]`; its splits, and every fault that was found.

    `class_ids` are the numbers of the classes in the source, where they are not 0, 1, 2 and so on (COCO's).

    Example:

    >>> data = SceneData(("bee",), (Scene("a.jpg", "a.jpg", (8, 9)),), (), ())
    >>> len(data), data.counts
    (1, {})
    """

    class_names: tuple[str, ...]
    train: tuple[Scene, ...]
    valid: tuple[Scene, ...] = ()
    test: tuple[Scene, ...] = ()
    faults: tuple[Fault, ...] = ()
    class_ids: tuple[int, ...] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.train) + len(self.valid) + len(self.test)

    @property
    def splits(self) -> dict[str, tuple[Scene, ...]]:
        """The splits by name, empty ones too."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def counts(self) -> dict[str, int]:
        """How many faults there are of each kind, most frequent first."""
        return dict(Counter(fault.kind for fault in self.faults).most_common())

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, as `pipelines.read_data` lists it."""
        return tuple(Skipped(fault.place, fault.reason) for fault in self.faults if not fault.kept)
