"""What a tracker knows: the tracks, as arrays with one row for each, and the detections of one frame."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = ["Detections", "State", "Tracks", "read_detections"]


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks, as arrays with one row for each.

    Attributes:
        identities: int64 `[n]`, from 1 on; a number is never given twice.
        classes: int64 `[n]`.
        scores: Score of the last detection, float64 `[n]`.
        confirmed: bool `[n]`.
        hits: Number of frames in which the track was seen, int64 `[n]`.
        missed: Number of frames since it was seen, int64 `[n]`; 0 if it was seen in this one.
        motion: State of the filters, float64 `[n, 5, 4]` (`zoo.tracking.motion`, with the tracks first).
        seen: State of the filters when the track was seen the last time, float64 `[n, 5, 4]`.
        observed: The boxes in which it was seen, the latest first, float64 `[n, history, 4]`.
        gallery: Unit vectors of its pictures, float32 `[n, budget, features]`.
        pictures: Number of pictures that were put into the gallery, int64 `[n]`.
    """

    identities: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    confirmed: np.ndarray
    hits: np.ndarray
    missed: np.ndarray
    motion: np.ndarray
    seen: np.ndarray
    observed: np.ndarray
    gallery: np.ndarray
    pictures: np.ndarray

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, rows: np.ndarray) -> "Tracks":
        """Returns the tracks at some rows."""
        return Tracks(*(getattr(self, name)[rows] for name in _COLUMNS))

    def __add__(self, other: "Tracks") -> "Tracks":
        """Returns these tracks, and others after them."""
        return Tracks(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _COLUMNS))


_COLUMNS = tuple(field.name for field in fields(Tracks))


@dataclass(frozen=True, eq=False)
class State:
    """What a tracker knows between two frames.

    Attributes:
        tracks: The tracks, or None before the first detection.
        frame: Number of the last frame, or None before the first one.
        first: Number of the first frame.
        next_identity: The number that the next track gets.
        left_out: How many detections were left out until now, because their boxes have no area or are not finite.
    """

    tracks: Tracks | None = None
    frame: int | None = None
    first: int = 0
    next_identity: int = 1
    left_out: int = 0


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one frame, as arrays.

    Attributes:
        boxes: xyxy, float64 `[m, 4]`.
        scores: float64 `[m]`, in 0..1.
        classes: int64 `[m]`.
        embeddings: Unit vectors, float32 `[m, features]`, or None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    embeddings: np.ndarray | None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: np.ndarray) -> "Detections":
        """Returns the detections at some rows."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return Detections(self.boxes[rows], self.scores[rows], self.classes[rows], embeddings)


def read_detections(sample: Mapping[str, Any]) -> Detections:
    """Reads the detections of a frame, and checks what belongs together.

    Args:
        sample: A dict: `boxes` `[m, 4]`, xyxy in absolute pixels, and optionally `scores` `[m]` in 0..1 (by default
            1), `classes` `[m]` (by default 0) and `embeddings` `[m, features]`.

    Raises:
        ValueError: There are no boxes, an array does not have one entry for each box, or an embedding or a score is
            not finite.
    """
    if "boxes" not in sample:
        raise ValueError(f"expected detections with boxes, got {sorted(sample)}")
    boxes = np.asarray(sample["boxes"], np.float64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes [m, 4], got the shape {boxes.shape}")
    count = len(boxes)
    scores = np.asarray(sample["scores"], np.float64).reshape(-1) if "scores" in sample else np.ones(count)
    classes = np.asarray(sample["classes"], np.int64).reshape(-1) if "classes" in sample else np.zeros(count, np.int64)
    embeddings = sample.get("embeddings")
    if embeddings is not None:
        embeddings = np.asarray(embeddings, np.float32)
        embeddings = embeddings.reshape(count, -1) if embeddings.size else np.zeros((0, 0), np.float32)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise ValueError("an embedding is not finite: the network that gave it has diverged")
        embeddings = embeddings / np.maximum(lengths, 1e-12)
    for name, column in (("scores", scores), ("classes", classes), ("embeddings", embeddings)):
        if column is not None and len(column) != count:
            raise ValueError(f"expected one of the {name} for each box, got {len(column)} for {count} boxes")
    return Detections(boxes, scores, classes, embeddings)
