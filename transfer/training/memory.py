"""Whether a training step fits into the available memory, before it starts; and if not, in which parts it fits."""

import os
from dataclasses import dataclass
from pathlib import Path

import keras

from zoo.analysis.memory import largest_batch, predict_memory

__all__ = ["MicroBatches", "available_memory", "micro_batches"]

CGROUP = Path("/sys/fs/cgroup")


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


def available_memory() -> int:
    """Returns how many bytes this process can have in all.

    These are the bytes that it has, and those that are free in the machine, or in its container if that is less.

    >>> available_memory() > 2**20
    True
    """
    own = _own()
    free = [_free_in_machine(), *_free_in_container()]
    return own + min(free)


def _own() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _free_in_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**62  # Nothing is known.


def _free_in_container() -> list[int]:
    try:
        most = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [] if most == "max" else [max(0, int(most) - used)]
