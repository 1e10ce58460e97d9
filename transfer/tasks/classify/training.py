"""How a classifier learns: one class of several for each image."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import CutMix, Data, MixUp, class_weights
from transfer.measuring.classes import Evaluation
from transfer.models.backbones import Backbone
from transfer.models.heads import classifier
from transfer.tasks.aligning import class_order, with_class_order
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.classify.sections import sections
from transfer.tasks.classify.settings import Classify
from transfer.tasks.labelled import LabelledLearning
from transfer.tasks.learning import Built
from transfer.training.objectives import Objective, SingleLabel
from transfer.training.soft_labels import SoftLabel
from zoo.explain.targets import Target, class_score, cross_entropy

__all__ = ["LEARNING"]

MIXES = {"mixup": MixUp, "cutmix": CutMix}


class ClassifyLearning(LabelledLearning):
    """The learning half of classification."""

    kind = "classes"
    sections = staticmethod(sections)

    def model(self, trunk: Backbone, data: Data, settings: Classify) -> keras.Model:
        return classifier(trunk, len(data.class_names), seed=settings.seed)

    def contract(self, trunk: Backbone, data: Data) -> ClassifyContract:
        return ClassifyContract(data.class_names, preparation=trunk.crop)

    def objective(self, data: Data, settings: Classify, built: Built) -> Objective:
        if settings.mix != "none":
            return SoftLabel(label_smoothing=settings.label_smoothing)
        return SingleLabel(label_smoothing=settings.label_smoothing, focal_gamma=settings.focal_gamma)

    def augmentation(self, data: Data, settings: Classify) -> list[keras.layers.Layer]:
        layers = super().augmentation(data, settings)
        if settings.mix == "none":
            return layers
        return [*layers, MIXES[settings.mix](num_classes=len(data.class_names), seed=settings.seed)]

    def balance(self, settings: Classify) -> str | None:
        return settings.balance if settings.balance in ("even", "oversample") else None

    def batches(self, data: Data, settings: Classify, built: Built, batch_size: int) -> tuple[Any, Any]:
        train, valid = super().batches(data, settings, built, batch_size)
        if settings.mix != "none":
            number = len(data.class_names)
            valid = valid.map(lambda images, labels: (images, tf.one_hot(labels, number)))
        return train, valid

    def views(self, settings: Classify) -> int | None:
        is_random = settings.mix != "none" or self.balance(settings) is not None
        return None if is_random else super().views(settings)

    def class_weight(self, data: Data, settings: Classify) -> Mapping[int, float] | None:
        if settings.balance != "weights":
            return None
        return dict(enumerate(class_weights(data.train.labels, len(data.class_names)).tolist()))

    def views_key(self, settings: Classify) -> str:
        return f"{super().views_key(settings)} mix={settings.mix} balance={settings.balance}"

    def measure(self, outputs: dict[str, np.ndarray], part: Any, contract: ClassifyContract) -> Evaluation:
        return Evaluation(contract.class_names, part.labels, outputs["probabilities"].astype(np.float32))

    def targets(
        self, model: Any, contract: ClassifyContract, outputs: dict[str, np.ndarray]
    ) -> list[tuple[str, Target]]:
        order = np.argsort(-outputs["probabilities"], kind="stable")
        return [(contract.class_names[number], class_score(int(number))) for number in order]

    def error(self, part: Any, rows: slice) -> Target:
        return cross_entropy(part.labels[rows])

    def align(self, data: Data, contract: ClassifyContract) -> Data:
        order = class_order(data.class_names, contract.class_names)
        return with_class_order(data, contract.class_names, lambda labels: order[labels])


LEARNING = ClassifyLearning()
