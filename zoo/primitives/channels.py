"""Layers that compare or combine the channels of each pixel."""

from typing import Any

import keras
import numpy as np

__all__ = ["DepthPool", "LocalResponseNormalization"]


@keras.saving.register_keras_serializable(package="zoo")
class DepthPool(keras.layers.Layer):
    """A pooling of groups of neighbouring channels, where the usual pooling takes neighbouring pixels.

    A network can learn to put a feature and its rotated or scaled copies into one group. The pooled channel then
    responds to all of them.

    Args:
        pool_size: Number of channels in a group. It must divide the number of channels. Defaults to 2.
        mode: "max" or "average". Defaults to "max".

    Input shape:
        `[n, ..., c]` of any rank.

    Output shape:
        `[n, ..., c // pool_size]` of the dtype of the input.

    Raises:
        ValueError: The pool size is below 1, the mode is unknown, or the number of channels is unknown or not a
            multiple of the pool size.

    Example:

    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> DepthPool(2)(x).numpy().tolist(), DepthPool(2, mode="average")(x).numpy().tolist()
    ([[5.0, 4.0]], [[3.0, 3.0]])
    """

    def __init__(self, pool_size: int = 2, *, mode: str = "max", **base: Any):
        super().__init__(**base)
        if pool_size < 1:
            raise ValueError(f"DepthPool needs a pool_size of at least 1, got {pool_size}")
        if mode not in ("max", "average"):
            raise ValueError(f'DepthPool needs the mode "max" or "average", got {mode!r}')
        self.pool_size = pool_size
        self.mode = mode

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None or channels % self.pool_size:
            raise ValueError(
                f"DepthPool pools groups of {self.pool_size} channels, got {channels} (input shape {input_shape}): "
                "choose a pool_size that divides the number of channels"
            )

    def call(self, inputs):
        groups = inputs.shape[-1] // self.pool_size
        x = keras.ops.reshape(inputs, (*keras.ops.shape(inputs)[:-1], groups, self.pool_size))
        return keras.ops.max(x, axis=-1) if self.mode == "max" else keras.ops.mean(x, axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.pool_size)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size, "mode": self.mode}


@keras.saving.register_keras_serializable(package="zoo")
class LocalResponseNormalization(keras.layers.Layer):
    """A division of each value by the energy of the neighbouring channels, so that strong channels damp the others.

    `b[i] = a[i] / (k + alpha * sum(a[j] ** 2)) ** beta`, where j runs over all channels from i - depth_radius to
    i + depth_radius. The layer computes in float32 under every policy, because the squares overflow float16.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3. Its
    constants are the defaults (its n = 5 is a depth radius of 2). Caffe and PyTorch divide alpha by n.

    Args:
        depth_radius: Number of channels on each side that count. Defaults to 2.
        k: Number that is added to the energy. Defaults to 2.
        alpha: Factor of the energy. Defaults to 1e-4.
        beta: Exponent of the divisor. Defaults to 0.75.

    Input shape:
        `[n, ..., c]` of any rank.

    Output shape:
        The shape and the dtype of the input.

    Raises:
        ValueError: The depth radius is negative, or the number of channels is unknown.

    Example:

    >>> layer = LocalResponseNormalization(depth_radius=1, alpha=1.0, beta=1.0)
    >>> layer(np.array([[1.0, 1.0, 0.0]])).numpy().tolist()
    [[0.25, 0.25, 0.0]]
    """

    def __init__(self, *, depth_radius: int = 2, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **base: Any):
        super().__init__(**base)
        if depth_radius < 0:
            raise ValueError(f"LocalResponseNormalization needs a depth_radius of at least 0, got {depth_radius}")
        self.depth_radius = depth_radius
        self.k = k
        self.alpha = alpha
        self.beta = beta

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"LocalResponseNormalization needs a known number of channels, got the input shape {input_shape}"
            )
        # The product with a band matrix sums the neighbours in one operation.
        i, j = np.indices((channels, channels))
        self.neighbours = (np.abs(i - j) <= self.depth_radius).astype("float32")

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        energy = keras.ops.matmul(keras.ops.square(x), self.neighbours)
        return keras.ops.cast(x / (self.k + self.alpha * energy) ** self.beta, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        settings = {"depth_radius": self.depth_radius, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **settings}
