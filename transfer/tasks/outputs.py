"""What a model says about all images of a split, in pixels of the photos."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines import canvases
from pipelines.prepare.memory_bound import BATCH_PIXELS
from transfer.tasks.task import Arrays, Task, stacked

__all__ = ["on_photos", "outputs_for"]

Ask = Callable[[np.ndarray], Arrays]  # prepared images `[n, H, W, 3]` -> outputs, boxes in pixels of the canvas


def on_photos(outputs: Arrays, sizes: np.ndarray, contract: Any) -> Arrays:
    """Returns outputs for prepared images in pixels of the photos: boxes, and maps.

    Args:
        outputs: The outputs for some prepared images, with the axis of the images.
        sizes: Height and width of each photo, int `[n, 2]`.
        contract: The contract, which knows which outputs are others there.
    """
    if not contract.placed_outputs:
        return outputs
    moved = [
        contract.on_photo({name: values[index] for name, values in outputs.items()}, tuple(size))
        for index, size in enumerate(np.asarray(sizes).tolist())
    ]
    return {name: stacked([one[name] for one in moved]) for name in moved[0]} if moved else outputs


def outputs_for(
    ask: Ask, part: Any, contract: Any, *, batch_size: int = 32, task: Task | None = None, augment: bool = False
) -> Arrays:
    """Lets a model answer on every image of a split.

    Args:
        ask: The model: a function from prepared images of the preparation's dtype to its outputs.
        part: The split, as `pipelines.Data` has it; every image can be read.
        contract: The model's contract.
        batch_size: Number of images at a time; fewer where the network's images have more than 320 x 320 pixels.
        task: The task, which merges the outputs for several views; needed with `augment`.
        augment: Whether each image is seen in several views (test-time augmentation).

    Returns:
        All outputs that are measured, each `[images, ...]`, in the order of the split; maps in the sizes of the photos.

    Raises:
        ValueError: The task cannot merge the outputs for several views.
    """
    if augment and (task is None or task.no_views is not None):
        raise ValueError(f"several views of a photo cannot be averaged here: {task.no_views if task else 'no task'}")
    height, width = contract.preparation.size
    batch_size = min(batch_size, max(1, BATCH_PIXELS // (height * width)))
    views = contract.preparation.views() if augment else [(contract.preparation, False)]
    of_views = []
    for preparation, mirrored in views:
        batches = []
        for images, sizes in canvases(part, preparation, batch_size=batch_size, mirrored=mirrored).as_numpy_iterator():
            answers = {name: np.asarray(values) for name, values in ask(images.astype(preparation.dtype)).items()}
            answers = on_photos(answers, sizes, contract)
            batches.append({name: values for name, values in answers.items() if contract.outputs()[name].measured})
        of_views.append({name: _concatenated([batch[name] for batch in batches]) for name in batches[0]})
    return of_views[0] if task is None or len(of_views) == 1 else task.merge(of_views)


def _concatenated(batches: Sequence[np.ndarray]) -> np.ndarray:
    if len({(batch.dtype, batch.shape[1:]) for batch in batches}) <= 1:
        return np.concatenate(batches)
    return stacked([values for batch in batches for values in batch])
