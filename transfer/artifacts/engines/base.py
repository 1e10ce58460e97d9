"""What every engine can do."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from transfer.tasks.task import Arrays

__all__ = ["ON_CANVAS", "Engine"]

# Stands before the names of outputs in pixels of the canvas, where an artifact gives boxes or maps twice.
ON_CANVAS = "canvas_"


class Engine(ABC):
    """A model in a runtime. Calls may come from several threads; an engine that bears only one has a lock.

    Attributes:
        name: The name of the runtime.
        limited: Whether its artifacts have the limits of runtimes other than TensorFlow
            (`transfer.tasks.task.Task.limited`).
        dtypes: The types of photos that the way "images" takes.
        contract: What the model takes and gives, read out of the artifact itself.
        ways: The ways in that the artifact has: "images", "prepared", and of a SavedModel "image_bytes".
        precision: What it calculates in: "float32", or "bfloat16" where that was asked for and is allowed.
    """

    name: ClassVar[str]
    limited: ClassVar[bool] = True
    dtypes: ClassVar[tuple[str, ...]] = ("uint8",)
    contract: Any
    ways: tuple[str, ...] = ("images", "prepared")
    precision: str = "float32"

    @abstractmethod
    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        """Lets the model answer.

        Args:
            way: "images" for photos, or "prepared" for images that the contract's preparation made.
            images: For "images" uint8 `[n, h, w, 3]`, of any one size; for "prepared" `[n, H, W, 3]` of the
                preparation's dtype.

        Returns:
            The outputs of the model by name, each with the axis of the images first. Boxes are in pixels of the photos
            for "images", and in pixels of the canvas for "prepared". Internal outputs may be missing for "images".

        Raises:
            ValueError: The artifact does not have this way in.
        """

    def endpoint(self, way: str) -> str:
        """Returns what the artifact itself calls a way in."""
        return self.contract.preparation.endpoint if way == "prepared" else way

    def warm_up(self, size: int) -> None:
        """Answers a batch of `size` black images, as the network takes them."""
        preparation = self.contract.preparation
        self.outputs("prepared", np.zeros((size, *preparation.size, 3), preparation.dtype))
