"""Stored activations of images, and batches of them."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from transfer.training.division import alone

__all__ = ["FeatureBatches", "Features"]


@dataclass(frozen=True)
class Features:
    """Activations of a number of images and their labels, over one or several passes through the images.

    Attributes:
        arrays: One array for each tensor at the border, `[passes, images, ...]`.
        labels: `[passes, images, ...]`, or a structure of such arrays, since passes differ in their order. Labels of
            different lengths, such as the boxes of images, are padded with zeros.
        batch_size: The batch size of the data that the activations were computed from.
        weights: How much each image counts, `[passes, images]`; None where all count alike.
    """

    arrays: tuple[np.ndarray, ...]
    labels: Any
    batch_size: int
    weights: np.ndarray | None = None

    @property
    def passes(self) -> int:
        """Number of passes, which are views of each image."""
        return self.arrays[0].shape[0]

    @property
    def images(self) -> int:
        """Number of images in a pass."""
        return self.arrays[0].shape[1]

    @property
    def nbytes(self) -> int:
        """Size of the activations in bytes."""
        return sum(array.nbytes for array in self.arrays)

    def batches(self, *, seed: int | None = None, epoch: int = 0, batch: int = 0) -> "FeatureBatches":
        """Makes batches for `fit`: one pass for each epoch, in turn.

        Args:
            seed: Decides the order of the images in each epoch. None keeps their order.
            epoch: The epoch to begin at.
            batch: The batch of that epoch to begin at.
        """
        return FeatureBatches(self, seed, epoch, batch)


class FeatureBatches(keras.utils.PyDataset):
    """Batches of stored activations. Which images a batch has depends on seed, epoch and number alone."""

    def __init__(self, features: Features, seed: int | None, epoch: int, batch: int):
        super().__init__()
        self.features, self.seed, self.epoch, self.first = features, seed, epoch, batch
        self._reorder()

    def __len__(self) -> int:
        return math.ceil(self.features.images / self.features.batch_size) - self.first

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        start = (self.first + index) * self.features.batch_size
        chosen = self.order[start : start + self.features.batch_size]
        number = self.epoch % self.features.passes
        arrays = tuple(array[number][chosen].astype("float32", copy=False) for array in self.features.arrays)
        labels = keras.tree.map_structure(lambda array: array[number][chosen], self.features.labels)
        if self.features.weights is None:
            return alone(arrays), labels
        return alone(arrays), labels, self.features.weights[number][chosen]

    def on_epoch_end(self) -> None:
        """Goes on to the next pass, in another order."""
        self.epoch += 1
        self._reorder()

    def _reorder(self) -> None:
        n = self.features.images
        self.order = (
            np.arange(n) if self.seed is None else np.random.default_rng([self.seed, self.epoch]).permutation(n)
        )
