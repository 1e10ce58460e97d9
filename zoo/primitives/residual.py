"""Layers for the branches of residual units: dropping them at random, and scaling them."""

from typing import Any

import keras

__all__ = ["DropPath", "LayerScale", "ScaledAdd"]


@keras.saving.register_keras_serializable(package="zoo")
class DropPath(keras.layers.Layer):
    """A layer that sets whole samples of a residual branch to zero at random in training (stochastic depth).

    The other samples are divided by the probability of keeping a sample, so that the expected output is the input. In
    inference, and while the layer is frozen (`trainable=False`), the output is the input: a frozen network is a
    constant function.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3. The paper scales in inference
    (equation 5); this layer scales in training, as dropout does.

    Args:
        rate: Probability of dropping the branch of a sample, in [0, 1).
        seed: Seed of the random draws. None draws differently in each process. Defaults to None.

    Input shape:
        `[n, ...]` of any rank. There is one draw per sample.

    Output shape:
        The shape and the dtype of the input.

    Raises:
        ValueError: The rate is outside [0, 1).

    Example:

    >>> import numpy as np
    >>> layer = DropPath(0.5, seed=1)
    >>> output = layer(np.ones((1000, 2, 3, 1), "float32"), training=True)
    >>> sorted({float(value) for value in np.unique(output)})
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
        if not training or not self.trainable or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        one_per_sample = (keras.ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        draw = keras.random.uniform(one_per_sample, seed=self.seed_generator)
        return inputs * keras.ops.cast(draw < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="zoo")
class LayerScale(keras.layers.Layer):
    """A product of each channel and a weight that starts near zero, so that a deep network first acts as a shallow one.

    Source: Touvron et al. 2021, "Going Deeper with Image Transformers", section 2.

    Args:
        initial: Value of all weights before training. Defaults to 1e-6.

    Input shape:
        `[..., channels]` of any rank.

    Output shape:
        The shape and the dtype of the input.

    >>> import numpy as np
    >>> LayerScale(0.5)(np.ones((1, 2), "float32")).numpy().tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, initial: float = 1e-6, **base: Any):
        super().__init__(**base)
        self.initial = initial

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=start, name="gamma")

    def call(self, inputs):
        return inputs * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable(package="zoo")
class ScaledAdd(keras.layers.Layer):
    """A sum of the first input and `scale` times the second, for residual units whose branch is scaled down.

    Source: Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
    section 3.3.

    Args:
        scale: Factor of the second input.

    Input shape:
        A list of two tensors of the same shape.

    Output shape:
        The shape and the dtype of the first tensor.

    Example:

    >>> import numpy as np
    >>> ScaledAdd(0.5)([np.array([[1.0, 2.0]]), np.array([[4.0, 4.0]])]).numpy().tolist()
    [[3.0, 4.0]]
    """

    def __init__(self, scale: float, **base: Any):
        super().__init__(**base)
        self.scale = scale

    def call(self, inputs):
        x, branch = inputs
        return x + branch * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
