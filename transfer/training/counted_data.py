"""A data set that knows how often it was gone through, and which batches came last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from transfer.training.guard import TrainingDiverged

__all__ = ["CountedDataset"]

REMEMBERED = 4  # batches: more than TensorFlow fetches ahead of the training


class CountedDataset:
    """A data set that counts how often it is gone through, and remembers its last batches.

    Each time that a training data set is gone through (each *pass*), it has another order and other random changes, so
    where a training stands includes the number of the pass. All of it happens in TensorFlow's graph: Python, called
    back from a thread of TensorFlow's, would wait for ever while Python waits for that thread to end.

    Args:
        dataset: The data set of batches of images and labels.
        check: Raises a `ValueError` for labels that the objective does not know.

    Attributes:
        dataset: The data set to go through.
    """

    def __init__(self, dataset: tf.data.Dataset, check: Callable[[Any], None]):
        self._check = check
        self._spec = dataset.element_spec
        self._begun = tf.Variable(0, dtype=tf.int64)
        self._last = [
            [tf.Variable(-1, dtype=tf.int64), *(_room(spec) for spec in keras.tree.flatten(self._spec))]
            for _ in range(REMEMBERED)
        ]
        self.dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.counter()).map(self._remember)
        if dataset.cardinality() >= 0:  # The endless numbers hide it.
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))

    @tf.autograph.experimental.do_not_convert
    def _remember(self, batch: Any, number: tf.Tensor) -> Any:
        values = [number, *keras.tree.flatten(batch)]

        def remember_in(room: list[tf.Variable]) -> Callable[[], tf.Tensor]:
            def remember() -> tf.Tensor:
                with tf.control_dependencies([own.assign(value) for own, value in zip(room, values, strict=True)]):
                    return tf.identity(number)

            return remember

        # It is counted here, and not in a data set of its own, of which TensorFlow may compute the length in between.
        begun = self._begun.assign_add(tf.cast(number == 0, tf.int64), read_value=False)
        done = tf.switch_case(tf.cast(number % REMEMBERED, tf.int32), [remember_in(room) for room in self._last])
        with tf.control_dependencies([begun, done]):
            return keras.tree.map_structure(tf.identity, batch)

    @property
    def passes(self) -> int:
        """Number of passes that have begun."""
        return int(self._begun.numpy())

    def skip_to(self, number: int) -> None:
        """Begins passes, and leaves them, until so many have begun."""
        beginnings = iter(self.dataset.take(1).repeat()) if self.passes < number else iter(())
        while self.passes < number:
            next(beginnings)

    def batch(self, number: int) -> Any:
        """Returns a batch of this pass, which has to be one of the last."""
        for own, *values in self._last:
            if int(own.numpy()) == number:
                return keras.tree.pack_sequence_as(self._spec, [value.numpy() for value in values])
        raise LookupError(f"batch {number} is not among the last {REMEMBERED}")

    def check(self) -> None:
        """Raises a `ValueError` where a label of the last batches is none that the objective knows."""
        for number, *values in self._last:
            if int(number.numpy()) >= 0:
                self._check(keras.tree.pack_sequence_as(self._spec, [value.numpy() for value in values])[1])

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Reports labels that the objective does not know as the error, and not what TensorFlow made of them."""
        try:
            yield
        except (tf.errors.OpError, TrainingDiverged):
            self.check()
            raise


def _room(spec: tf.TensorSpec) -> tf.Variable:
    return tf.Variable(tf.zeros([size or 0 for size in spec.shape], spec.dtype), shape=spec.shape)
