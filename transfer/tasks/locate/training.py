"""How a network for one object learns: one class and one box for each image."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data, Fault, read_scenes
from pipelines.prepare.letterbox import Letterbox
from transfer.measuring.places import LocalisationEvaluation, largest_objects
from transfer.models.backbones import backbone
from transfer.tasks.aligning import class_order
from transfer.tasks.detect.batches import augmentation
from transfer.tasks.labelled import network_of
from transfer.tasks.learning import Built, Learning
from transfer.tasks.locate.answers import LocateContract
from transfer.tasks.locate.localisation import Localisation, localisation_batches, localiser
from transfer.tasks.locate.sections import sections
from transfer.tasks.locate.settings import Locate
from transfer.training.objectives import Objective
from zoo.boxes import clip, decode_sqrt
from zoo.explain.targets import Target, class_score, number
from zoo.surgery.state import copy_state

__all__ = ["LEARNING"]


class LocateLearning(Learning):
    """The learning half of locating."""

    kind = "boxes"
    sections = staticmethod(sections)

    def read(self, spec: str, settings: Locate, *, valid: float, test: float, seed: int) -> Data:
        data = read_scenes(spec, layout=settings.layout, valid=valid, test=test, seed=seed, outside=settings.outside)
        return _with_objects(data, empty=settings.objectness)

    def check(self, data: Data, spec: str, settings: Locate) -> None:
        super().check(data, spec, settings)
        if len(data.class_names) < 2:
            raise ValueError(
                f"{spec} has objects of one class ({data.class_names[0]}), and locating tells classes apart; take "
                "--task detect"
            )

    def build(self, data: Data, settings: Locate) -> Built:
        trunk = backbone(settings.backbone, image_size=settings.image_size, weights=settings.weights)
        model = self._model(trunk, data, settings)
        contract = LocateContract(
            data.class_names, objectness=settings.objectness, preparation=Letterbox(trunk.crop.size)
        )
        return Built(model, contract, trunk.licence)

    def _model(self, trunk: Any, data: Data, settings: Locate) -> keras.Model:
        return localiser(
            trunk,
            len(data.class_names),
            objectness=settings.objectness,
            pooling=settings.pooling,
            seed=settings.seed,
        )

    def kept(self, built: Built, data: Data, settings: Locate) -> keras.Model:
        if settings.precision == "float32":
            return built.model
        trunk = backbone(settings.backbone, image_size=settings.image_size, weights=None)
        model = self._model(trunk, data, settings)
        copy_state(built.model, model)
        return model

    def objective(self, data: Data, settings: Locate, built: Built) -> Objective:
        return Localisation(
            class_weight=settings.class_weight,
            box_weight=settings.box_weight,
            box_loss=settings.box_loss,
            objectness=settings.objectness,
        )

    def batches(self, data: Data, settings: Locate, built: Built, batch_size: int) -> tuple[Any, Any]:
        size = built.contract.preparation.size
        layers = augmentation(settings.augment, flip=settings.flip, seed=settings.seed)
        train = localisation_batches(
            data.train,
            size,
            batch_size=batch_size,
            shuffle=True,
            layers=layers,
            seed=settings.seed,
            objectness=settings.objectness,
        )
        return train, localisation_batches(data.valid, size, batch_size=batch_size, objectness=settings.objectness)

    def views_key(self, settings: Locate) -> str:
        return f"{super().views_key(settings)} flip={settings.flip} objectness={settings.objectness}"

    def network(self, model: keras.Model, contract: LocateContract, *, portable: bool) -> Callable[[tf.Tensor], Any]:
        names = ("probabilities", "codes", "objectness")[: len(model.outputs)]
        tapped = network_of(model, dict(zip(names, model.outputs, strict=True)))
        size = contract.preparation.size

        def network(images: tf.Tensor) -> dict[str, Any]:
            outputs = dict(tapped(images))
            outputs["box"] = clip(decode_sqrt(outputs.pop("codes"), size), size)
            return {name: outputs[name] for name in contract.outputs()}

        return network

    def measure(self, outputs: dict[str, np.ndarray], part: Any, contract: LocateContract) -> LocalisationEvaluation:
        labels, boxes = largest_objects(part)
        objectness = outputs["objectness"][:, 0] if contract.objectness else None
        return LocalisationEvaluation(
            contract.class_names, labels, boxes, outputs["probabilities"], outputs["box"], objectness
        )

    def targets(self, model: Any, contract: LocateContract, outputs: dict[str, np.ndarray]) -> list[tuple[str, Target]]:
        order = np.argsort(-outputs["probabilities"], kind="stable").tolist()
        classes = [(contract.class_names[index], class_score(index, head=0)) for index in order]
        sides = ("the centre's x", "the centre's y", "the width", "the height")
        box = [(f"the box: {side}", number(index, head=1)) for index, side in enumerate(sides)]
        objectness = [("whether there is an object", number(0, head=2))] if contract.objectness else []
        return [classes[0], *box, *objectness, *classes[1:]]

    def align(self, data: Data, contract: LocateContract) -> Data:
        order = class_order(data.class_names, contract.class_names)
        splits = {
            name: tuple(replace(scene, classes=order[scene.classes]) for scene in part)
            for name, part in data.splits.items()
        }
        return replace(data, class_names=contract.class_names, **splits)


def _with_objects(data: Data, *, empty: bool) -> Data:
    """Leaves out objects that nothing can be learned from, images that have no other ones, and lists these images.

    Args:
        data: The data.
        empty: Whether images that show nothing at all stay.
    """
    faults: list[Fault] = []
    splits = {}
    for name, part in data.splits.items():
        kept = []
        for scene in part:
            if scene.usable.any() or (empty and not len(scene)):
                kept.append(scene if scene.usable.all() else scene[scene.usable])
                continue
            reason = "shows no object; left out (--objectness keeps such images)"
            if len(scene):
                reason = f"all {len(scene)} objects are crowds, difficult or smaller than a pixel; left out"
            faults.append(Fault(scene.name, reason, kind="no object"))
        splits[name] = tuple(kept)
    return replace(data, faults=(*data.faults, *faults), **splits)


LEARNING = LocateLearning()
