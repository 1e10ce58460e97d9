"""Fine-tuning in two phases: first the new head on the frozen trunk, then the trunk's top with it.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; the two phases are the usual
practice, for the gradients of a random head would spoil what the trunk knows.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer import freezing
from transfer.caching import CacheNotUsed, Division, FeatureCache, Features, between, divide, extract, through
from transfer.checkpoints import Checkpoint, Position
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
        cached: whether the frozen part was computed before, once, and only what is above it ran.
    """

    name: str
    unfrozen: str | float
    learning_rate: float
    trained: int
    frozen: int
    rows: tuple[dict[str, Any], ...]
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class History:
    """What happened in a fine-tuning, phase by phase.

    Attributes:
        phases: in their order.
        extraction_seconds: for computing what is frozen, once for all phases.
        not_cached: why that was not done; "" where it was.
    """

    phases: tuple[Phase, ...]
    extraction_seconds: float = 0.0
    not_cached: str = ""

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
        return self.extraction_seconds + sum(phase.seconds for phase in self.phases)


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
    cache: FeatureCache | bool = True,
    checkpoint: str | Path | None = None,
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
        cache: whether and how activations of the frozen layers are stored, so that these run once for each image and
            augmented view, not once an epoch; see `FeatureCache`. Where that cannot be, all layers run in each epoch,
            and the history says why.
        checkpoint: a file in which the state is kept after each epoch. If it is there already, training goes on from
            it, to the very weights that it would have come to in one go (on the same machine, with data of
            `pipelines.batches`; what your own callbacks remember is not kept). Delete it to begin anew.
        callbacks: Keras callbacks, given to both phases. Their `model` is the whole one.
        progress: whether to show a bar with the time left, on stderr or in a notebook.

    Returns:
        What happened, epoch by epoch.

    Raises:
        ValueError: arguments, data sets or a checkpoint that do not fit the model.
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
    passes = _Passes(train)
    state = None if checkpoint is None else Checkpoint(checkpoint)
    position = Position() if state is None else state.position()
    phases = [Phase(**{**phase, "rows": tuple(phase["rows"])}) for phase in position.phases]
    with Progress(sum(stage.epochs for stage in plan), enabled=progress) as bar:
        start = time.perf_counter()
        stored, not_cached = _store(model, plan, passes.dataset, valid, cache, bar)
        extraction_seconds = time.perf_counter() - start
        bar.done = sum(len(phase.rows) for phase in phases) + position.epoch
        job = _Job(model, seed, callbacks, bar, passes, state, _BestWeights(), phases)
        for number in range(position.phase, len(plan)):
            part = stored.get(plan[number].name) or _Part(model, passes.dataset, valid)
            phases.append(job.run(plan[number], part, position if number == position.phase else Position(number)))
    job.best.restore(model)
    return History(tuple(phases), extraction_seconds, not_cached)


class _Passes:
    """Counts how often a data set is gone through: each pass has an order and an augmentation of its own."""

    def __init__(self, dataset: tf.data.Dataset):
        self.number = 0
        ticks = tf.data.Dataset.from_generator(self._tick, output_signature=tf.TensorSpec((), tf.int64))
        self.dataset = tf.data.Dataset.zip(dataset, ticks).map(lambda batch, _: batch)
        if dataset.cardinality() >= 0:  # which the endless ticks hide
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))

    def _tick(self):
        self.number += 1
        while True:
            yield 0

    def begin(self, number: int) -> None:
        """Begins passes until so many have begun."""
        while self.number < number:
            next(iter(self.dataset))


@dataclass(frozen=True)
class _Part:
    """What runs in a phase: the whole model on images, or its top on stored activations."""

    model: keras.Model
    train: tf.data.Dataset | Features
    valid: tf.data.Dataset | Features


def _store(model, plan, train, valid, cache, bar) -> tuple[dict[str, _Part], str]:
    """The top of the model and its activations, for each phase in which something is frozen; or why there are none."""
    if cache is False:
        return {}, "it was not asked for"
    cache = FeatureCache() if cache is True else cache
    try:
        divisions = {stage.name: division for stage in plan if (division := _division(model, stage)) is not None}
        if not divisions:
            return {}, "nothing is frozen"
        # What is frozen in all phases runs on the images; what is frozen in one only, on what comes out there
        lowest = min(divisions.values(), key=lambda division: len(division.trunk.operations))
        epochs = sum(stage.epochs for stage in plan if stage.name in divisions)
        # Where a phase goes through the images itself, how often they were gone through before decides what it sees
        folder = cache.folder if len(divisions) == len(plan) else None
        cache = replace(cache, views=min(cache.views, epochs), folder=folder)
        images = extract(lowest, model, train, valid, cache, tell=bar.extraction)
        return {name: _carried(lowest, division, images) for name, division in divisions.items()}, ""
    except CacheNotUsed as reason:
        return {}, str(reason)


def _division(model: keras.Model, stage: "_Stage") -> Division | None:
    freezing.unfreeze(model, stage.unfreeze)
    return divide(model)


