"""What every row of a table of networks has."""

from dataclasses import dataclass

__all__ = ["Variant"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What every row of a family's table has; a family adds the columns of its paper.

    Attributes:
        image_size: height and width in pixels that the network was designed for.
        min_size: the smallest height or width that it can take.
        channels: of the image that it was designed for.
        num_classes: of the data that it was designed for.
    """

    image_size: int = 224
    min_size: int = 32
    channels: int = 3
    num_classes: int = 1000
