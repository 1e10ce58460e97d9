"""How a network for segmentation learns: from random windows of photos with masks.

Cross-entropy tells pixels apart from the first step on, and Dice sees to it that thin and small classes count; both
are added up, as in Isensee et al. 2021, "nnU-Net", section "Loss". The learning rate rises, and falls along a cosine.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data, Scene, Scenes, read_scenes
from pipelines.annotations.outlines import DrawnMask, class_mask
from pipelines.prepare.letterbox import Letterbox
from transfer.measuring.pixels import PixelEvaluation
from transfer.models.backbones import any_size
from transfer.models.backbones import backbone as make_backbone
from transfer.tasks.aligning import class_order
from transfer.tasks.learning import Built, Learning
from transfer.tasks.segment.answers import SegmentContract, background_of
from transfer.tasks.segment.batches import augmentation, training_batches, validation_batches
from transfer.tasks.segment.objective import SegmentationObjective
from transfer.tasks.segment.sections import sections
from transfer.tasks.segment.settings import Segment
from transfer.tasks.task import Arrays
from transfer.training import freezing
from transfer.training.plan import Plan
from zoo.explain.targets import Target, mask_pixels
from zoo.metrics.segmentation import IGNORE
from zoo.segmentation.fully_convolutional import start_from
from zoo.segmentation.networks import create
from zoo.surgery.state import copy_state

__all__ = ["LEARNING", "canvas_size"]

STRIDE = 32  # Sizes of the canvas are multiples of it.
LARGEST = 640  # pixels of the longer side of the canvas, where nothing else is given
CROP = 256  # pixels of the sides of a window, where nothing else is given
FEWEST = 300  # windows in an epoch, where nothing else is given
BACKGROUND = "background"


def canvas_size(scenes: Sequence[Scene], largest: int = LARGEST) -> tuple[int, int]:
    """Returns the size of a canvas onto which three of four photos fit as they are, in multiples of 32 pixels.

    Args:
        scenes: The photos.
        largest: The most that the longer side may have, in pixels, rounded down to a multiple of 32; larger photos are
            shrunk to it. Defaults to 640.

    Returns:
        Height and width.

    >>> canvas_size([Scene(b"", "a", (360, 480))]), canvas_size([Scene(b"", "a", (3000, 4000))])
    ((384, 480), (480, 640))
    """
    height, width = (float(side) for side in np.quantile([scene.size for scene in scenes], 0.75, axis=0))
    shrink = min(1.0, max(STRIDE, largest // STRIDE * STRIDE) / max(height, width))
    rows, columns = (max(1, math.ceil(round(side * shrink) / STRIDE)) * STRIDE for side in (height, width))
    return rows, columns


@dataclass(frozen=True, eq=False)
class Recoded:
    """A mask whose classes have other numbers.

    Attributes:
        scene: The scene with the mask as it is.
        order: The new number of each class, uint8 `[256]`.
    """

    scene: Scene
    order: np.ndarray

    def read(self) -> np.ndarray:
        """Returns the class of each pixel, `uint8 [h, w]`."""
        return self.order[class_mask(self.scene)]


class SegmentLearning(Learning):
    """The learning half of semantic segmentation."""

    kind = "boxes"
    sections = staticmethod(sections)

    def read(self, spec: str, settings: Segment, *, valid: float, test: float, seed: int) -> Data:
        data = read_scenes(
            spec, layout=settings.layout, prefer="masks", valid=valid, test=test, seed=seed, outside=settings.outside
        )
        return _with_masks(data, spec)

    def check(self, data: Data, spec: str, settings: Segment) -> None:
        super().check(data, spec, settings)
        if not 2 <= len(data.class_names) <= IGNORE:
            raise ValueError(
                f"{spec} has masks with {len(data.class_names)} classes ({', '.join(data.class_names[:5])}), and 2 to "
                f"{IGNORE} are needed, the background included. Look at the masks with zoo audit {spec}"
            )
        for name, part in (("training", data.train), ("validation", data.valid)):
            counts = pixel_counts(part)
            present = [number for number in range(len(data.class_names)) if counts[number]]
            if len(present) < 2:
                what = data.class_names[present[0]] if present else f"ignored ({IGNORE})"
                raise ValueError(
                    f"{spec}: all {int(counts.sum())} pixels of the {len(part)} {name} masks are {what}, so there is "
                    f"nothing to tell apart. Are the masks read as they are meant? Look at them with zoo audit {spec}"
                )

    def build(self, data: Data, settings: Segment) -> Built:
        size = _canvas(data, settings)
        trunk = make_backbone(settings.backbone, image_size=size, weights=settings.weights)
        model = create(settings.network, any_size(trunk.model), len(data.class_names))
        if settings.start is not None:
            start_from(model, _opened(settings.start))
        plan = self.plan(settings)
        freezing.unfreeze(model, plan.stages[-1].unfreeze, batch_norms=plan.batch_norms == "trained")
        contract = SegmentContract(
            data.class_names, preparation=Letterbox(size), network=settings.network, backbone=settings.backbone
        )
        return Built(model, contract, trunk.licence, (*_crop(settings, size), 3))

    def objective(self, data: Data, settings: Segment, built: Built) -> SegmentationObjective:
        number = len(data.class_names)
        weights = balanced(pixel_counts(data.train)[:number]) if settings.class_weights == "balanced" else None
        return SegmentationObjective(settings.loss, weights, number)

    def batches(self, data: Data, settings: Segment, built: Built, batch_size: int) -> tuple[tf.data.Dataset, Any]:
        size = built.contract.preparation.size
        train = training_batches(
            data.train,
            size,
            augmentation(settings.augment, _crop(settings, size), flip=settings.flip),
            batch_size=batch_size,
            crops=settings.crops or max(1, math.ceil(FEWEST / len(data.train))),
            seed=settings.seed,
        )
        return train, validation_batches(data.valid, size, batch_size=batch_size)

    def plan(self, settings: Segment) -> Plan:
        plan = super().plan(settings)
        if settings.weights is not None:
            return plan
        # A random trunk has nothing to keep.
        epochs = settings.epochs or settings.head_epochs
        return replace(plan, head_epochs=0, epochs=epochs, unfreeze="all", batch_norms="trained")

    def views_key(self, settings: Segment) -> str:
        names = ("flip", "crop", "crops", "network")
        return " ".join([super().views_key(settings), *(f"{name}={getattr(settings, name)}" for name in names)])

    def kept(self, built: Built, data: Data, settings: Segment) -> keras.Model:
        trunk = make_backbone(settings.backbone, image_size=built.contract.preparation.size, weights=None)
        model = create(settings.network, trunk.model, len(data.class_names))
        copy_state(built.model, model)
        plan = self.plan(settings)
        freezing.unfreeze(model, plan.stages[-1].unfreeze, batch_norms=plan.batch_norms == "trained")
        return model

    def network(
        self, model: keras.Model, contract: SegmentContract, *, portable: bool
    ) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # training=False is not the default that it seems to be: behind some layers a batch norm would otherwise
            # take the statistics of the photos that happen to share the batch.
            probabilities = model(images, training=False)
            return {
                "mask": tf.cast(tf.argmax(probabilities, axis=-1, output_type=tf.int32), tf.uint8),
                "scores": tf.reduce_max(probabilities, axis=-1),
                # Under another name inside: runtimes rename what is an input of one operation and an output of all.
                "probabilities": tf.identity(probabilities),
            }

        return network

    def called(self, model: keras.Model, contract: SegmentContract, images: tf.Tensor) -> dict[str, Any]:
        return {"probabilities": model(images, training=False)}

    def measure(self, outputs: Arrays, part: Any, contract: SegmentContract) -> PixelEvaluation:
        return PixelEvaluation.of(contract.class_names, map(class_mask, part), outputs["mask"])

    def targets(self, model: Any, contract: SegmentContract, outputs: Arrays) -> list[tuple[str, Target]]:
        counts = np.bincount(outputs["mask"].reshape(-1), minlength=len(contract.class_names))
        background = background_of(contract.class_names)
        order = sorted(np.flatnonzero(counts), key=lambda number: (number == background, -counts[number]))
        return [(f"the pixels of {contract.class_names[number]}", mask_pixels(int(number))) for number in order]

    def align(self, data: Data, contract: SegmentContract) -> Data:
        numbers = class_order(data.class_names, contract.class_names)
        if data.class_names == contract.class_names:
            return data
        order = np.full(IGNORE + 1, IGNORE, np.uint8)
        order[: len(numbers)] = numbers
        splits = {
            name: Scenes(replace(scene, mask=Recoded(scene, order)) for scene in part)
            for name, part in data.splits.items()
        }
        return replace(data, class_names=contract.class_names, **splits)


def _with_masks(data: Data, spec: str) -> Data:
    """Returns data in which every scene has a mask: its own, or one that is drawn from the outlines of its objects.

    Raises:
        ValueError: Objects have boxes alone.
    """
    scenes = [scene for part in data.splits.values() for scene in part]
    if all(scene.mask is not None for scene in scenes):
        return data
    of_boxes = [scene for scene in scenes if scene.mask is None and scene.instances is None]
    boxes = sum(outline is None for scene in of_boxes for outline in scene.outlines or ())
    if boxes or not any(len(scene) for scene in scenes):
        total = sum(map(len, scenes))
        raise ValueError(
            f"{spec} has boxes and no masks: {boxes} of {total} objects have no outline. Expected mask images "
            "(images/ and masks/), or polygons or run lengths as in COCO and LabelMe; boxes fit --task detect"
        )
    if background_of(data.class_names) is not None:
        raise ValueError(
            f"{spec} has objects of the class {data.class_names[0]!r}, and what no object covers is the background "
            "already; leave that class out"
        )
    splits = {
        name: Scenes(replace(scene, mask=DrawnMask(scene)) for scene in part) for name, part in data.splits.items()
    }
    return replace(data, class_names=(BACKGROUND, *data.class_names), class_ids=None, **splits)


def pixel_counts(part: Iterable[Scene]) -> np.ndarray:
    """Counts the pixels of each value of all masks: int64 `[256]`."""
    with ThreadPoolExecutor() as pool:
        counts = pool.map(lambda scene: np.bincount(class_mask(scene).reshape(-1), minlength=IGNORE + 1), part)
        return sum(counts, np.zeros(IGNORE + 1, np.int64))


def balanced(counts: np.ndarray) -> tuple[float, ...]:
    """Returns weights of classes by which rare ones count more: the median frequency over that of the class.

    A class without pixels has 0. The mean over all pixels is 1.

    Source: Eigen and Fergus 2015, "Predicting Depth, Surface Normals and Semantic Labels", section 4.3.2.

    >>> balanced(np.array([90, 10, 0]))
    (0.5555555555555556, 5.0, 0.0)
    """
    counts = np.asarray(counts, float)
    median = np.median(counts[counts > 0])
    weights = np.divide(median, counts, out=np.zeros(len(counts)), where=counts > 0)
    weights *= counts.sum() / (weights * counts).sum()
    return tuple(weights.tolist())


def _opened(run: str) -> keras.Model:
    """Opens the model of a run, or a file of a model.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(run).expanduser()
    path = path / "model.keras" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"start={run} (--start) is neither a run nor a model: there is no {path}")
    return keras.models.load_model(path, compile=False)


def _canvas(data: Data, settings: Segment) -> tuple[int, int]:
    size = settings.image_size
    if size is None:
        return canvas_size(data.train)
    return (size, size) if isinstance(size, int) else size


def _crop(settings: Segment, canvas: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of a window; it is never larger than the canvas."""
    crop = CROP if settings.crop is None else settings.crop
    sides = (crop, crop) if isinstance(crop, int) else crop
    return min(sides[0], canvas[0]), min(sides[1], canvas[1])


LEARNING = SegmentLearning()
