"""The learning half of a task: how its data are read, how its model is built and trained, and how good it is.

Each task's `training.py` has one object of this class, `LEARNING`, without state. It is loaded only where a model is
trained, exported or measured, since it needs TensorFlow.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data
from pipelines.usable import parts_without_objects
from transfer.contract import Contract, Proof
from transfer.measuring.table import Table
from transfer.report.sections import Sections
from transfer.tasks.task import Arrays, Metric
from transfer.training.fine_tuning import History, Plan
from transfer.training.objectives import Objective
from transfer.training.optimization import Optimization
from zoo.explain.targets import Target

__all__ = ["Built", "Finished", "Learning", "Measured"]


class Measured(Protocol):
    """How good a model is on annotated images."""

    def metrics(self) -> dict[str, Any]:
        """Returns the task's metrics by name (`Task.metrics`): floats, or None where a metric is not defined. Where
        there is an interval of the headline, it is a list of two under the name "interval"."""

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings: what `zoo evaluate --json` prints."""

    def tables(self) -> Sequence[Table]:
        """Returns what `zoo evaluate` shows, in its order."""


@dataclass(frozen=True)
class Built:
    """A model that is ready to be trained, and what is known about it.

    Attributes:
        model: The model. It takes float32 images `[n, height, width, 3]` in 0..255.
        contract: What the exported model will take and give; thresholds may follow from the validation data later.
        licence: The licence of the backbone's weights, or None.
        input_shape: Height, width and channels of training images, for a model that takes images of any size.
    """

    model: keras.Model
    contract: Contract
    licence: str | None
    input_shape: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Finished:
    """What a finished run hands to its report and its model card.

    Attributes:
        task: The name of the task.
        metrics: What `metrics.json` holds.
        data: What was trained and measured on, and what was left out.
        settings: The settings as a dict, in their order.
        config: What `config.json` holds under "facts": versions, licence and so on.
        history: The course of the training.
        measured: By the name of the split ("test" or "valid"); the report goes into the first one.
        outputs: The model's outputs for the images of that first split, in their order, boxes in pixels of the photos.
        model: The trained model, for heat maps.
        contract: The contract.
        proof: The proof of the export; None where it failed.
        seconds: How long each part of the run took, by its name.
        headline: The task's headline metric.
    """

    task: str
    metrics: Mapping[str, Any]
    data: Data
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    history: History
    measured: Mapping[str, Measured]
    outputs: Arrays
    model: keras.Model
    contract: Contract
    proof: Proof | None
    seconds: Mapping[str, float]
    headline: Metric


