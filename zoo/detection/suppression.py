"""The settings of suppression: which boxes a detector keeps."""

from dataclasses import dataclass

__all__ = ["Suppression", "check_settings"]


@dataclass(frozen=True)
class Suppression:
    """The settings with which a detector suppresses its boxes.

    Attributes:
        score_threshold: Only boxes with a larger score than this are kept, in 0..1. Defaults to 0.05.
        iou_threshold: Two boxes of one class with a larger IoU than this are one object, in 0..1. Defaults to 0.5.
        max_detections: Maximum number of detections per image, the ones with the best scores. Defaults to 100.

    Raises:
        ValueError: If a threshold lies outside 0..1, or if `max_detections` is below 1.
    """

    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        check_settings(self.iou_threshold, self.score_threshold, self.max_detections)


def check_settings(iou_threshold: float, score_threshold: float, max_detections: int | None) -> None:
    """Checks the settings of a suppression.

    Args:
        iou_threshold: The threshold of IoU.
        score_threshold: The threshold of scores.
        max_detections: The maximum number of detections, or None for no limit.

    Raises:
        ValueError: If a threshold lies outside 0..1, or if `max_detections` is below 1.
    """
    for name, threshold in (("iou_threshold", iou_threshold), ("score_threshold", score_threshold)):
        if not 0 <= threshold <= 1:
            raise ValueError(f"expected a threshold in 0..1, got {name}={threshold}")
    if max_detections is not None and max_detections < 1:
        raise ValueError(f"expected room for at least 1 detection, got max_detections={max_detections}")
