"""The last step of every source of labelled images: from what it lists to a data set in three splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.data import Data, Fault, Samples, Target
from pipelines.sources.splits import GroupBy, complete

__all__ = ["Listing"]


@dataclass(frozen=True)
class Listing:
    """What a source lists before it is divided.

    Attributes:
        source: What the data are called in messages.
        class_names: Names of the classes, labels or targets.
        given: Samples by split: "train" and, as the source brings them along, "valid" and "test".
        faults: What was left out, and why.
        kind: What the labels are; see `pipelines.Data`.
        targets: Of the kind "several", the targets.
        notes: Sentences about how the data were read.
        own_names: What decides in which split each training image goes, if that is not its whole name.
    """

    source: str
    class_names: Sequence[str]
    given: Mapping[str, Samples]
    faults: Sequence[Fault] = ()
    kind: str = "classes"
    targets: tuple[Target, ...] = ()
    notes: Sequence[str] = ()
    own_names: Sequence[str] | None = field(default=None)

    def divided(self, *, valid: float, test: float, seed: int, group_by: GroupBy) -> Data:
        """Returns the data set. The arguments are those of `pipelines.read_data`.

        Raises:
            ValueError: fewer than two classes with images to train on, or too few images to divide.
        """
        if self.kind == "classes":
            counts = np.bincount(self.given["train"].labels, minlength=len(self.class_names))
            missing = [name for name, count in zip(self.class_names, counts, strict=True) if count == 0]
            if len(self.class_names) < 2 or missing:
                found = f"{missing} without images to train on" if missing else f"{list(self.class_names)}"
                raise ValueError(f"{self.source}: expected two or more classes with images to train on, found {found}")
        splits = complete(
            self.given,
            self.class_names if self.kind == "classes" else None,
            valid=valid,
            test=test,
            seed=seed,
            group_by=group_by,
            own_names=self.own_names,
        )
        names, faults, notes = tuple(self.class_names), tuple(self.faults), tuple(self.notes)
        return Data(names, *splits, faults, kind=self.kind, targets=self.targets, notes=notes)
