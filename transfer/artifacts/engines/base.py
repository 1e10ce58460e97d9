"""What every engine can do."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

__all__ = ["ON_CANVAS", "Engine"]

# Before the names of a detector's boxes that are in pixels of its canvas, where an artifact gives both.
ON_CANVAS = "canvas_"


class Engine(ABC):
    """A model in a runtime. Calls may come from several threads; an engine that bears only one has a lock.

    Attributes:
        contract: class names, crop and thresholds, read out of the artifact itself: a `transfer.contract.Contract`, or
            of a detector a `transfer.tasks.detect.DetectionContract`.
        name: of the runtime.
        precision: in which it calculates: "float32", or "bfloat16" where that was asked for and is allowed.
    """

    name: str
    contract: Any
    precision: str = "float32"

    def warm_up(self, size: int) -> None:
        """Answers so many black images, as the network takes them."""
        if self.contract.task == "detect":
            self.outputs("resized", np.zeros((size, *self.contract.size, 3), np.float32))
        else:
            self.cropped(np.zeros((size, *self.contract.crop.size, 3), np.uint8))

    @abstractmethod
    def outputs(self, way: str, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that the artifact gives, by name.

        Args:
            way: in: "images", of any one size, uint8 [n, h, w, 3]; or "cropped" (classifiers) or "resized" (detectors),
                which are as the network takes them.
            images: for it.
        """

    @abstractmethod
    def cropped(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [n, classes], of images that were cropped already: uint8 [n, H, W, 3]."""

    @abstractmethod
    def images(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [n, classes], of images of any one size, uint8 [n, h, w, 3]; the artifact crops.

        Raises:
            ValueError: the artifact takes images of one size only, and these have another.
        """

    @abstractmethod
    def embeddings(self, images: np.ndarray) -> np.ndarray:
        """What the last layer sees, float32 [n, features], of cropped images: uint8 [n, H, W, 3]."""
