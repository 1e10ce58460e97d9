"""Fine-tuning in two phases: first the new head on the frozen trunk, then the trunk's top with it.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; the two phases are the usual
practice, for the gradients of a random head would spoil what the trunk knows.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer import freezing
from transfer.progress import Progress

__all__ = ["History", "Phase", "TrainingDiverged", "fine_tune"]


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Phase:
    """One stretch of training with the same layers frozen.

    Attributes:
        name: "head" or "top".
        unfrozen: the part of the trunk that trained, as `unfreeze` takes it.
        learning_rate: at the start.
        trained, frozen: numbers of parameters.
        rows: one an epoch; see `History.rows`.
        seconds: of the whole phase, compiling included.
    """

    name: str
    unfrozen: str | float
    learning_rate: float
    trained: int
    frozen: int
    rows: tuple[dict[str, Any], ...]
    seconds: float


@dataclass(frozen=True)
class History:
    """What happened in a fine-tuning, phase by phase."""

    phases: tuple[Phase, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row an epoch: `epoch` (from 1, over all phases), `phase`, `loss`, `accuracy`, `val_loss`,
        `val_accuracy`, `learning_rate`, `seconds`."""
        return [row for phase in self.phases for row in phase.rows]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch whose weights the model has: highest accuracy in validation, then lowest loss."""
        return max(self.rows, key=_goodness)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)


def fine_tune(
    model: keras.Model,
    train: tf.data.Dataset,
    valid: tf.data.Dataset,
    *,
    head_epochs: int = 3,
    epochs: int = 10,
    unfreeze: str | float = 0.3,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> History:
    """Trains a classifier in place: `head_epochs` its head alone, then `epochs` its head and the trunk's top.

    The model ends with the weights of the best epoch of all phases, by accuracy in validation. After each phase all
    frozen weights, batch norms' statistics among them, are compared with what they were before it.

    Args:
        model: a flat classifier with probabilities as output, such as `transfer.classifier` makes.
        train, valid: batches of (float32 `[b, height, width, 3]` in 0..255, int `[b]`), of a finite number.
        head_epochs: of the first phase; 0 leaves it out.
        epochs: of the second phase; 0, or nothing to unfreeze, leaves it out.
        unfreeze: the part of the trunk that the second phase trains, as `transfer.unfreeze` takes it.
        head_learning_rate, learning_rate: of Adam, in the first and the second phase.
        seed: of the model's own randomness, such as dropout. The order and the augmentation of images are the data
            sets' affair.
        callbacks: Keras callbacks, given to both phases.
        progress: whether to show a bar with the time left, on stderr or in a notebook.

    Returns:
        What happened, epoch by epoch.

    Raises:
        ValueError: arguments or data sets that do not fit the model.
        FrozenWeightsChanged: a weight that was frozen is not what it was.
        TrainingDiverged: the loss became NaN or infinite. The model then has the best weights so far, if any.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    >>> data = tf.data.Dataset.from_tensor_slices((tf.zeros((4, 8, 12, 3)), [0, 1, 0, 1])).batch(2)
    >>> history = fine_tune(model, data, data, head_epochs=1, epochs=0, progress=False)
    >>> [(row["phase"], row["epoch"]) for row in history.rows]
    [('head', 1)]
    """
    plan = _plan(head_epochs, epochs, unfreeze, head_learning_rate, learning_rate)
    _check_data(model, train, "train")
    _check_data(model, valid, "valid")
    for stage in plan:
        freezing.unfreeze(model, stage.unfreeze)  # a part that the model does not have is refused before any training
    _reseed(model, seed)
    best = _BestWeights()
    phases: list[Phase] = []
    total = sum(stage.epochs for stage in plan)
    with Progress(total, enabled=progress) as bar:
        for stage in plan:
            rows = _Rows(stage.name, first_epoch=sum(len(phase.rows) for phase in phases))
            own = [_StopWhereItDiverges(stage, best), best, rows, bar.callback(stage.name)]
            phases.append(_run(model, train, valid, stage, [*own, *callbacks], rows))
    best.restore(model)
    return History(tuple(phases))


@dataclass(frozen=True)
class _Stage:
    name: str
    unfreeze: str | float
    epochs: int
    learning_rate: float


def _plan(head_epochs, epochs, unfreeze, head_learning_rate, learning_rate) -> list[_Stage]:
    for name, value in (("head_epochs", head_epochs), ("epochs", epochs)):
        if value < 0:
            raise ValueError(f"{name} is a number of epochs, 0 or more; got {value}")
    for name, rate in (("head_learning_rate", head_learning_rate), ("learning_rate", learning_rate)):
        if not 0 < rate < math.inf:
            raise ValueError(f"{name} is a positive number, got {rate}")
    stages = [_Stage("head", "none", head_epochs, head_learning_rate), _Stage("top", unfreeze, epochs, learning_rate)]
    plan = [stage for stage in stages if stage.epochs]
    if unfreeze == "none" or freezing.as_fraction(unfreeze) == 0:
        plan = [stage for stage in plan if stage.name == "head"]
    if not plan:
        raise ValueError(
            f"nothing to train: head_epochs={head_epochs}, epochs={epochs}, unfreeze={unfreeze!r}; give head_epochs, "
            "or epochs and a part to unfreeze"
        )
    return plan


def _run(model, train, valid, stage: _Stage, callbacks, rows: "_Rows") -> Phase:
    start = time.perf_counter()
    freezing.unfreeze(model, stage.unfreeze)
    # A compiled model goes on training what it trained when it was compiled, whatever `trainable` says since.
    model.compile(
        optimizer=keras.optimizers.Adam(stage.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    before = freezing.fingerprints(freezing.frozen_layers(model))
    model.fit(train, validation_data=valid, epochs=stage.epochs, callbacks=callbacks, shuffle=False, verbose=0)
    freezing.raise_if_changed(model, before)
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return Phase(
        name=stage.name,
        unfrozen=stage.unfreeze,
        learning_rate=stage.learning_rate,
        trained=trained,
        frozen=model.count_params() - trained,
        rows=tuple(rows.rows),
        seconds=time.perf_counter() - start,
    )


def _goodness(row: dict[str, Any]) -> tuple[float, float]:
    # On a small validation set many epochs have the same accuracy.
    return row["val_accuracy"], -row["val_loss"]


class _Rows(keras.callbacks.Callback):
    """Keeps one row an epoch."""

    def __init__(self, phase: str, *, first_epoch: int):
        super().__init__()
        self.phase, self.first_epoch = phase, first_epoch
        self.rows: list[dict[str, Any]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        measured = {key: float(logs[key]) for key in ("loss", "accuracy", "val_loss", "val_accuracy")}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = time.perf_counter() - self.start
        epoch = self.first_epoch + epoch + 1
        self.rows.append({"epoch": epoch, "phase": self.phase, **measured, "learning_rate": rate, "seconds": seconds})


class _BestWeights(keras.callbacks.Callback):
    """Holds the weights of the best epoch by validation, over all phases it is given to."""

    def __init__(self):
        super().__init__()
        self.goodness = (-math.inf, -math.inf)
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch, logs=None):
        if _goodness(logs) > self.goodness:
            self.goodness = _goodness(logs)
            self.weights = self.model.get_weights()

    def restore(self, model: keras.Model) -> None:
        if self.weights is not None:
            model.set_weights(self.weights)


class _StopWhereItDiverges(keras.callbacks.Callback):
    def __init__(self, stage: _Stage, best: _BestWeights):
        super().__init__()
        self.stage, self.best = stage, best

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        self.best.restore(self.model)
        kept = "The model has the best weights so far." if self.best.weights else "The model's weights are lost."
        raise TrainingDiverged(
            f"the loss is {logs['loss']} in phase {self.stage.name!r}, epoch {self.epoch + 1}, batch {batch + 1}, at a "
            f"learning rate of {self.stage.learning_rate:g}. {kept} Try a tenth of that rate; if that does not help, "
            "look for NaN in the images"
        )


def _check_data(model: keras.Model, dataset: tf.data.Dataset, name: str) -> None:
    images, num_classes = model.inputs[0].shape, model.outputs[0].shape[-1]
    expected = f"batches of (float32 {[*images]}, int [None]), as pipelines.batches makes them"
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise ValueError(f"{name} has to be {expected}; got {spec}")
    if dataset.cardinality() in (0, tf.data.INFINITE_CARDINALITY):
        raise ValueError(f"{name} has to be a finite number of {expected}; it is empty, or repeats for ever")
    if not tf.TensorShape(images).is_compatible_with(spec[0].shape):
        raise ValueError(f"{name} has to be {expected}; got images {spec[0].shape}")
    if not (spec[1].shape.rank == 1 and spec[1].dtype.is_integer):
        hint = " Class indices are expected, not one-hot rows: take their argmax." if spec[1].shape.rank == 2 else ""
        raise ValueError(
            f"{name} has to be {expected}, the labels in 0..{num_classes - 1}; got labels {spec[1].shape} of "
            f"{spec[1].dtype.name}.{hint}"
        )


def _reseed(model: keras.Model, seed: int) -> None:
    """Sets every random generator inside the model: fine-tuning does not depend on what was drawn before."""
    generators = [weight for weight in model.non_trainable_variables if weight.path.endswith("seed_generator_state")]
    for index, state in enumerate(generators):
        state.assign(np.array([seed + index, 0]))
