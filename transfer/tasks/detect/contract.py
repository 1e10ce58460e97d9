"""What an exported detector takes and gives; known without loading TensorFlow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pipelines.prepare.letterbox import FILL, Letterbox
from transfer.contract import FORMAT_VERSION, check_classes, installed_versions, read_contract
from zoo.detection.nms import check_settings

__all__ = ["DetectionContract"]


@dataclass(frozen=True)
class DetectionContract:
    """What an exported detector takes and gives.

    Attributes:
        class_names: one name for each class number, in order.
        size: height and width in pixels of the canvas that the network sees; see `transfer.tasks.detect.Letterbox`.
        score_threshold: detections with lower scores are left out in the graph, 0..1.
        iou_threshold: at which two boxes of a class are one object, 0..1.
        max_detections: of a photo, the best.
        thresholds: of each class the score from which a detection is shown to people unless they ask otherwise, 0..1.
        fill: the grey around the photo on the canvas.
        detector, backbone: what it is, in words.
        versions: of the libraries that wrote it.
        fingerprint: of the trained weights.

    Raises:
        ValueError: no class names, one that is not a line of printable text, thresholds outside 0..1, or room for no
            detection.

    Example:

    >>> contract = DetectionContract(("ant", "bee"), (288, 384))
    >>> DetectionContract.from_json(contract.to_json()) == contract
    True
    """

    task: ClassVar[str] = "detect"

    class_names: tuple[str, ...]
    size: tuple[int, int]
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    max_detections: int = 100
    thresholds: dict[str, float] = field(default_factory=dict)
    fill: float = FILL
    detector: str = ""
    backbone: str = ""
    versions: dict[str, str] = field(default_factory=installed_versions)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "size", self.letterbox.size)
        check_classes(self.class_names, self.thresholds)
        check_settings(self.iou_threshold, self.score_threshold, self.max_detections)

    @property
    def letterbox(self) -> Letterbox:
        """How a photo gets onto the canvas."""
        return Letterbox(self.size, self.fill)

    def with_thresholds(self, thresholds: Mapping[str, float]) -> "DetectionContract":
        """The same with other scores from which detections are shown to people."""
        return replace(self, thresholds=dict(thresholds))

    def to_json(self) -> str:
        """The contract as a JSON document."""
        height, width = self.size
        most = self.max_detections
        document = {
            "format": "transfer-zoo",
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "class_names": self.class_names,
            "size": [height, width],
            "fill": self.fill,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": most,
            "thresholds": self.thresholds,
            "detector": self.detector,
            "backbone": self.backbone,
            "endpoints": {
                "images": {"shape": [None, None, None, 3], "dtype": "float32", "range": [0, 255], "channels": "RGB"},
                "resized": {"shape": [None, height, width, 3], "dtype": "float32", "range": [0, 255]},
                "image_bytes": {"shape": [None], "dtype": "string", "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"]},
            },
            "output": {
                "boxes": {
                    "shape": [None, most, 4],
                    "dtype": "float32",
                    "format": "xyxy",
                    "unit": "pixels of the photo",
                },
                "classes": {"shape": [None, most], "dtype": "int32", "padding": -1},
                "scores": {"shape": [None, most], "dtype": "float32", "range": [0, 1]},
                "valid": {"shape": [None], "dtype": "int32"},
            },
            "fingerprint": self.fingerprint,
            "versions": self.versions,
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "DetectionContract":
        """The contract of a JSON document that `to_json` wrote.

        Raises:
            ValueError: it is not such a document, or a newer version of it.
        """
        contract = read_contract(text)
        if not isinstance(contract, cls):
            raise ValueError("expected the contract of a detector, got that of a classifier")
        return contract

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "DetectionContract":
        """The contract of what `to_json` wrote, parsed."""
        height, width = document["size"]
        names = ("score_threshold", "iou_threshold", "max_detections", "fill", "detector", "backbone", "fingerprint")
        return cls(
            tuple(document["class_names"]),
            (height, width),
            thresholds=dict(document["thresholds"]),
            versions=dict(document["versions"]),
            **{name: document[name] for name in names},
        )
