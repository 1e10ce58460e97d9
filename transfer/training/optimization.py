"""How weights are changed step by step: the optimizer, its learning rate over time and over the depth of the network.

All of it is Keras' own, put together: schedules, moving averages and accumulation are those of `keras.optimizers`, and
each level of the trunk gets an optimizer with a rate of its own in a `keras.optimizers.MultiOptimizer`. So what `build`
returns goes into a plain `compile`, and is saved and loaded with the model.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras

from transfer.training import freezing
from zoo.surgery.feature_maps import levels

__all__ = ["Optimization", "layer_rates", "learning_rate_of"]


@dataclass(frozen=True)
class Optimization:
    """The optimizer of each phase of a fine-tuning.

    Args:
        name: "adam", or "sgd" with momentum.
        schedule: "constant", or "cosine": the learning rate falls to 0 over the phase along half a cosine. Source:
            Loshchilov and Hutter 2017, "SGDR", equation 5.
        warm_up: share in [0, 1) of the phase's steps over which the rate first rises from 0. Source: Goyal et al. 2017,
            "Accurate, Large Minibatch SGD", section 2.2.
        layer_decay: in (0, 1]: a factor on the learning rate for each level of the trunk, counted from the head down;
            see `layer_rates`. 1 is one rate for all.
        ema: in [0, 1): momentum of a moving average of the weights, which is what is validated and kept; 0 is none.
            Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".
        accumulate: batches whose mean gradient makes one step, at least 1.
        weight_decay: share of the rate by which weights shrink in each step; decoupled from the gradient. Source:
            Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization".
        momentum: of "sgd".

    Raises:
        ValueError: a value out of its range.

    Example:

    >>> image = keras.Input((64, 96, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    >>> optimizer = Optimization(layer_decay=0.5, schedule="cosine").build(model, 0.1, steps=100)
    >>> model.compile(optimizer, "mse")
    >>> optimizer.build(model.trainable_variables)
    >>> sorted(float(each.learning_rate) for each in optimizer.optimizers)  # doctest: +ELLIPSIS
    [0.05..., 0.10...]
    """

    name: Literal["adam", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: float = 0.0
    layer_decay: float = 1.0
    ema: float = 0.0
    accumulate: int = 1
    weight_decay: float = 0.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.name not in ("adam", "sgd"):
            raise ValueError(f'the optimizer is "adam" or "sgd", got {self.name!r}')
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f'the schedule is "constant" or "cosine", got {self.schedule!r}')
        for name in ("warm_up", "ema", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is in [0, 1), got {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is a factor in (0, 1], got {self.layer_decay}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is a number of batches, at least 1; got {self.accumulate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is 0 or more, got {self.weight_decay}")

    def build(self, model: keras.Model, learning_rate: float, *, steps: int) -> keras.Optimizer:
        """A new optimizer for a model that is going to train for a number of steps.

        Args:
            model: a flat classifier.
            learning_rate: the highest, of the head.
            steps: batches in all, for the schedule.

        Raises:
            ValueError: `layer_decay` for a model without feature maps.
        """
        if self.layer_decay == 1:
            return self._optimizer(learning_rate, steps)
        groups: dict[float, list[str]] = {}
        for layer, factor in layer_rates(model, self.layer_decay).items():
            if model.get_layer(layer).trainable_weights:
                groups.setdefault(factor, []).append(layer)
        by_path = {
            f"({'|'.join(map(re.escape, names))})/.*": self._optimizer(factor * learning_rate, steps)
            for factor, names in groups.items()
            if factor != 1
        }
        head = self._optimizer(learning_rate, steps)
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(head, by_path))

    def _optimizer(self, learning_rate: float, steps: int) -> keras.Optimizer:
        common = {
            "learning_rate": self._over_time(learning_rate, steps),
            "weight_decay": self.weight_decay or None,
            "use_ema": self.ema > 0,
            "ema_momentum": self.ema or 0.99,
            "gradient_accumulation_steps": self.accumulate if self.accumulate > 1 else None,
        }
        if self.name == "sgd":
            return keras.optimizers.SGD(momentum=self.momentum, **common)
        return keras.optimizers.Adam(**common)

    def _over_time(self, rate: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
        if self.schedule == "constant" and not self.warm_up:
            return rate
        rising = round(self.warm_up * steps)
        # A cosine that falls to all of its height is a constant
        lowest = 0.0 if self.schedule == "cosine" else 1.0
        falling = max(1, steps - rising)
        if not rising:
            return keras.optimizers.schedules.CosineDecay(rate, falling, alpha=lowest)
        return keras.optimizers.schedules.CosineDecay(
            0.0, falling, alpha=lowest, warmup_target=rate, warmup_steps=rising
        )


def layer_rates(model: keras.Model, decay: float) -> dict[str, float]:
    """Factors on the learning rate, layer by layer: 1 for the head, and one `decay` more for each level of the trunk.

    What a trunk's lower levels know is the more general, so the less has to be changed. Source: Howard and Ruder 2018,
    "Universal Language Model Fine-tuning", section 3.2 (discriminative fine-tuning), here by level, not by layer.

    Args:
        model: a flat classifier.
        decay: in (0, 1].

    Returns:
        Layer name -> factor, for layers with weights.

    Raises:
        ValueError: a model without feature maps.

    Example:

    >>> from zoo import create_model
    >>> model = create_model("efficientnet_lite0", num_classes=5, input_shape=(64, 96, 3))
    >>> rates = layer_rates(model, 0.5)
    >>> [rates[name] for name in ("predictions", "block6a_dwconv", "block5a_dwconv", "stem_conv")]
    [1.0, 0.5, 0.25, 0.03125]
    """
    layers = freezing.trunk(model)
    ends = [layers.index(model.get_layer(name)) for name in levels(model).values() if model.get_layer(name) in layers]
    ends[-1] = len(layers) - 1
    factors = {layer.name: 1.0 for layer in model.layers}
    for index, layer in enumerate(layers):
        factors[layer.name] = decay ** sum(index <= end for end in ends)
    return {layer.name: factors[layer.name] for layer in model.layers if layer.weights}


def learning_rate_of(optimizer: keras.Optimizer) -> float:
    """The rate now; of several optimizers, the highest."""
    each: Sequence[keras.Optimizer] = getattr(optimizer, "optimizers", [optimizer])
    return max(float(keras.ops.convert_to_numpy(one.learning_rate)) for one in each)


def as_arguments(settings: Mapping[str, object]) -> "Optimization":
    """From the names and values in a configuration.

    >>> as_arguments({"name": "sgd", "momentum": 0.8}).momentum
    0.8
    """
    return Optimization(**settings)  # type: ignore[arg-type]
