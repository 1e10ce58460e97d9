"""What a model says about all images of a split, in pixels of the photos."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines import canvases
from transfer.tasks.task import Arrays, Task

__all__ = ["on_photos", "outputs_for"]

Ask = Callable[[np.ndarray], Arrays]  # prepared images `[n, H, W, 3]` -> outputs, boxes in pixels of the canvas


def on_photos(outputs: Arrays, sizes: np.ndarray, contract: Any) -> Arrays:
    """Returns outputs for prepared images with all boxes moved to pixels of the photos.

    Args:
        outputs: The outputs for some prepared images, with the axis of the images.
        sizes: Height and width of each photo, int `[n, 2]`.
        contract: The contract, which knows which outputs hold boxes.
    """
    moved = dict(outputs)
    for name in contract.box_outputs:
        if name in moved:
            boxes = zip(moved[name], np.asarray(sizes).tolist(), strict=True)
            moved[name] = np.stack([contract.preparation.boxes_to_photo(own, tuple(size)) for own, size in boxes])
    return moved


def outputs_for(
    ask: Ask, part: Any, contract: Any, *, batch_size: int = 32, task: Task | None = None, augment: bool = False
) -> Arrays:
    """Lets a model answer on every image of a split.

    Args:
        ask: The model: a function from prepared images of the preparation's dtype to its outputs.
        part: The split, as `pipelines.Data` has it; every image can be read.
        contract: The model's contract.
        batch_size: Number of images at a time.
        task: The task, which merges the outputs for several views; needed with `augment`.
        augment: Whether each image is seen in several views (test-time augmentation).

    Returns:
        All outputs, each `[images, ...]`, in the order of the split.

    Raises:
        ValueError: The task cannot merge the outputs for several views.
    """
    if augment and (task is None or task.no_views is not None):
        raise ValueError(f"several views of a photo cannot be averaged here: {task.no_views if task else 'no task'}")
    views = contract.preparation.views() if augment else [(contract.preparation, False)]
    of_views = []
    for preparation, mirrored in views:
        batches = []
        for images, sizes in canvases(part, preparation, batch_size=batch_size, mirrored=mirrored).as_numpy_iterator():
            answers = {name: np.asarray(values) for name, values in ask(images.astype(preparation.dtype)).items()}
            batches.append(on_photos(answers, sizes, contract))
        of_views.append({name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]})
    return of_views[0] if task is None or len(of_views) == 1 else task.merge(of_views)
