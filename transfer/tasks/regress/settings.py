"""The settings of regression."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, setting

__all__ = ["Regress"]


@dataclass(frozen=True, kw_only=True)
class Regress(Settings):
    """What `transfer.fit` can be asked for where numbers are to be told from an image.

    Example:

    >>> Regress(targets="age").targets
    ('age',)
    """

    targets: tuple[str, ...] = setting(
        (),
        "Columns of the table that are learned, such as age or species,age. By default those that fit the task.",
        metavar="COLUMNS",
    )
    error: str = setting(
        "squared",
        "The error that is made small; huber is squared for small errors and absolute for large ones.",
        choices=("squared", "absolute", "huber"),
    )
    delta: float = setting(
        1.0, "The error from which on huber is absolute, in the unit of the numbers.", low=0, above=True,
        advanced=True,
    )  # fmt: skip
