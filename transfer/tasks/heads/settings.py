"""The settings of several heads on one trunk."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, setting

__all__ = ["Heads"]


@dataclass(frozen=True, kw_only=True)
class Heads(Settings):
    """What `transfer.fit` can be asked for where one network gives several answers for an image.

    Example:

    >>> Heads(targets="species,age:numbers", loss_weights="age=0.1").head_weights
    {'age': 0.1}
    """

    targets: tuple[str, ...] = setting(
        (),
        "Columns of the table that are learned, a head for each: species,age. A kind may follow a name: age:numbers "
        "(classes, labels or numbers). By default all columns.",
        metavar="COLUMNS",
    )
    loss_weights: tuple[str, ...] = setting(
        (), "How much the loss of a head counts in the sum: age=0.1. By default 1.", metavar="NAME=WEIGHT,..."
    )

    @property
    def head_weights(self) -> dict[str, float]:
        """The weights of the losses by the names of the heads."""
        return {name: float(weight) for name, _, weight in (pair.partition("=") for pair in self.loss_weights)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for pair in self.loss_weights:
            name, _, weight = pair.partition("=")
            try:
                good = bool(name) and float(weight) > 0
            except ValueError:
                good = False
            if not good:
                raise ValueError(f"expected loss_weights as NAME=WEIGHT with a weight above 0, got {pair!r}")
