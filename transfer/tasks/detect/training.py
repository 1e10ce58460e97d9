"""How a detector learns: by its own loss, from photos with boxes, through the same engine as every other network.

The recipe is that of `Detect`'s defaults: Adam with weight decay, a warm-up and a cosine; averaged weights; mosaics in
the first half of the epochs (`transfer.tasks.detect.batches`). Source: Ge et al. 2021, "YOLOX", section 2.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data, Scene, read_scenes
from pipelines.prepare.letterbox import Letterbox
from transfer.measuring.boxes import DetectionEvaluation, detections_in, truths_of
from transfer.models.backbones import any_size as of_any_size
from transfer.models.backbones import backbone as make_backbone
from transfer.models.folding import folded
from transfer.tasks.aligning import class_order
from transfer.tasks.detect.answers import DetectContract
from transfer.tasks.detect.batches import STRIDE, augmentation, training_batches
from transfer.tasks.detect.comparison import MAX_CANDIDATES
from transfer.tasks.detect.objective import DetectionObjective
from transfer.tasks.detect.sections import sections
from transfer.tasks.detect.settings import Detect
from transfer.tasks.learning import Built, Learning
from transfer.tasks.task import Arrays
from transfer.training import freezing
from transfer.training.plan import Plan
from zoo import detection
from zoo.detection import nms
from zoo.explain.targets import Target, box_score
from zoo.surgery.state import copy_state

__all__ = ["LEARNING", "canvas_size", "new_detector"]

LONGER_SIDE = 320  # of the canvas, in pixels, where nothing else is given
SIZES = {"ssd300": (300, 300)}  # of detectors that take no other
SCALES = (0.75, 0.875, 1.0, 1.125, 1.25)  # factors on the size of the canvas, where there are several sizes


def canvas_size(scenes: Sequence[Scene], longer: int = LONGER_SIDE) -> tuple[int, int]:
    """Returns the size of the canvas on which most of the photos leave the least grey, in multiples of 32 pixels.

    Args:
        scenes: The photos, of which the median shape counts.
        longer: The longer side in pixels, which is rounded down to a multiple of 32. Defaults to 320.

    Returns:
        Height and width.

    >>> canvas_size([Scene(b"", "a", (480, 640))], 400)
    (288, 384)
    """
    ratio = float(np.median([scene.size[1] / scene.size[0] for scene in scenes]))
    most = max(STRIDE, longer // STRIDE * STRIDE)
    other = max(STRIDE, round(most * min(ratio, 1 / ratio) / STRIDE) * STRIDE)
    return (other, most) if ratio >= 1 else (most, other)


def new_detector(
    name: str,
    backbone: str,
    num_classes: int,
    size: tuple[int, int],
    *,
    any_size: bool = False,
    weights: str | None = "imagenet",
    unfreeze: str | float = "c3",
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int = 100,
) -> tuple[keras.Model, str | None]:
    """Makes a detector on a pretrained trunk, whose batch norms and first layers are frozen.

    The first layers see edges and colours, which are the same everywhere, and work on the largest maps: leaving them as
    they are saves a fifth of the time of a step.

    Args:
        name: The name of the detector, one of `zoo.detection.list_detectors()`.
        backbone: The name of the trunk, one of `transfer.list_backbones()`.
        num_classes: Number of classes.
        size: Height and width of its images, in pixels.
        any_size: Whether it takes images of any size, to train with several. Defaults to False.
        weights: Weights of the trunk: "imagenet", the default; a file; or None for random ones.
        unfreeze: The part of the trunk that trains, as `transfer.unfreeze` takes it. By default it is what lies above
            level c2. Without weights, all of the trunk trains, its batch norms too.
        score_threshold: Score in 0..1 below which detections are left out. By default the detector decides.
        iou_threshold: Overlap (IoU) in 0..1 from which on two boxes of a class are one object. By default the detector
            decides.
        max_detections: Maximum number of detections per photo. Defaults to 100.

    Returns:
        The detector, and the licence of the trunk's weights.

    Raises:
        ValueError: The detector or the trunk is unknown (the message shows near ones), the size is no multiple of the
            detector's largest stride, or a threshold lies outside 0..1.
        FileNotFoundError: The weights cannot be had.
    """
    trunk = make_backbone(backbone, image_size=size, weights=weights)
    layers = of_any_size(trunk.model) if any_size else trunk.model
    model = detection.create(
        name,
        backbone=layers,
        num_classes=num_classes,
        image_size=None if any_size else size,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    freezing.unfreeze(model, "all" if weights is None else unfreeze, batch_norms=weights is None)
    return model, trunk.licence


class DetectLearning(Learning):
    """The learning half of detection."""

    kind = "boxes"
    sections = staticmethod(sections)

    def read(self, spec: str, settings: Detect, *, valid: float, test: float, seed: int) -> Data:
        return read_scenes(spec, layout=settings.layout, valid=valid, test=test, seed=seed, outside=settings.outside)

    def check(self, data: Data, spec: str, settings: Detect) -> None:
        objects = sum(int(scene.usable.sum()) for scene in data.train)
        if not data.class_names or not objects:
            faults = f" {len(data.faults)} faults were found; the first: {data.faults[0]}." if data.faults else ""
            raise ValueError(
                f"{spec} has no boxes to learn from: {len(data.train)} training images with {objects} objects that can "
                f"be used.{faults} Look at the annotations with zoo audit {spec}"
            )
        super().check(data, spec, settings)

    def build(self, data: Data, settings: Detect) -> Built:
        size = _canvas(data, settings)
        model, licence = _detector(settings, len(data.class_names), size, any_size=settings.multi_scale)
        contract = DetectContract(
            data.class_names,
            preparation=Letterbox(size),
            score_threshold=model.score_threshold,
            iou_threshold=model.iou_threshold,
            max_detections=model.max_detections,
            detector=settings.detector,
            backbone=settings.backbone,
            class_ids=data.class_ids or (),
        )
        return Built(model, contract, licence)

    def objective(self, data: Data, settings: Detect, built: Built) -> DetectionObjective:
        return DetectionObjective(
            tuple(built.model.loss_weights),
            data.valid,
            built.contract.preparation.size,
            epochs=self.plan(settings).total_epochs,
            validations=settings.validations,
        )

    def batches(self, data: Data, settings: Detect, built: Built, batch_size: int) -> tuple[tf.data.Dataset, None]:
        train = training_batches(
            data.train,
            built.contract.preparation.size,
            batch_size=batch_size,
            mosaic_epochs=round(settings.mosaic * self.plan(settings).total_epochs),
            layers=augmentation(settings.augment, flip=settings.flip, seed=settings.seed),
            scales=SCALES if settings.multi_scale else (1.0,),
            seed=settings.seed,
        )
        return train, None

    def plan(self, settings: Detect) -> Plan:
        plan = super().plan(settings)
        if settings.weights is not None:
            return plan
        # A random trunk has nothing to keep.
        epochs = settings.epochs or settings.head_epochs
        return replace(plan, head_epochs=0, epochs=epochs, unfreeze="all", batch_norms="trained")

    def views_key(self, settings: Detect) -> str:
        names = ("flip", "mosaic", "multi_scale", "epochs", "head_epochs")
        return " ".join([super().views_key(settings), *(f"{name}={getattr(settings, name)}" for name in names)])

    def kept(self, built: Built, data: Data, settings: Detect) -> keras.Model:
        if settings.precision == "float32" and not settings.multi_scale:
            return built.model
        model, _ = _detector(replace(settings, weights=None), built.model.num_classes, built.contract.preparation.size)
        copy_state(built.model, model)
        plan = self.plan(settings)
        freezing.unfreeze(model, plan.stages[-1].unfreeze, batch_norms=plan.batch_norms == "trained")
        return model

    def network(
        self, model: keras.Model, contract: DetectContract, *, portable: bool
    ) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        size = contract.preparation.size
        layers, suppress = model, nms.suppress
        if portable:
            layers = folded(keras.Model(model.inputs[0], model.output))
            suppress = partial(nms.suppress_portable, max_candidates=max(MAX_CANDIDATES, contract.max_detections))

        def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # training=False is not the default that it seems to be: behind some layers a batch norm would otherwise
            # take the statistics of the photos that happen to share the batch.
            boxes, scores = model.decode(layers(images, training=False), size)
            detections = suppress(
                boxes,
                scores,
                iou_threshold=contract.iou_threshold,
                score_threshold=contract.score_threshold,
                max_detections=contract.max_detections,
            )
            # Under other names inside: runtimes rename what is an input of one operation and an output of the graph.
            candidates = {"candidate_boxes": tf.identity(boxes), "candidate_scores": tf.identity(scores)}
            return {**detections, **candidates}

        return network

    def measure(self, outputs: Arrays, part: Any, contract: DetectContract) -> DetectionEvaluation:
        return DetectionEvaluation(contract.class_names, truths_of(part), detections_in(outputs))

    def targets(self, model: Any, contract: DetectContract, outputs: Arrays) -> list[tuple[str, Target]]:
        shown = range(int(outputs["valid"]))
        if not len(shown):
            raise ValueError("the detector finds no object in this photo, so there is no box to explain: take another")
        size, rows = contract.preparation.size, []
        for place in shown:
            name, box = contract.class_names[int(outputs["classes"][place])], outputs["boxes"][place].tolist()
            where = f"{name} at ({box[0]:.0f}, {box[1]:.0f}) to ({box[2]:.0f}, {box[3]:.0f}) of the canvas"
            rows.append((where, box_score(model.decode, size, int(outputs["classes"][place]), near=box)))
        return rows

    def align(self, data: Data, contract: DetectContract) -> Data:
        scenes = [scene for part in data.splits.values() for scene in part]
        used = np.unique(np.concatenate([scene.classes for scene in scenes] or [np.zeros(0, int)])).astype(int)
        order = np.full(len(data.class_names), -1, "int32")
        order[used] = class_order([data.class_names[number] for number in used], contract.class_names)
        splits = {
            name: tuple(replace(scene, classes=order[scene.classes]) for scene in part)
            for name, part in data.splits.items()
        }
        return replace(data, class_names=contract.class_names, **splits)

    def finish(self, contract: DetectContract, measured: DetectionEvaluation) -> DetectContract:
        return replace(contract, thresholds=measured.best_thresholds())


def _canvas(data: Data, settings: Detect) -> tuple[int, int]:
    """Returns height and width of the canvas: as it was asked for, as the detector needs it, or as the photos are."""
    size = settings.image_size
    if size is None:
        return SIZES.get(settings.detector) or canvas_size(data.train)
    return (size, size) if isinstance(size, int) else size


def _detector(
    settings: Detect, num_classes: int, size: tuple[int, int], *, any_size: bool = False
) -> tuple[keras.Model, str | None]:
    return new_detector(
        settings.detector,
        settings.backbone,
        num_classes,
        size,
        any_size=any_size,
        weights=settings.weights,
        score_threshold=settings.score_threshold,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
    )


LEARNING = DetectLearning()