class Learning(ABC):
    """How a task learns.

    Attributes:
        kind: The kind of data that it takes (`pipelines.Data.kind`).
        custom_objects: Modules that define the Keras classes of its models need no mention: importing this half
            imports them.
    """

    kind: ClassVar[str]

    @abstractmethod
    def read(self, spec: str, settings: Any, *, valid: float, test: float, seed: int) -> Data:
        """Lists the data. Nothing is decoded.

        Args:
            spec: What the user named: a folder, a file, or such as "sklearn:digits".
            settings: The settings.
            valid, test: Shares of the images for splits that the data do not bring along.
            seed: Decides which images these are.

        Raises:
            pipelines.WrongKind: The data are of another kind.
            ValueError, FileNotFoundError: As `pipelines.read_data` and `pipelines.read_scenes` raise them.
        """

    def check(self, data: Data, spec: str, settings: Any) -> None:
        """Raises a ValueError for data that cannot be learned from, before any model is built."""
        faults = f" {len(data.faults)} faults were found; the first: {data.faults[0]}." if data.faults else ""
        if not len(data.train):
            raise ValueError(f"{spec} has no training images.{faults}")
        if not len(data.valid):
            reason = "none of the images of its own validation split can be used"
            advice = "Mend them, or remove that split to have a share of the training images taken apart"
            if settings.valid == 0:
                reason = "valid=0 (--valid 0) takes none apart, and the data bring none along"
                advice = "Keep some apart, as with valid=0.15 (--valid 0.15)"
            raise ValueError(f"{spec} has no validation images: {reason}.{faults} {advice}")
        lacking = parts_without_objects(data)
        if "train" in lacking or "valid" in lacking:
            raise ValueError(
                f"{spec}: {lacking.get('train', lacking.get('valid'))}.{faults} Look at the annotations with: "
                f"zoo audit {spec}"
            )

    @abstractmethod
    def build(self, data: Data, settings: Any) -> Built:
        """Builds the model with its pretrained weights, and the contract."""

    @abstractmethod
    def objective(self, data: Data, settings: Any, built: Built) -> Objective:
        """Returns the loss, the metrics, and which epoch is the best."""

    @abstractmethod
    def batches(self, data: Data, settings: Any, built: Built, batch_size: int) -> tuple[tf.data.Dataset, Any]:
        """Returns training and validation data for `transfer.fine_tune`.

        The training data give the next epoch each time they are gone through, and what an epoch holds depends on the
        seed and its number alone.
        """

    def plan(self, settings: Any) -> Plan:
        """Returns the phases of the training."""
        names = (
            *("epochs", "unfreeze", "learning_rate", "patience", "batch_norms"),
            *("head_epochs", "head_learning_rate", "head"),
        )
        plan = {name: getattr(settings, name) for name in names}
        if settings.fast:
            plan |= {"epochs": 0, "head_epochs": 1, "head": "solved"}
        return Plan(**plan)

    def optimization(self, settings: Any) -> Optimization:
        """Returns the optimizer's settings."""
        return Optimization(
            name=settings.optimizer,
            schedule=settings.schedule,
            warm_up=settings.warm_up,
            layer_decay=settings.layer_decay,
            ema=settings.ema,
            accumulate=settings.accumulate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            clip_norm=settings.clip_norm,
        )

    def class_weight(self, data: Data, settings: Any) -> Mapping[int, float] | None:
        """Returns how much an image counts by its class, or None."""
        return None

    def order(self, data: Data, settings: Any, epoch: int) -> np.ndarray | None:
        """Returns which training images an epoch of `batches` has, and in which order, as numbers `[m]`; None where
        that is not known."""
        return None

    def views(self, settings: Any) -> int | None:
        """Returns how often training images are looked at where what frozen layers give is stored; None for as often as
        does as well as more."""
        return None

    def views_key(self, settings: Any) -> str:
        """Returns a text that stands for everything that decides what training images look like and in which order."""
        names = ("augment", "fast", "seed", "batch_norms", "precision", "image_size", "valid", "test")
        return " ".join(f"{name}={getattr(settings, name)}" for name in names)

    @abstractmethod
    def kept(self, built: Built, data: Data, settings: Any) -> keras.Model:
        """Returns the model that is kept and exported: in float32 and for images of one size, with the trained weights.
        It is `built.model` itself where that is so already."""

    @abstractmethod
    def network(self, model: keras.Model, contract: Any, *, portable: bool) -> Callable[[tf.Tensor], dict[str, Any]]:
        """Returns the function of an exported model from prepared images to all of its outputs.

        Args:
            model: The model, with batch norms folded where it is `portable`.
            contract: The contract.
            portable: Whether it may use only operations that ONNX, OpenVINO and LiteRT know.

        Returns:
            A function from float32 `[n, height, width, 3]` to the outputs that `contract.outputs()` names, boxes in
            pixels of the canvas. It can be traced into a graph, and it runs in inference mode.
        """

    def called(self, model: keras.Model, contract: Any, images: tf.Tensor) -> dict[str, Any]:
        """Calls a model as its user gave it, for the proof.

        The network that is exported is put together of the model's layers. A class with a `call` of its own may compute
        something else.

        Args:
            model: The model as it was given.
            contract: The contract.
            images: Prepared images, float32 `[n, height, width, 3]`.

        Returns:
            Those outputs that the model gives by itself, by name. There are none where all outputs are made of the
            model's by further steps.
        """
        return {}

    def portable_part(self, model: keras.Model) -> keras.Model:
        """Returns the part of the model whose batch norms can be folded: itself, as a plain functional model."""
        return model

    @abstractmethod
    def measure(self, outputs: Arrays, part: Any, contract: Any) -> Measured:
        """Says how good outputs are.

        Args:
            outputs: The outputs for all images of a split, in their order; boxes are in pixels of the photos.
            part: The split, with classes in the order of the contract.
            contract: The contract.
        """

    def align(self, data: Data, contract: Any) -> Data:
        """Returns the data with classes (or targets) in the order of a contract, matched by name.

        Raises:
            ValueError: Data with a class that the model does not know.
        """
        return data

    def finish(self, contract: Any, measured: Any) -> Any:
        """Returns the contract with what follows from the validation data, such as thresholds."""
        return contract

    def targets(self, model: keras.Model, contract: Any, outputs: Arrays) -> list[tuple[str, Target]]:
        """Returns what of an answer can be explained, the most interesting first.

        Args:
            model: The model.
            contract: The contract.
            outputs: The model's outputs for one photo, without the axis of the images, boxes in pixels of the canvas.

        Returns:
            For each a few words, and the target: a function from the model's outputs to a score for each image; see
            `zoo.explain.targets`.

        Raises:
            ValueError: Nothing can be explained.
        """
        raise ValueError(f"{type(self).__name__} does not say which scores of its models can be explained")

    def error(self, part: Any, rows: slice) -> Target | None:
        """Returns how wrong the model is on some images of a split, for attacks that raise it; None where a task has no
        such number.

        Args:
            part: The split, with classes in the order of the contract.
            rows: Which images.
        """
        return None

    @abstractmethod
    def sections(self, run: Finished) -> Sections:
        """Returns what only this task has to say in the report and in the model card."""
