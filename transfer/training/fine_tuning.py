"""Fine-tuning in phases: first the new head on the frozen trunk, then the trunk's top with it, in one step or several.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; the two phases are the usual
practice, for the gradients of a random head would spoil what the trunk knows. Several steps, from the top down: Howard
and Ruder 2018, "Universal Language Model Fine-tuning", section 3.3 (gradual unfreezing).
"""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from transfer.models.batch_norms import re_estimate_batch_norms
from transfer.models.normalisation import values_of
from transfer.training import freezing
from transfer.training.callbacks import BestWeights, OnWholeModel, Patience, Rows
from transfer.training.checkpoints import Checkpoint, Position
from transfer.training.feature_cache import (
    VIEWS,
    VIEWS_OF_HEAD,
    CacheNotUsed,
    Division,
    FeatureCache,
    Features,
    between,
    divide,
    extract,
    through,
)
from transfer.training.guard import TrainingDiverged, raise_if_trainable_changed, trainable_layers, write_batch
from transfer.training.normalised_images import warn_if_normalised
from transfer.training.objectives import SingleLabel, Task
from transfer.training.optimization import Optimization
from transfer.training.progress import Progress
from transfer.training.repeated_data import Passes

__all__ = ["History", "Phase", "TrainingDiverged", "fine_tune"]

ONE_LABEL = SingleLabel()
ADAM = Optimization()


@dataclass(frozen=True)
class Phase:
    """One stretch of training with the same layers frozen.

    Attributes:
        name: "head" or "top"; with several steps, "top" and the part, as in "top c5".
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
        task: what was trained.
    """

    phases: tuple[Phase, ...]
    extraction_seconds: float = 0.0
    not_cached: str = ""
    task: Task = ONE_LABEL

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row an epoch: `epoch` (from 1, over all phases), `phase`, the columns of the task (`loss`, `accuracy`,
        `val_loss`, `val_accuracy` for a single label), `learning_rate` (of the head, at the end), `seconds`."""
        return [row for phase in self.phases for row in phase.rows]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch whose weights the model has: the best in validation, as the task judges it. For a single
        label, that of the highest accuracy, and of several such the one of the lowest loss."""
        return max(self.rows, key=self.task.goodness)

    @property
    def seconds(self) -> float:
        return self.extraction_seconds + sum(phase.seconds for phase in self.phases)


