"""The settings of semantic segmentation."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, default, read_size, setting

__all__ = ["LOSSES", "NETWORKS", "Segment"]

NETWORKS = ("unet", "fcn32s", "fcn16s", "fcn8s", "deeplab")
LOSSES = ("crossentropy+dice", "focal+dice", "crossentropy", "focal", "dice", "tversky")


@dataclass(frozen=True, kw_only=True)
class Segment(Settings):
    """What `transfer.fit` can be asked for where each pixel of an image has a class.

    Training images are random windows of the photos at full resolution, several of each photo where there are few, so
    that an epoch of 20 photos is worth one. Photos of any size go onto a canvas that shows all of them; the answer is a
    map of classes at the size of the photo.

    Raises:
        ValueError: A value is out of its range, or nothing trains.

    Example:

    >>> Segment(epochs=20, flip="both").network
    'unet'
    """

    epochs: int = default("epochs", 12, help="Number of epochs that train the network and the top of its trunk.")
    head_epochs: int = default(
        "head_epochs", 0, help="Number of epochs that train all but the trunk alone, before that."
    )
    unfreeze: str | float | tuple[str | float, ...] = default("unfreeze", "c3")
    learning_rate: float = default("learning_rate", 1e-3, help="Highest learning rate.")
    head_learning_rate: float = default(
        "head_learning_rate", 1e-3, help="Highest learning rate while the trunk does not train."
    )
    image_size: int | tuple[int, int] | None = default(
        "image_size",
        None,
        help="Size of the canvas that whole photos are shown on, in pixels, such as 384x480. By default most photos "
        "fit onto it as they are, up to 640 pixels.",
    )
    batch_size: int = default("batch_size", 8)
    schedule: str = default("schedule", "cosine")
    warm_up: float = default("warm_up", 0.05)
    weight_decay: float = default("weight_decay", 0.05)

    network: str = setting("unet", "The network on the trunk.", choices=NETWORKS)
    crop: int | tuple[int, int] | None = setting(
        None,
        "Size of the windows of the canvas that are trained on, in pixels, such as 256 or 192x256. By default 256, or "
        "the canvas where that is smaller.",
        metavar="PIXELS",
    )
    crops: int | None = setting(
        None,
        "Number of windows of each photo in an epoch. By default one, or more where an epoch would have fewer than "
        "300.",
        low=1,
    )
    flip: str = setting(
        "horizontal",
        "Directions in which images are mirrored at random. Both is for what has no upright, such as cells and aerial "
        "photos; none is for what has a reading direction.",
        choices=("none", "horizontal", "vertical", "both"),
    )
    start: str | None = setting(
        None,
        "A run, or a model.keras, whose weights are taken over where layers are the same: fcn8s starts from a trained "
        "fcn16s, and that from fcn32s.",
        metavar="RUN",
        advanced=True,
    )
    loss: str = setting("crossentropy+dice", "What is made small.", choices=LOSSES)
    class_weights: str = setting(
        "none",
        "How much a pixel counts by its class: none for all alike, balanced for more where a class is rare.",
        choices=("none", "balanced"),
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "crop", read_size(self.crop))
        object.__setattr__(self, "start", None if self.start is None else str(self.start))
        if not self.epochs and not self.head_epochs:
            raise ValueError("a network has to learn for 1 epoch or more, got epochs=0 and head_epochs=0")
