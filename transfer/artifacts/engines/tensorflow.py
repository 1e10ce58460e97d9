"""TensorFlow, with the weights frozen into the graph as constants."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.operations import check_operations
from transfer.tasks.contracts import read_contract
from transfer.tasks.task import Arrays

__all__ = ["SavedModelEngine", "TensorFlowEngine", "freeze_graph", "open_model"]


class TensorFlowEngine(Engine):
    """Endpoints in TensorFlow.

    Args:
        endpoints: Name of an endpoint -> a function of one tensor, which returns a dict of tensors.
        contract: The model's contract.
    """

    name = "tensorflow"
    limited = False

    def __init__(self, endpoints: dict[str, Callable[[Any], dict[str, Any]]], contract: Any):
        self.contract = contract
        self._endpoints = endpoints

    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        found = self._endpoints[self.endpoint(way)](tf.constant(images))
        return {name: values.numpy() for name, values in found.items()}


class SavedModelEngine(TensorFlowEngine):
    """The endpoints of a SavedModel.

    Args:
        loaded: What `tf.saved_model.load` returned.
        contract: The model's contract.
    """

    dtypes = ("uint8", "float32")
    ways = ("images", "prepared", "image_bytes")

    def __init__(self, loaded: Any, contract: Any):
        self._loaded = loaded  # Its functions alone do not hold its variables.
        image_bytes, prepared = loaded.signatures["image_bytes"], contract.preparation.endpoint
        endpoints = {
            "images": loaded.images,
            "image_bytes": lambda encoded: image_bytes(encoded=encoded),
            prepared: freeze_graph(loaded.signatures[prepared]),
        }
        super().__init__(endpoints, contract)


def freeze_graph(function: Any, *, lower_control_flow: bool = True) -> Callable[..., dict[str, Any]]:
    """Turns the variables of a traced function, and tensors from outside of it, into constants.

    TensorFlow then folds and fuses them.

    Args:
        function: A concrete function that takes tensors and returns a dict of tensors.
        lower_control_flow: Whether loops and branches become single operations, which run faster, and which cannot be
            taken into another graph. Defaults to True.

    Returns:
        A function that does the same.
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=lower_control_flow)
    names = sorted(function.structured_outputs)
    return lambda *tensors: dict(zip(names, frozen(*tensors), strict=True))


def open_model(path: Path) -> SavedModelEngine:
    """Opens the folder of a SavedModel.

    Raises:
        ValueError: It cannot be read, it does more than calculate, or this project did not write it.
    """
    check_operations(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if "contract" not in loaded.signatures:
        raise ValueError(f"{path} is a SavedModel, but not one that this project exported: it has no contract")
    return SavedModelEngine(loaded, read_contract(loaded.signatures["contract"]()["contract"].numpy()))
