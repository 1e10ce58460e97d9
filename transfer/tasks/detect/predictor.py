"""What opens exported detectors and finds what is in photos; `transfer.load` makes it.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are read without importing TensorFlow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.prepare.letterbox import letterbox_photo, restore
from transfer.artifacts.engines.base import Engine
from transfer.predict.predictor import Photo, Photos, named_photos, pixels_of, read_ahead
from transfer.tasks.detect.contract import DetectionContract

__all__ = ["DetectedObject", "DetectionPredictor", "Detections"]


@dataclass(frozen=True)
class DetectedObject:
    """One object in a photo.

    Attributes:
        index: of its class.
        label: the name of its class.
        score: how sure the detector is, 0..1.
        box: left, top, right and bottom in pixels of the upright photo.
    """

    index: int
    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detections:
    """What a detector finds in one photo.

    Attributes:
        name: the photo's path, or which of the photos it was.
        size: its height and width in pixels; None if there is an error.
        objects: best first.
        error: why there is no answer, or None.
    """

    name: str
    size: tuple[int, int] | None = None
    objects: tuple[DetectedObject, ...] = ()
    error: str | None = None


class DetectionPredictor:
    """A detector with all that it takes to show it photos as they come.

    `transfer.load` makes one. Photos may be what `transfer.Predictor` takes: paths, encoded bytes, RGB arrays, lists or
    generators of these, or a folder.

    Attributes:
        engine: the runtime that answers.
        max_pixels: photos of more pixels are refused before they are unpacked.

    Example:

        finder = transfer.load("run")
        for found in finder.stream("photos"):
            print(found.name, [(each.label, each.box) for each in found.objects])
    """

    can_explain = False  # Grad-CAM is for classifiers

    def __init__(self, engine: Engine, *, max_pixels: int | None = None):
        self.engine = engine
        self.max_pixels = max_pixels

    @property
    def contract(self) -> DetectionContract:
        """Class names, size, thresholds and versions."""
        return self.engine.contract

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class number."""
        return self.contract.class_names

    def predict(
        self, photos: Photo | Photos, *, threshold: float | None = None, batch_size: int = 8
    ) -> list[Detections]:
        """The objects in every photo. A photo that cannot be read gets an answer that says why.

        Args:
            photos: see the class.
            threshold: leave out detections with a lower score. Unless given, the model's own for each class, at which
                it was right and complete in the best balance on its validation images.
            batch_size: how many photos are worked on at a time.

        Returns:
            One answer for each photo, in order.

        Raises:
            ValueError: a threshold outside 0..1, or under that of the model, which has left such detections out.
        """
        return list(self.stream(photos, threshold=threshold, batch_size=batch_size))

    def stream(
        self, photos: Photo | Photos, *, threshold: float | None = None, batch_size: int = 8
    ) -> Iterator[Detections]:
        """What `predict` gives, one answer after the other, with no more than three batches of photos in memory.

        Args:
            photos, threshold, batch_size: as of `predict`. A generator is read as answers are taken.

        Raises:
            ValueError: as of `predict`, at once.
        """
        self.check_threshold(threshold)
        if batch_size < 1:
            raise ValueError(f"expected at least 1 photo at a time, got batch_size={batch_size}")
        return self._answers(photos, threshold, batch_size)

    def _answers(self, photos: Photo | Photos, threshold: float | None, batch_size: int) -> Iterator[Detections]:
        for some in read_ahead(named_photos(photos), batch_size, self._read):
            good = [read for _, read in some if not isinstance(read, str)]
            rows = iter(self.answer(np.stack([canvas for canvas, _ in good])) if good else ())
            for name, read in some:
                if isinstance(read, str):
                    yield Detections(name, error=read)
                else:
                    yield Detections(name, read[1], self.objects(next(rows), read[1], threshold))

    def check_threshold(self, threshold: float | None) -> None:
        """Raises a ValueError for a threshold that the model cannot serve."""
        if threshold is None:
            return
        if not 0 <= threshold <= 1:
            raise ValueError(f"a threshold is a score in 0..1, got threshold={threshold}")
        least = self.contract.score_threshold
        if threshold < least:
            raise ValueError(
                f"this model leaves out what has a score under {least:g} already, got threshold={threshold}; train or "
                "export it with a lower score_threshold (--score-threshold)"
            )

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """The photo on the canvas that the network sees: float32 [H, W, 3]."""
        return letterbox_photo(image, self.contract.letterbox)

    def answer(self, canvases: np.ndarray) -> np.ndarray:
        """What the network finds on canvases, float32 [n, H, W, 3].

        Returns:
            float32 [n, m, 6]: of each detection the box in pixels of the canvas, the score, and the class, -1 where
            there is none.
        """
        found = self.engine.outputs("resized", canvases)
        columns = [found["boxes"], found["scores"][..., None], found["classes"][..., None].astype(np.float32)]
        return np.concatenate(columns, axis=-1).astype(np.float32)

    def objects(
        self, row: np.ndarray, size: tuple[int, int], threshold: float | None = None
    ) -> tuple[DetectedObject, ...]:
        """One photo's part of `answer`, in words and in pixels of the photo.

        Args:
            row: float32 [m, 6].
            size: height and width of the photo.
            threshold: as of `predict`.
        """
        boxes = restore(row[:, :4], self.contract.letterbox, size).tolist()
        own, least = self.contract.thresholds, self.contract.score_threshold
        found = []
        for box, score, number in zip(boxes, row[:, 4].tolist(), row[:, 5].astype(int).tolist(), strict=True):
            if number < 0:
                continue
            label = self.class_names[number]
            if score >= (own.get(label, least) if threshold is None else threshold):
                found.append(DetectedObject(number, label, score, tuple(box)))
        return tuple(found)

    def found(self, row: np.ndarray, size: tuple[int, int], *, top: int = 100) -> list[dict[str, Any]]:
        """One row of `answer` as JSON can hold it: the objects that reach their thresholds, best first.

        Args:
            row: float32 [m, 6].
            size: height and width of the photo.
            top: how many at most.
        """
        return [asdict(each) for each in self.objects(row, size)[:top]]

    def named_outputs(self, rows: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> dict[str, list[Any]]:
        """Rows of `answer` by the names of the model's outputs, boxes in pixels of the photos."""
        real = [row[row[:, 5] >= 0] for row in rows]
        boxes = [restore(row[:, :4], self.contract.letterbox, size) for row, size in zip(real, sizes, strict=True)]
        return {
            "boxes": [each.tolist() for each in boxes],
            "classes": [row[:, 5].astype(int).tolist() for row in real],
            "scores": [row[:, 4].tolist() for row in real],
        }

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Lets the engine do what it does only once."""
        for size in batch_sizes:
            self.engine.warm_up(size)

    def _read(self, photo: Photo) -> Any:
        pixels = pixels_of(photo, max_pixels=self.max_pixels)
        return self.prepare(pixels), pixels.shape[:2]
