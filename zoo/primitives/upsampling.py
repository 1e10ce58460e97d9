"""What transposed convolutions need: kernels that interpolate, and maps cut to the size of an image."""

from typing import Any

import keras
import numpy as np

__all__ = ["BilinearUpsampling", "CropToMatch"]


@keras.saving.register_keras_serializable(package="zoo")
class BilinearUpsampling(keras.initializers.Initializer):
    """The kernel with which a transposed convolution enlarges a map by bilinear interpolation, each channel by itself.

    With a factor f, strides of f, a kernel of `2 * f - f % 2` pixels and "same" padding, the transposed convolution is
    equal to `tf.image.resize`, except at the borders, where it takes the outside as zeros.

    Source: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", section 3.3.

    Raises:
        ValueError: The kernel is not one of as many input as output channels.

    Example:

    >>> BilinearUpsampling()((4, 4, 1, 1))[0, :, 0, 0].numpy().tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """

    def __call__(self, shape, dtype=None):
        height, width, filters, channels = shape
        if filters != channels:
            raise ValueError(
                f"bilinear upsampling keeps the number of channels, got {channels} input and {filters} output "
                "channels; choose as many filters, or another kernel_initializer"
            )
        kernel = np.zeros(shape, "float32")
        kernel[:, :, range(channels), range(channels)] = np.outer(_hat(height), _hat(width))[:, :, None]
        return keras.ops.convert_to_tensor(kernel, dtype=dtype)


def _hat(length: int) -> np.ndarray:
    """Returns the weights of linear interpolation at the pixels of a kernel."""
    factor = (length + 1) // 2
    centre = factor - 1 if length % 2 else factor - 0.5
    return 1 - np.abs(np.arange(length) - centre) / factor


@keras.saving.register_keras_serializable(package="zoo")
class CropToMatch(keras.layers.Layer):
    """Cuts a map at the bottom and on the right to the height and width of another one.

    Call it with a pair of maps: the one to cut, and the one whose size is wanted. Sizes may be unknown in a graph.

    Input shape:
        `[n, h, w, c]` and `[n, h2, w2, any]`, with h2 <= h and w2 <= w.

    Output shape:
        `[n, h2, w2, c]`.

    Example:

    >>> CropToMatch()([np.ones((1, 8, 8, 2)), np.ones((1, 7, 5, 3))]).shape
    TensorShape([1, 7, 5, 2])
    """

    def call(self, inputs):
        x, reference = inputs
        shape = keras.ops.shape(reference)
        return x[:, : shape[1], : shape[2]]

    def compute_output_spec(self, inputs: Any):
        x, reference = inputs
        return keras.KerasTensor((x.shape[0], *reference.shape[1:3], x.shape[3]), dtype=self.compute_dtype)
