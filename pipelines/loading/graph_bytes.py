"""Reading the bytes of a file inside the graph."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["container", "read_bytes", "read_number", "switch"]


def container(contents: tf.Tensor) -> tf.Tensor:
    """Which format the first bytes announce: 1 JPEG, 2 PNG, 3 WebP, 4 BMP, 0 any other."""
    known = tf.strings.substr(contents, 0, 2) == tf.constant([b"", b"\xff\xd8", b"\x89P", b"RI", b"BM"])
    return tf.argmax(tf.cast(known, tf.int32), output_type=tf.int32)


def read_bytes(contents: tf.Tensor, start: Any, count: Any) -> tf.Tensor:
    """`count` bytes from `start` as `int64 [count]`; zeros where the file has ended."""
    start = tf.minimum(tf.cast(start, tf.int64), tf.cast(tf.strings.length(contents), tf.int64))
    piece = tf.strings.substr(contents, start, tf.cast(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=tf.cast(count, tf.int32)), tf.int64)


def read_number(digits: tf.Tensor, *, little: Any = False) -> tf.Tensor:
    """The unsigned numbers that the bytes in the last axis spell; the most significant comes first unless `little`."""
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    places = tf.constant([256**place for place in reversed(range(digits.shape[-1]))], tf.int64)
    return tf.reduce_sum(digits * places, axis=-1)


def switch(index: tf.Tensor, branches: Sequence[Any], inputs: Sequence[tf.Tensor], output: tf.TensorSpec) -> tf.Tensor:
    """As `tf.switch_case`, of functions of `inputs`; only what is chosen is ever prepared for running.

    TensorFlow's own puts all branches into one graph, which has to be set up anew for each pass over a data set; with
    every format of image in it that took most of a second.
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
