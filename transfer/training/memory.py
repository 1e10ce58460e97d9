"""Whether a training step fits into the available memory, before it starts; and if not, in which parts it fits."""

from dataclasses import dataclass

import keras

from pipelines.machine import available_memory
from zoo.analysis.memory import largest_batch, predict_memory

__all__ = ["MicroBatches", "available_memory", "micro_batches"]


@dataclass(frozen=True)
class MicroBatches:
    """A training step in parts, whose gradients are accumulated.

    Attributes:
        size: Number of images in a part.
        steps: Number of parts in a step: `size * steps` is the batch size. Without batch norms that train, the mean of
            their gradients is the gradient of the whole batch.
        predicted: How many bytes the step is predicted to take in one part.
        memory: How much memory there is, in bytes or as it was given.
    """

    size: int
    steps: int
    predicted: int
    memory: int | str


def micro_batches(
    model: keras.Model,
    batch_size: int,
    *,
    memory: int | str | None = None,
    optimizer: str | keras.Optimizer = "adam",
    input_shape: tuple[int, int, int] | None = None,
) -> MicroBatches:
    """Returns the largest equal parts of a batch that fit into memory, as the model is frozen now.

    How much a step takes is predicted by `zoo.predict_memory`.

    Args:
        model: The model, frozen as it is going to be trained.
        batch_size: Number of images in a step.
        memory: Memory in bytes, or such as "2 GB". By default it is what this process can have (`available_memory`).
        optimizer: The optimizer of the training.
        input_shape: Height, width and channels of the images, for a model that takes images of any size.

    Raises:
        ValueError: Not even one image fits.

    Example:

    >>> image = keras.Input((256, 256, 3))
    >>> model = keras.Model(image, keras.layers.Conv2D(64, 3, activation="relu")(image))
    >>> parts = micro_batches(model, 64, memory="1.5 GB")
    >>> parts.size * parts.steps, parts.steps > 1
    (64, True)
    """
    room = available_memory() if memory is None else memory
    predicted = round(predict_memory(model, batch_size, optimizer, input_shape=input_shape).total)
    most = largest_batch(model, room, optimizer=optimizer, input_shape=input_shape)
    size = max(size for size in range(1, batch_size + 1) if batch_size % size == 0 and size <= most)
    return MicroBatches(size, batch_size // size, predicted, room)
