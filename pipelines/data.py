"""What the sources hand over: images with their annotations, not decoded yet, in three splits, and every fault.

A split is `Samples` (images with a label, several, or numbers) or `Scenes` (images with objects in them). `Data` holds
three splits of one kind. No TensorFlow here: `pipelines.batches`, `pipelines.scene_dataset` and `pipelines.canvases`
make data sets of TensorFlow out of them.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

__all__ = ["KINDS", "Data", "Fault", "Samples", "Scene", "Scenes", "Split", "Target", "WrongKind"]

KINDS = ("classes", "labels", "numbers", "several", "boxes")


@dataclass(frozen=True)
class Fault:
    """Something wrong in a data set, and what was done about it.

    Args:
        path: File that it is in, or the name of an image that is not a file.
        reason: What is wrong, and what was done, in words.
        line: Line in that file, from 1. `None` where the fault is the file as a whole.
        kind: One of a few words to count by: "missing image", "unreadable image", "other size", "unknown class",
            "no area", "outside", "clipped", "not a number", "broken", "encoding", "refused", "duplicate",
            "no annotation", "not listed", "label", "repeated", "tiny", "edges", "no class", "one class", "lossy",
            "excluded", "no label", "trained on", "left out" (the default).
        kept: Whether the object or image was kept (changed as the reason says) rather than left out.

    Example:

    >>> print(Fault("a.xml", "'bee': xmax 40 is not above xmin 52; left out", line=12, kind="no area"))
    a.xml:12: 'bee': xmax 40 is not above xmin 52; left out
    """

    path: str
    reason: str
    line: int | None = field(default=None, kw_only=True)
    kind: str = field(default="left out", kw_only=True)
    kept: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    @property
    def place(self) -> str:
        """The file and, if there is one, the line: `"labels/7.txt:3"`."""
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled images, in a fixed order, still encoded where they come from files.

    Args:
        images: One entry for each image: file paths (`str`), or encoded bytes (`bytes`: the contents of a JPEG, PNG,
            GIF, BMP or WebP file), or decoded RGB images of one size as one `uint8 [n, h, w, 3]` array.
            They are stored as a NumPy array of objects, or as that `uint8` array.
        labels: Class indices `[n]`, stored as `int32`; or, for several labels of an image (0 or 1 each) and for numbers
            to be predicted, `[n, k]`, stored as `float32`.
        names: What each image is called in reports, for example `"bees/39747887.jpg"`.

    Raises:
        ValueError: the three differ in length, or `images` is none of the above.

    Example:

    >>> samples = Samples(["a/1.jpg", "b/2.jpg", "b/3.jpg"], [0, 1, 1], ["1", "2", "3"])
    >>> len(samples), samples[samples.labels == 1].names
    (3, ('2', '3'))
    """

    images: Any
    labels: Any
    names: Sequence[str]

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, np.ndarray) or images.dtype.kind == "U":
            images = _objects(images)
        is_pixels = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3
        is_encoded = images.dtype == object and {type(image) for image in images} in ({str}, {bytes}, set())
        if not (is_pixels or is_encoded):
            raise ValueError(
                "Samples: expected `images` as file paths, as encoded bytes, or as one uint8 array [n, h, w, 3]; "
                f"received {images.dtype} {list(images.shape)}"
            )
        labels = np.asarray(self.labels)
        labels = labels.astype(np.float32) if labels.ndim == 2 else labels.astype(np.int32).reshape(-1)
        if not len(images) == len(labels) == len(self.names):
            raise ValueError(
                "Samples: expected as many labels and names as images; "
                f"received {len(images)} images, {len(labels)} labels, {len(self.names)} names"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", tuple(self.names))

    @property
    def decoded(self) -> bool:
        """Whether `images` are pixels already."""
        return self.images.dtype == np.uint8

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Any) -> "Samples":
        """Returns the samples at `indices`: a slice, an array of integers, or a mask of booleans `[n]`."""
        chosen = np.arange(len(self))[indices].reshape(-1)
        return Samples(self.images[chosen], self.labels[chosen], [self.names[i] for i in chosen])


