"""What an exported model takes and gives, and what a proof of it found; known without loading TensorFlow."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines import EvaluationCrop

if TYPE_CHECKING:
    from transfer.artifacts.proof import Agreement

__all__ = [
    "BATCH_SIZES",
    "FORMAT_VERSION",
    "TOLERANCE",
    "Check",
    "Contract",
    "ExportError",
    "Proof",
    "check_classes",
    "installed_versions",
    "read_contract",
]

FORMAT_VERSION = 1
TOLERANCE = 1e-4  # of a probability
BATCH_SIZES = (1, 5)  # at which every artifact is compared with the trained model


class ExportError(RuntimeError):
    """What was exported does not answer as the trained model does. Nothing of it is kept.

    Attributes:
        check: the comparison that failed, or None when the artifact could not even be written or read back.
    """

    def __init__(self, message: str, check: "Check | None" = None):
        super().__init__(message)
        self.check = check


def installed_versions() -> dict[str, str]:
    """Versions of what a model's numbers depend on, by distribution name.

    >>> sorted(installed_versions())
    ['keras', 'numpy', 'python', 'tensorflow', 'transfer-zoo']
    """
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "transfer-zoo"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that was not installed
            found[name] = "unknown"
    return found


def check_classes(class_names: Sequence[str], thresholds: Mapping[str, float]) -> None:
    """Raises a ValueError for names and thresholds that a contract cannot hold."""
    if not class_names:
        raise ValueError("expected the names of the classes, got none")
    for name in class_names:
        # isprintable: no line breaks, which `labels.txt` could not hold, and no bytes that are no Unicode.
        if not name.isprintable() or not name:
            raise ValueError(f"a class name has to be one line of printable text, got {name!r}; rename that class")
    for name, threshold in thresholds.items():
        if name not in class_names or not 0 <= threshold <= 1:
            raise ValueError(
                f"a threshold is a score in 0..1 of one of the classes, got {threshold!r} for {name!r}; "
                f"the classes are {', '.join(class_names[:20])}"
            )


def read_contract(text: str | bytes) -> Any:
    """The contract of a JSON document: a `Contract`, or that of a detector, `transfer.tasks.detect.DetectionContract`.

    Raises:
        ValueError: it is none, or a newer version of one.
    """
    try:
        document = json.loads(text)
        version = document["format_version"]
        if version > FORMAT_VERSION:
            raise ValueError(
                f"this model was exported in format version {version}, and this installation reads up to "
                f"{FORMAT_VERSION}; upgrade transfer-zoo"
            )
        if document.get("task") == "detect":
            from transfer.tasks.detect.contract import DetectionContract

            return DetectionContract.from_document(document)
        return Contract.from_document(document)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"expected a contract as transfer.export writes it, got one without {error}") from error


@dataclass(frozen=True)
class Contract:
    """What an exported model takes and gives.

    Attributes:
        class_names: one name for each probability, in order, each a line of printable text. (They may repeat:
            ImageNet has two kinds of crane.)
        crop: how a photo of any size becomes the model's input.
        versions: of the libraries that wrote it.
        thresholds: the score from which a class counts as found, for classes that have one of their own; 0..1.
        fingerprint: of the trained weights: artifacts that were made from the same model have the same.

    Raises:
        ValueError: no class names, one that is not a line of printable text, or a threshold of an unknown class or
            outside of 0..1.

    Example:

    >>> contract = Contract(("ant", "bee"), EvaluationCrop((224, 224)))
    >>> Contract.from_json(contract.to_json()) == contract
    True
    """

    task: ClassVar[str] = "classify"

    class_names: tuple[str, ...]
    crop: EvaluationCrop
    versions: dict[str, str] = field(default_factory=installed_versions)
    thresholds: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(self.class_names))
        check_classes(self.class_names, self.thresholds)

    def to_json(self) -> str:
        """The contract as a JSON document."""
        height, width = self.crop.size
        document = {
            "format": "transfer-zoo",
            "format_version": FORMAT_VERSION,
            "class_names": self.class_names,
            "crop": self.crop.as_dict(),
            "model_input": {
                "shape": [None, height, width, 3],
                "dtype": "float32",
                "range": [0, 255],
                "channels": "RGB",
            },
            "endpoints": {
                "images": {"shape": [None, None, None, 3], "dtype": "float32", "range": [0, 255], "channels": "RGB"},
                "cropped": {"shape": [None, height, width, 3], "dtype": "uint8", "range": [0, 255], "channels": "RGB"},
                "image_bytes": {"shape": [None], "dtype": "string", "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"]},
            },
            "output": {"probabilities": {"shape": [None, len(self.class_names)], "dtype": "float32", "range": [0, 1]}},
            "thresholds": self.thresholds,
            "fingerprint": self.fingerprint,
            "versions": self.versions,
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Contract":
        """The contract of a JSON document that `to_json` wrote.

        Raises:
            ValueError: it is not such a document, or a newer version of it.
        """
        contract = read_contract(text)
        if not isinstance(contract, cls):
            raise ValueError("expected the contract of a classifier, got that of a detector")
        return contract

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Contract":
        """The contract of what `to_json` wrote, parsed."""
        return cls(
            tuple(document["class_names"]),
            EvaluationCrop.from_dict(document["crop"]),
            dict(document["versions"]),
            dict(document.get("thresholds", {})),
            document.get("fingerprint", ""),
        )


@dataclass(frozen=True)
class Check:
    """One comparison with the trained model.

    Attributes:
        artifact: the file or folder that was read back, such as "saved_model" or "model.onnx".
        endpoint: which way in: "images uint8", "images float32", "image_bytes", "cropped" or "call".
        batch: how many photos at a time.
        max_abs_diff: the largest absolute difference of a probability over all photos.
    """

    artifact: str
    endpoint: str
    batch: int
    max_abs_diff: float


@dataclass(frozen=True)
class Proof:
    """What was compared, and how well it agreed.

    Attributes:
        checks: one for each artifact, endpoint and batch size.
        num_photos: how many photos each of them saw.
        tolerance: the largest difference that would have been let through.
        agreements: of quantised artifacts, how they compare on labelled images (`transfer.artifacts.proof.Agreement`).
    """

    checks: tuple[Check, ...]
    num_photos: int
    tolerance: float
    agreements: tuple["Agreement", ...] = ()

    @property
    def max_abs_diff(self) -> float:
        """The largest absolute difference of a probability in any check."""
        return max(check.max_abs_diff for check in self.checks)
