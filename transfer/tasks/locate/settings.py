"""The settings of locating one object in an image."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, default, setting

__all__ = ["Locate"]


@dataclass(frozen=True, kw_only=True)
class Locate(Settings):
    """What `transfer.fit` can be asked for where each image has one object: its class and its box.

    Example:

    >>> Locate(flip="none").batch_size
    32
    """

    epochs: int = default("epochs", 20)
    unfreeze: str | float | tuple[str | float, ...] = default("unfreeze", 0.5)
    objectness: bool = setting(False, "Whether images without an object take part, and a third output tells them.")
    flip: str = setting(
        "horizontal", "Directions in which images are mirrored at random.",
        choices=("none", "horizontal", "vertical", "both"),
    )  # fmt: skip
    pooling: str = setting(
        "none", "How the last map is pooled; none keeps where things are.",
        choices=("none", "average", "max", "both"), advanced=True,
    )  # fmt: skip
    box_loss: str = setting(
        "square_root", "The loss of the box: of square roots, or an overlap.",
        choices=("square_root", "iou", "giou", "diou", "ciou"), advanced=True,
    )  # fmt: skip
    class_weight: float = setting(0.8, "How much the loss of the class counts.", low=0, above=True, advanced=True)
    box_weight: float = setting(0.2, "How much the loss of the box counts.", low=0, above=True, advanced=True)
