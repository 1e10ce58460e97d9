"""Layers with weights, state or randomness that Keras does not have.

They use `keras.ops`, so they run on any backend, and can be saved, exported and used under mixed precision.
"""

from typing import Any

import keras

__all__ = ["DropPath"]


@keras.saving.register_keras_serializable(package="zoo")
class DropPath(keras.layers.Layer):
    """Drops whole samples of a residual branch at random while training (stochastic depth).

    What is kept is divided by the probability of keeping it, so that the expected output is the input. In
    inference it is the identity.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3; scaled in training (as dropout
    is) where the paper scales in inference, equation 5.

    Args:
        rate: probability of dropping a sample's branch, in [0, 1).
        seed: of the random draws.

    Input shape: `[n, ...]`, any rank; one draw per sample. Output shape and dtype are the input's.

    Raises:
        ValueError: the rate is outside [0, 1).

    Example:

    >>> import numpy as np
    >>> layer = DropPath(0.5, seed=1)
    >>> kept = layer(np.ones((1000, 2, 3, 1), "float32"), training=True)
    >>> sorted({float(value) for value in np.unique(kept)})
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, seed: int | None = None, **base: Any):
        super().__init__(**base)
        if not 0 <= rate < 1:
            raise ValueError(f"DropPath needs a rate in [0, 1), got {rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        one_per_sample = (keras.ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        draw = keras.random.uniform(one_per_sample, seed=self.seed_generator)
        return inputs * keras.ops.cast(draw < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
