"""What a classifier's outputs mean: one class of several for each photo."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from transfer.contract import Contract, Output, check_names, check_thresholds
from transfer.drawing import caption
from transfer.python_values import read_names
from transfer.tasks.classify.settings import Classify
from transfer.tasks.scores import Prediction, compare_numbers, prediction_rows, predictions_of, ranked
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task

__all__ = ["TASK", "Classification", "ClassifyContract"]

TOP = 5  # The number of classes in an answer, unless the user asks for another one.


@dataclass(frozen=True, kw_only=True)
class Classification(Answer):
    """What a classifier says about one photo.

    Attributes:
        predictions: The classes with the highest scores, highest first, as far as they reach their thresholds.
    """

    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True)
class ClassifyContract(Contract):
    """What an exported classifier takes and gives.

    Attributes:
        class_names: One name for each probability, in order, each a line of printable text. They may repeat: ImageNet
            has two kinds of crane.
        thresholds: The score in 0..1 from which on a class is shown, for classes that have one of their own.
        wnids: WordNet's identifiers of the classes, for models that know the classes of ImageNet; otherwise None.

    Raises:
        ValueError: There are no class names, one is not a line of printable text, or a threshold belongs to no class or
            lies outside 0..1.

    Example:

    >>> from pipelines import EvaluationCrop
    >>> contract = ClassifyContract(("ant", "bee"), preparation=EvaluationCrop((224, 224)))
    >>> ClassifyContract.from_document(contract.as_document()) == contract
    True
    """

    task: ClassVar[str] = "classify"

    class_names: tuple[str, ...]
    thresholds: dict[str, float] = field(default_factory=dict)
    wnids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        object.__setattr__(self, "thresholds", {str(name): value for name, value in self.thresholds.items()})
        object.__setattr__(self, "wnids", None if self.wnids is None else tuple(self.wnids))
        check_names(self.class_names)
        check_thresholds(self.thresholds, self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names

    def outputs(self) -> dict[str, Output]:
        k = len(self.class_names)
        return {
            "probabilities": Output((k,), meaning="the probability of each class; they sum to 1", values="shares"),
            "embedding": Output((None,), meaning="what the last layer is given", internal=True),
        }

    @classmethod
    def from_version_1(cls, document: Mapping[str, Any]) -> Self:
        return cls.from_document(
            {
                "preparation": document["crop"],
                "class_names": document["class_names"],
                "versions": document["versions"],
                "thresholds": document.get("thresholds", {}),
                "fingerprint": document.get("fingerprint", ""),
                "wnids": None,
            }
        )


class ClassifyTask(Task):
    """The answering half of classification."""

    name = "classify"
    summary = "One class of several for each image, from class folders or a table."
    settings = Classify
    contract = ClassifyContract
    metrics = (Metric("accuracy", "accuracy", percent=True),)
    options = frozenset({"top", "threshold"})
    explains = True

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: ClassifyContract, options: Options
    ) -> Classification:
        predictions = ranked(
            outputs["probabilities"],
            contract.class_names,
            top=options.top or TOP,
            threshold=options.threshold,
            own=contract.thresholds,
            wnids=contract.wnids,
        )
        return Classification(name=name, size=size, predictions=predictions)

    def no_answer(self, name: str, error: str) -> Classification:
        return Classification(name=name, error=error)

    def predictions(self, answer: Classification) -> list[dict[str, Any]]:
        return prediction_rows(answer.predictions)

    def columns(self, contract: ClassifyContract, options: Options) -> tuple[str, ...]:
        ranks = range(1, min(options.top or TOP, max(TOP, len(contract.class_names))) + 1)
        return tuple(f"{name}{rank}" for rank in ranks for name in ("label", "score"))

    def rows(self, document: Mapping[str, Any], contract: ClassifyContract, options: Options) -> list[dict[str, Any]]:
        return [predictions_of(document["predictions"], options.top or TOP)]

    def draw(self, image: np.ndarray, answer: Classification) -> Image.Image:
        return caption(image, [f"{one.label} {100 * one.score:.1f}%" for one in answer.predictions])

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: ClassifyContract, tolerance: float
    ) -> Difference:
        words = [f"class {name!r}" for name in contract.class_names]
        return compare_numbers(expected, actual, "probabilities", words, tolerance)

    def agreement(self, expected: Arrays, actual: Arrays, contract: ClassifyContract) -> float:
        """Two classifiers agree on a photo where both give the same class the highest probability."""
        same = expected["probabilities"].argmax(axis=1) == actual["probabilities"].argmax(axis=1)
        return float((same & np.isfinite(actual["probabilities"]).all(axis=1)).mean())


TASK = ClassifyTask()
