"""What an exported model takes and gives, and what a proof of it found. This module loads no TensorFlow.

`Contract` holds what all tasks have in common. Each task adds its own facts in a subclass (`transfer.tasks`): the names
of its classes, its thresholds, and which outputs its model has.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np

from pipelines.prepare.kinds import preparation_from_dict
from pipelines.prepare.preparation import Preparation
from transfer.probabilities import Values

__all__ = [
    "BATCH_SIZES",
    "FORMAT_VERSION",
    "TOLERANCE",
    "Agreement",
    "Check",
    "Contract",
    "ExportError",
    "Output",
    "Proof",
    "check_names",
    "check_thresholds",
    "installed_versions",
    "parse_contract",
]

FORMAT_VERSION = 2  # Version 1 had a document for classifiers and another one for detectors.
TOLERANCE = 1e-4  # The largest difference of a probability, or of a coordinate as a share of the size.
BATCH_SIZES = (1, 5)  # Every artifact is compared with the trained model at these numbers of photos.


class ExportError(RuntimeError):
    """An artifact does not answer as the trained model does, or it cannot be written or read back.

    Attributes:
        check: The comparison that failed. It is None when the artifact could not even be written or read back.
        artifact: The file or folder that failed, such as "saved_model" or "model.onnx"; None where it was none of them.
    """

    def __init__(self, message: str, check: "Check | None" = None, *, artifact: str | None = None):
        super().__init__(message)
        self.check = check
        self.artifact = artifact if check is None else check.artifact


def installed_versions() -> dict[str, str]:
    """Returns the versions of the packages on which a model's numbers depend, by distribution name.

    >>> sorted(installed_versions())
    ['keras', 'numpy', 'python', 'tensorflow', 'transfer-zoo']
    """
    versions = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "transfer-zoo"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # The source tree was not installed.
            versions[name] = "unknown"
    return versions


def check_names(names: Sequence[str], *, what: str = "class") -> None:
    """Checks names of classes, labels or numbers.

    Raises:
        ValueError: There are none, or one of them is not a line of printable text.
    """
    if not names:
        raise ValueError(f"expected at least one {what} name, got none")
    for name in names:
        # `isprintable` refuses line breaks, which `labels.txt` cannot hold, and bytes that are not Unicode.
        if not name.isprintable() or not name:
            raise ValueError(f"a {what} name has to be one line of printable text, got {name!r}; rename it")


def check_thresholds(thresholds: Mapping[str, float], names: Sequence[str]) -> None:
    """Checks the scores from which on a class is shown.

    Raises:
        ValueError: A threshold belongs to no class, or lies outside 0..1.
    """
    for name, threshold in thresholds.items():
        if name not in names or not 0 <= threshold <= 1:
            raise ValueError(
                f"a threshold is a score in 0..1 of one of the classes, got {threshold!r} for {name!r}; "
                f"the classes are {', '.join(names[:20])}"
            )


@dataclass(frozen=True)
class Output:
    """One named output of an exported model.

    Attributes:
        shape: Its shape without the axis of the images. None stands for a length that is open.
        dtype: "float32", "int32" or "uint8".
        meaning: What it holds, in a few words for people.
        boxes: Whether its last axis holds boxes (xyxy). They are in pixels of the canvas where the model is given
            prepared images, and in pixels of the photo where it is given photos.
        internal: Whether only the proof and the predictor need it: the endpoint for photos leaves it out.
        values: What its numbers are: "shares", the probabilities of classes of which one is true; "probabilities", each
            by itself; or "numbers", the default.
        made_of: Names of the outputs on the canvas of which it is made anew in pixels of a photo, by `on_photo` and
            `on_photos_in_graph` of the contract. It has the size of the canvas where the model is given prepared
            images, and the size of the photo where it is given photos.
        measured: Whether it is kept for all images of a split, to measure on. Defaults to True.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    meaning: str = ""
    boxes: bool = False
    internal: bool = False
    values: Values = "numbers"
    made_of: tuple[str, ...] = ()
    measured: bool = True


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What an exported model takes and gives. Each task has a subclass with its own facts.

    Attributes:
        preparation: How a photo of any size becomes the network's input.
        versions: Versions of the libraries that wrote the model.
        fingerprint: A digest of the trained weights. Artifacts made from the same model have the same one.
    """

    task: ClassVar[str] = ""

    preparation: Preparation
    versions: dict[str, str] = field(default_factory=installed_versions)
    fingerprint: str = ""

    def outputs(self) -> dict[str, Output]:
        """Returns the outputs of the model by name, in their order."""
        raise NotImplementedError(f"{type(self).__name__} has to name the outputs of its task")

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `labels.txt` lists: the classes, labels or numbers that the model knows."""
        return ()

    @property
    def box_outputs(self) -> tuple[str, ...]:
        """The names of the outputs that hold boxes."""
        return tuple(name for name, output in self.outputs().items() if output.boxes)

    @property
    def placed_outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are others in pixels of a photo than in pixels of the canvas."""
        return tuple(name for name, output in self.outputs().items() if output.boxes or output.made_of)

    def needed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns some outputs, and those on the canvas of which they are made in pixels of a photo."""
        outputs, names = self.outputs(), tuple(names)
        return tuple(dict.fromkeys([*names, *(own for name in names for own in outputs[name].made_of)]))

    def on_photo(
        self,
        outputs: Mapping[str, Any],
        size: Sequence[int],
        *,
        preparation: Preparation | None = None,
        mirrored: bool = False,
    ) -> dict[str, Any]:
        """Returns the outputs for one image, which are in pixels of the canvas, in pixels of the photo.

        Args:
            outputs: Arrays by the names of outputs, without the axis of the images; those that are needed for others
                (`needed`) have to be among them.
            size: Height and width of the photo, in pixels.
            preparation: How the photo came onto the canvas. Defaults to the contract's own preparation.
            mirrored: Whether the canvas was mirrored, left to right.
        """
        preparation = preparation or self.preparation
        moved = {}
        for name in self.box_outputs:
            if name in outputs:
                boxes = outputs[name]
                if mirrored:
                    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
                    width = preparation.size[1]
                    boxes = np.stack([width - right, top, width - left, bottom], axis=-1)
                moved[name] = preparation.boxes_to_photo(boxes, size)
        return {**outputs, **moved}

    def on_photos_in_graph(
        self, outputs: Mapping[str, Any], heights: Any, widths: Any, *, portable: bool = False
    ) -> dict[str, Any]:
        """Returns those outputs that are others in pixels of photos, in a graph.

        Args:
            outputs: Tensors by the names of outputs, in pixels of the canvas, with the axis of the images.
            heights: Heights of the photos in pixels, `int32`, one for all or `[n]`.
            widths: Widths of the photos in pixels, `int32`, one for all or `[n]`.
            portable: Whether only operations that ONNX, OpenVINO and LiteRT know may be used; the sizes are then one
                for all.
        """
        return {
            name: self.preparation.boxes_to_photo_in_graph(outputs[name], heights, widths)
            for name in self.box_outputs
            if name in outputs
        }

    def as_document(self) -> dict[str, Any]:
        """Returns the contract as JSON can hold it."""
        own = {name: value for name, value in asdict(self).items() if name not in _COMMON}
        photos = {"shape": [None, None, None, 3], "dtype": "float32", "range": [0, 255], "channels": "RGB"}
        prepared = {"shape": [None, *self.preparation.size, 3], "dtype": self.preparation.dtype}
        return {
            "format": "transfer-zoo",
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "preparation": self.preparation.as_dict(),
            **own,
            "endpoints": {
                "images": photos,
                self.preparation.endpoint: photos | prepared,
                "image_bytes": {"shape": [None], "dtype": "string", "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"]},
            },
            "outputs": {
                name: {
                    "shape": [None, *output.shape],
                    "dtype": output.dtype,
                    "meaning": output.meaning,
                    "values": output.values,
                }
                for name, output in self.outputs().items()
            },
            "fingerprint": self.fingerprint,
            "versions": self.versions,
        }

    def to_json(self) -> str:
        """Returns the contract as a JSON document."""
        return json.dumps(self.as_document(), indent=2, ensure_ascii=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Makes the contract that `as_document` described.

        Raises:
            KeyError: The document lacks a fact.
        """
        own = {f.name: document[f.name] for f in fields(cls) if f.name not in _COMMON}
        return cls(
            preparation=preparation_from_dict(document["preparation"]),
            versions=dict(document["versions"]),
            fingerprint=document["fingerprint"],
            **own,
        )

    @classmethod
    def from_version_1(cls, document: Mapping[str, Any]) -> Self:
        """Makes the contract that a document of format version 1 described.

        Raises:
            ValueError: There were no models of this task at that time.
        """
        raise ValueError(f"format version 1 had no models of the task {cls.task}")


_COMMON = ("preparation", "versions", "fingerprint")


def parse_contract(text: str | bytes) -> dict[str, Any]:
    """Parses the JSON document of a contract, of any task, and checks its version.

    Returns:
        The document. `transfer.tasks.read_contract` makes the contract of its task from it.

    Raises:
        ValueError: The text is not a contract, or one of a newer format version.
    """
    try:
        document = json.loads(text)
        version = document["format_version"]
        newer = version > FORMAT_VERSION
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a contract as transfer.export writes it, got one without {error}") from error
    if newer:
        raise ValueError(
            f"this model was exported in format version {version}, and this installation reads up to "
            f"{FORMAT_VERSION}; upgrade transfer-zoo"
        )
    return document


@dataclass(frozen=True)
class Check:
    """One comparison of an artifact with the trained model.

    Attributes:
        artifact: The file or folder that was read back, such as "saved_model" or "model.onnx".
        endpoint: The way in, such as "images uint8", "images float32", "image_bytes", "cropped" or "resized".
        batch: How many photos were given at a time.
        max_abs_diff: The largest difference over all photos, as the task measures it (`transfer.tasks.task.Task`).
    """

    artifact: str
    endpoint: str
    batch: int
    max_abs_diff: float


@dataclass(frozen=True)
class Agreement:
    """How a quantised artifact compares with the trained model on annotated images that were not trained on.

    Attributes:
        artifact: The name of the artifact.
        num_images: Number of images.
        agreement: The share of the answers in which both agree, in 0..1. What agrees is for the task to say.
        metric: The name of the task's headline metric.
        before: The metric of the trained model.
        after: The metric of the artifact.
        bound: How many points (hundredths) of the agreement, and of a metric in 0..1, may be lost.
    """

    artifact: str
    num_images: int
    agreement: float
    metric: str
    before: float
    after: float
    bound: float


@dataclass(frozen=True)
class Proof:
    """What was compared, and how well it agreed.

    Attributes:
        checks: One comparison for each artifact, endpoint and batch size.
        num_photos: How many photos each comparison saw.
        tolerance: The largest difference that would have been allowed.
        agreements: How quantised artifacts compare on annotated images.
    """

    checks: tuple[Check, ...]
    num_photos: int
    tolerance: float
    agreements: tuple[Agreement, ...] = ()

    @property
    def max_abs_diff(self) -> float:
        """The largest difference in any comparison."""
        return max((check.max_abs_diff for check in self.checks), default=0.0)
