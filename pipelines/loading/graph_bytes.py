"""Reading the bytes of a file with TensorFlow operations, and choosing a branch of a graph by what they say."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["container", "read_bytes", "read_number", "switch"]


def container(contents: tf.Tensor) -> tf.Tensor:
    """Returns the format that the first bytes announce, `int32 []`: 1 JPEG, 2 PNG, 3 WebP, 4 BMP, 0 any other.

    >>> int(container(tf.constant(b"BM...")))
    4
    """
    known = tf.strings.substr(contents, 0, 2) == tf.constant([b"", b"\xff\xd8", b"\x89P", b"RI", b"BM"])
    return tf.argmax(tf.cast(known, tf.int32), output_type=tf.int32)


def read_bytes(contents: tf.Tensor, start: Any, count: Any) -> tf.Tensor:
    """Returns `count` bytes from the position `start` on as `int64 [count]`, with zeros after the end of the file.

    >>> read_bytes(tf.constant(b"abc"), 1, 3).numpy().tolist()
    [98, 99, 0]
    """
    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(contents), tf.int64))
    piece = tf.strings.substr(contents, start, tf.cast(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=tf.cast(count, tf.int32)), tf.int64)


def read_number(digits: tf.Tensor, *, little: Any = False) -> tf.Tensor:
    """Returns the unsigned numbers that the bytes in the last axis form.

    Args:
        digits: Bytes `int64 [..., count]`.
        little: Whether the least significant byte comes first ("little endian").

    Returns:
        `int64 [...]`.

    Example:

    >>> int(read_number(tf.constant([1, 2], tf.int64))), int(read_number(tf.constant([1, 2], tf.int64), little=True))
    (258, 513)
    """
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    places = tf.constant([256**place for place in reversed(range(digits.shape[-1]))], tf.int64)
    return tf.reduce_sum(digits * places, axis=-1)


def switch(index: tf.Tensor, branches: Sequence[Any], inputs: Sequence[tf.Tensor], output: tf.TensorSpec) -> tf.Tensor:
    """Calls one of several functions, as `tf.switch_case` does, but prepares only the one that is called.

    `tf.switch_case` puts all branches into one graph, which TensorFlow sets up again for each pass over a data set.
    With every format of image in it, that took most of a second.

    Args:
        index: Number of the function to call, a scalar integer.
        branches: Functions that take `inputs` and return a tensor.
        inputs: Tensors for the function that is called.
        output: Shape and dtype of the result, the same for all functions.
    """
    if tf.executing_eagerly():
        return branches[int(index)](*inputs)
    signature = [tf.TensorSpec(value.shape, value.dtype) for value in inputs]
    functions = [
        tf.function(branch, input_signature=signature, autograph=False).get_concrete_function() for branch in branches
    ]
    (result,) = tf.raw_ops.Case(
        branch_index=index, input=list(inputs), Tout=[output.dtype], branches=functions, output_shapes=[output.shape]
    )
    return tf.ensure_shape(result, output.shape)
