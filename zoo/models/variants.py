"""The columns that the tables of all families have."""

from dataclasses import dataclass

__all__ = ["Variant"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the table of a family. Each family adds the columns of its paper.

    Attributes:
        image_size: Height and width of the images that the network was designed for, in pixels. Defaults to 224.
        min_size: Smallest height or width that the network can take, in pixels. Defaults to 32.
        channels: Number of channels of the images that the network was designed for. Defaults to 3.
        num_classes: Number of classes of the data that the network was designed for. Defaults to 1000.
    """

    image_size: int = 224
    min_size: int = 32
    channels: int = 3
    num_classes: int = 1000
