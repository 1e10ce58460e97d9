"""Going through a data set again and again, and knowing how often, and what came last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from transfer.training.guard import TrainingDiverged

__all__ = ["Passes"]

REMEMBERED = 4  # batches: more than TensorFlow fetches ahead of the training


class Passes:
    """A data set that counts how often it is gone through, and remembers its last batches.

    Each pass has an order and an augmentation of its own. All of it happens in TensorFlow's graph: Python, called back
    from a thread of TensorFlow's, would wait for ever while Python waits for that thread to end.
    """

    def __init__(self, dataset: tf.data.Dataset, check: Callable[[Any], None]):
        self._check = check
        self._spec = dataset.element_spec
        self._begun = tf.Variable(0, dtype=tf.int64)
        specs = [tf.TensorSpec((), tf.int64), *keras.tree.flatten(self._spec)]
        self._kept = [[_room(spec) for spec in specs] for _ in range(REMEMBERED)]
        begin = tf.data.Dataset.range(1).map(lambda _: self._begun.assign_add(1))
        ticks = begin.flat_map(lambda _: tf.data.Dataset.counter())
        self.dataset = tf.data.Dataset.zip(dataset, ticks).map(self._keep)
        if dataset.cardinality() >= 0:  # which the endless ticks hide
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))

    @tf.autograph.experimental.do_not_convert
    def _keep(self, batch: Any, tick: tf.Tensor) -> Any:
        values = [tick, *keras.tree.flatten(batch)]

        def keep_in(room: list[tf.Variable]) -> Callable[[], tf.Tensor]:
            def keep() -> tf.Tensor:
                with tf.control_dependencies([own.assign(value) for own, value in zip(room, values, strict=True)]):
                    return tf.identity(tick)

            return keep

        kept = tf.switch_case(tf.cast(tick % REMEMBERED, tf.int32), [keep_in(room) for room in self._kept])
        with tf.control_dependencies([kept]):
            return keras.tree.map_structure(tf.identity, batch)

    @property
    def number(self) -> int:
        """Passes that have begun."""
        return int(self._begun.numpy())

    def begin(self, number: int) -> None:
        """Begins passes until so many have begun."""
        while self.number < number:
            next(iter(self.dataset))

    def batch(self, number: int) -> Any:
        """A batch of this pass, one of the last."""
        for tick, *values in self._kept:
            if int(tick.numpy()) == number:
                return keras.tree.pack_sequence_as(self._spec, [value.numpy() for value in values])
        raise LookupError(f"batch {number} is not among the last {REMEMBERED}")

    def check(self) -> None:
        """Raises `ValueError` where a label of the last batches is none that the task knows."""
        for tick, *values in self._kept:
            if int(tick.numpy()) >= 0:
                self._check(keras.tree.pack_sequence_as(self._spec, [value.numpy() for value in values])[1])

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Labels that the task does not know are the error, not what TensorFlow made of them."""
        try:
            yield
        except (tf.errors.OpError, TrainingDiverged):
            self.check()
            raise


def _room(spec: tf.TensorSpec) -> tf.Variable:
    start = tf.fill([size or 0 for size in spec.shape], tf.constant(-1 if not spec.shape else 0, spec.dtype))
    return tf.Variable(start, shape=spec.shape)
