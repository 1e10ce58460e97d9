"""What a phase is trained on: the whole model on images, or its top on stored activations."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from transfer.training import freezing
from transfer.training.division import CacheNotUsed, Division, between, divide
from transfer.training.extraction import extract, through
from transfer.training.feature_cache import VIEWS, VIEWS_OF_HEAD, FeatureCache
from transfer.training.features import Features
from transfer.training.objective_interface import Objective
from transfer.training.plan import Plan, Stage

__all__ = ["PhaseData", "stored_phases"]


@dataclass(frozen=True)
class PhaseData:
    """The model that a phase fits, and the data that it is fitted on.

    Attributes:
        model: The whole model, or its part above what is frozen.
        train: Images and labels, or stored activations.
        valid: The same for validation; None where the objective measures the model itself.
    """

    model: keras.Model
    train: tf.data.Dataset | Features
    valid: tf.data.Dataset | Features | None

    @property
    def stored(self) -> bool:
        """Whether these are stored activations."""
        return isinstance(self.train, Features)

    def training(self, seed: int, epoch: int, batch: int) -> tuple[Any, int | None]:
        """Returns what `fit` takes from a batch of an epoch on, and its `steps_per_epoch`."""
        if isinstance(self.train, Features):
            return self.train.batches(seed=seed, epoch=epoch, batch=batch), None
        return (self.train.skip(batch), None) if batch else _repeated(self.train)

    def validation(self) -> tuple[Any, int | None]:
        """Returns what `fit` takes as `validation_data`, and its `validation_steps`."""
        if isinstance(self.valid, tf.data.Dataset):
            return _repeated(self.valid)
        return self.valid.batches() if self.valid is not None else None, None

    def batch_spec(self) -> tuple[Any, Any]:
        """Returns a batch of training data, or something of its structure, shapes and types."""
        return self.train.batches()[0] if isinstance(self.train, Features) else self.train.element_spec

    def check(self, model: keras.Model, objective: Objective) -> None:
        """Raises a `ValueError` where a stored label is none that the objective knows."""
        for features, name in ((self.train, "train"), (self.valid, "valid")):
            if isinstance(features, Features):
                flat = keras.tree.map_structure(lambda array: array.reshape(-1, *array.shape[2:]), features.labels)
                objective.check_values(flat, model, name)

    def steps(self) -> int | None:
        """Returns the number of batches in an epoch; None if that is not known."""
        number = len(self.train.batches()) if isinstance(self.train, Features) else int(self.train.cardinality())
        return number if number >= 0 else None


def _repeated(dataset: tf.data.Dataset) -> tuple[tf.data.Dataset, int | None]:
    """Returns a data set that does not end, and the number of its batches in an epoch, if that is known.

    TensorFlow takes up to two seconds to begin to go through a data set of a large graph, and Keras begins twice in
    each epoch. This one it begins once. Nothing is fetched ahead behind the end of an epoch: the next pass would have
    begun, and where a training stands includes the number of the pass.
    """
    steps = int(dataset.cardinality())
    if steps < 1:
        return dataset, None
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return dataset.repeat().with_options(options), steps


def stored_phases(
    model: keras.Model,
    plan: Plan,
    train: tf.data.Dataset,
    valid: tf.data.Dataset | None,
    cache: FeatureCache | bool,
    *,
    objective: Objective,
    tell: Callable[[float], None],
) -> tuple[dict[int, PhaseData], str]:
    """Computes what frozen layers give, for each phase in which something is frozen.

    Args:
        model: The model, in place of which only its top then trains.
        plan: The phases.
        train: Batches of images and labels.
        valid: The same for validation, or None.
        cache: Whether and how activations are stored.
        objective: What is trained for; it may need new views in each epoch.
        tell: A function that is called with the share in 0..1 that is done.

    Returns:
        The top of the model and its data, by the number of the phase; or none of that, and the reason why.
    """
    head_alone = {0} if plan.solves_head else set()
    reason = "it was not asked for"
    if cache is not False:
        try:
            return _stored(model, plan, train, valid, FeatureCache() if cache is True else cache, objective, tell), ""
        except CacheNotUsed as error:
            reason = str(error)
    if not head_alone:
        return {}, reason
    # A head that is solved needs the features once, which take little room.
    views = cache.views if isinstance(cache, FeatureCache) else None
    only = FeatureCache(views=views)
    try:
        return _stored(model, plan, train, valid, only, objective, tell, only=head_alone), reason
    except CacheNotUsed as error:
        return {}, str(error)


def _stored(
    model: keras.Model,
    plan: Plan,
    train: tf.data.Dataset,
    valid: tf.data.Dataset | None,
    cache: FeatureCache,
    objective: Objective,
    tell: Callable[[float], None],
    only: Collection[int] | None = None,
) -> dict[int, PhaseData]:
    """Stores what frozen layers give for all phases, or for some only.

    Raises:
        CacheNotUsed: That cannot be.
    """
    divisions = _divisions(model, plan, cache, objective, range(len(plan.stages)) if only is None else only)
    # What is frozen in all phases runs on the images; what is frozen in one only, on what comes out there.
    lowest = min(divisions.values(), key=lambda division: len(division.trunk.operations))
    # A solved head makes use of all views at once.
    stages = [plan.stages[number] for number in divisions]
    epochs = sum(VIEWS_OF_HEAD if stage.solved else stage.epochs for stage in stages)
    # Where a phase goes through the images itself, how often they were gone through before decides what it sees.
    folder = cache.folder if len(divisions) == len(plan.stages) else None
    views = cache.views or (VIEWS_OF_HEAD if all(stage.unfreeze == "none" for stage in stages) else VIEWS)
    cache = replace(cache, views=min(views, epochs), folder=folder)
    images = extract(lowest, model, train, valid, cache, tell=tell)
    room = cache.limit - sum(features.nbytes for features in images if features is not None)
    phases = {}
    for number, division in divisions.items():
        phases[number] = data = _carried(lowest, division, *images, math.inf if plan.stages[number].solved else room)
        if data.train is not images[0]:
            room -= data.train.nbytes + (0 if data.valid is None else data.valid.nbytes)
    return phases


def _divisions(
    model: keras.Model, plan: Plan, cache: FeatureCache, objective: Objective, numbers: Collection[int]
) -> dict[int, Division]:
    """Divides the model as it is frozen in each of some phases, for those whose activations are to be stored."""
    new_views = cache.views is None and getattr(objective, "needs_new_views", False)
    divisions = {}
    for number in numbers:
        stage = plan.stages[number]
        if new_views and stage.unfreeze != "none":
            continue
        if (division := _division(model, plan, stage)) is not None:
            divisions[number] = division
    if not divisions:
        raise CacheNotUsed(
            "its images have to be new ones in each epoch, unless the head alone is trained"
            if new_views
            else "nothing is frozen"
        )
    return divisions


def _division(model: keras.Model, plan: Plan, stage: Stage) -> Division | None:
    freezing.unfreeze(model, stage.unfreeze, batch_norms=plan.batch_norms == "trained")
    return divide(model)


def _carried(lowest: Division, division: Division, train: Features, valid: Features | None, room: float) -> PhaseData:
    """Carries activations on to where a phase's frozen part ends, if there is room for what comes out there."""
    rest = between(lowest, division)
    if rest is None:
        return PhaseData(division.top, train, valid)
    an_image = sum(4 * math.prod(tensor.shape[1:]) for tensor in rest.outputs)
    number = sum(features.passes * features.images for features in (train, valid) if features is not None)
    if an_image * number > room:
        return PhaseData(lowest.top, train, valid)
    return PhaseData(division.top, through(rest, train), None if valid is None else through(rest, valid))
