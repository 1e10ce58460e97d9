"""How a network with several heads learns: several answers for each image, from one trunk."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data, Target
from transfer.measuring.classes import Evaluation
from transfer.measuring.heads import HeadsEvaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.numbers import RegressionEvaluation
from transfer.models.backbones import Backbone
from transfer.models.heads import Head, several_heads
from transfer.tasks.aligning import class_order, label_columns
from transfer.tasks.heads.answers import THRESHOLD, HeadFacts, HeadsContract
from transfer.tasks.heads.sections import sections
from transfer.tasks.heads.settings import Heads
from transfer.tasks.labelled import LabelledLearning
from transfer.tasks.learning import Built
from transfer.tasks.regress.training import deviations, number_columns
from transfer.training.objectives import MultiLabel, Objective, Objectives, Regression, SingleLabel
from zoo.explain.targets import Target as Score
from zoo.explain.targets import class_score, number

__all__ = ["LEARNING"]


class HeadsLearning(LabelledLearning):
    """The learning half of several heads."""

    kind = "several"
    sections = staticmethod(sections)

    def check(self, data: Data, spec: str, settings: Heads) -> None:
        super().check(data, spec, settings)
        unknown = [name for name in settings.head_weights if name not in {target.name for target in data.targets}]
        if unknown:
            known = ", ".join(target.name for target in data.targets)
            raise ValueError(f"loss_weights names {', '.join(unknown)}, and the heads are {known}")

    def model(self, trunk: Backbone, data: Data, settings: Heads) -> keras.Model:
        heads = {target.name: self._head(target, data.train.labels[:, target.columns]) for target in data.targets}
        return several_heads(trunk, heads, seed=settings.seed)

    def _head(self, target: Target, labels: np.ndarray) -> Head:
        if target.kind == "classes":
            return Head(len(target.class_names))
        if target.kind == "labels":
            return Head(len(target.class_names), "sigmoid")
        mean = labels.astype(float).mean(axis=0).tolist()
        return Head(len(target.class_names), "linear", mean=mean, deviation=deviations(labels))

    def contract(self, trunk: Backbone, data: Data) -> HeadsContract:
        heads = [
            HeadFacts(
                target.name,
                target.kind,
                target.class_names,
                deviations=deviations(data.train.labels[:, target.columns]) if target.kind == "numbers" else (),
            )
            for target in data.targets
        ]
        return HeadsContract(tuple(heads), preparation=trunk.crop)

    def objective(self, data: Data, settings: Heads, built: Built) -> Objective:
        kinds = {"classes": SingleLabel, "labels": MultiLabel, "numbers": Regression}
        return Objectives({target.name: kinds[target.kind]() for target in data.targets}, settings.head_weights)

    def batches(self, data: Data, settings: Heads, built: Built, batch_size: int) -> tuple[Any, Any]:
        targets = data.targets

        def unpack(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            return images, {target.name: _own(target, labels) for target in targets}

        train, valid = super().batches(data, settings, built, batch_size)
        return train.map(unpack), valid.map(unpack)

    def measure(self, outputs: dict[str, np.ndarray], part: Any, contract: HeadsContract) -> HeadsEvaluation:
        results: dict[str, Any] = {}
        start = 0
        for head in contract.heads:
            width = 1 if head.kind == "classes" else len(head.names)
            labels, values = part.labels[:, start : start + width], outputs[head.name]
            start += width
            if head.kind == "classes":
                results[head.name] = Evaluation(head.names, labels[:, 0].astype("int32"), values.astype("float32"))
            elif head.kind == "labels":
                thresholds = [head.thresholds.get(name, THRESHOLD) for name in head.names]
                results[head.name] = MultiLabelEvaluation(head.names, labels, values.astype("float32"), thresholds)
            else:
                results[head.name] = RegressionEvaluation(head.names, labels.astype(float), values.astype(float))
        return HeadsEvaluation(results)

    def targets(self, model: Any, contract: HeadsContract, outputs: dict[str, np.ndarray]) -> list[tuple[str, Score]]:
        by_name = isinstance(model.output, dict)
        first, others = [], []
        for place, head in enumerate(contract.heads):
            own = head.name if by_name else place
            score = class_score if head.kind == "classes" else number
            ranks = range(len(head.names)) if head.kind == "numbers" else np.argsort(-outputs[head.name], kind="stable")
            rows = [(f"{head.name}: {head.names[index]}", score(int(index), head=own)) for index in ranks]
            first += rows[:1]
            others += rows[1:]
        return [*first, *others]

    def align(self, data: Data, contract: HeadsContract) -> Data:
        targets = {target.name: target for target in data.targets}
        for head in contract.heads:
            if head.name not in targets or targets[head.name].kind != head.kind:
                found = ", ".join(f"{target.name} ({target.kind})" for target in data.targets)
                raise ValueError(f"the model has a head {head.name!r} of {head.kind}, and the data have {found}")

        def convert(labels: np.ndarray) -> np.ndarray:
            return np.concatenate([_converted(targets[head.name], labels, head) for head in contract.heads], axis=1)

        splits = {
            name: replace(part, labels=convert(part.labels)) if len(part) else part
            for name, part in data.splits.items()
        }
        return replace(data, **splits)

    def finish(self, contract: HeadsContract, measured: Any) -> HeadsContract:
        heads = [
            replace(head, thresholds=measured.results[head.name].best_thresholds()) if head.kind == "labels" else head
            for head in contract.heads
        ]
        return replace(contract, heads=tuple(heads))


def _own(target: Target, labels: tf.Tensor) -> tf.Tensor:
    own = labels[:, target.columns]
    return tf.cast(own[:, 0], tf.int32) if target.kind == "classes" else own


def _converted(target: Target, labels: np.ndarray, head: HeadFacts) -> np.ndarray:
    own = labels[:, target.columns]
    if head.kind == "classes":
        return class_order(target.class_names, head.names)[own.astype(int)].astype("float32")
    if head.kind == "labels":
        return label_columns(own, target.class_names, head.names)
    return number_columns(own, tuple(target.class_names), head.names)


LEARNING = HeadsLearning()
