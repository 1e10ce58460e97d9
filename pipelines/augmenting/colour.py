"""Colour as one affine matrix for each image.

A matrix takes a colour (r, g, b, 1) to the new colour; its last row is (0, 0, 0, 1). Matrices are composed by
multiplying them (`pipelines.augmenting.warp.compose`), so that any number of transforms reads the pixels once, and
colours are clipped once, at the end. Values are in 0..255. The functions that make matrices take numbers or tensors
`float32 [n]`, one number for each image, and return `float32 [n, 4, 4]`. Numbers that change nothing give the exact
identity, which returns an image bit for bit.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["LUMA", "brightness", "contrast", "hue", "identity", "inversion", "mean_colours", "recolour"]
__all__ += ["saturation"]

# The weights of red, green and blue in the brightness: ITU-R BT.601, as in `tf.image.rgb_to_grayscale`.
LUMA = (0.2989, 0.5870, 0.1140)

_LUMA = np.array(LUMA) / sum(LUMA)
_TO_GREY = np.tile(_LUMA, [3, 1])  # every channel becomes the luma
_TO_CHROMA = np.eye(3) - _TO_GREY
# Rotation about the grey axis by an angle t is I + sin(t) TURN + (1 - cos(t)) TURN² (O. Rodrigues, 1840).
_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)


def identity(n: Any = 1) -> tf.Tensor:
    """Returns matrices that change nothing: `[n, 4, 4]`."""
    return tf.eye(4, batch_shape=[n])


def _affine(linear: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Returns affine matrices `[n, 4, 4]` of a linear part `[n, 3, 3]` and an offset `[n, 3]`."""
    top = tf.concat([linear, offset[:, :, None]], axis=-1)
    return tf.concat([top, tf.tile([[[0.0, 0.0, 0.0, 1.0]]], [tf.shape(top)[0], 1, 1])], axis=1)


def _linear(amount: Any, matrix: np.ndarray) -> tf.Tensor:
    """Returns the identity plus `amount` times `matrix`: `[n, 3, 3]`."""
    amount = tf.reshape(tf.convert_to_tensor(amount, tf.float32), [-1, 1, 1])
    return tf.eye(3) + amount * tf.constant(matrix, tf.float32)


def brightness(delta: Any) -> tf.Tensor:
    """Returns matrices that add `delta`, in -255..255, to every channel."""
    delta = tf.reshape(tf.convert_to_tensor(delta, tf.float32), [-1, 1])
    return _affine(tf.eye(3, batch_shape=[tf.shape(delta)[0]]), tf.tile(delta, [1, 3]))


def contrast(factor: Any, means: Any) -> tf.Tensor:
    """Returns matrices that multiply the distance of each value from the mean of its channel.

    Args:
        factor: Multiplier. With 0 only the mean colour remains; 1 changes nothing.
        means: Mean colours `[n, 3]` of the images (`mean_colours`).
    """
    factor = tf.reshape(tf.convert_to_tensor(factor, tf.float32), [-1, 1])
    means = tf.convert_to_tensor(means, tf.float32)
    factor *= tf.ones_like(means[:, :1])
    return _affine(factor[:, :, None] * tf.eye(3), (1 - factor) * means)


def saturation(factor: Any) -> tf.Tensor:
    """Returns matrices that multiply each colour's distance from the grey of the same brightness.

    A `factor` of 0 makes colours grey, and 1 changes nothing.

    >>> recolour([[[[90.0, 90.0, 90.0]]]], saturation(0.0)).numpy().round(3).tolist()
    [[[[90.0, 90.0, 90.0]]]]
    """
    linear = _linear(tf.convert_to_tensor(factor, tf.float32) - 1, _TO_CHROMA)
    return _affine(linear, tf.zeros([tf.shape(linear)[0], 3]))


def hue(angle: Any) -> tf.Tensor:
    """Returns matrices that turn colours about the axis of greys by `angle`, in radians, and keep their brightness.

    A third of a full turn makes red green, green blue, and blue red, as far as their brightness allows.
    """
    chroma_of_turn, chroma_of_turn_twice = (_TO_CHROMA @ turn @ _TO_CHROMA for turn in (_TURN, _TURN @ _TURN))
    angle = tf.convert_to_tensor(angle, tf.float32)
    linear = _linear(tf.sin(angle), chroma_of_turn) + (_linear(1 - tf.cos(angle), chroma_of_turn_twice) - tf.eye(3))
    return _affine(linear, tf.zeros([tf.shape(linear)[0], 3]))


def inversion(where: Any) -> tf.Tensor:
    """Returns matrices that make negatives (255 minus the colour) where `where` is 1 and not where it is 0."""
    where = tf.reshape(tf.convert_to_tensor(where, tf.float32), [-1, 1])
    return _affine((1 - 2 * where)[:, :, None] * tf.eye(3), tf.tile(255 * where, [1, 3]))


def mean_colours(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean colours `float32 [n, 3]` of images `[n, h, w, 3]`."""
    return tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])


def recolour(images: Any, matrices: tf.Tensor) -> tf.Tensor:
    """Applies a matrix of colours to each image.

    Args:
        images: Images `[n, h, w, 3]` with values in 0..255.
        matrices: Matrices `[n, 4, 4]`.

    Returns:
        `float32 [n, h, w, 3]`, clipped to 0..255.

    Raises:
        ValueError: The images do not have three channels.

    Example:

    >>> recolour([[[[10.0, 20.0, 250.0]]]], brightness(20.0)).numpy().tolist()
    [[[[30.0, 40.0, 255.0]]]]
    """
    images = tf.cast(images, tf.float32)
    if images.shape[-1] != 3:
        raise ValueError(f"expected RGB images [n, h, w, 3], received {images.shape}")
    shape = tf.shape(images)
    # Products with matrices of three columns are slow. Several pixels at once, with copies of the matrix on the
    # diagonal of a larger matrix, take half the time.
    pixels = next((k for k in (8, 4, 2) if images.shape[1:3].num_elements() and _area(images) % k == 0), 1)
    linear = tf.einsum("ij,ncd->nidjc", tf.eye(pixels), matrices[:, :3, :3])
    linear = tf.reshape(linear, [-1, 3 * pixels, 3 * pixels])
    offset = tf.tile(matrices[:, None, :3, 3], [1, 1, pixels])
    changed = tf.matmul(tf.reshape(images, [shape[0], -1, 3 * pixels]), linear) + offset
    # One pass over the pixels; `tf.clip_by_value` takes two
    changed = tf.raw_ops.ClipByValue(t=changed, clip_value_min=0.0, clip_value_max=255.0)
    return tf.ensure_shape(tf.reshape(changed, shape), images.shape)


def _area(images: tf.Tensor) -> int:
    return images.shape[1] * images.shape[2]
