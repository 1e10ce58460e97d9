"""Radial basis."""

from typing import Any

import keras
import numpy as np

__all__ = ["RadialBasis"]


@keras.saving.register_keras_serializable(package="zoo")
class RadialBasis(keras.layers.Layer):
    """The squared Euclidean distance of each vector to fixed codes, one for each class: the nearest class wins.

    Computed in float32 whatever the policy.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", equation 7.

    Args:
        codes: `[classes, features]`.

    Input shape: `[n, features]`. Output: float32 `[n, classes]`, 0 and up.

    Raises:
        ValueError: codes that are not a matrix, or inputs with another number of features.

    Example:

    >>> RadialBasis([[1, 1], [-1, 1], [-1, -1]])(np.array([[1.0, 0.0]])).numpy().tolist()
    [[1.0, 5.0, 5.0]]
    """

    def __init__(self, codes, **base: Any):
        super().__init__(**base)
        self.codes = np.asarray(codes, "float32")
        if self.codes.ndim != 2:
            raise ValueError(f"RadialBasis needs codes of shape [classes, features], got {self.codes.shape}")

    def build(self, input_shape):
        if len(input_shape) != 2 or input_shape[-1] != self.codes.shape[1]:
            raise ValueError(f"RadialBasis has codes of {self.codes.shape[1]} features, got the inputs {input_shape}")

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        return keras.ops.sum((x[:, None, :] - self.codes) ** 2, axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], len(self.codes)), "float32")

    def get_config(self):
        return {**super().get_config(), "codes": self.codes.tolist()}
