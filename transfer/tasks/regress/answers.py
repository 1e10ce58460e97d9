"""What the outputs of a network for numbers mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from transfer.contract import Contract, Output, check_names
from transfer.drawing import caption
from transfer.python_values import read_names
from transfer.tasks.regress.settings import Regress
from transfer.tasks.scores import compare_numbers
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task

__all__ = ["TASK", "Numbers", "RegressContract"]

AGREES = 0.1  # Two numbers agree where they differ by no more than this share of the numbers' standard deviation.


@dataclass(frozen=True, kw_only=True)
class Numbers(Answer):
    """The numbers that a network tells from a photo.

    Attributes:
        numbers: Each number by its name, in the unit that the network was trained on.
    """

    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RegressContract(Contract):
    """What an exported network for numbers takes and gives.

    Attributes:
        number_names: One name for each number, in order.
        deviations: The standard deviation of each number in the training data. Differences are measured in it.

    Raises:
        ValueError: There are no names, one is not a line of printable text, or there is not one deviation above 0 for
            each.
    """

    task: ClassVar[str] = "regress"

    number_names: tuple[str, ...]
    deviations: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "number_names", read_names(self.number_names))
        object.__setattr__(self, "deviations", tuple(float(value) for value in self.deviations))
        check_names(self.number_names, what="number")
        if len(self.deviations) != len(self.number_names) or not all(0 < d < np.inf for d in self.deviations):
            raise ValueError(
                f"expected one deviation above 0 for each of {', '.join(self.number_names)}, got {self.deviations}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return self.number_names

    def outputs(self) -> dict[str, Output]:
        return {
            "numbers": Output((len(self.number_names),), meaning="the numbers, in the unit of the training data"),
            "embedding": Output((None,), meaning="what the last layer is given", internal=True),
        }


class RegressTask(Task):
    """The answering half of regression."""

    name = "regress"
    summary = "One or more numbers for each image, from a table."
    settings = Regress
    contract = RegressContract
    metrics = (
        Metric("mean_absolute_error", "mean absolute error", higher_is_better=False),
        Metric("r2", "explained variance (R²)"),
    )

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: RegressContract, options: Options
    ) -> Numbers:
        numbers = dict(zip(contract.number_names, outputs["numbers"].astype(float).tolist(), strict=True))
        return Numbers(name=name, size=size, numbers=numbers)

    def no_answer(self, name: str, error: str) -> Numbers:
        return Numbers(name=name, error=error)

    def predictions(self, answer: Numbers) -> list[dict[str, Any]]:
        return [{"label": name, "value": value} for name, value in answer.numbers.items()]

    def columns(self, contract: RegressContract, options: Options) -> tuple[str, ...]:
        return contract.number_names

    def rows(self, document: Mapping[str, Any], contract: RegressContract, options: Options) -> list[dict[str, Any]]:
        return [{row["label"]: row["value"] for row in document["predictions"]}]

    def draw(self, image: np.ndarray, answer: Numbers) -> Image.Image:
        return caption(image, [f"{name}: {value:.4g}" for name, value in answer.numbers.items()])

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: RegressContract, tolerance: float
    ) -> Difference:
        # A number has no range, so its difference is counted in standard deviations of the training data.
        ours, theirs = ({"numbers": arrays["numbers"] / np.array(contract.deviations)} for arrays in (expected, actual))
        words = [f"{name!r} in standard deviations" for name in contract.number_names]
        return compare_numbers(ours, theirs, "numbers", words, tolerance)

    def agreement(self, expected: Arrays, actual: Arrays, contract: RegressContract) -> float:
        """Two networks agree on a number where they differ by at most a tenth of its standard deviation."""
        difference = np.abs(expected["numbers"] - actual["numbers"]) / np.array(contract.deviations)
        return float((difference <= AGREES).mean())


TASK = RegressTask()
