"""Which learning rate to take: the loss while the rate rises, step by step, from far too small to far too large.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3 (the range test).
"""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from transfer.training.objectives import SingleLabel, Task
from transfer.training.optimization import Optimization

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["RateCurve", "lr_find"]

ONE_LABEL = SingleLabel()
ADAM = Optimization()
DIVERGED = 4.0  # times the lowest loss: from there on nothing is to be learnt
SMOOTHING = 0.9


@dataclass(frozen=True)
class RateCurve:
    """What a range test found.

    Attributes:
        rates: learning rates, rising.
        losses: smoothed, one for each.
        suggestion: a tenth of the rate of the lowest loss: steep descent, and well off the edge.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float

    def plot(self) -> "matplotlib.figure.Figure":
        """Draws the loss over the rate, with the suggestion."""
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
    task: Task = ONE_LABEL,
    optimization: Optimization = ADAM,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
) -> RateCurve:
    """Trains for some steps at a rate that rises by the same factor each, until the loss leaves; then puts all back.

    What is frozen now stays so: `transfer.freeze(model)` before asks for the head's rate. The model ends with the
    weights and random states that it had, and has to be compiled again.

    Args:
        model: flat, such as `transfer.classifier` makes.
        train: batches of images and labels; gone through again when they end.
        task: what is to be told.
        optimization: of the training to come; its schedule and its moving average have no part in this.
        lowest, highest: the range of rates.
        steps: at most.

    Returns:
        The curve, and the rate that it suggests.

    Raises:
        ValueError: an empty range, too few steps, or a loss that is NaN from the first step on.

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
    plain = Optimization(optimization.name, momentum=optimization.momentum, weight_decay=optimization.weight_decay)
    optimizer = plain.build(model, lowest, steps=steps)
    model.compile(optimizer, task.loss(), loss_weights=task.loss_weights())
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
    settled = min(steps // 10, len(losses) - 1)  # before, the mean is that of a few batches
    best = settled + int(np.argmin(losses[settled:]))
    return RateCurve(tried, np.array(losses), float(max(lowest, tried[best] / 10)))


def _for_ever(data: tf.data.Dataset):
    return itertools.chain.from_iterable(itertools.repeat(data))
