"""What the outputs of a network with several heads mean: one answer for each head."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from transfer.contract import Contract, Output, check_names, check_thresholds
from transfer.drawing import caption
from transfer.probabilities import Values
from transfer.python_values import read_names
from transfer.tasks.heads.settings import Heads
from transfer.tasks.scores import Prediction, compare_numbers, prediction_rows, ranked, reaching
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task

__all__ = ["TASK", "HeadFacts", "HeadsContract", "SeveralAnswers"]

# Kind of a head -> what its outputs are.
KINDS: dict[str, Values] = {"classes": "shares", "labels": "probabilities", "numbers": "numbers"}
THRESHOLD = 0.5  # The score from which on a label is shown that has no threshold of its own.
AGREES = 0.1  # Two numbers agree where they differ by no more than this share of the number's standard deviation.


@dataclass(frozen=True)
class HeadFacts:
    """What one head tells.

    Attributes:
        name: The head's name, which is that of its output.
        kind: "classes" for one class of several, "labels" for any number of labels, "numbers" for numbers.
        names: The names of its classes, labels or numbers.
        thresholds: The score from which on a label is shown, for labels that have one of their own.
        deviations: The standard deviation of each number in the training data; empty for the other kinds.
    """

    name: str
    kind: str
    names: tuple[str, ...]
    thresholds: dict[str, float] = field(default_factory=dict)
    deviations: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", read_names(self.names))
        object.__setattr__(self, "deviations", tuple(self.deviations))
        object.__setattr__(self, "thresholds", {str(name): value for name, value in self.thresholds.items()})
        check_names(self.names, what=f"name of {self.name!r}: a")
        check_thresholds(self.thresholds, self.names)
        if self.kind not in KINDS:
            raise ValueError(f"the kind of a head is one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind == "numbers" and len(self.deviations) != len(self.names):
            raise ValueError(f"expected one deviation for each number of {self.name!r}, got {self.deviations}")


@dataclass(frozen=True, kw_only=True)
class SeveralAnswers(Answer):
    """What the heads of a network say about one photo.

    Attributes:
        classes: For each head that tells classes or labels, its predictions, the highest score first.
        numbers: For each head that tells numbers, each number by its name.
    """

    classes: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class HeadsContract(Contract):
    """What an exported network with several heads takes and gives.

    Attributes:
        heads: What each head tells, in the order of the outputs.

    Raises:
        ValueError: There are no heads, or two of one name, or one is called "embedding".
    """

    task: ClassVar[str] = "heads"

    heads: tuple[HeadFacts, ...]

    def __post_init__(self) -> None:
        heads = tuple(head if isinstance(head, HeadFacts) else HeadFacts(**head) for head in self.heads)
        object.__setattr__(self, "heads", heads)
        names = [head.name for head in heads]
        check_names(names, what="head")
        if len(set(names)) < len(names) or "embedding" in names:
            raise ValueError(f"expected heads of different names other than 'embedding', got {', '.join(names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(head.name for head in self.heads)

    def outputs(self) -> dict[str, Output]:
        of_heads = {
            head.name: Output((len(head.names),), meaning=head.kind, values=KINDS[head.kind]) for head in self.heads
        }
        return {**of_heads, "embedding": Output((None,), meaning="what the last layer is given", internal=True)}


class HeadsTask(Task):
    """The answering half of several heads."""

    name = "heads"
    summary = "Several answers for each image from one trunk, from the columns of a table."
    settings = Heads
    contract = HeadsContract
    metrics = (Metric("score", "mean score of the heads"),)
    options = frozenset({"top", "threshold"})

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: HeadsContract, options: Options
    ) -> SeveralAnswers:
        classes, numbers = {}, {}
        for head in contract.heads:
            values = outputs[head.name]
            if head.kind == "numbers":
                numbers[head.name] = dict(zip(head.names, values.astype(float).tolist(), strict=True))
                continue
            labels = head.kind == "labels"
            classes[head.name] = ranked(
                values,
                head.names,
                top=options.top or (None if labels else 1),
                threshold=options.threshold,
                own=head.thresholds,
                least=THRESHOLD if labels else 0.0,
            )
        return SeveralAnswers(name=name, size=size, classes=classes, numbers=numbers)

    def no_answer(self, name: str, error: str) -> SeveralAnswers:
        return SeveralAnswers(name=name, error=error)

    def predictions(self, answer: SeveralAnswers) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for head, predictions in answer.classes.items():
            rows += [{"head": head, **row} for row in prediction_rows(predictions)]
        for head, numbers in answer.numbers.items():
            rows += [{"head": head, "label": name, "value": value} for name, value in numbers.items()]
        return rows

    def columns(self, contract: HeadsContract, options: Options) -> tuple[str, ...]:
        columns: list[str] = []
        for head in contract.heads:
            if head.kind == "numbers":
                columns += [_number_column(head.name, name, len(head.names)) for name in head.names]
            else:
                columns += [head.name, f"score of {head.name}"]
        return tuple(columns)

    def rows(self, document: Mapping[str, Any], contract: HeadsContract, options: Options) -> list[dict[str, Any]]:
        row: dict[str, Any] = {}
        for head in contract.heads:
            own = [one for one in document["predictions"] if one["head"] == head.name]
            if head.kind == "numbers":
                row |= {_number_column(head.name, one["label"], len(head.names)): one["value"] for one in own}
            elif own:
                row |= {head.name: "|".join(one["label"] for one in own), f"score of {head.name}": own[0]["score"]}
        return [row]

    def draw(self, image: np.ndarray, answer: SeveralAnswers) -> Image.Image:
        lines = [
            f"{head}: " + (", ".join(f"{one.label} {100 * one.score:.1f}%" for one in predictions) or "none")
            for head, predictions in answer.classes.items()
        ]
        for head, numbers in answer.numbers.items():
            lines += [f"{_number_column(head, name, len(numbers))}: {value:.4g}" for name, value in numbers.items()]
        return caption(image, lines)

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: HeadsContract, tolerance: float
    ) -> Difference:
        worst = Difference(0.0)
        for head in contract.heads:
            scale = np.array(head.deviations) if head.kind == "numbers" else 1.0
            ours, theirs = ({head.name: arrays[head.name] / scale} for arrays in (expected, actual))
            words = [f"{name!r} of {head.name!r}" for name in head.names]
            worst = max(worst, compare_numbers(ours, theirs, head.name, words, tolerance), key=lambda one: one.value)
        return worst

    def agreement(self, expected: Arrays, actual: Arrays, contract: HeadsContract) -> float:
        """Heads agree as a classifier, labels or numbers alone would; this is the mean over the heads."""
        shares = []
        for head in contract.heads:
            one, other = expected[head.name], actual[head.name]
            if head.kind == "classes":
                same = one.argmax(axis=1) == other.argmax(axis=1)
            elif head.kind == "labels":
                same = reaching(one, head.names, head.thresholds, least=THRESHOLD) == reaching(
                    other, head.names, head.thresholds, least=THRESHOLD
                )
            else:
                same = np.abs(one - other) / np.array(head.deviations) <= AGREES
            finite = np.isfinite(other) if same.ndim == 2 else np.isfinite(other).all(axis=1)
            shares.append(float((same & finite).mean()))
        return float(np.mean(shares))


def _number_column(head: str, name: str, count: int) -> str:
    """Returns what a number is called in a table: the head's name, and its own where the head tells several."""
    return head if count == 1 else f"{head} {name}"


TASK = HeadsTask()
