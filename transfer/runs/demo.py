"""`zoo demo`: the main job, told step by step, on pictures that came with the installation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from sklearn.datasets import load_sample_images

from pipelines import read_data
from transfer.predict.loading import load
from transfer.predict.predictor import Predictor
from transfer.runs.fitting import Run, fit
from transfer.tasks import TASKS, settings_class
from transfer.tasks.task import Answer

__all__ = ["demo", "photos"]

BACKBONE = "efficientnet_lite0"
DATA = "sklearn:digits"


def photos() -> dict[str, np.ndarray]:
    """Returns photos that scikit-image and scikit-learn carry, by what they show: uint8 `[height, width, 3]` each.

    >>> [image.shape for image in photos().values()]
    [(300, 451, 3), (400, 600, 3), (427, 640, 3), (512, 512, 3)]
    """
    camera = skimage.data.camera()  # grey
    return {
        "a cat": skimage.data.chelsea(),
        "a cup of coffee": skimage.data.coffee(),
        "a palace in China": load_sample_images().images[0],
        "a man with a camera on a tripod": np.stack([camera] * 3, axis=-1),
    }


def demo(
    folder: str | Path,
    *,
    narrate: Callable[[str], None] = print,
    announce: Callable[[str], None] = print,
    show: Callable[[Answer, list[dict[str, Any]]], None] = lambda answer, predictions: print(answer),
) -> Run:
    """Names photos, fine-tunes on handwritten digits, exports, proves, and predicts from the export.

    Args:
        folder: Where the run on the digits is written. An earlier one in it is replaced.
        narrate: Is given the story, a step at a time.
        announce: Is told each part of the fine-tuning as it begins.
        show: Is given each answer and its predictions.

    Returns:
        The run on the digits.
    """

    def show_named(predictor: Predictor, answer: Answer, name: str) -> None:
        show(replace(answer, name=name), predictor.task.predictions(answer))

    narrate("What EfficientNet-Lite0, trained on ImageNet, sees in photos")
    predictor = load(BACKBONE)
    for subject, photo in photos().items():
        show_named(predictor, predictor.predict(photo, top=3)[0], f"A photo of {subject}")

    narrate("The same network, fine-tuned on scikit-learn's 1,797 handwritten digits, exported, and the export proven")
    # Digits are not photos: all of the network has to change, and at a higher rate than for photos. They are 8 x 8
    # pixels large, so that 64 x 64 shows all there is; turned or mirrored, they would be other digits or none.
    settings = settings_class(next(iter(TASKS)))(
        backbone=BACKBONE,
        image_size=64,
        augment="none",
        head_epochs=1,
        head_learning_rate=5e-3,
        epochs=6,
        unfreeze="all",
        learning_rate=5e-4,
    )
    run = fit(DATA, folder, settings, overwrite=True, announce=announce)

    narrate("What the exported model, read back from disk, makes of digits that it was not trained on")
    held_out = read_data(DATA).test[:4]
    exported = load(folder)
    for answer, label in zip(exported.predict(held_out.images, top=2), held_out.labels, strict=True):
        show_named(exported, answer, f"A handwritten {label}")
    return run
