"""How weights are changed step by step: the optimizer, its learning rate over time and over the depth of the network.

All of it is Keras' own, put together: schedules, moving averages and accumulation are those of `keras.optimizers`, and
each level of the trunk gets an optimizer with a rate of its own in a `keras.optimizers.MultiOptimizer`. So what `build`
returns goes into a plain `compile`, and is saved and loaded with the model.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import keras

from transfer.training import freezing

__all__ = ["ADAM", "Optimization", "layer_rates", "learning_rate_of"]

# What weight decay leaves alone: biases, and what batch norms learn.
NOT_DECAYED = ("bias", "gamma", "beta")
HIGHEST_MOMENTUM = 0.9999  # of averaged weights, where it is chosen from the number of steps


@dataclass(frozen=True)
class Optimization:
    """The optimizer of each phase of a fine-tuning.

    Args:
        name: "adam", the default, or "sgd" with momentum.
        schedule: "constant", the default; or "cosine", with which the learning rate falls to 0 over the phase along
            half a cosine. Source: Loshchilov and Hutter 2017, "SGDR", equation 5.
        warm_up: Share in [0, 1) of the phase's steps over which the rate first rises from 0. Defaults to 0. Source:
            Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2.
        layer_decay: Factor in (0, 1] on the learning rate for each level of the trunk, counted from the head down; see
            `layer_rates`. Defaults to 1, which is one rate for all.
        ema: Momentum in [0, 1) of a moving average of the weights, which is what is then validated and kept. Defaults
            to 0, which averages nothing. None chooses it from the number of steps in the phase, so that the average is
            over about a tenth of them. Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by
            Averaging".
        accumulate: Number of batches whose mean gradient makes one step, at least 1. Defaults to 1.
        weight_decay: Share of the learning rate by which weights shrink in each step, decoupled from the gradient.
            Biases, and what batch norms learn, do not shrink. Defaults to 0. Source: Loshchilov and Hutter 2019,
            "Decoupled Weight Decay Regularization".
        momentum: Momentum of "sgd", in [0, 1). Defaults to 0.9.
        clip_norm: The largest norm that the gradient of a weight may have; a longer gradient is scaled down to it.
            Defaults to None, which leaves gradients as they are.

    Raises:
        ValueError: A value is out of its range.

    Example:

    >>> image = keras.Input((64, 96, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    >>> optimizer = Optimization(layer_decay=0.5, schedule="cosine").build(model, 0.1, steps=100)
    >>> model.compile(optimizer, "mse")
    >>> optimizer.build(model.trainable_variables)
    >>> sorted(float(inner.learning_rate) for inner in optimizer.optimizers)  # doctest: +ELLIPSIS
    [0.05..., 0.10...]
    """

    name: Literal["adam", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: float = 0.0
    layer_decay: float = 1.0
    ema: float | None = 0.0
    accumulate: int = 1
    weight_decay: float = 0.0
    momentum: float = 0.9
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in ("adam", "sgd"):
            raise ValueError(f'the optimizer is "adam" or "sgd", got {self.name!r}')
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f'the schedule is "constant" or "cosine", got {self.schedule!r}')
        for name in ("warm_up", "ema", "momentum"):
            value = getattr(self, name)
            if not (name == "ema" and value is None) and not 0 <= value < 1:
                raise ValueError(f"{name} is in [0, 1), got {value}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is a factor in (0, 1], got {self.layer_decay}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is a number of batches, at least 1; got {self.accumulate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is 0 or more, got {self.weight_decay}")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm is a positive number, or None; got {self.clip_norm}")

    @property
    def needs_steps(self) -> bool:
        """Whether the number of steps in a phase decides something."""
        return self.schedule != "constant" or self.warm_up > 0 or self.ema is None

    def average_momentum(self, steps: int) -> float:
        """Returns the momentum of the averaged weights in a phase of so many steps; 0 where nothing is averaged.

        >>> Optimization(ema=None).average_momentum(1000), Optimization(ema=None).average_momentum(5)
        (0.99, 0.0)
        """
        if self.ema is None:
            return min(max(0.0, 1 - 10 / max(1, steps)), HIGHEST_MOMENTUM)
        return self.ema

    def build(self, model: keras.Model, learning_rate: float, *, steps: int) -> keras.Optimizer:
        """Makes a new optimizer for a model that is going to train for a number of steps.

        Args:
            model: A flat classifier, or a detector.
            learning_rate: The highest learning rate, which is that of the head.
            steps: Number of batches in all, for the schedule and the average.

        Raises:
            ValueError: `layer_decay` is below 1, and the model has no feature maps.
        """
        if self.layer_decay == 1:
            return self._optimizer(learning_rate, steps)
        groups: dict[float, list[str]] = {}
        for layer, factor in layer_rates(model, self.layer_decay).items():
            if model.get_layer(layer).trainable_weights:
                own = (variable.path for variable in model.get_layer(layer).trainable_weights)
                groups.setdefault(factor, []).extend(own)
        by_path = {
            f"({'|'.join(map(re.escape, paths))})$": self._optimizer(factor * learning_rate, steps)
            for factor, paths in groups.items()
            if factor != 1
        }
        head = self._optimizer(learning_rate, steps)
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(head, by_path))

    def _optimizer(self, learning_rate: float, steps: int) -> keras.Optimizer:
        average = self.average_momentum(steps)
        common = {
            "learning_rate": self._over_time(learning_rate, steps),
            "weight_decay": self.weight_decay or None,
            "clipnorm": self.clip_norm,
            "use_ema": average > 0,
            "ema_momentum": average or 0.99,
            "gradient_accumulation_steps": self.accumulate if self.accumulate > 1 else None,
        }
        if self.name == "sgd":
            optimizer = keras.optimizers.SGD(momentum=self.momentum, **common)
        else:
            optimizer = keras.optimizers.Adam(**common)
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
        return optimizer

    def _over_time(self, rate: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
        if self.schedule == "constant" and not self.warm_up:
            return rate
        rising = round(self.warm_up * steps)
        # A cosine that falls to all of its height is a constant.
        lowest = 0.0 if self.schedule == "cosine" else 1.0
        falling = max(1, steps - rising)
        if not rising:
            return keras.optimizers.schedules.CosineDecay(rate, falling, alpha=lowest)
        return keras.optimizers.schedules.CosineDecay(
            0.0, falling, alpha=lowest, warmup_target=rate, warmup_steps=rising
        )


ADAM = Optimization()  # What a training uses unless something else is given.


def layer_rates(model: keras.Model, decay: float) -> dict[str, float]:
    """Computes factors on the learning rate, layer by layer: 1 for the head, and `decay` for each level below it.

    What a trunk's lower levels know is the more general, so the less of it has to change. Source: Howard and Ruder
    2018, "Universal Language Model Fine-tuning", section 3.2 (discriminative fine-tuning), here by level, not by layer.

    Args:
        model: A flat classifier, or a detector.
        decay: Factor in (0, 1] for each level.

    Returns:
        Layer name -> factor, for layers with weights.

    Raises:
        ValueError: The model has no feature maps.

    Example:

    >>> from zoo import create_model
    >>> model = create_model("efficientnet_lite0", num_classes=5, input_shape=(64, 96, 3))
    >>> rates = layer_rates(model, 0.5)
    >>> [rates[name] for name in ("predictions", "block6a_dwconv", "block5a_dwconv", "stem_conv")]
    [1.0, 0.5, 0.25, 0.03125]
    """
    layers = freezing.trunk(model)
    names = [layer.name for layer in layers]
    ends = [names.index(name) for name in freezing.trunk_levels(model).values() if name in names]
    ends[-1] = len(layers) - 1
    factors = {layer.name: 1.0 for layer in model.layers}
    for index, name in enumerate(names):
        factors[name] = decay ** sum(index <= end for end in ends)
    return {layer.name: factors[layer.name] for layer in model.layers if layer.weights}


def learning_rate_of(optimizer: keras.Optimizer) -> float:
    """Returns the learning rate at this moment; of several optimizers, the highest one."""
    optimizers: Sequence[keras.Optimizer] = getattr(optimizer, "optimizers", [optimizer])
    return max(float(keras.ops.convert_to_numpy(inner.learning_rate)) for inner in optimizers)
