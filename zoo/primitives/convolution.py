"""A grouped convolution that is fast on a CPU, and that every CPU can train."""

from functools import cache

import keras

__all__ = ["GroupedConv2D"]


@keras.saving.register_keras_serializable(package="zoo")
class GroupedConv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` for `groups` above 1 that is as fast on a CPU as its few multiply-adds promise.

    Keras compiles such a convolution with XLA. On a CPU (Keras 3.15, TensorFlow 2.21; 256 channels in 32 groups) this
    makes the forward pass 4 times and the gradient 500 times slower than TensorFlow's own operation, and the layer
    cannot be exported to ONNX. TensorFlow's own operation needs oneDNN for its gradient, which TensorFlow uses only on
    CPUs with certain instructions. On other CPUs the layer computes one convolution per group, which takes as long.

    The arguments, the weights and the outputs are those of `keras.layers.Conv2D`.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.5;
    Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks", figure 3c.

    Raises:
        ValueError: The number of input channels or of filters is not a multiple of `groups`.

    Example:

    >>> layer = GroupedConv2D(8, 3, groups=4, padding="same", name="grouped")
    >>> layer(keras.Input((7, 9, 16))).shape, tuple(layer.kernel.shape)
    ((None, 7, 9, 8), (3, 3, 4, 8))
    """

    def convolution_op(self, inputs, kernel):
        if keras.backend.backend() != "tensorflow" or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        options = {"strides": self.strides, "padding": self.padding.upper(), "dilations": self.dilation_rate}
        if _has_onednn():
            return tf.nn.conv2d(inputs, kernel, **options)
        groups = zip(tf.split(inputs, self.groups, axis=-1), tf.split(kernel, self.groups, axis=-1), strict=True)
        return tf.concat([tf.nn.convolution(x, group_kernel, **options) for x, group_kernel in groups], axis=-1)


@cache
def _has_onednn() -> bool:
    """Returns whether TensorFlow uses oneDNN on this machine. No public function tells."""
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return False
    return _pywrap_util_port.IsMklEnabled()
