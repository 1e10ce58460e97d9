"""The settings of detection."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, default, setting

__all__ = ["Detect"]


@dataclass(frozen=True, kw_only=True)
class Detect(Settings):
    """What `transfer.fit` can be asked for where each image has any number of objects, each with a class and a box.

    The weights of the last epoch are kept: validation images choose nothing, and are measured now and then only.
    Without pretrained weights (`weights=None`), the whole trunk trains from the first epoch on, its batch norms too,
    whatever `unfreeze` says.

    Raises:
        ValueError: A value is out of its range, nothing trains, or `patience` is given.

    Example:

    >>> Detect(epochs=20, flip="both").detector
    'yolo_tiny'
    """

    epochs: int = default("epochs", 40, help="Number of epochs that train the detector and the top of its trunk.")
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
        help="Size of the canvas that photos are shown on, in pixels, such as 320 or 288x384: multiples of the "
        "detector's largest stride. By default it has the shape of most photos, and 320 pixels at most.",
    )
    batch_size: int = default("batch_size", 8)
    schedule: str = default("schedule", "cosine")
    warm_up: float = default("warm_up", 0.05)
    weight_decay: float = default("weight_decay", 0.05)
    ema: float | None = default(
        "ema",
        None,
        help="Momentum of averaged weights, such as 0.99; 0 averages nothing. By default the average is over a tenth "
        "of the steps.",
    )
    clip_norm: float | None = default("clip_norm", 10.0)

    detector: str = setting("yolo_tiny", "The detector; see `zoo models`.")
    flip: str = setting(
        "horizontal",
        "Directions in which images are mirrored at random. Both is for what has no upright, such as cells and aerial "
        "photos; none is for what has a reading direction.",
        choices=("none", "horizontal", "vertical", "both"),
    )
    mosaic: float = setting(
        0.5, "Share of the epochs, from the first on, in which each image is made of four.", low=0, high=1
    )
    multi_scale: bool = setting(False, "Whether training images come in five sizes, from 0.75 to 1.25 times the size.")
    score_threshold: float | None = setting(
        None, "The exported model leaves out detections with lower scores. By default the detector decides.",
        low=0, high=1,
    )  # fmt: skip
    iou_threshold: float | None = setting(
        None,
        "Overlap (IoU) from which on two boxes of a class are one object. By default the detector decides.",
        low=0,
        high=1,
    )
    max_detections: int = setting(100, "Maximum number of detections per photo.", low=1)
    validations: int = setting(
        10, "How often at most the validation images are measured during the training.", low=1, advanced=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience is not None:
            raise ValueError(
                f"a detector knows no patience, got patience={self.patience}: it keeps the weights of its last epoch, "
                "and its learning rate falls over the whole length of the training. Leave patience out, and give fewer "
                "epochs"
            )
        if not self.epochs and not self.head_epochs:
            raise ValueError("a detector has to learn for 1 epoch or more, got epochs=0 and head_epochs=0")
