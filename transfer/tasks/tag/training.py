"""How a network for several labels learns: any number of labels for each image."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from pipelines import Data
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.models.backbones import Backbone
from transfer.models.heads import multi_label
from transfer.tasks.aligning import label_columns, with_class_order
from transfer.tasks.labelled import LabelledLearning
from transfer.tasks.learning import Built
from transfer.tasks.tag.answers import THRESHOLD, TagContract
from transfer.tasks.tag.sections import sections
from transfer.tasks.tag.settings import Tag
from transfer.training.objectives import MultiLabel, Objective
from zoo.explain.targets import Target, number

__all__ = ["LEARNING"]


class TagLearning(LabelledLearning):
    """The learning half of tagging."""

    kind = "labels"
    sections = staticmethod(sections)

    def model(self, trunk: Backbone, data: Data, settings: Tag) -> keras.Model:
        return multi_label(trunk, len(data.class_names), seed=settings.seed)

    def contract(self, trunk: Backbone, data: Data) -> TagContract:
        return TagContract(data.class_names, preparation=trunk.crop)

    def objective(self, data: Data, settings: Tag, built: Built) -> Objective:
        return MultiLabel(label_smoothing=settings.label_smoothing, focal_gamma=settings.focal_gamma)

    def measure(self, outputs: dict[str, np.ndarray], part: Any, contract: TagContract) -> MultiLabelEvaluation:
        thresholds = [contract.thresholds.get(name, THRESHOLD) for name in contract.class_names]
        probabilities = outputs["probabilities"].astype(np.float32)
        return MultiLabelEvaluation(contract.class_names, part.labels, probabilities, thresholds)

    def targets(self, model: Any, contract: TagContract, outputs: dict[str, np.ndarray]) -> list[tuple[str, Target]]:
        order = np.argsort(-outputs["probabilities"], kind="stable")
        return [(contract.class_names[index], number(int(index))) for index in order]

    def align(self, data: Data, contract: TagContract) -> Data:
        known = contract.class_names
        return with_class_order(data, known, lambda labels: label_columns(labels, data.class_names, known))

    def finish(self, contract: TagContract, measured: Any) -> TagContract:
        return replace(contract, thresholds=measured.best_thresholds())


LEARNING = TagLearning()
