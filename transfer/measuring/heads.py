"""How good the answers of a network with several heads are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transfer.measuring.classes import Evaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.numbers import RegressionEvaluation
from transfer.measuring.table import Table, defined

__all__ = ["HeadEvaluation", "HeadsEvaluation"]

HeadEvaluation = Evaluation | MultiLabelEvaluation | RegressionEvaluation


@dataclass(frozen=True, eq=False)
class HeadsEvaluation:
    """The evaluations of several heads on the same images, by the names of the heads.

    Args:
        results: The evaluation of each head, in the order of the heads.

    Raises:
        ValueError: There are no heads, or they were measured on different numbers of images.

    Example:

    >>> species = Evaluation(("ant", "bee"), np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    >>> age = RegressionEvaluation(("days",), np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]))
    >>> result = HeadsEvaluation({"species": species, "age": age})
    >>> result.metrics()
    {'score': 0.75, 'species_accuracy': 1.0, 'age_mean_absolute_error': 0.5}
    >>> result["species"].accuracy
    1.0
    """

    results: Mapping[str, HeadEvaluation]

    def __post_init__(self) -> None:
        counts = {name: len(evaluation.labels) for name, evaluation in self.results.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"expected one or more heads that were measured on the same images, got {counts}")

    def __getitem__(self, name: str) -> HeadEvaluation:
        return self.results[name]

    @property
    def score(self) -> float:
        """The mean over the heads, in 0..1, of accuracy, mean average precision, or `r2` (0 where it is below); or
        NaN."""
        return float(np.mean([evaluation.score for evaluation in self.results.values()]))

    def metrics(self) -> dict[str, Any]:
        """Returns the score, and the headline metric of each head under the head's name: "species_accuracy"."""
        own = {
            f"{name}_{evaluation.headline}": evaluation.metrics()[evaluation.headline]
            for name, evaluation in self.results.items()
        }
        return {"score": defined(self.score), **own}

    def tables(self) -> list[Table]:
        """Returns the tables of all heads, each with the head's name as its title."""
        return [
            replace(table, title=name) for name, evaluation in self.results.items() for table in evaluation.tables()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON."""
        heads = {name: evaluation.as_dict() for name, evaluation in self.results.items()}
        return {"score": defined(self.score), "heads": heads}