def fine_tune(
    model: keras.Model,
    train: tf.data.Dataset,
    valid: tf.data.Dataset,
    *,
    task: Task = ONE_LABEL,
    head_epochs: int = 3,
    epochs: int = 10,
    unfreeze: str | float | Sequence[str | float] = 0.3,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    optimization: Optimization = ADAM,
    batch_norms: Literal["frozen", "re-estimated"] = "frozen",
    class_weight: Mapping[int, float] | None = None,
    patience: int | None = None,
    seed: int = 0,
    cache: FeatureCache | bool = True,
    checkpoint: str | Path | Checkpoint | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> History:
    """Trains a model in place: `head_epochs` its head alone, then `epochs` its head and the trunk's top.

    The model ends with the weights of the best epoch of all phases, as the task judges it. After each phase all frozen
    weights, batch norms' statistics among them, are compared with what they were before it.

    Args:
        model: flat, such as `transfer.classifier` makes.
        train, valid: batches of (float32 `[b, height, width, 3]` in 0..255, labels), of a finite number; labels as the
            task wants them: class numbers `int [b]` for a single label.
        task: what is to be told; see `transfer.training.objectives`.
        head_epochs: of the first phase; 0 leaves it out.
        epochs: of the second phase; 0, or nothing to unfreeze, leaves it out. With several steps, of each.
        unfreeze: the part of the trunk that the second phase trains, as `transfer.unfreeze` takes it; or several such,
            in their order, for as many phases: `("c5", "c4")`.
        head_learning_rate, learning_rate: in the first and the later phases.
        optimization: the optimizer; its rate over time and depth.
        batch_norms: those of the trunk never train. "frozen" leaves them what they are; "re-estimated" gives them the
            statistics of the training images, once, before the first phase.
        class_weight: how much an image counts by its class, for a single label; see `pipelines.class_weights`.
        patience: ends a phase after so many epochs without a better one; None never does.
        seed: of the model's own randomness, such as dropout. The order and the augmentation of images are the data
            sets' affair.
        cache: whether and how activations of the frozen layers are stored, so that these run once for each image and
            augmented view, not once an epoch; see `FeatureCache`. Where that cannot be, all layers run in each epoch,
            and the history says why.
        checkpoint: a file in which the state is kept after each epoch, or a `Checkpoint` that does so oftener or more
            seldom. If it is there already, training goes on from it, to the very weights that it would have come to in
            one go (on the same machine, with data of `pipelines.batches`; what your own callbacks remember is not
            kept). Delete it to begin anew.
        callbacks: Keras callbacks, given to all phases. Their `model` is the whole one.
        progress: whether to show a bar with the time left, on stderr or in a notebook.

    Returns:
        What happened, epoch by epoch.

    Raises:
        ValueError: arguments, data sets or a checkpoint that do not fit the model.
        FrozenWeightsChanged: a weight that was frozen is not what it was.
        TrainableChanged: a callback changed what is to train, without compiling.
        TrainingDiverged: the loss became NaN or infinite. The model then has the best weights so far, or those that it
            began with; the message says where the batch was written.

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
    _check_arguments(task, batch_norms, class_weight, patience)
    _check_data(model, train, "train", task)
    _check_data(model, valid, "valid", task)
    for stage in plan:
        freezing.unfreeze(model, stage.unfreeze)  # a part that the model does not have is refused before any training
    first_images, first_labels = next(iter(valid))
    task.check_values(first_labels, model, "valid")
    warn_if_normalised(first_images, name="valid", values=values_of(model))
    passes = Passes(train, lambda labels: task.check_values(labels, model, "train"))
    if batch_norms == "re-estimated":
        _reseed(model, seed)
        re_estimate_batch_norms(model, passes.dataset)
    _reseed(model, seed)
    state = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    position = Position() if state is None else state.position()
    phases = [Phase(**{**phase, "rows": tuple(phase["rows"])}) for phase in position.phases]
    with Progress(sum(stage.epochs for stage in plan), enabled=progress) as bar:
        start = time.perf_counter()
        with passes.explained():
            stored, not_cached = _store(model, plan, passes.dataset, valid, cache, bar)
        for part in stored.values():
            part.check(model, task)
        extraction_seconds = time.perf_counter() - start
        bar.done = sum(len(phase.rows) for phase in phases) + position.epoch
        best = BestWeights(task, model, averaged=optimization.ema > 0)
        settings = _Settings(task, optimization, class_weight, patience, seed)
        job = _Job(model, settings, callbacks, bar, passes, state, best, phases, (first_images, first_labels))
        for number in range(position.phase, len(plan)):
            part = stored.get(number) or _Part(model, passes.dataset, valid)
            phases.append(job.run(plan[number], part, position if number == position.phase else Position(number)))
    job.best.restore(model)
    return History(tuple(phases), extraction_seconds, not_cached, task)


@dataclass(frozen=True)
class _Part:
    """What runs in a phase: the whole model on images, or its top on stored activations."""

    model: keras.Model
    train: tf.data.Dataset | Features
    valid: tf.data.Dataset | Features

    def training(self, seed: int, epoch: int, batch: int) -> Any:
        if isinstance(self.train, Features):
            return self.train.batches(seed=seed, epoch=epoch, batch=batch)
        return self.train.skip(batch) if batch else self.train

    def validation(self) -> Any:
        return self.valid.batches() if isinstance(self.valid, Features) else self.valid

    def check(self, model: keras.Model, task: Task) -> None:
        """Raises `ValueError` where a stored label is none that the task knows."""
        for features, name in ((self.train, "train"), (self.valid, "valid")):
            if isinstance(features, Features):
                flat = keras.tree.map_structure(lambda each: each.reshape(-1, *each.shape[2:]), features.labels)
                task.check_values(flat, model, name)

    def steps(self) -> int | None:
        """Batches in an epoch; None if that is not known."""
        number = len(self.train.batches()) if isinstance(self.train, Features) else int(self.train.cardinality())
        return number if number >= 0 else None


def _store(model, plan, train, valid, cache, bar) -> tuple[dict[int, _Part], str]:
    """The top of the model and its activations, for each phase in which something is frozen; or why there are none."""
    if cache is False:
        return {}, "it was not asked for"
    cache = FeatureCache() if cache is True else cache
    try:
        divisions = {
            number: division for number, stage in enumerate(plan) if (division := _division(model, stage)) is not None
        }
        if not divisions:
            return {}, "nothing is frozen"
        # What is frozen in all phases runs on the images; what is frozen in one only, on what comes out there
        lowest = min(divisions.values(), key=lambda division: len(division.trunk.operations))
        epochs = sum(stage.epochs for number, stage in enumerate(plan) if number in divisions)
        # Where a phase goes through the images itself, how often they were gone through before decides what it sees
        folder = cache.folder if len(divisions) == len(plan) else None
        head_alone = all(plan[number].unfreeze == "none" for number in divisions)
        views = cache.views or (VIEWS_OF_HEAD if head_alone else VIEWS)
        cache = replace(cache, views=min(views, epochs), folder=folder)
        images = extract(lowest, model, train, valid, cache, tell=bar.extraction)
        room = cache.limit - sum(features.nbytes for features in images)
        parts = {}
        for number, division in divisions.items():
            parts[number] = part = _carried(lowest, division, images, room)
            if part.train is not images[0]:
                room -= part.train.nbytes + part.valid.nbytes
        return parts, ""
    except CacheNotUsed as reason:
        return {}, str(reason)


def _division(model: keras.Model, stage: "_Stage") -> Division | None:
    freezing.unfreeze(model, stage.unfreeze)
    return divide(model)


def _carried(lowest: Division, division: Division, features: tuple[Features, Features], room: int) -> _Part:
    rest = between(lowest, division)
    if rest is None:
        return _Part(division.top, *features)
    an_image = sum(4 * math.prod(tensor.shape[1:]) for tensor in rest.outputs)
    if an_image * sum(each.passes * each.images for each in features) > room:
        return _Part(lowest.top, *features)
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
    several = not isinstance(unfreeze, str | Real)
    parts = [part for part in (unfreeze if several else [unfreeze]) if not _is_nothing(part)]
    names = [f"top {part}" for part in parts] if several else ["top"]
    stages = [_Stage("head", "none", head_epochs, head_learning_rate)]
    stages += [_Stage(name, part, epochs, learning_rate) for name, part in zip(names, parts, strict=False)]
    plan = [stage for stage in stages if stage.epochs]
    if not plan:
        raise ValueError(
            f"nothing to train: head_epochs={head_epochs}, epochs={epochs}, unfreeze={unfreeze!r}; give head_epochs, "
            "or epochs and a part to unfreeze"
        )
    return plan


def _is_nothing(part: str | float) -> bool:
    return part == "none" or freezing.as_fraction(part) == 0


def _check_arguments(task, batch_norms, class_weight, patience) -> None:
    if batch_norms not in ("frozen", "re-estimated"):
        raise ValueError(f'batch_norms is "frozen" or "re-estimated", got {batch_norms!r}')
    if class_weight is not None and not isinstance(task, SingleLabel):
        raise ValueError(
            f"class_weight is for a single label for each image, and the task is {type(task).__name__}; weigh its "
            "loss, or balance the data"
        )
    if patience is not None and patience < 1:
        raise ValueError(f"patience is a number of epochs, 1 or more, or None; got {patience}")


@dataclass(frozen=True)
class _Settings:
    """What was asked for and holds in all phases."""

    task: Task
    optimization: Optimization
    class_weight: Mapping[int, float] | None
    patience: int | None
    seed: int


@dataclass(frozen=True)
class _Job:
    """What all phases share."""

    model: keras.Model
    settings: _Settings
    callbacks: Sequence[keras.callbacks.Callback]
    bar: Progress
    passes: Passes
    state: Checkpoint | None
    best: BestWeights
    phases: list[Phase]  # that are done
    some: tuple[Any, Any]  # images and labels

    def run(self, stage: _Stage, part: _Part, begin: Position) -> Phase:
        start = time.perf_counter() - begin.seconds
        freezing.unfreeze(self.model, stage.unfreeze)
        self._compile(stage, part)
        if self.state is not None and begin.goodness is not None:
            self._restore(part, begin)
        rows = Rows(
            stage.name,
            list(begin.rows),
            first_epoch=sum(len(phase.rows) for phase in self.phases),
            columns=self.settings.task.columns,
        )
        stop = _StopWhereItDiverges(self, stage, begin)
        callbacks = self._callbacks(stage, part, begin, stop, rows, start)
        frozen = freezing.fingerprints(freezing.frozen_layers(self.model))
        trainable = trainable_layers(self.model)
        for first, end, batch in _stretches(begin, stage):
            stop.data = part.training(self.settings.seed, first, batch)
            with self.passes.explained():
                part.model.fit(
                    stop.data,
                    validation_data=part.validation(),
                    initial_epoch=first,
                    epochs=end,
                    class_weight=self.settings.class_weight and dict(self.settings.class_weight),
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            if part.model.stop_training:
                break
        freezing.raise_if_changed(self.model, frozen)
        raise_if_trainable_changed(self.model, trainable)
        trained = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        return Phase(
            name=stage.name,
            unfrozen=stage.unfreeze,
            learning_rate=stage.learning_rate,
            trained=trained,
            frozen=self.model.count_params() - trained,
            rows=tuple(rows.rows),
            seconds=time.perf_counter() - start,
            cached=isinstance(part.train, Features),
        )

    def _compile(self, stage: _Stage, part: _Part) -> None:
        # A compiled model goes on training what it trained when it was compiled, whatever `trainable` says since.
        task, optimization, steps = self.settings.task, self.settings.optimization, part.steps()
        if steps is None and (optimization.schedule != "constant" or optimization.warm_up):
            raise ValueError(
                "a learning rate that changes over the phase needs the number of batches, which train.cardinality() "
                "does not know; tell it by tf.data.experimental.assert_cardinality"
            )
        optimizer = optimization.build(self.model, stage.learning_rate, steps=(steps or 0) * stage.epochs)
        for each in {id(self.model): self.model, id(part.model): part.model}.values():
            each.compile(
                optimizer=optimizer, loss=task.loss(), loss_weights=task.loss_weights(), metrics=task.metrics()
            )

    def _restore(self, part: _Part, begin: Position) -> None:
        assert self.state is not None
        optimizer = part.model.optimizer
        optimizer.build(part.model.trainable_variables)
        self.best.goodness = begin.goodness or ()
        self.best.weights = self.state.restore(self.model, optimizer)
        if begin.batch:  # metrics have no variables before their first batch
            part.model.test_on_batch(*(part.valid.batches()[0] if isinstance(part.valid, Features) else self.some))

    def _callbacks(
        self,
        stage: _Stage,
        part: _Part,
        begin: Position,
        stop: "_StopWhereItDiverges",
        rows: Rows,
        start: float,
    ) -> list[Any]:
        settings = self.settings
        callbacks = [stop, self.best]
        if settings.optimization.ema:
            callbacks.append(keras.callbacks.SwapEMAWeights())  # behind what keeps the averaged weights
        callbacks += [rows, self.bar.callback(stage.name)]
        # Not before: Keras may look into the data when `fit` is called, which is a pass, too
        callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=lambda _: self.passes.begin(begin.passes)))
        if begin.batch:
            callbacks.append(_GoOnWithMetrics(self, part, begin))
        callbacks += self.callbacks
        if settings.patience is not None:
            callbacks.append(Patience(settings.task, settings.patience, rows))
        if self.state is not None:
            callbacks.append(_Save(self, stage, part, begin, rows, start))
        return [OnWholeModel(callbacks, self.model)] if part.model is not self.model else callbacks


def _stretches(begin: Position, stage: _Stage) -> list[tuple[int, int, int]]:
    """First epoch, end, and batch to begin at, of each call of `fit`: the rest of an epoch is one of its own."""
    rest = [(begin.epoch, begin.epoch + 1, begin.batch)] if begin.batch else []
    whole = (begin.epoch + len(rest), stage.epochs, 0)
    return rest + [whole] if whole[0] < whole[1] else rest


class _Save(keras.callbacks.Callback):
    """Keeps the state when all other callbacks are done."""

    def __init__(self, job: _Job, stage: _Stage, part: _Part, begin: Position, rows: Rows, start: float):
        super().__init__()
        assert job.state is not None
        self.job, self.state, self.stage, self.part, self.begin = job, job.state, stage, part, begin
        self.rows, self.start = rows, start
        self.steps = part.steps() or 0
        self.failed = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        # Keras ends each call of `fit` by putting averaged weights in place, so that must not be in the middle
        if self.state.share is None or self.job.settings.optimization.ema or not self.state.is_due():
            return
        done = batch + 1 + (self.begin.batch if self.epoch == self.begin.epoch else 0)
        if done < self.steps:
            of_this = 0 if isinstance(self.part.train, Features) else 1
            self._save(epoch=self.epoch, batch=done, passes=self.job.passes.number - of_this)

    def on_epoch_end(self, epoch, logs=None):
        stopped = self.model.stop_training
        if stopped or self.state.is_due():
            self._save(epoch=self.stage.epochs if stopped else epoch + 1, batch=0, passes=self.job.passes.number)

    def _save(self, *, epoch: int, batch: int, passes: int) -> None:
        position = Position(
            phase=len(self.job.phases),
            epoch=epoch,
            batch=batch,
            passes=passes,
            goodness=self.job.best.goodness,
            rows=self.rows.rows,
            phases=[asdict(phase) for phase in self.job.phases],
            seconds=time.perf_counter() - self.start,
        )
        metrics = self.part.model.metrics_variables if batch else []
        try:
            self.state.save(position, self.job.model, self.model.optimizer, self.job.best.weights, metrics)
        except OSError as error:
            if not self.failed:
                warnings.warn(
                    f"the state of the training cannot be written to {self.state.path}: {error}. Training goes on; "
                    "what was kept before is as it was",
                    stacklevel=2,
                )
            self.failed = True


class _GoOnWithMetrics(keras.callbacks.Callback):
    """In the middle of an epoch, its loss and accuracy go on from what they were."""

    def __init__(self, job: _Job, part: _Part, begin: Position):
        super().__init__()
        assert job.state is not None
        self.part, self.epoch = part, begin.epoch
        self.values = job.state.metrics()

    def on_epoch_begin(self, epoch, logs=None):
        variables = self.part.model.metrics_variables
        if epoch == self.epoch and len(variables) == len(self.values):
            for variable, value in zip(variables, self.values, strict=True):
                variable.assign(value)


class _StopWhereItDiverges(keras.callbacks.Callback):
    def __init__(self, job: _Job, stage: _Stage, begin: Position):
        super().__init__()
        self.job, self.stage, self.begin = job, stage, begin
        self.data: Any = None  # what is being trained on

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        number = batch + (self.begin.batch if self.epoch == self.begin.epoch else 0)
        stored = isinstance(self.data, keras.utils.PyDataset)
        bad = self.data[batch] if stored else self.job.passes.batch(number)
        kind = "activations where the frozen part ends" if stored else "images"
        raise TrainingDiverged(
            f"the loss is {logs['loss']} in phase {self.stage.name!r}, epoch {self.epoch + 1}, batch {number + 1}, at "
            f"a learning rate of {self.stage.learning_rate:g}. {self.job.best.rescue(self.model)} The {kind} and "
            f"labels of this batch are in {write_batch(bad[0], bad[1])}. Try a tenth of that rate; if that does not "
            "help, look for NaN in the images"
        )


def _check_data(model: keras.Model, dataset: tf.data.Dataset, name: str, task: Task) -> None:
    images = model.inputs[0].shape
    expected = f"batches of (float32 {[*images]}, labels), as pipelines.batches makes them"
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], tf.TensorSpec)):
        raise ValueError(f"{name} has to be {expected}; got {spec}")
    if dataset.cardinality() in (0, tf.data.INFINITE_CARDINALITY):
        raise ValueError(f"{name} has to be a finite number of {expected}; it is empty, or repeats for ever")
    if not tf.TensorShape(images).is_compatible_with(spec[0].shape):
        raise ValueError(f"{name} has to be {expected}; got images {spec[0].shape}")
    task.check_labels(spec[1], model, name)


def _reseed(model: keras.Model, seed: int) -> None:
    """Sets every random generator inside the model: fine-tuning does not depend on what was drawn before."""
    generators = [weight for weight in model.non_trainable_variables if weight.path.endswith("seed_generator_state")]
    for index, state in enumerate(generators):
        state.assign(np.array([seed + index, 0]))
