"""How good a detector is: COCO's numbers, the curves behind them, and what goes wrong, in pixels of the photos."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from pipelines import Scene
from pipelines.prepare.letterbox import Letterbox, restore
from zoo.metrics.detection import CocoResult, PascalResult, coco, pascal_voc
from zoo.metrics.errors import ErrorBreakdown, errors

__all__ = ["Measured", "Mistakes", "detections_of", "measure", "truths_of"]

Found = dict[str, np.ndarray]


@dataclass(frozen=True)
class Mistakes:
    """What went wrong in one image.

    Attributes:
        index: of the image.
        kinds: of each detection, "correct" or one of `zoo.metrics.errors.KINDS`.
        missed: bool, of each object.
        cost: how bad it is: missed objects, and the scores of wrong detections, added up.
    """

    index: int
    kinds: np.ndarray
    missed: np.ndarray
    cost: float


@dataclass(frozen=True, eq=False)
class Measured:
    """Truths and detections of some images, and all that follows from them.

    Attributes:
        class_names: in the order of the class numbers.
        truths, detections: one dict an image, as `zoo.metrics.detection` takes them, in pixels of the photos.
    """

    class_names: tuple[str, ...]
    truths: tuple[Found, ...]
    detections: tuple[Found, ...]

    @cached_property
    def coco(self) -> CocoResult:
        """COCO's average precision and recall."""
        return coco(self.truths, self.detections, num_classes=len(self.class_names))

    @cached_property
    def curves(self) -> PascalResult:
        """Precision over recall of each class at an IoU of 0.5."""
        return pascal_voc(self.truths, self.detections, num_classes=len(self.class_names))

    @cached_property
    def errors(self) -> ErrorBreakdown:
        """What each mistake is, and what it costs."""
        return errors(self.truths, self.detections, num_classes=len(self.class_names))

    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers; see `zoo.metrics.detection.CocoResult.summary`."""
        return self.coco.summary()

    def objects(self) -> np.ndarray:
        """How many objects there are of each class: int `[classes]`."""
        classes = np.concatenate([truth["classes"] for truth in self.truths] or [np.zeros(0, int)])
        return np.bincount(classes.astype(int), minlength=len(self.class_names))

    def best_thresholds(self, *, default: float = 0.3) -> dict[str, float]:
        """For each class the score from which on detections are right and complete in the best balance (F1).

        Args:
            default: for classes without an object, or never found.

        Returns:
            Class name -> score in 0..1.
        """
        found = {}
        for number, name in enumerate(self.class_names):
            curve = self.curves.curves[number]
            found[name] = default
            if curve.positives and len(curve.scores) and curve.recall.max() > 0:
                both = curve.precision + curve.recall
                f1 = 2 * curve.precision * curve.recall / np.maximum(both, 1e-9)
                best = int(f1.argmax())
                # Halfway to the next detection: any score in between would do as well on these images
                following = curve.scores[best + 1] if best + 1 < len(curve.scores) else 0.0
                found[name] = round(float(curve.scores[best] + following) / 2, 4)
        return found

    def mistakes(self, thresholds: dict[str, float] | None = None) -> list[Mistakes]:
        """The images with mistakes, worst first.

        Args:
            thresholds: by class name; detections with lower scores do not count as mistakes, as nobody is shown them.
        """
        shown = [self.shown(index, thresholds or {}) for index in range(len(self.detections))]
        breakdown = errors(self.truths, shown, num_classes=len(self.class_names))
        ranked = []
        for index, (kinds, missed) in enumerate(zip(breakdown.kinds, breakdown.missed, strict=True)):
            wrong = ~np.isin(kinds, ("correct", "ignored", "uncounted"))
            cost = float(missed.sum() + shown[index]["scores"][wrong].sum())
            if cost > 0:
                ranked.append(Mistakes(index, kinds, missed, cost))
        return sorted(ranked, key=lambda each: -each.cost)

    def shown(self, index: int, thresholds: dict[str, float]) -> Found:
        """The detections of an image that reach their class's threshold."""
        found = self.detections[index]
        least = np.array([thresholds.get(name, 0.0) for name in self.class_names])
        return {name: values[found["scores"] >= least[found["classes"]]] for name, values in found.items()}


def measure(
    model: keras.Model,
    scenes: Sequence[Scene],
    class_names: Sequence[str] | None = None,
    *,
    size: tuple[int, int],
    batch_size: int = 8,
) -> Measured:
    """Lets a detector look at annotated images.

    Args:
        model: with `predict_on_batch`, as `zoo.detection.create` makes it.
        scenes: with the classes of the model.
        class_names: of the classes; numbers unless given.
        size: height and width of the canvas on which it sees them.
        batch_size: how many at a time.
    """
    names = tuple(class_names or (str(number) for number in range(model.num_classes)))
    found = detections_of(model.predict_on_batch, scenes, Letterbox(size), batch_size=batch_size)
    return Measured(names, truths_of(scenes), tuple(found))


def truths_of(scenes: Iterable[Scene]) -> tuple[Found, ...]:
    """What is to be found in the images."""
    return tuple(
        {"boxes": scene.boxes, "classes": scene.classes, "crowd": scene.crowd, "difficult": scene.difficult}
        for scene in scenes
    )


def detections_of(
    ask: Callable[[np.ndarray], dict[str, Any]], scenes: Sequence[Scene], letterbox: Letterbox, *, batch_size: int = 8
) -> Iterator[Found]:
    """What a detector finds in each image, without padding, in pixels of the photos.

    Args:
        ask: float32 `[n, H, W, 3]` -> boxes, classes, scores and valid, as `zoo.detection.YOLO.predict` gives them.
        scenes: the images.
        letterbox: how they get onto the canvas.
        batch_size: how many at a time.
    """
    import tensorflow as tf

    from pipelines import scene_dataset

    if not len(scenes):
        return
    dataset = scene_dataset(scenes).map(
        lambda sample: (letterbox(sample["image"]), tf.shape(sample["image"])[:2]), tf.data.AUTOTUNE
    )
    for images, sizes in dataset.batch(batch_size).prefetch(1).as_numpy_iterator():
        found = {name: np.asarray(values) for name, values in ask(images).items()}
        for i, size in enumerate(sizes.tolist()):
            yield unpadded(found, i, letterbox, size)


def unpadded(found: dict[str, np.ndarray], index: int, letterbox: Letterbox, size: Sequence[int]) -> Found:
    """The detections of one image of a batch, in pixels of the photo."""
    count = int(found["valid"][index])
    height, width = size
    return {
        "boxes": restore(found["boxes"][index, :count], letterbox, (height, width)),
        "classes": found["classes"][index, :count],
        "scores": found["scores"][index, :count],
    }
