"""Finding a learning rate: the loss is watched while the rate rises, step by step, from far too small to far too large.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3 (the range test).
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from transfer.training.objective_interface import Objective
from transfer.training.objectives import ONE_LABEL
from transfer.training.optimization import ADAM, Optimization

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["RateCurve", "lr_find"]

DIVERGED = 4.0  # times the lowest loss: from there on nothing can be learned
SMOOTHING = 0.9  # the momentum of the mean that the curve shows


@dataclass(frozen=True)
class RateCurve:
    """The loss over the learning rate, from a range test.

    Attributes:
        rates: The learning rates, from the lowest to the highest.
        losses: The smoothed loss at each rate.
        suggestion: A tenth of the rate of the lowest loss: the loss falls steeply there, and far from diverges.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def plot(self) -> "matplotlib.figure.Figure":
        """Draws the loss over the rate, with the suggested rate."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(self.rates, self.losses)
        axes.axvline(self.suggestion, linestyle="--", color="gray")
        axes.annotate(f"{self.suggestion:.1e}", (self.suggestion, axes.get_ylim()[1]), ha="center", va="bottom")
        axes.set(xlabel="learning rate", ylabel="loss, smoothed")
        return figure


def lr_find(
    model: keras.Model,
    train: tf.data.Dataset,
    *,
    objective: Objective = ONE_LABEL,
    optimization: Optimization = ADAM,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
) -> RateCurve:
    """Trains at a rate that rises in each step by the same factor until the loss diverges, and then undoes it all.

    What is frozen now stays frozen: to find the rate of the head, call `transfer.freeze(model)` before. The model ends
    with the weights and random states that it had, and has to be compiled again.

    Args:
        model: A flat model, such as `transfer.classifier` makes, or a detector.
        train: Batches of images and labels; they are gone through again when they end.
        objective: What the model is trained for. Defaults to a single label.
        optimization: The optimizer of the training to come; its schedule and its averaged weights are left out.
        lowest: The lowest learning rate. Defaults to 1e-6.
        highest: The highest learning rate. Defaults to 1.
        steps: Maximum number of steps. Defaults to 100.

    Returns:
        The curve, and the rate that it suggests.

    Raises:
        ValueError: The range is empty, there are too few steps, or the loss is NaN from the first step on.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=2)(image))
    >>> model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    >>> data = tf.data.Dataset.from_tensor_slices((tf.zeros((4, 8, 12, 3)), [0, 1, 0, 1])).batch(2)
    >>> curve = lr_find(model, data, steps=10)
    >>> curve.rates[0].item(), len(curve.losses) <= 10
    (1e-06, True)
    """
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"expected rates 0 < lowest < highest, got {lowest} and {highest}")
    if steps < 10:
        raise ValueError(f"a curve takes at least 10 steps, got {steps}")
    variables = [*model.weights, *model.non_trainable_variables]
    before = [(variable, keras.ops.convert_to_numpy(variable)) for variable in variables]
    plain = replace(optimization, schedule="constant", warm_up=0.0, layer_decay=1.0, ema=0.0, accumulate=1)
    optimizer = plain.build(model, lowest, steps=steps)
    model.compile(optimizer, objective.loss(), loss_weights=objective.loss_weights())
    rates = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    mean = 0.0
    try:
        for number, (rate, batch) in enumerate(zip(rates, _for_ever(train), strict=False)):
            optimizer.learning_rate = rate
            loss = float(np.ravel(model.train_on_batch(*batch))[0])
            model.reset_metrics()
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed = mean / (1 - SMOOTHING ** (number + 1))
            if not math.isfinite(smoothed) or (losses and smoothed > DIVERGED * min(losses)):
                break
            losses.append(smoothed)
    finally:
        for variable, value in before:
            variable.assign(value)
    if not losses:
        raise ValueError(f"the loss is not a number at the lowest rate, {lowest:g}; look for NaN in images and weights")
    tried = rates[: len(losses)]
    settled = min(steps // 10, len(losses) - 1)  # Before that, the mean is over a few batches only.
    best = settled + int(np.argmin(losses[settled:]))
    return RateCurve(tried, np.array(losses), float(max(lowest, tried[best] / 10)))


def _for_ever(data: tf.data.Dataset):
    return itertools.chain.from_iterable(itertools.repeat(data))
