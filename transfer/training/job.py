"""One fine-tuning while it runs: what all of its phases share, and how a phase is trained."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import keras

from transfer.training import freezing
from transfer.training.averaging import AveragedWeights, AverageStatistics, AverageWhileTesting, KeepTrained
from transfer.training.callbacks import BestWeights, KeepBest, OnWholeModel, Patience, Rows
from transfer.training.checkpoints import Checkpoint, Position
from transfer.training.counted_data import CountedDataset
from transfer.training.features import Features
from transfer.training.guard import raise_if_trainable_changed, trainable_layers
from transfer.training.history import Phase
from transfer.training.objective_interface import HasParts, Objective, SelfValidating
from transfer.training.optimization import Optimization
from transfer.training.phase_data import PhaseData
from transfer.training.plan import Plan, Stage
from transfer.training.progress import Progress
from transfer.training.saving import ResumeMetrics, SaveState
from transfer.training.solving import linear_heads, solve_heads, with_class_weights
from transfer.training.watching import MeasureItself, StopWhenDiverged

__all__ = ["Job"]

LARGE_BATCH = 4096  # images, to measure a head on their features


@dataclass(frozen=True)
class Job:
    """What all phases of a fine-tuning share.

    Attributes:
        model: The whole model.
        objective: What it is trained for.
        plan: The phases.
        optimization: The optimizer's settings.
        class_weight: How much an image counts by the number of its class, or None.
        seed: Decides the order of stored activations.
        callbacks: The user's callbacks.
        progress: The bar.
        data: The training data, counted.
        checkpoint: Where the state is kept, or None.
        best: The best weights so far.
        phases: The phases that are done.
        first_pass: How many passes through the training data had begun when this object was made.
    """

    model: keras.Model
    objective: Objective
    plan: Plan
    optimization: Optimization
    class_weight: dict[int, float] | None
    seed: int
    callbacks: Sequence[keras.callbacks.Callback]
    progress: Progress
    data: CountedDataset
    checkpoint: Checkpoint | None
    best: BestWeights
    phases: list[Phase]
    first_pass: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_pass", self.data.passes)

    def run(self, data: PhaseData, begin: Position | None) -> None:
        """Trains the next phase, and adds it to those that are done.

        Args:
            data: What it is trained on.
            begin: Where in the phase a training that was stopped goes on; None at the beginning of the phase.
        """
        stage = self.plan.stages[len(self.phases)]
        position = begin or Position()
        start = time.perf_counter() - position.seconds
        freezing.unfreeze(self.model, stage.unfreeze, batch_norms=self.plan.batch_norms == "trained")
        averages = self._compile(stage, data)
        if begin is not None:
            self._restore(data, begin)
        rows = Rows(
            stage.name,
            list(position.rows),
            first_epoch=self._epochs_before,
            columns=self.objective.columns,
            gaps=isinstance(self.objective, SelfValidating),
        )
        diverged = StopWhenDiverged(stage, position, self.data, self.best)
        keep = KeepTrained(averages)
        callbacks = [*self._callbacks(stage, data, position, rows, averages, diverged), keep]
        callbacks += self._saving(stage, data, position, rows, start)
        if data.model is not self.model:
            callbacks = [OnWholeModel(callbacks, self.model)]
        frozen = freezing.fingerprints(freezing.frozen_layers(self.model))
        trainable = trainable_layers(self.model)
        if stage.solved and not position.epoch:
            self._solve(data, callbacks)
        for first, end, batch in () if stage.solved else _stretches(position, stage):
            if not data.stored:
                self.data.skip_to(self._passes_before + first)
            diverged.data, steps = data.training(self.seed, first, batch)
            valid, valid_steps = data.validation()
            with self.data.explained():
                data.model.fit(
                    diverged.data,
                    validation_data=valid,
                    initial_epoch=first,
                    epochs=end,
                    steps_per_epoch=steps,
                    validation_steps=valid_steps,
                    class_weight=self.class_weight,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            if data.model.stop_training:
                break
            if end < stage.epochs:
                keep.put_back()
        averages.put()  # `fit` does so at its end, too, but where all was done before it was stopped there is no `fit`.
        freezing.raise_if_changed(self.model, frozen)
        raise_if_trainable_changed(self.model, trainable)
        self.phases.append(self._phase(stage, data, rows, time.perf_counter() - start))

    def _solve(self, data: PhaseData, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Solves the head, and tells callbacks about it as about an epoch without batches."""
        told = keras.callbacks.CallbackList(callbacks, model=data.model, epochs=1, steps=0, verbose=0)
        told.on_train_begin()
        told.on_epoch_begin(0)
        assert isinstance(data.train, Features)
        assert isinstance(self.objective, HasParts)
        heads = linear_heads(self.model, self.objective)
        assert not isinstance(heads, str)
        train = with_class_weights(data.train, self.class_weight)
        solve_heads(heads, train, self.objective, seed=self.seed)
        logs = _measured(data.model, train)
        if isinstance(data.valid, Features):
            logs |= {f"val_{name}": value for name, value in _measured(data.model, data.valid).items()}
        told.on_epoch_end(0, logs)
        told.on_train_end(logs)

    @property
    def _epochs_before(self) -> int:
        """How many epochs the phases had that are done."""
        return sum(len(phase.rows) for phase in self.phases)

    @property
    def _passes_before(self) -> int:
        """How many passes through the training data come before the first epoch of this phase.

        Each epoch has the pass of its own number, so that data know how far the training is, and so that a training
        that goes on sees what it would have seen. Where passes were needed before the first epoch that goes through the
        images, all passes are that much later.
        """
        stored = takewhile(lambda phase: phase.cached, self.phases)
        delay = max(0, self.first_pass - sum(len(phase.rows) for phase in stored))
        return self._epochs_before + delay

    def _compile(self, stage: Stage, data: PhaseData) -> AveragedWeights:
        # A compiled model goes on training what it trained when it was compiled, whatever `trainable` says since.
        steps = data.steps()
        if steps is None and self.optimization.needs_steps:
            raise ValueError(
                "a learning rate or an average that depends on the length of the phase needs the number of batches, "
                "which train.cardinality() does not know; tell it by tf.data.experimental.assert_cardinality"
            )
        total = (steps or 0) * stage.epochs
        optimizer = self.optimization.build(self.model, stage.learning_rate, steps=total)
        for model in {id(self.model): self.model, id(data.model): data.model}.values():
            model.compile(
                optimizer=optimizer,
                loss=self.objective.loss(),
                loss_weights=self.objective.loss_weights(),
                metrics=self.objective.metrics(),
                run_eagerly=stage.solved,  # What runs once is not worth a graph.
            )
        # Both are built here, because variables that are created in the first step make TensorFlow trace that step
        # twice, and because a state that is restored needs variables to go into.
        optimizer.build(data.model.trainable_variables)
        data.model._symbolic_build(data_batch=data.batch_spec())
        if self.callbacks and data.model is not self.model:
            # Keras' callbacks look among the metrics of the model that they are given, which has to know them.
            self.model._symbolic_build(data_batch=self.data.dataset.element_spec)
        return AveragedWeights(optimizer, data.model, momentum=self.optimization.average_momentum(total))

    def _restore(self, data: PhaseData, begin: Position) -> None:
        assert self.checkpoint is not None
        self.best.goodness = begin.goodness
        self.best.weights = self.checkpoint.restore(self.model, data.model.optimizer)

    def _callbacks(
        self,
        stage: Stage,
        data: PhaseData,
        position: Position,
        rows: Rows,
        averages: AveragedWeights,
        diverged: StopWhenDiverged,
    ) -> list[keras.callbacks.Callback]:
        callbacks = [diverged, AverageStatistics(averages), AverageWhileTesting(averages)]
        if isinstance(self.objective, SelfValidating):
            is_last = len(self.phases) == len(self.plan.stages) - 1
            last = self._epochs_before + stage.epochs if is_last else 0
            callbacks.append(MeasureItself(self.objective, averages, first_epoch=self._epochs_before, last=last))
        callbacks += [
            rows,
            KeepBest(self.best, self.objective, rows, averages),
            self.progress.callback("solved head" if stage.solved else stage.name),
        ]
        if position.batch:
            assert self.checkpoint is not None
            callbacks.append(ResumeMetrics(data.model, position.epoch, self.checkpoint.metrics()))
        callbacks += self.callbacks
        if self.plan.patience is not None:
            callbacks.append(Patience(self.objective, self.plan.patience, rows))
        return callbacks

    def _saving(
        self, stage: Stage, data: PhaseData, position: Position, rows: Rows, start: float
    ) -> list[keras.callbacks.Callback]:
        if self.checkpoint is None:
            return []
        save = SaveState(
            self.checkpoint,
            self.best,
            self.phases,
            epochs=stage.epochs,
            steps=data.steps() or 0,
            begin=position,
            rows=rows,
            metrics_of=data.model,
            start=start,
        )
        return [save]

    def _phase(self, stage: Stage, data: PhaseData, rows: Rows, seconds: float) -> Phase:
        trained = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        return Phase(
            name=stage.name,
            unfrozen=stage.unfreeze,
            learning_rate=stage.learning_rate,
            trained=trained,
            frozen=self.model.count_params() - trained,
            rows=tuple(rows.rows),
            seconds=seconds,
            cached=data.stored,
            solved=stage.solved,
        )


def _measured(top: keras.Model, features: Features) -> dict[str, float]:
    """Returns the loss and the metrics of the first view of some images."""
    whole = replace(features, batch_size=LARGE_BATCH)
    return top.evaluate(whole.batches(), return_dict=True, verbose=0)


def _stretches(begin: Position, stage: Stage) -> Iterator[tuple[int, int, int]]:
    """Yields the first epoch, the end, and the first batch of each call of `fit`.

    The rest of an epoch in the middle of which a training was stopped is a stretch of its own.
    """
    first = begin.epoch
    if begin.batch:
        yield first, first + 1, begin.batch
        first += 1
    if first < stage.epochs:
        yield first, stage.epochs, 0
