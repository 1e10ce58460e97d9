"""What every engine can do."""

from abc import ABC, abstractmethod

import numpy as np

from transfer.contract import Contract

__all__ = ["Engine"]


class Engine(ABC):
    """A model in a runtime. Calls may come from several threads; an engine that bears only one has a lock.

    Attributes:
        contract: class names, crop and thresholds, read out of the artifact itself.
        name: of the runtime.
        precision: in which it calculates: "float32", or "bfloat16" where that was asked for and is allowed.
    """

    name: str
    contract: Contract
    precision: str = "float32"

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