@dataclass(frozen=True, eq=False)
class Scene:
    """One image, and the `n` objects in it. Arrays are checked, copied to the stated dtypes, and read-only.

    Args:
        image: Path of a file (`str`), its contents (`bytes`), or pixels (`uint8 [h, w, 3]`, RGB).
        name: Name of the image in reports: its path below the folder of the data, with `/` between the parts.
        size: Height and width of the upright image, in pixels.
        boxes: Boxes of the objects, `float32 [n, 4]`, xyxy, in absolute pixels of the upright image.
        classes: Class numbers of the objects, `int32 [n]`.
        difficult: Which objects Pascal VOC's evaluation neither rewards nor punishes, `bool [n]`. Defaults to none.
        crowd: Which boxes hold an uncountable group (COCO's `iscrowd`), `bool [n]`. Defaults to none.
        identities: Numbers `int32 [n]` that are the same for the same object throughout a clip. Defaults to -1.
        outlines: For each object `None`, or its polygons (a tuple of `float64 [k, 2]`, x and y in absolute pixels), or
            COCO's run lengths (`{"size": [h, w], "counts": ...}`).
        attributes: For each object a dict of everything else that its annotation says.
        mask: Class number of each pixel, `uint8 [h, w]`; or an object whose method `read()` returns them
            (`pipelines.annotations.masks.MaskFile`); or `None`.
        instances: `int32 [h, w]`, 0 for background and `i + 1` where object `i` is visible; or `None`.
        number: Identifier of the image in the source, if it has one besides its name (COCO's image id).
        seconds: Time stamp within a video, or `None`.

    Raises:
        ValueError: the arrays do not have one entry for each object.

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
            raise ValueError(
                f"Scene {self.name!r}: expected an entry for each object in each column; received {lengths}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def usable(self) -> np.ndarray:
        """Which objects can be learned from and measured on, `bool [n]`.

        Crowds and difficult objects cannot, nor boxes that are smaller than a pixel in both directions.
        """
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return ~self.crowd & ~self.difficult & (sides >= 1).any(axis=1)

    def __getitem__(self, indices: Any) -> "Scene":
        """Returns the image with only the objects at `indices`: a slice, an array of integers, or a mask `[n]`."""
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


class Scenes(tuple[Scene, ...]):
    """Images with objects in them, in a fixed order: a tuple of `Scene` that can be indexed as `Samples` can.

    Example:

    >>> scenes = Scenes(Scene(f"{name}.jpg", name, (8, 9)) for name in "abc")
    >>> scenes.names, scenes[np.array([True, False, True])].images, scenes[1].name
    (('a', 'b', 'c'), ('a.jpg', 'c.jpg'), 'b')
    """

    __slots__ = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called in reports."""
        return tuple(scene.name for scene in self)

    @property
    def images(self) -> tuple[Any, ...]:
        """The images: file paths, the contents of files, or pixels."""
        return tuple(scene.image for scene in self)

    def __getitem__(self, indices: Any) -> Any:
        """Returns one scene for an integer; for a slice, integers `[k]` or booleans `[n]` the scenes there."""
        if isinstance(indices, int | np.integer):
            return super().__getitem__(int(indices))
        if isinstance(indices, slice):
            return Scenes(super().__getitem__(indices))
        return Scenes(super(Scenes, self).__getitem__(i) for i in np.arange(len(self))[indices].reshape(-1).tolist())


Split: TypeAlias = Samples | Scenes


class WrongKind(ValueError):
    """Data of another kind than the one that was asked for.

    Attributes:
        expected: The kind that was asked for; see `Data`.
        actual: The kind that the data are of.
    """

    def __init__(self, message: str, *, expected: str, actual: str) -> None:
        super().__init__(message)
        self.expected, self.actual = expected, actual


