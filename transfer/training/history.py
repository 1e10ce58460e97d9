"""What happened in a fine-tuning, phase by phase and epoch by epoch."""

from dataclasses import dataclass
from typing import Any

from transfer.training.objective_interface import Objective
from transfer.training.objectives import ONE_LABEL

__all__ = ["History", "Phase"]


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same layers were frozen.

    Attributes:
        name: "head" or "top"; where several parts were unfrozen one after the other, "top" and the part, as in
            "top c5".
        unfrozen: The part of the trunk that trained, as `transfer.unfreeze` takes it.
        learning_rate: The highest learning rate.
        trained: Number of parameters that trained.
        frozen: Number of parameters that did not train.
        rows: One row for each epoch, as `History.rows` describes them.
        seconds: Duration of the whole phase, compiling included.
        cached: Whether what the frozen layers give was computed before, once, and only the layers above them ran.
        solved: Whether the head was solved, and not trained; the phase has one row then.
    """

    name: str
    unfrozen: str | float
    learning_rate: float
    trained: int
    frozen: int
    rows: tuple[dict[str, Any], ...]
    seconds: float
    cached: bool = False
    solved: bool = False


@dataclass(frozen=True)
class History:
    """What happened in a fine-tuning.

    Attributes:
        phases: The phases in their order.
        extraction_seconds: How long it took to compute what the frozen layers give, once for all phases.
        not_cached: Why that was not done, or was not done for all phases; "" where it was.
        objective: What was trained for.
    """

    phases: tuple[Phase, ...]
    extraction_seconds: float = 0.0
    not_cached: str = ""
    objective: Objective = ONE_LABEL

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each epoch.

        A row has `epoch` (counted from 1, over all phases), `phase`, the columns of the objective (`loss`, `accuracy`,
        `val_loss` and `val_accuracy` for a single label), `learning_rate` (of the head, at the end of the epoch) and
        `seconds`. A column is None where it was not measured after this epoch.
        """
        return [row for phase in self.phases for row in phase.rows]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch whose weights the model has: the best epoch, as the objective judges it.

        For a single label this is the epoch of the highest validation accuracy, and of several such epochs the one of
        the lowest loss.
        """
        return max(self.rows, key=self.objective.goodness)

    @property
    def readout(self) -> dict[str, Any] | None:
        """The row of the solved head, before any of the trunk was trained; None where the head was trained."""
        first = self.phases[0]
        return first.rows[0] if first.solved else None

    @property
    def seconds(self) -> float:
        """Duration of the whole training."""
        return self.extraction_seconds + sum(phase.seconds for phase in self.phases)
