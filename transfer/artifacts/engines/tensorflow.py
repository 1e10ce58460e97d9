"""TensorFlow, with the weights frozen into the graph as constants."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transfer.artifacts.engines.base import Engine
from transfer.contract import read_contract

__all__ = ["TensorFlowEngine", "freeze_graph", "open_model"]


class TensorFlowEngine(Engine):
    """The endpoints of a SavedModel, or of a model in memory."""

    name = "tensorflow"

    def __init__(self, endpoints: dict[str, Any], contract: Any, *, keep: Any = None):
        self.contract = contract
        self._endpoints = endpoints
        self._keep = keep  # a SavedModel's functions alone do not hold its variables

    def outputs(self, way: str, images: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in self._endpoints[way](tf.constant(images)).items()}

    def images(self, images: np.ndarray) -> np.ndarray:
        return self._endpoints["images"](tf.constant(images))["probabilities"].numpy()

    def cropped(self, images: np.ndarray) -> np.ndarray:
        return self._endpoints["cropped"](tf.constant(images))["probabilities"].numpy()

    def embeddings(self, images: np.ndarray) -> np.ndarray:
        return self._endpoints["cropped"](tf.constant(images))["embedding"].numpy()


def freeze_graph(function: Any) -> Any:
    """A traced function of one argument with the variables as constants, which TensorFlow then folds and fuses.

    Args:
        function: a concrete function that takes one tensor and returns a dictionary.
    """
    frozen = convert_variables_to_constants_v2(function)
    names = sorted(function.structured_outputs)
    return lambda images: dict(zip(names, frozen(images), strict=True))


def open_model(path: Path) -> TensorFlowEngine:
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    network = {"cropped", "resized"} & set(loaded.signatures)
    if "contract" not in loaded.signatures or not network:
        raise ValueError(f"{path} is a SavedModel, but not one that this project exported: it has no contract")
    contract = read_contract(loaded.signatures["contract"]()["contract"].numpy())
    endpoints = {"images": loaded.images, "image_bytes": lambda files: loaded.signatures["image_bytes"](encoded=files)}
    endpoints |= {way: freeze_graph(loaded.signatures[way]) for way in network}
    return TensorFlowEngine(endpoints, contract, keep=loaded)
