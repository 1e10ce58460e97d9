"""A classifier by distance: the output of LeNet-5."""

from typing import Any

import keras
import numpy as np

__all__ = ["RadialBasis"]


@keras.saving.register_keras_serializable(package="zoo")
class RadialBasis(keras.layers.Layer):
    """The squared Euclidean distances of each vector to fixed codes, one code for each class.

    The class with the smallest distance is the answer. The layer computes in float32 under every policy.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", equation 7.

    Args:
        codes: Numbers `[classes, features]`.

    Input shape:
        `[n, features]`.

    Output shape:
        `[n, classes]`, float32, 0 or more.

    Raises:
        ValueError: The codes are not a matrix, or the inputs have another number of features.

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
            raise ValueError(
                f"RadialBasis has codes of {self.codes.shape[1]} features, got inputs of shape {input_shape}"
            )

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        return keras.ops.sum((x[:, None, :] - self.codes) ** 2, axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], len(self.codes)), "float32")

    def get_config(self):
        return {**super().get_config(), "codes": self.codes.tolist()}
