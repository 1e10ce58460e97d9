"""The settings of detection."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, default, setting

__all__ = ["Detect"]


@dataclass(frozen=True, kw_only=True)
class Detect(Settings):
    """What `transfer.fit` can be asked for where any number of objects are to be found in each image.

    Raises:
        ValueError: A value that a setting does not take, or a patience: the weights of the last epoch are kept, and
            validation images choose nothing.

    Example:

    >>> Detect(epochs=20, image_size="288x384").image_size
    (288, 384)
    """

    epochs: int = default("epochs", 40)
    head_epochs: int = default("head_epochs", 0)
    unfreeze: str | float | tuple[str | float, ...] = default("unfreeze", "c3")
    learning_rate: float = default("learning_rate", 1e-3)
    batch_size: int = default("batch_size", 8)
    schedule: str = default("schedule", "cosine")
    warm_up: float = default("warm_up", 0.05)
    weight_decay: float = default("weight_decay", 0.05)
    ema: float | None = default("ema", None)
    clip_norm: float | None = default("clip_norm", 10.0)

    detector: str = setting(
        "yolo_tiny", "The detector: yolo_tiny, yolo, retinanet, ssd, efficientdet_d0, faster_rcnn and others."
    )
    flip: str = setting(
        "horizontal",
        "Directions in which images are mirrored at random.",
        choices=("none", "horizontal", "vertical", "both"),
    )
    mosaic: float = setting(
        0.5, "Share of the epochs, from the first on, whose images are made of four.", low=0, high=1
    )
    multi_scale: bool = setting(False, "Whether to train with images of several sizes.")
    score_threshold: float | None = setting(
        None, "Score below which the model leaves boxes out. By default the detector's own.", low=0, high=1
    )
    iou_threshold: float | None = setting(
        None, "Overlap from which on two boxes of a class are one object. By default the detector's own.", low=0, high=1
    )
    max_detections: int = setting(100, "Maximum number of detections per photo.", low=1)
    validations: int = setting(
        10, "How often the validation images are measured at most while training.", low=1, advanced=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience is not None:
            raise ValueError(
                "patience says nothing to --task detect: the weights of the last epoch are kept, and validation images "
                "choose nothing; leave it out"
            )
        if not self.epochs and not self.head_epochs:
            raise ValueError("a detector has to learn for at least 1 epoch; give epochs (--epochs)")
