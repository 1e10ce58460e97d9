"""Fine-tuning in phases: first the new head on the frozen trunk, then the trunk's top with it, in one step or several.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?"; the two phases are the usual
practice, for the gradients of a random head would spoil what the trunk knows. Several steps, from the top down: Howard
and Ruder 2018, "Universal Language Model Fine-tuning", section 3.3 (gradual unfreezing).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer.keras_settings import check_keras_settings
from transfer.models.normalisation import values_of
from transfer.training import freezing
from transfer.training.batch_norms import re_estimate_batch_norms
from transfer.training.binary_label import fitting_objective
from transfer.training.callbacks import BestWeights
from transfer.training.checkpoints import Checkpoint
from transfer.training.class_weights import ClassWeight, numbered_weights
from transfer.training.counted_data import CountedDataset
from transfer.training.datasets import as_dataset
from transfer.training.feature_cache import FeatureCache
from transfer.training.guard import TrainingDiverged
from transfer.training.history import History, Phase
from transfer.training.job import Job
from transfer.training.normalised_images import warn_if_normalised
from transfer.training.objective_interface import ChecksOutputs, Objective, SelfValidating
from transfer.training.objectives import ONE_LABEL, SingleLabel
from transfer.training.optimization import ADAM, Optimization
from transfer.training.phase_data import PhaseData, stored_phases
from transfer.training.plan import Plan
from transfer.training.progress import Progress
from transfer.training.solving import linear_heads
from zoo.surgery.flattening import flat

__all__ = ["History", "Phase", "Plan", "TrainingDiverged", "fine_tune"]

TWO_PHASES = Plan()
LOOKED_AT = 4  # images, whose outputs are checked


def fine_tune(
    model: keras.Model,
    train: Any,
    valid: Any,
    *,
    objective: Objective = ONE_LABEL,
    plan: Plan = TWO_PHASES,
    optimization: Optimization = ADAM,
    class_weight: ClassWeight | None = None,
    seed: int = 0,
    cache: FeatureCache | bool = True,
    checkpoint: str | Path | Checkpoint | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> History:
    """Trains a model in place, phase by phase: its head alone, then its head and the top of its trunk.

    The model ends with the weights of the best epoch of all phases, as the objective judges it. After each phase all
    frozen weights, batch norms' statistics among them, are compared with what they were before it.

    Args:
        model: A model such as `transfer.classifier` makes, or a detector. Of sequential models, models with models
            inside, and subclasses, a flat model of the same layers is trained (see `zoo.surgery.flattening.flat`); it
            is also what callbacks see.
        train: A finite number of batches of (images `[b, height, width, 3]` in 0..255, labels), or of (images, labels,
            weights of the images), as a `tf.data.Dataset`; or arrays, a `PyDataset` and so on, as
            `transfer.training.datasets.as_dataset` takes them. The labels are as the objective wants them: class
            numbers, int `[b]`, for a single label.
        valid: The same for validation; None where the objective measures the model itself.
        objective: What the model is trained for; see `transfer.training.objectives`. Defaults to a single label.
        plan: The phases: what trains in each of them, how long, and how fast; and what becomes of the batch norms.
        optimization: The optimizer, and its learning rate over time and depth. Defaults to Adam at a constant rate.
        class_weight: How much an image counts by its class, for a single label: the weights by the number of the class,
            or by its name where the objective or `train.class_names` has the names; or one weight for each class, as
            `pipelines.class_weights` computes them.
        seed: Seed of the model's own randomness, such as dropout. The order and the augmentation of images are decided
            by the data sets.
        cache: Whether and how activations of the frozen layers are stored, so that these run once for each image and
            augmented view, not once in each epoch; see `FeatureCache`. Where that cannot be, all layers run in each
            epoch, and the history says why.
        checkpoint: A file in which the state is kept after each epoch, or a `Checkpoint` that keeps it more often or
            less often. If the file is there already, the training goes on from it, to the very weights that it would
            have come to without a stop (on the same machine, with data of `pipelines.batches`; what your own callbacks
            remember is not kept). Delete the file to begin anew.
        callbacks: Keras callbacks for all phases. Their `model` is the whole one.
        progress: Whether to show a bar with the time left, on stderr or in a notebook.

    Returns:
        What happened, epoch by epoch.

    Raises:
        ValueError: The arguments, the data sets or the checkpoint do not fit the model, or the model's outputs are not
            what the loss takes, such as logits.
        FrozenWeightsChanged: A weight that was frozen is not what it was.
        TrainableChanged: A callback changed what is to train, without compiling.
        TrainingDiverged: The loss became NaN or infinite. The model then has the best weights so far, or those that it
            began with; the message says where the batch was written.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    >>> data = tf.data.Dataset.from_tensor_slices((tf.zeros((4, 8, 12, 3)), [0, 1, 0, 1])).batch(2)
    >>> history = fine_tune(model, data, data, plan=Plan(head_epochs=1, epochs=0), progress=False)
    >>> [(row["phase"], row["epoch"]) for row in history.rows]
    [('head', 1)]
    """
    check_keras_settings()
    _check_arguments(objective, plan)
    model = flat(model)
    objective = fitting_objective(objective, model)
    train = as_dataset(train, "train", shuffle=True, seed=seed)
    valid = None if valid is None else as_dataset(valid, "valid")
    weights = None if class_weight is None else _class_weights(class_weight, model, train, objective)
    _check_data(model, train, "train", objective)
    _check_validation(model, valid, objective)
    for stage in plan.stages:  # A part that the model does not have is refused before any training.
        freezing.unfreeze(model, stage.unfreeze, batch_norms=plan.batch_norms == "trained")
    plan = _with_head(plan, model, objective, optimization)
    counted = CountedDataset(train, lambda labels: objective.check_values(labels, model, "train"))
    if plan.batch_norms == "re-estimated":
        _reseed(model, seed)
        re_estimate_batch_norms(model, counted.dataset)
    _reseed(model, seed)
    state = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    position = None if state is None else state.position()
    phases = [] if position is None else [Phase(**{**phase, "rows": tuple(phase["rows"])}) for phase in position.phases]
    with Progress(plan.total_epochs, enabled=progress) as bar:
        start = time.perf_counter()
        with counted.explained():
            stored, not_cached = stored_phases(
                model, plan, counted.dataset, valid, cache, objective=objective, tell=bar.extraction
            )
        if plan.solves_head and 0 not in stored:
            raise ValueError(f"the head cannot be solved: {not_cached}; train it with head='trained' (--head trained)")
        for data in stored.values():
            data.check(model, objective)
        extraction_seconds = time.perf_counter() - start
        bar.done = sum(len(phase.rows) for phase in phases) + (0 if position is None else position.epoch)
        best = BestWeights(model)
        job = Job(model, objective, plan, optimization, weights, seed, callbacks, bar, counted, state, best, phases)
        for number in range(len(phases), len(plan.stages)):
            data = stored.get(number) or PhaseData(model, counted.dataset, valid)
            job.run(data, position)
            position = None
    best.restore(model)
    return History(tuple(phases), extraction_seconds, not_cached, objective)


def _with_head(plan: Plan, model: keras.Model, objective: Objective, optimization: Optimization) -> Plan:
    """Returns the plan with the decision whether the head is solved.

    Raises:
        ValueError: It is to be solved, and that is impossible.
    """
    if plan.head == "trained" or not plan.head_epochs:
        return replace(plan, head="trained")
    reason = "" if plan.head == "solved" else _own_training(plan, optimization)
    if not reason:
        freezing.freeze(model)
        heads = linear_heads(model, objective)
        reason = heads if isinstance(heads, str) else ""
    if reason and plan.head == "solved":
        raise ValueError(f"the head cannot be solved: {reason}; train it with head='trained' (--head trained)")
    return replace(plan, head="trained" if reason else "solved")


def _own_training(plan: Plan, optimization: Optimization) -> str:
    """Returns what was asked for that is about training the head; "" where nothing was."""
    if optimization.name != ADAM.name:
        return f"the optimizer {optimization.name} was asked for"
    if plan.head_learning_rate != TWO_PHASES.head_learning_rate:
        return "a learning rate of the head was asked for"
    return ""


def _class_weights(
    weights: ClassWeight, model: keras.Model, train: tf.data.Dataset, objective: Objective
) -> dict[int, float]:
    if not isinstance(objective, SingleLabel):
        raise ValueError(
            f"class_weight is for a single label for each image, and the objective is {type(objective).__name__}; "
            "weigh its loss, or balance the data"
        )
    if len(train.element_spec) == 3:
        raise ValueError("train has weights of its images, and there is class_weight, too; give one of the two")
    names = objective.class_names or getattr(train, "class_names", ())  # Keras' own data sets have names, too.
    return numbered_weights(weights, max(2, model.outputs[0].shape[-1]), names)


def _check_arguments(objective: Objective, plan: Plan) -> None:
    if plan.patience is not None and isinstance(objective, SelfValidating):
        raise ValueError(
            f"patience ends a phase that gets no better in validation, and {type(objective).__name__} does not measure "
            "each epoch; leave patience out, and give fewer epochs"
        )


def _check_validation(model: keras.Model, valid: tf.data.Dataset | None, objective: Objective) -> None:
    """Checks that there are validation data where they are needed, and looks at some of them and at the answers."""
    name = type(objective).__name__
    if isinstance(objective, SelfValidating):
        if valid is not None:
            raise ValueError(f"{name} measures the model on images of its own, so expected valid=None; got {valid}")
        return
    if valid is None:
        raise ValueError(f"expected validation data, since {name} does not measure the model itself; got valid=None")
    _check_data(model, valid, "valid", objective)
    images, labels, *_ = next(iter(valid))
    objective.check_values(labels, model, "valid")
    if isinstance(objective, ChecksOutputs):
        outputs = model(images[:LOOKED_AT], training=False)
        objective.check_outputs(keras.tree.map_structure(keras.ops.convert_to_numpy, outputs), model.name)
    warn_if_normalised(images, name="valid", values=values_of(model))


def _check_data(model: keras.Model, dataset: tf.data.Dataset, name: str, objective: Objective) -> None:
    images = model.inputs[0].shape
    expected = f"batches of (float32 {[*images]}, labels), as pipelines.batches makes them"
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) in (2, 3) and isinstance(spec[0], tf.TensorSpec)):
        raise ValueError(f"{name} has to be {expected}; got {spec}")
    if dataset.cardinality() in (0, tf.data.INFINITE_CARDINALITY):
        raise ValueError(f"{name} has to be a finite number of {expected}; it is empty, or repeats for ever")
    if not tf.TensorShape(images).is_compatible_with(spec[0].shape):
        raise ValueError(f"{name} has to be {expected}; got images {spec[0].shape}")
    if len(spec) == 3 and not (isinstance(spec[2], tf.TensorSpec) and spec[2].shape.rank == 1):
        raise ValueError(f"the weights of {name} have to be one number for each image, [n]; got {spec[2]}")
    objective.check_labels(spec[1], model, name)


def _reseed(model: keras.Model, seed: int) -> None:
    """Sets every random generator inside the model: fine-tuning does not depend on what was drawn before."""
    generators = [weight for weight in model.non_trainable_variables if weight.path.endswith("seed_generator_state")]
    for index, state in enumerate(generators):
        state.assign(np.array([seed + index, 0]))
