"""The plan of a fine-tuning: which phases there are, what trains in each of them, how long, and how fast."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from transfer.python_values import as_python
from transfer.tasks.settings import read_part

__all__ = ["Plan", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A phase as it is planned.

    Attributes:
        name: "head" or "top"; where several parts are unfrozen one after the other, "top" and the part, as in "top c5".
        unfreeze: The part of the trunk that trains, as `transfer.unfreeze` takes it.
        epochs: Number of epochs.
        learning_rate: The highest learning rate of the phase.
        solved: Whether the head is solved at once, in what counts as one epoch.
    """

    name: str
    unfreeze: str | float
    epochs: int
    learning_rate: float
    solved: bool = False


HEADS = ("trained", "solved", "auto")
BATCH_NORMS = ("frozen", "re-estimated", "trained")


@dataclass(frozen=True)
class Plan:
    """The phases of a fine-tuning: first the head alone, then the head with the top of the trunk.

    Args:
        head_epochs: Number of epochs of the first phase, which trains the head alone; 0 leaves it out. Defaults to 3.
        epochs: Number of epochs of the second phase. It is left out if this is 0, or if nothing is unfrozen. Where
            several parts are unfrozen one after the other, each has as many epochs. Defaults to 10.
        unfreeze: The part of the trunk that the second phase trains, as `transfer.unfreeze` takes it; or several such
            parts for as many phases, in their order: `("c5", "c4")`. Defaults to 0.3.
        head_learning_rate: The highest learning rate of the first phase. Defaults to 1e-3.
        learning_rate: The highest learning rate of the later phases. Defaults to 1e-4.
        patience: Number of epochs without a better one after which a phase ends. None, the default, ends no phase
            early.
        batch_norms: What becomes of the trunk's batch norms. "frozen", the default, leaves them as they are;
            "re-estimated" gives them the statistics of the training images, once, before the first phase; "trained"
            trains those in the unfrozen part, which is for trunks with random weights.
        head: How the first phase finds the head's weights. "trained", the default, trains it for `head_epochs`.
            "solved" finds the optimum at once, which counts as one epoch (see `transfer.training.readout`); the head
            has to be linear on one pooled vector for each image. "auto" solves it where that is possible, and where
            neither an optimizer, nor a learning rate of the head, nor a loss of another kind was asked for.

    Raises:
        ValueError: A number is outside of its range, or the plan has no phase.

    Example:

    >>> [stage.name for stage in Plan(unfreeze=("c5", "c4")).stages]
    ['head', 'top c5', 'top c4']
    >>> Plan(head_epochs=3, epochs=10, unfreeze="none").total_epochs
    3
    """

    head_epochs: int = 3
    epochs: int = 10
    unfreeze: str | float | Sequence[str | float] = 0.3
    head_learning_rate: float = 1e-3
    learning_rate: float = 1e-4
    patience: int | None = None
    batch_norms: str = "frozen"
    head: str = "trained"

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, as_python(getattr(self, f.name)))
        for name in ("head_epochs", "epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of epochs, 0 or more; got {getattr(self, name)}")
        for name in ("head_learning_rate", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a positive number, got {getattr(self, name)}")
        if self.batch_norms not in BATCH_NORMS:
            raise ValueError(f"batch_norms is one of {', '.join(BATCH_NORMS)}; got {self.batch_norms!r}")
        if self.head not in HEADS:
            raise ValueError(f"head is one of {', '.join(HEADS)}; got {self.head!r}")
        if self.head == "solved" and not self.head_epochs:
            raise ValueError("head='solved' finds the head in the first phase, which head_epochs=0 leaves out")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is a number of epochs, 1 or more, or None; got {self.patience}")
        if not self.stages:
            raise ValueError(
                f"nothing to train: head_epochs={self.head_epochs}, epochs={self.epochs}, unfreeze={self.unfreeze!r}; "
                "give head_epochs, or epochs and a part to unfreeze"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The phases in their order, without those that have no epochs."""
        several = not isinstance(self.unfreeze, str | Real)
        unfrozen: Any = self.unfreeze if several else [self.unfreeze]
        parts = [part for part in unfrozen if not _is_nothing(part)]
        solved = self.head == "solved"
        head_epochs = min(1, self.head_epochs) if solved else self.head_epochs
        stages = [Stage("head", "none", head_epochs, self.head_learning_rate, solved)]
        stages += [Stage(f"top {part}" if several else "top", part, self.epochs, self.learning_rate) for part in parts]
        return tuple(stage for stage in stages if stage.epochs)

    @property
    def solves_head(self) -> bool:
        """Whether the first phase solves the head."""
        return self.stages[0].solved

    @property
    def total_epochs(self) -> int:
        """The number of epochs of all phases together."""
        return sum(stage.epochs for stage in self.stages)


def _is_nothing(part: str | float) -> bool:
    return part == "none" or (isinstance(value := read_part(part), float) and value == 0)
