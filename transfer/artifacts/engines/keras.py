"""Keras: a model in memory, or a `.keras` file, compiled into a graph when it is asked."""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import zoo.layers  # noqa: F401  A .keras file names its layers, and Keras has to know those of the zoo.
from transfer.artifacts.endpoints import endpoints
from transfer.artifacts.engines.tensorflow import TensorFlowEngine, freeze_graph
from transfer.tasks import learning_of
from transfer.tasks.contracts import read_contract
from zoo.surgery.flattening import functional
from zoo.surgery.keras_layers import with_zoo_layers

__all__ = ["KerasEngine", "open_model"]


class KerasEngine(TensorFlowEngine):
    """A Keras model with its contract.

    Args:
        model: The model.
        contract: What it takes and gives.

    Attributes:
        model: The model, for what needs more than answers, such as heat maps.
    """

    name = "keras"

    def __init__(self, model: keras.Model, contract: Any):
        self.model = functional(model)
        network = learning_of(contract.task).network(self.model, contract, portable=False)
        made = endpoints(network, contract)
        types = {"images": "uint8", contract.preparation.endpoint: contract.preparation.dtype}
        traced = {}
        for name, dtype in types.items():
            function, signatures = made[name]
            signature = next(one for one in signatures if one[0].dtype == dtype)
            traced[name] = _traced_when_called(function, signature)
        super().__init__(traced, contract)


def _traced_when_called(function: Callable[..., Any], signature: Any) -> Callable[[Any], dict[str, Any]]:
    """Returns a function that is traced at its first call, since a model may be opened for one way in, or none."""

    @cache
    def traced() -> Callable[[Any], dict[str, Any]]:
        return freeze_graph(tf.function(function, autograph=False).get_concrete_function(*signature))

    return lambda images: traced()(images)


def open_model(path: Path) -> KerasEngine:
    """Opens a `.keras` file that `transfer.export` or `zoo fit` wrote.

    Raises:
        ValueError: It cannot be read, or it has no contract.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contract = read_contract(archive.read("contract.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path} was not written by transfer.export: {error}. Load it with keras.models.load_model, and export "
            "it with its contract"
        ) from error
    learning_of(contract.task)  # It brings the classes that the file names.
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    if type(model).__module__.startswith("keras."):
        model = with_zoo_layers(model)
    return KerasEngine(model, contract)
