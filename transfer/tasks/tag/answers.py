"""What the outputs of a network for several labels mean: any number of labels for each photo, none included."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from transfer.contract import Contract, Output, check_names, check_thresholds
from transfer.drawing import caption
from transfer.python_values import read_names
from transfer.tasks.scores import Prediction, compare_numbers, prediction_rows, ranked, reaching
from transfer.tasks.tag.settings import Tag
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task

__all__ = ["TASK", "TagContract", "Tags"]

THRESHOLD = 0.5  # The score from which on a label is shown that has no threshold of its own.


@dataclass(frozen=True, kw_only=True)
class Tags(Answer):
    """Which labels a photo has.

    Attributes:
        predictions: The labels that reach their thresholds, the highest score first. There may be none.
    """

    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True)
class TagContract(Contract):
    """What an exported network for several labels takes and gives.

    Attributes:
        class_names: One name for each label, in the order of the probabilities.
        thresholds: The score in 0..1 from which on a label is shown; 0.5 for labels that have none of their own.

    Raises:
        ValueError: As for `transfer.ClassifyContract`.
    """

    task: ClassVar[str] = "tag"

    class_names: tuple[str, ...]
    thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        object.__setattr__(self, "thresholds", {str(name): value for name, value in self.thresholds.items()})
        check_names(self.class_names, what="label")
        check_thresholds(self.thresholds, self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names

    def outputs(self) -> dict[str, Output]:
        k = len(self.class_names)
        return {
            "probabilities": Output((k,), meaning="the probability of each label by itself", values="probabilities"),
            "embedding": Output((None,), meaning="what the last layer is given", internal=True),
        }


class TagTask(Task):
    """The answering half of tagging."""

    name = "tag"
    summary = "Any number of labels for each image, from a table."
    settings = Tag
    contract = TagContract
    metrics = (
        Metric("mean_average_precision", "mean average precision"),
        Metric("mean_f1", "mean F1"),
        Metric("exact_match", "all labels right", percent=True),
    )
    options = frozenset({"top", "threshold"})
    explains = True

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: TagContract, options: Options
    ) -> Tags:
        predictions = ranked(
            outputs["probabilities"],
            contract.class_names,
            top=options.top,
            threshold=options.threshold,
            own=contract.thresholds,
            least=THRESHOLD,
        )
        return Tags(name=name, size=size, predictions=predictions)

    def no_answer(self, name: str, error: str) -> Tags:
        return Tags(name=name, error=error)

    def predictions(self, answer: Tags) -> list[dict[str, Any]]:
        return prediction_rows(answer.predictions)

    def columns(self, contract: TagContract, options: Options) -> tuple[str, ...]:
        return ("labels", *(f"score of {name}" for name in contract.class_names))

    def rows(self, document: Mapping[str, Any], contract: TagContract, options: Options) -> list[dict[str, Any]]:
        shown = document["predictions"]
        row: dict[str, Any] = {"labels": "|".join(one["label"] for one in shown)}
        return [row | {f"score of {one['label']}": one["score"] for one in shown}]

    def draw(self, image: np.ndarray, answer: Tags) -> Image.Image:
        lines = [f"{one.label} {100 * one.score:.1f}%" for one in answer.predictions]
        return caption(image, lines or ["no label"])

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: TagContract, tolerance: float
    ) -> Difference:
        words = [f"label {name!r}" for name in contract.class_names]
        return compare_numbers(expected, actual, "probabilities", words, tolerance)

    def agreement(self, expected: Arrays, actual: Arrays, contract: TagContract) -> float:
        """Two networks agree on a label of a photo where both show it, or neither does: the mean over all of them."""
        one, other = (
            reaching(arrays["probabilities"], contract.class_names, contract.thresholds, least=THRESHOLD)
            for arrays in (expected, actual)
        )
        return float(((one == other) & np.isfinite(actual["probabilities"])).mean())


TASK = TagTask()
