"""How good a detector is: COCO's metrics, the curves behind them, and what goes wrong, in pixels of the photos."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import keras
import numpy as np

from pipelines import Letterbox, Scene, canvases
from pipelines.prepare.preparation import Preparation
from transfer.measuring.table import Table, as_number, count, defined
from zoo.metrics.detection import CocoResult, PascalResult, coco, pascal_voc, unbatch
from zoo.metrics.errors import ErrorBreakdown, detection_errors

__all__ = ["DetectionEvaluation", "Mistakes", "detections_in", "detections_of", "measure", "truths_of"]

Boxes = Mapping[str, np.ndarray]

NO_MISTAKE = ("correct", "ignored", "uncounted")  # Kinds of detections that are not wrong.
COCO_METRICS = {
    "map": "AP, mean over IoU 0.50 to 0.95",
    "map50": "AP at IoU 0.50",
    "map75": "AP at IoU 0.75",
    "map_small": "AP of small objects",
    "map_medium": "AP of medium objects",
    "map_large": "AP of large objects",
    "mar1": "AR with 1 detection per image",
    "mar10": "AR with 10 detections per image",
    "mar100": "AR with 100 detections per image",
    "mar_small": "AR of small objects",
    "mar_medium": "AR of medium objects",
    "mar_large": "AR of large objects",
}


@dataclass(frozen=True)
class Mistakes:
    """What went wrong in one image.

    Attributes:
        index: The number of the image.
        kinds: What each detection is: "correct" or one of `zoo.metrics.errors.KINDS`.
        missed: Whether each object was missed, bool.
        cost: The number of missed objects plus the scores of the wrong detections: how bad the image is.
    """

    index: int
    kinds: np.ndarray
    missed: np.ndarray
    cost: float

    @property
    def wrong(self) -> np.ndarray:
        """Whether each detection is wrong, bool."""
        return ~np.isin(self.kinds, NO_MISTAKE)


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """The true objects of some images, the objects that a model detects, and what follows from the two.

    Attributes:
        class_names: The names of the classes, in the order of their numbers.
        truths: For each image a dict of its true objects, as `zoo.metrics.detection` takes them: `boxes` (`[n, 4]`,
            xyxy, in pixels of the photo), `classes`, and as present `crowd` and `difficult`.
        detections: For each image a dict of its detections: `boxes`, `classes` and `scores`.

    Example:

    >>> truth = {"boxes": np.float32([[0, 0, 40, 40]]), "classes": np.int32([1])}
    >>> detection = {"boxes": np.float32([[0, 0, 40, 36]]), "classes": np.int32([1]), "scores": np.float32([0.9])}
    >>> metrics = DetectionEvaluation(("ant", "bee"), (truth,), (detection,)).metrics()
    >>> {name: round(value, 3) for name, value in metrics.items()}
    {'map50': 1.0, 'map': 0.9}
    """

    headline: ClassVar[str] = "map50"

    class_names: tuple[str, ...]
    truths: tuple[Boxes, ...]
    detections: tuple[Boxes, ...]

    @cached_property
    def coco(self) -> CocoResult:
        """COCO's average precision and recall."""
        return coco(self.truths, self.detections, num_classes=len(self.class_names))

    @cached_property
    def curves(self) -> PascalResult:
        """Precision over recall of each class, at an IoU of 0.5."""
        return pascal_voc(self.truths, self.detections, num_classes=len(self.class_names))

    @cached_property
    def errors(self) -> ErrorBreakdown:
        """The kind of each mistake, and by how much each kind lowers the average precision."""
        return detection_errors(self.truths, self.detections, num_classes=len(self.class_names))

    def summary(self) -> dict[str, float]:
        """Returns COCO's twelve metrics, as `zoo.metrics.detection.CocoResult.summary` names them."""
        return self.coco.summary()

    def objects(self) -> np.ndarray:
        """Returns the number of true objects of each class, int `[classes]`."""
        classes = np.concatenate([truth["classes"] for truth in self.truths] or [np.zeros(0, int)])
        return np.bincount(classes.astype(int), minlength=len(self.class_names))

    def best_thresholds(self, *, default: float = 0.3) -> dict[str, float]:
        """Returns the score threshold of the highest F1 on these images for each class.

        Args:
            default: The threshold of classes that have no object, or none that was detected. Defaults to 0.3.

        Returns:
            The threshold of each class by its name, in 0..1.
        """
        thresholds = {}
        for number, name in enumerate(self.class_names):
            curve = self.curves.curves[number]
            thresholds[name] = default
            if curve.positives and len(curve.scores) and curve.recall.max() > 0:
                both = curve.precision + curve.recall
                f1 = 2 * curve.precision * curve.recall / np.maximum(both, 1e-9)
                best = int(f1.argmax())
                # Halfway to the next detection: any score between the two is as good on these images.
                following = curve.scores[best + 1] if best + 1 < len(curve.scores) else 0.0
                thresholds[name] = round(float(curve.scores[best] + following) / 2, 4)
        return thresholds

    def mistakes(self, thresholds: Mapping[str, float] | None = None) -> list[Mistakes]:
        """Returns the images with mistakes, the worst first.

        Args:
            thresholds: Thresholds by the names of the classes. Detections with lower scores are no mistakes, since they
                are shown to nobody. Defaults to 0 for all classes.
        """
        shown = [self.shown(index, thresholds or {}) for index in range(len(self.detections))]
        breakdown = detection_errors(self.truths, shown, num_classes=len(self.class_names))
        images = []
        for index, (kinds, missed) in enumerate(zip(breakdown.kinds, breakdown.missed, strict=True)):
            cost = float(missed.sum() + shown[index]["scores"][~np.isin(kinds, NO_MISTAKE)].sum())
            if cost > 0:
                images.append(Mistakes(index, kinds, missed, cost))
        return sorted(images, key=lambda mistakes: -mistakes.cost)

    def shown(self, index: int, thresholds: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Returns the detections in an image that reach the thresholds of their classes.

        Args:
            index: The number of the image.
            thresholds: Thresholds by the names of the classes; 0 for those that are not among them.
        """
        detections = self.detections[index]
        least = np.array([thresholds.get(name, 0.0) for name in self.class_names])
        reached = detections["scores"] >= least[detections["classes"]]
        return {name: values[reached] for name, values in detections.items()}

    def metrics(self) -> dict[str, Any]:
        """Returns `map50` and `map`: average precision at an IoU of 0.5, and its mean over IoU 0.50 to 0.95. Both are
        means over the classes, and None where there are no objects."""
        numbers = self.summary()
        return {name: defined(numbers[name]) for name in ("map50", "map")}

    def tables(self) -> list[Table]:
        """Returns a table with the average precision of each class that has objects, and one with COCO's metrics."""
        half, mean, objects = self.coco.per_class(threshold=0.5), self.coco.per_class(), self.objects()
        rows = tuple(
            (name, as_number(half[i]), as_number(mean[i]), str(objects[i]))
            for i, name in enumerate(self.class_names)
            if objects[i]
        )
        note = ""
        if unused := len(self.class_names) - len(rows):
            verb = "is" if unused == 1 else "are"
            note = f"{count(unused, 'class', 'classes')} without objects {verb} left out."
        numbers = tuple((COCO_METRICS[name], as_number(value)) for name, value in self.summary().items())
        return [Table(("class", "AP50", "AP", "objects"), rows, note), Table(("COCO's metrics", "value"), numbers)]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON."""
        half, mean, objects = self.coco.per_class(threshold=0.5), self.coco.per_class(), self.objects()
        classes = [
            {"class": name, "ap50": defined(half[i]), "ap": defined(mean[i]), "objects": int(objects[i])}
            for i, name in enumerate(self.class_names)
        ]
        numbers = {name: defined(value) for name, value in self.summary().items()}
        return {
            "num_images": len(self.truths),
            "num_objects": int(objects.sum()),
            **numbers,
            "classes": classes,
        }


def measure(
    model: keras.Model,
    scenes: Sequence[Scene],
    class_names: Sequence[str] | None = None,
    *,
    size: tuple[int, int],
    batch_size: int = 8,
) -> DetectionEvaluation:
    """Runs a detector over annotated images, and evaluates its detections.

    Args:
        model: A detector with `predict_on_batch`, as `zoo.detection.create` makes it.
        scenes: The images and their objects, with the classes of the model.
        class_names: The names of the classes. Defaults to their numbers.
        size: Height and width of the canvas on which the model is shown the images, in pixels.
        batch_size: Number of images at a time. Defaults to 8.
    """
    names = tuple(class_names or (str(number) for number in range(model.num_classes)))
    detections = detections_of(model.predict_on_batch, scenes, Letterbox(size), batch_size=batch_size)
    return DetectionEvaluation(names, truths_of(scenes), tuple(detections))


def truths_of(scenes: Iterable[Scene]) -> tuple[Boxes, ...]:
    """Returns the true objects of each image, as `DetectionEvaluation` takes them."""
    return tuple(
        {
            "boxes": scene.boxes,
            "classes": scene.classes,
            "crowd": scene.crowd,
            "difficult": scene.difficult,
            "areas": _areas(scene),
        }
        for scene in scenes
    )


def _areas(scene: Scene) -> np.ndarray:
    """Returns the area of each object as its annotation states it (COCO's `area`), or else that of its box.

    COCO's metrics take the size of an object from there: that of an outline may be much less than that of its box.
    """
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    stated = [attributes.get("area") for attributes in scene.attributes or ()]
    return np.array(
        [
            area if isinstance(area, int | float) and 0 <= area < np.inf else box
            for area, box in zip(stated, np.prod(sides, axis=1, dtype=float).tolist(), strict=True)
        ],
        np.float64,
    )


def detections_in(outputs: Mapping[str, np.ndarray]) -> tuple[Boxes, ...]:
    """Returns the detections of each image without padding, as `DetectionEvaluation` takes them.

    Args:
        outputs: The outputs of a detector for several images: `boxes` `[n, m, 4]`, `classes` `[n, m]`, `scores`
            `[n, m]` and `valid` `[n]`, the number of detections of each image.

    >>> outputs = {"boxes": np.zeros((1, 3, 4)), "classes": np.int32([[0, 1, 0]]), "scores": np.ones((1, 3))}
    >>> detections_in({**outputs, "valid": np.int32([2])})[0]["classes"].tolist()
    [0, 1]
    """
    return tuple(unbatch({name: outputs[name] for name in ("boxes", "classes", "scores", "valid")}))


def detections_of(
    predict: Callable[[np.ndarray], Mapping[str, Any]],
    scenes: Sequence[Scene],
    preparation: Preparation,
    *,
    batch_size: int = 8,
) -> Iterator[Boxes]:
    """Runs a detector over images, and yields the detections of each one, in pixels of the photos.

    Args:
        predict: A function from float32 `[n, H, W, 3]` to boxes in pixels of the canvas, classes, scores and valid, as
            `zoo.detection.YOLO.predict` gives them.
        scenes: The images.
        preparation: How the images get onto the canvas.
        batch_size: Number of images at a time. Defaults to 8.
    """
    for images, sizes in canvases(scenes, preparation, batch_size=batch_size).as_numpy_iterator():
        outputs = {name: np.asarray(values) for name, values in predict(images).items()}
        for detections, size in zip(detections_in(outputs), sizes.tolist(), strict=True):
            yield {**detections, "boxes": preparation.boxes_to_photo(detections["boxes"], size)}
