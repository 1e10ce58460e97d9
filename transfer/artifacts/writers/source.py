"""What a writer is given: a trained model, its contract, and how it is to be quantised."""

from dataclasses import dataclass
from functools import cached_property

import keras

from transfer.artifacts.endpoints import Network
from transfer.artifacts.quantisation import Labelled
from transfer.contract import Contract
from transfer.models.folding import folded
from transfer.tasks import learning_of

__all__ = ["Source"]


@dataclass(frozen=True, eq=False)
class Source:
    """A trained model that is to be written.

    Attributes:
        model: The model.
        contract: What it takes and gives.
        quantize: "none", "float16" (weights in 16 bits; calculations stay in float32) or "int8".
        calibration: Images to choose the ranges of int8 on, or None.
    """

    model: keras.Model
    contract: Contract
    quantize: str = "none"
    calibration: Labelled | None = None

    @cached_property
    def network(self) -> Network:
        """The network in TensorFlow's own operations."""
        return learning_of(self.contract.task).network(self.model, self.contract, portable=False)

    @cached_property
    def portable(self) -> Network:
        """The network in operations that ONNX, OpenVINO and LiteRT have, with batch norms folded."""
        return learning_of(self.contract.task).network(folded(self.model), self.contract, portable=True)
