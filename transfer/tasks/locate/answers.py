"""What the outputs of a network for one object mean: its class, and its box in pixels of the photo."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pipelines.colours import class_colour
from transfer.contract import Contract, Output, check_names, check_thresholds
from transfer.drawing import draw
from transfer.python_values import read_names
from transfer.tasks.locate.settings import Locate
from transfer.tasks.scores import Prediction, compare_numbers, ranked
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task
from zoo.boxes import iou

__all__ = ["TASK", "LocateContract", "Place"]

THRESHOLD = 0.5  # The probability of an object from which on one is shown, where the network tells it.


@dataclass(frozen=True, kw_only=True)
class Place(Answer):
    """What object a photo shows, and where.

    Attributes:
        prediction: The class with the highest score. It is None where the network finds no object.
        box: Left, top, right and bottom of the object in pixels of the upright photo, or None.
        objectness: The probability in 0..1 that there is an object at all; None where the network does not tell it.
    """

    prediction: Prediction | None = None
    box: tuple[float, float, float, float] | None = None
    objectness: float | None = None


@dataclass(frozen=True)
class LocateContract(Contract):
    """What an exported network for one object takes and gives.

    Attributes:
        class_names: One name for each class, in order.
        objectness: Whether a third output tells whether there is an object.
        thresholds: The score in 0..1 from which on a class is shown, for classes that have one of their own.
    """

    task: ClassVar[str] = "locate"

    class_names: tuple[str, ...]
    objectness: bool = False
    thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        object.__setattr__(self, "thresholds", {str(name): value for name, value in self.thresholds.items()})
        check_names(self.class_names)
        check_thresholds(self.thresholds, self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names

    def outputs(self) -> dict[str, Output]:
        outputs = {
            "probabilities": Output((len(self.class_names),), meaning="the probability of each class", values="shares"),
            "box": Output((4,), meaning="xyxy in pixels of the photo", boxes=True),
        }
        if self.objectness:
            meaning = "the probability that there is an object"
            outputs["objectness"] = Output((1,), meaning=meaning, values="probabilities")
        return {**outputs, "embedding": Output((None,), meaning="what the last layer is given", internal=True)}


class LocateTask(Task):
    """The answering half of locating."""

    name = "locate"
    summary = "One class and one box for each image, from annotated images."
    settings = Locate
    contract = LocateContract
    metrics = (
        Metric("accuracy_and_iou50", "accuracy with an IoU of at least 0.5", percent=True),
        Metric("accuracy", "accuracy", percent=True),
        Metric("mean_iou", "mean IoU"),
    )
    options = frozenset({"threshold"})
    no_views = "a box in a mirrored or larger view lies elsewhere, and means of boxes are not measured yet"

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: LocateContract, options: Options
    ) -> Place:
        objectness = float(outputs["objectness"][0]) if contract.objectness else None
        best = ranked(
            outputs["probabilities"],
            contract.class_names,
            top=1,
            threshold=options.threshold,
            own=contract.thresholds,
        )
        if not best or (objectness is not None and objectness < THRESHOLD):
            return Place(name=name, size=size, objectness=objectness)
        box = tuple(float(edge) for edge in outputs["box"])
        return Place(name=name, size=size, prediction=best[0], box=box, objectness=objectness)  # type: ignore[arg-type]

    def no_answer(self, name: str, error: str) -> Place:
        return Place(name=name, error=error)

    def predictions(self, answer: Place) -> list[dict[str, Any]]:
        if answer.prediction is None or answer.box is None:
            return []
        one = answer.prediction
        box = [round(edge, 2) for edge in answer.box]
        return [{"index": one.index, "label": one.label, "score": one.score, "box": box}]

    def columns(self, contract: LocateContract, options: Options) -> tuple[str, ...]:
        return ("label", "score", "left", "top", "right", "bottom")

    def rows(self, document: Mapping[str, Any], contract: LocateContract, options: Options) -> list[dict[str, Any]]:
        rows = [
            {"label": one["label"], "score": one["score"]}
            | dict(zip(("left", "top", "right", "bottom"), one["box"], strict=True))
            for one in document["predictions"]
        ]
        return rows or [{}]

    def draw(self, image: np.ndarray, answer: Place) -> Image.Image:
        if answer.prediction is None or answer.box is None:
            return Image.fromarray(image)
        one = answer.prediction
        return draw(image, [answer.box], [f"{one.label} {one.score:.2f}"], [class_colour(one.index)])

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: LocateContract, tolerance: float
    ) -> Difference:
        longer = float(max(size))
        classes = [f"class {name!r}" for name in contract.class_names]
        edges = [f"the {edge} edge, as a share of the size" for edge in ("left", "top", "right", "bottom")]
        differences = [
            compare_numbers(expected, actual, "probabilities", classes, tolerance),
            compare_numbers(expected, actual, "box", edges, tolerance, unit=longer),
        ]
        if contract.objectness:
            differences.append(compare_numbers(expected, actual, "objectness", ["the object"], tolerance))
        return max(differences, key=lambda one: one.value)

    def agreement(self, expected: Arrays, actual: Arrays, contract: LocateContract) -> float:
        """Two networks agree on a photo where both give the same class, and boxes that overlap by an IoU of 0.5."""
        same = expected["probabilities"].argmax(axis=1) == actual["probabilities"].argmax(axis=1)
        overlaps = np.asarray(iou(expected["box"], np.nan_to_num(actual["box"])))
        finite = np.isfinite(actual["probabilities"]).all(axis=1) & np.isfinite(actual["box"]).all(axis=1)
        return float((same & (overlaps >= 0.5) & finite).mean())


TASK = LocateTask()
