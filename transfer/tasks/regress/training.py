"""How a network for numbers learns."""

from typing import Any, cast

import keras
import numpy as np

from pipelines import Data
from transfer.measuring.numbers import RegressionEvaluation
from transfer.models.backbones import Backbone
from transfer.models.heads import regressor
from transfer.tasks.aligning import with_class_order
from transfer.tasks.labelled import LabelledLearning
from transfer.tasks.learning import Built
from transfer.tasks.regress.answers import RegressContract
from transfer.tasks.regress.sections import sections
from transfer.tasks.regress.settings import Regress
from transfer.training.objectives import Objective, Regression
from zoo.explain.targets import Target, number

__all__ = ["LEARNING", "deviations", "number_columns"]


def deviations(labels: np.ndarray) -> tuple[float, ...]:
    """Returns the standard deviation of each column; 1 for a column in which all numbers are the same."""
    spread = np.asarray(labels, float).std(axis=0)
    return tuple(np.where(spread > 0, spread, 1.0).tolist())


def number_columns(labels: np.ndarray, names: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray:
    """Returns columns of numbers in the order of a model.

    Raises:
        ValueError: The data lack a number that the model tells.
    """
    missing = [name for name in known if name not in names]
    if missing:
        raise ValueError(f"the data have no column {', '.join(missing)}, which the model tells; they have {names}")
    return labels[:, [names.index(name) for name in known]]


class RegressLearning(LabelledLearning):
    """The learning half of regression."""

    kind = "numbers"
    sections = staticmethod(sections)

    def model(self, trunk: Backbone, data: Data, settings: Regress) -> keras.Model:
        labels = np.asarray(data.train.labels, float)
        spread = deviations(labels)
        return regressor(trunk, len(data.class_names), mean=labels.mean(axis=0), deviation=spread, seed=settings.seed)

    def contract(self, trunk: Backbone, data: Data) -> RegressContract:
        return RegressContract(data.class_names, deviations(data.train.labels), preparation=trunk.crop)

    def objective(self, data: Data, settings: Regress, built: Built) -> Objective:
        return Regression(error=cast(Any, settings.error), delta=settings.delta)

    def measure(self, outputs: dict[str, np.ndarray], part: Any, contract: RegressContract) -> RegressionEvaluation:
        return RegressionEvaluation(contract.number_names, part.labels.astype(float), outputs["numbers"].astype(float))

    def targets(
        self, model: Any, contract: RegressContract, outputs: dict[str, np.ndarray]
    ) -> list[tuple[str, Target]]:
        return [(name, number(index)) for index, name in enumerate(contract.number_names)]

    def align(self, data: Data, contract: RegressContract) -> Data:
        known = contract.number_names
        return with_class_order(data, known, lambda labels: number_columns(labels, data.class_names, known))


LEARNING = RegressLearning()
