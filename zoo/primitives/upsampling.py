"""What enlarging maps needs: kernels that interpolate, maps cut or resized to a size, and pixels made of channels."""

from typing import Any

import keras
import numpy as np

__all__ = ["BilinearUpsampling", "CropToMatch", "PixelShuffle", "ResizeToMatch"]


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
    """Cuts a map to the height and width of another one.

    Call it with a pair of maps: the one to cut, and the one whose size is wanted. Sizes may be unknown in a graph.

    Args:
        centred: Whether the middle of the map remains, rather than its top left. Defaults to False.

    Input shape:
        `[n, h, w, c]` and `[n, h2, w2, any]`, with h2 <= h and w2 <= w.

    Output shape:
        `[n, h2, w2, c]`.

    Example:

    >>> CropToMatch()([np.ones((1, 8, 8, 2)), np.ones((1, 7, 5, 3))]).shape
    TensorShape([1, 7, 5, 2])
    """

    def __init__(self, centred: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.centred = centred

    def call(self, inputs):
        x, reference = inputs
        _, height, width, _ = keras.ops.shape(reference)
        if not self.centred:
            return x[:, :height, :width]
        _, h, w, _ = keras.ops.shape(x)
        top, left = (h - height) // 2, (w - width) // 2
        return x[:, top : top + height, left : left + width]

    def compute_output_spec(self, inputs: Any):
        return _like_the_second(inputs, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "centred": self.centred}


@keras.saving.register_keras_serializable(package="zoo")
class ResizeToMatch(keras.layers.Layer):
    """Resizes a map to the height and width of another one, by bilinear interpolation.

    Call it with a pair of maps: the one to resize, and the one whose size is wanted. Sizes may be unknown in a graph.
    It equals `tf.image.resize`.

    Input shape:
        `[n, h, w, c]` and `[n, h2, w2, any]`.

    Output shape:
        `[n, h2, w2, c]`.

    Example:

    >>> ResizeToMatch()([np.ones((1, 4, 4, 2)), np.ones((1, 7, 5, 3))]).shape
    TensorShape([1, 7, 5, 2])
    """

    def call(self, inputs):
        x, reference = inputs
        _, height, width, _ = keras.ops.shape(reference)
        return keras.ops.image.resize(x, (height, width), interpolation="bilinear", data_format="channels_last")

    def compute_output_spec(self, inputs: Any):
        return _like_the_second(inputs, self.compute_dtype)


def _like_the_second(inputs: Any, dtype: str) -> keras.KerasTensor:
    """Returns what has the size of the second map, and the channels of the first."""
    x, reference = inputs
    return keras.KerasTensor((x.shape[0], *reference.shape[1:3], x.shape[3]), dtype=dtype)


@keras.saving.register_keras_serializable(package="zoo")
class PixelShuffle(keras.layers.Layer):
    """Makes `factor * factor` pixels of the channels of each pixel: the sub-pixel shuffle.

    Channel `(i * factor + j) * c + k` of a pixel becomes channel `k` of the pixel in row `i` and column `j` of its
    block, as `tf.nn.depth_to_space` has it.

    Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", equation 4.

    Args:
        factor: How many times the height and the width grow. Defaults to 2.

    Input shape:
        `[n, h, w, factor * factor * c]`.

    Output shape:
        `[n, factor * h, factor * w, c]`.

    Raises:
        ValueError: The factor is below 1, or the number of channels is not a multiple of its square.

    Example:

    >>> PixelShuffle(2)(np.arange(8.0).reshape(1, 1, 2, 4))[0, :, :, 0].numpy().tolist()
    [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """

    def __init__(self, factor: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        if factor < 1:
            raise ValueError(f"PixelShuffle needs a factor of at least 1, got {factor}")
        self.factor = factor

    def build(self, input_shape):
        if input_shape[-1] % self.factor**2:
            raise ValueError(
                f"PixelShuffle({self.factor}) makes {self.factor**2} pixels of each, so it needs a multiple of "
                f"{self.factor**2} channels; got {input_shape[-1]}"
            )
        super().build(input_shape)

    def call(self, inputs):
        f = self.factor
        _, height, width, channels = keras.ops.shape(inputs)
        c = channels // f**2
        x = keras.ops.reshape(inputs, (-1, height, width, f, f, c))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))  # [n, h, row, w, column, c]
        return keras.ops.reshape(x, (-1, height * f, width * f, c))

    def compute_output_spec(self, inputs: Any):
        n, height, width, channels = inputs.shape
        sizes = (None if side is None else side * self.factor for side in (height, width))
        return keras.KerasTensor((n, *sizes, channels // self.factor**2), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