@dataclass(frozen=True)
class Target:
    """One of several answers that are learned for each image, and its place in the labels.

    Args:
        name: Name of the target.
        kind: "classes", "labels" or "numbers".
        class_names: Names of its classes, labels or numbers.
        start: First of its columns in the labels.

    Example:

    >>> species, age = Target("species", "classes", ("ant", "bee")), Target("age", "numbers", ("age",), 1)
    >>> species.columns, age.columns, Target("tags", "labels", ("red", "wet"), 2).columns
    (slice(0, 1, None), slice(1, 2, None), slice(2, 4, None))
    """

    name: str
    kind: str
    class_names: tuple[str, ...]
    start: int = 0

    @property
    def columns(self) -> slice:
        """The columns of the labels that are this target's: one for classes (the number of the class), else one for
        each name."""
        return slice(self.start, self.start + (1 if self.kind == "classes" else len(self.class_names)))


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: its splits, what its annotations are, and every fault that was found in it.

    `kind` says what the annotations are:

        "classes"  one of the classes for each image; label `i` means `class_names[i]`
        "labels"   any number of labels for each image; column `i` is 1 where `class_names[i]` holds, else 0
        "numbers"  numbers to be predicted; column `i` is that of the target `class_names[i]`
        "several"  several answers for each image; `targets` says which columns are whose, and `unpack` takes them apart
        "boxes"    objects in each image, with boxes and possibly outlines and masks; the splits are `Scenes`

    Args:
        class_names: Names of the classes, labels or targets.
        train: Images to train on: `Samples`, or any sequence of `Scene`.
        valid: Images to validate on. There are none by default.
        test: Images to test on. There are none by default.
        faults: Every fault that was found, including those that were mended.
        kind: See above. By default it is "boxes" for scenes and "classes" for samples.
        class_ids: Identifiers of the classes in the source, where they are not 0, 1, 2 and so on (as in COCO).
        targets: Of the kind "several", the targets, whose columns lie side by side in the labels `float32 [n, k]`.
        notes: Sentences about how the data were read: as what they were recognised and why, and what was not used.

    Raises:
        ValueError: an unknown kind, or splits that are not of this kind.

    Example:

    >>> data = Data(("bee",), (Scene("a.jpg", "a.jpg", (8, 9)),))
    >>> len(data), data.kind, data.counts, {name: len(part) for name, part in data.splits.items()}
    (1, 'boxes', {}, {'train': 1, 'valid': 0, 'test': 0})
    """

    class_names: tuple[str, ...]
    train: Any
    valid: Any = ()
    test: Any = ()
    faults: tuple[Fault, ...] = ()
    kind: str = field(default="", kw_only=True)
    class_ids: tuple[int | str, ...] | None = field(default=None, kw_only=True)
    targets: tuple[Target, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        has_samples = isinstance(self.train, Samples)
        kind = self.kind or ("classes" if has_samples else "boxes")
        if kind not in KINDS:
            raise ValueError(f"Data: expected `kind` as one of {', '.join(KINDS)}; received {kind!r}")
        for name, part in self.splits.items():
            if has_samples and isinstance(part, tuple) and not part:
                part = self.train[:0]
            if isinstance(part, Samples) == (kind == "boxes"):
                expected = "scenes" if kind == "boxes" else "Samples"
                raise ValueError(f"Data: expected {expected} as `{name}` of the kind {kind!r}, received {type(part)}")
            object.__setattr__(self, name, part if isinstance(part, Samples) else Scenes(part))
        if (kind == "several") != bool(self.targets):
            raise ValueError(f"Data: expected `targets` for the kind 'several' and no other, received kind {kind!r}")
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "faults", tuple(self.faults))
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "notes", tuple(self.notes))

    def __len__(self) -> int:
        return len(self.train) + len(self.valid) + len(self.test)

    @property
    def splits(self) -> dict[str, Any]:
        """The splits by name, empty ones too."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def unpack(self, labels: Any) -> dict[str, Any]:
        """Takes the labels of several targets apart.

        Args:
            labels: `float32 [n, k]`, an array or a tensor.

        Returns:
            For each target what samples of its kind alone would have: `int32 [n]` class numbers, or `float32 [n, j]`.

        Example:

        >>> targets = Target("species", "classes", ("ant", "bee")), Target("age", "numbers", ("age",), 1)
        >>> samples = Samples(["1.jpg", "2.jpg"], [[1, 3.5], [0, 4]], ["1", "2"])
        >>> data = Data(("species", "age"), samples, kind="several", targets=targets)
        >>> {name: labels.tolist() for name, labels in data.unpack(data.train.labels).items()}
        {'species': [1, 0], 'age': [[3.5], [4.0]]}
        """
        return {target.name: _own_labels(target, labels) for target in self.targets}

    @property
    def skipped(self) -> tuple[Fault, ...]:
        """The faults for which something was left out."""
        return tuple(fault for fault in self.faults if not fault.kept)

    @property
    def counts(self) -> dict[str, int]:
        """How many faults there are of each kind, most frequent first."""
        return dict(Counter(fault.kind for fault in self.faults).most_common())


def _own_labels(target: Target, labels: Any) -> Any:
    own = labels[:, target.columns]
    if target.kind != "classes":
        return own
    if isinstance(own, np.ndarray):
        return own[:, 0].astype(np.int32)
    import tensorflow as tf  # here, because arrays are unpacked without it

    return tf.cast(own[:, 0], tf.int32)


def _objects(items: Iterable[Any]) -> np.ndarray:
    """Returns a one-dimensional array of Python objects: unlike NumPy's own strings, it keeps trailing zero bytes."""
    items = [str(item) if isinstance(item, (os.PathLike, np.str_)) else item for item in items]
    array = np.empty(len(items), object)
    array[:] = items
    return array
