"""What a detector's outputs mean: the objects in a photo, each with its class, its score and its box."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from pipelines.annotations.coco_ids import image_ids
from pipelines.colours import class_colour
from pipelines.prepare.letterbox import FILL, Letterbox
from transfer.contract import Contract, Output, check_names, check_thresholds
from transfer.drawing import draw
from transfer.python_values import read_names
from transfer.tasks.detect.comparison import MAX_CANDIDATES, agreement, compare, limited
from transfer.tasks.detect.settings import Detect
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task
from zoo.detection.nms import check_settings

__all__ = ["MAX_CANDIDATES", "TASK", "DetectContract", "DetectedObject", "Detections"]

EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class DetectedObject:
    """One object in a photo.

    Attributes:
        index: The number of its class.
        label: The name of its class.
        score: How sure the detector is, in 0..1.
        box: Left, top, right and bottom in pixels of the upright photo.
    """

    index: int
    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Detections(Answer):
    """What a detector finds in one photo.

    Attributes:
        objects: The objects that reach the thresholds of their classes, the highest score first.
    """

    objects: tuple[DetectedObject, ...] = ()


@dataclass(frozen=True)
class DetectContract(Contract):
    """What an exported detector takes and gives.

    Attributes:
        class_names: One name for each class number, in order.
        score_threshold: Detections with lower scores are left out in the graph; in 0..1.
        iou_threshold: The overlap (IoU) in 0..1 from which on two boxes of a class are one object.
        max_detections: Maximum number of detections per photo.
        thresholds: The score in 0..1 from which on a detection is shown to people, for classes that have one of their
            own.
        detector: The name of the detector.
        backbone: The name of its trunk.
        class_ids: Identifiers of the classes in the data that it was trained on, where they have some, as in COCO.

    Raises:
        ValueError: There are no class names, one is not a line of printable text, a threshold lies outside 0..1, or
            there is room for no detection.

    Example:

    >>> contract = DetectContract(("ant", "bee"), preparation=Letterbox((288, 384)))
    >>> DetectContract.from_document(contract.as_document()) == contract
    True
    """

    task: ClassVar[str] = "detect"

    class_names: tuple[str, ...]
    score_threshold: float = 0.05
    iou_threshold: float = 0.6
    max_detections: int = 100
    thresholds: dict[str, float] = field(default_factory=dict)
    detector: str = ""
    backbone: str = ""
    class_ids: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        object.__setattr__(self, "class_ids", tuple(self.class_ids))
        object.__setattr__(self, "thresholds", {str(name): value for name, value in self.thresholds.items()})
        check_names(self.class_names)
        check_thresholds(self.thresholds, self.class_names)
        check_settings(self.iou_threshold, self.score_threshold, self.max_detections)

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names

    def outputs(self) -> dict[str, Output]:
        m, k = self.max_detections, len(self.class_names)
        return {
            "boxes": Output((m, 4), meaning="xyxy in pixels of the photo, padded with zeros", boxes=True),
            "classes": Output((m,), "int32", meaning="the number of each class, padded with -1"),
            "scores": Output((m,), meaning="in 0..1, highest first, padded with zeros", values="probabilities"),
            "valid": Output((), "int32", meaning="how many detections are real"),
            "candidate_boxes": Output((None, 4), meaning="before suppression", boxes=True, internal=True),
            "candidate_scores": Output((None, k), meaning="before suppression", internal=True),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        # Earlier contracts have no identifiers of classes.
        return super().from_document({"class_ids": (), **document})

    @classmethod
    def from_version_1(cls, document: Mapping[str, Any]) -> Self:
        height, width = document["size"]
        letterbox = Letterbox((height, width), document.get("fill", FILL)).as_dict()
        return cls.from_document({**document, "preparation": letterbox})


class DetectTask(Task):
    """The answering half of detection."""

    name = "detect"
    summary = "Any number of objects for each image, each with a class and a box, from annotated images."
    settings = Detect
    contract = DetectContract
    metrics = (Metric("map50", "mAP50"), Metric("map", "mAP"))
    options = frozenset({"top", "threshold"})
    no_views = "boxes of mirrored views would have to be matched and merged, which is not measured yet"

    def check_options(self, options: Options, contract: DetectContract) -> None:
        super().check_options(options, contract)
        least = contract.score_threshold
        if options.threshold is not None and options.threshold < least:
            raise ValueError(
                f"this model leaves out what has a score under {least:g} already, got threshold={options.threshold}; "
                "train or export it with a lower score_threshold (--score-threshold)"
            )

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: DetectContract, options: Options
    ) -> Detections:
        objects = []
        count = int(outputs["valid"])
        columns = (outputs[key][:count].tolist() for key in ("boxes", "scores", "classes"))
        for box, score, number in zip(*columns, strict=True):
            label = contract.class_names[int(number)]
            least = contract.thresholds.get(label, contract.score_threshold)
            if score >= (least if options.threshold is None else options.threshold):
                objects.append(DetectedObject(int(number), label, score, tuple(box)))
        return Detections(name=name, size=size, objects=tuple(objects[: options.top]))

    def no_answer(self, name: str, error: str) -> Detections:
        return Detections(name=name, error=error)

    def predictions(self, answer: Detections) -> list[dict[str, Any]]:
        return [
            {"index": one.index, "label": one.label, "score": one.score, "box": [round(edge, 2) for edge in one.box]}
            for one in answer.objects
        ]

    def columns(self, contract: DetectContract, options: Options) -> tuple[str, ...]:
        return ("label", "score", *EDGES)

    def rows(self, document: Mapping[str, Any], contract: DetectContract, options: Options) -> list[dict[str, Any]]:
        rows = [
            {"label": one["label"], "score": one["score"], **dict(zip(EDGES, one["box"], strict=True))}
            for one in document["predictions"]
        ]
        return rows or [{}]

    def draw(self, image: np.ndarray, answer: Detections) -> Image.Image:
        best_last = answer.objects[::-1]
        return draw(
            image,
            [one.box for one in best_last],
            [f"{one.label} {one.score:.2f}" for one in best_last],
            [class_colour(one.index) for one in best_last],
        )

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: DetectContract, tolerance: float
    ) -> Difference:
        return compare(expected, actual, size, contract, tolerance)

    def limited(self, outputs: Arrays, contract: DetectContract) -> Arrays:
        return limited(outputs, contract)

    def agreement(self, expected: Arrays, actual: Arrays, contract: DetectContract) -> float:
        """Two detectors agree on an object where both show it, with the same class, and their boxes overlap by half."""
        return agreement(expected, actual, contract)

    def named_outputs(self, outputs: Any, contract: DetectContract) -> dict[str, list[Any]]:
        counts = [int(photo["valid"]) for photo in outputs]
        return {
            name: [photo[name][:count].tolist() for photo, count in zip(outputs, counts, strict=True)]
            for name in ("boxes", "classes", "scores")
        }


def write_coco(path: Path, documents: Iterable[Mapping[str, Any]], contract: DetectContract, folder: Path) -> None:
    """Writes answers as COCO's tools take results (`COCO.loadRes`): a list with an entry for each object, of
    `image_id`, `category_id`, `bbox` (left, top, width and height) and `score`, and the name of the file.

    The ids of images are those of the COCO file near the photos, if there is one (`image_ids`), and the ids of
    categories those of the file that the detector was trained on, or else they count from 1. Photos that cannot be read
    have no entry.

    Args:
        path: The file.
        documents: The answers. They are gone through twice, and never held all at once.
        contract: The model's contract.
        folder: The folder of the photos.
    """
    ids = image_ids(folder, [document["path"] for document in documents if "error" not in document])
    class_ids = contract.class_ids or range(1, len(contract.class_names) + 1)
    results = (
        {
            "image_id": ids[document["path"]],
            "category_id": class_ids[one["index"]],
            "bbox": [left, top, right - left, bottom - top],
            "score": one["score"],
            "file_name": document["path"],
        }
        for document in documents
        if "error" not in document
        for one in document["predictions"]
        for left, top, right, bottom in [one["box"]]
    )
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write(f"{', ' if number else ''}{json.dumps(result)}")
        file.write("]")


DetectTask.documents = {".json": write_coco}
TASK = DetectTask()