def _carried(lowest: Division, division: Division, features: tuple[Features, Features]) -> _Part:
    rest = between(lowest, division)
    if rest is None:
        return _Part(division.top, *features)
    return _Part(division.top, *(through(rest, each) for each in features))


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


@dataclass(frozen=True)
class _Job:
    """What all phases share."""

    model: keras.Model
    seed: int
    callbacks: Sequence[keras.callbacks.Callback]
    bar: Progress
    passes: _Passes
    state: Checkpoint | None
    best: "_BestWeights"
    phases: list[Phase]  # that are done

    def run(self, stage: _Stage, part: _Part, begin: Position) -> Phase:
        start = time.perf_counter() - begin.seconds
        freezing.unfreeze(self.model, stage.unfreeze)
        # A compiled model goes on training what it trained when it was compiled, whatever `trainable` says since.
        optimizer = keras.optimizers.Adam(stage.learning_rate)
        for each in {id(self.model): self.model, id(part.model): part.model}.values():
            each.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        if self.state is not None and begin.goodness is not None:
            optimizer.build(part.model.trainable_variables)
            self.best.goodness = begin.goodness
            self.best.weights = self.state.restore(self.model, optimizer)
        rows = _Rows(stage.name, list(begin.rows), first_epoch=sum(len(phase.rows) for phase in self.phases))
        callbacks = [_StopWhereItDiverges(stage, self.best), self.best, rows, self.bar.callback(stage.name)]
        # Not before: Keras may look into the data when `fit` is called, which is a pass, too
        callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=lambda _: self.passes.begin(begin.passes)))
        callbacks += self.callbacks
        if self.state is not None:
            callbacks.append(_Save(self, begin.phase, stage, rows, start))
        before = freezing.fingerprints(freezing.frozen_layers(self.model))
        cached = isinstance(part.train, Features)
        first = begin.epoch
        part.model.fit(
            part.train.batches(seed=self.seed, epoch=first) if isinstance(part.train, Features) else part.train,
            validation_data=part.valid.batches() if isinstance(part.valid, Features) else part.valid,
            initial_epoch=first,
            epochs=stage.epochs,
            callbacks=[_OnWholeModel(callbacks, self.model)] if cached else callbacks,
            shuffle=False,
            verbose=0,
        )
        freezing.raise_if_changed(self.model, before)
        trained = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        return Phase(
            name=stage.name,
            unfrozen=stage.unfreeze,
            learning_rate=stage.learning_rate,
            trained=trained,
            frozen=self.model.count_params() - trained,
            rows=tuple(rows.rows),
            seconds=time.perf_counter() - start,
            cached=cached,
        )


class _Save(keras.callbacks.Callback):
    """Keeps the state after each epoch, when all other callbacks are done."""

    def __init__(self, job: _Job, phase: int, stage: _Stage, rows: "_Rows", start: float):
        super().__init__()
        self.job, self.phase, self.stage, self.rows, self.start = job, phase, stage, rows, start

    def on_epoch_end(self, epoch, logs=None):
        assert self.job.state is not None
        position = Position(
            phase=self.phase,
            epoch=self.stage.epochs if self.model.stop_training else epoch + 1,
            passes=self.job.passes.number,
            goodness=self.job.best.goodness,
            rows=self.rows.rows,
            phases=[asdict(phase) for phase in self.job.phases],
            seconds=time.perf_counter() - self.start,
        )
        self.job.state.save(position, self.job.model, self.model.optimizer, self.job.best.weights)


class _OnWholeModel(keras.callbacks.Callback):
    """Callbacks that are to see the whole model, though only its top is being fitted."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], whole: keras.Model):
        super().__init__()
        self.whole = whole
        self.callbacks = keras.callbacks.CallbackList(list(callbacks), model=whole)

    def set_params(self, params):
        super().set_params(params)
        self.callbacks.set_params(params)

    def _stop_if_asked(self):
        if self.whole.stop_training:
            self.model.stop_training = True

    def on_train_begin(self, logs=None):
        self.whole.stop_training = False
        self.callbacks.on_train_begin(logs)

    def on_train_end(self, logs=None):
        self.callbacks.on_train_end(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.callbacks.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.callbacks.on_epoch_end(epoch, logs)
        self._stop_if_asked()

    def on_train_batch_begin(self, batch, logs=None):
        self.callbacks.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self.callbacks.on_train_batch_end(batch, logs)
        self._stop_if_asked()

    def on_test_begin(self, logs=None):
        self.callbacks.on_test_begin(logs)

    def on_test_end(self, logs=None):
        self.callbacks.on_test_end(logs)

    def on_test_batch_begin(self, batch, logs=None):
        self.callbacks.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self.callbacks.on_test_batch_end(batch, logs)


def _goodness(row: dict[str, Any]) -> tuple[float, float]:
    # On a small validation set many epochs have the same accuracy.
    return row["val_accuracy"], -row["val_loss"]


class _Rows(keras.callbacks.Callback):
    """Keeps one row an epoch."""

    def __init__(self, phase: str, rows: list[dict[str, Any]], *, first_epoch: int):
        super().__init__()
        self.phase, self.first_epoch = phase, first_epoch
        self.rows = rows

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
