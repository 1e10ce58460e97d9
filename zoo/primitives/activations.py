"""Activations."""

import math

import keras

__all__ = ["gelu", "leaky_relu"]


@keras.saving.register_keras_serializable(package="zoo")
def gelu(x):
    """`x` times the probability that a standard normal number is below `x`, without approximation.

    By the error function: Keras' own `"gelu"` takes the complementary one, which ONNX does not have and TensorFlow
    computes more slowly on a CPU (for 9.6 million numbers 197 ms, this 144).

    Source: Hendrycks & Gimpel 2016, "Gaussian Error Linear Units", section 2.

    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0], "float64")).numpy().round(3).tolist()
    [-0.159, 0.0, 0.841]
    """
    return 0.5 * x * (1 + keras.ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="zoo")
def leaky_relu(x):
    """ReLU that lets a tenth of what is negative through, as Darknet's does. Keras' own `"leaky_relu"` lets a fifth.

    Source: Maas et al. 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", section 2; the slope
    from Darknet's code.

    >>> import numpy as np
    >>> leaky_relu(np.array([-2.0, 3.0], "float32")).numpy().tolist()
    [-0.20000000298023224, 3.0]
    """
    return keras.ops.leaky_relu(x, negative_slope=0.1)
