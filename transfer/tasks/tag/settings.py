"""The settings of tagging."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, setting

__all__ = ["Tag"]


@dataclass(frozen=True, kw_only=True)
class Tag(Settings):
    """What `transfer.fit` can be asked for where an image has any number of labels.

    Example:

    >>> Tag(targets="red,blue").targets
    ('red', 'blue')
    """

    targets: tuple[str, ...] = setting(
        (),
        "Columns of the table that are learned, such as age or species,age. By default those that fit the task.",
        metavar="COLUMNS",
    )
    label_smoothing: float = setting(
        0.0, "Share by which 0 and 1 are moved towards 0.5.", low=0, high=1, below=True, advanced=True
    )
    focal_gamma: float = setting(
        0.0, "How much less answers count that are right already; 0 is plain cross-entropy.", low=0, advanced=True
    )
