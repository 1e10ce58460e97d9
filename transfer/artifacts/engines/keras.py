"""Keras: a model in memory, or a `.keras` file, compiled into a graph."""

import importlib
import zipfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import zoo.layers  # noqa: F401  a .keras file names its layers, and Keras has to know ours
from transfer.artifacts.engines.tensorflow import TensorFlowEngine, freeze_graph
from transfer.contract import read_contract

__all__ = ["KerasEngine", "open_model"]


# For each task, what knows the ways into its models, and the way to the network itself.
_EXPORTING = {
    "classify": ("transfer.artifacts.exporting", ("cropped", "uint8")),
    "detect": ("transfer.tasks.detect.exporting", ("resized", "float32")),
}


class KerasEngine(TensorFlowEngine):
    """A Keras model with its contract.

    Attributes:
        model: for what needs more than answers, such as Grad-CAM.
    """

    name = "keras"

    def __init__(self, model: keras.Model, contract: Any):
        self.model = model
        exporting, network = _EXPORTING[contract.task]
        ways = importlib.import_module(exporting).endpoints(model, contract)
        traced = {}
        for name, dtype in (("images", "uint8"), network):
            function, signatures = ways[name]
            by_type = {signature[0].dtype.name: signature for signature in signatures}
            traced[name] = tf.function(function, autograph=False).get_concrete_function(*by_type[dtype])
        super().__init__({name: freeze_graph(function) for name, function in traced.items()}, contract)


def open_model(path: Path) -> KerasEngine:
    try:
        with zipfile.ZipFile(path) as archive:
            contract = read_contract(archive.read("contract.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path} was not written by transfer.export: {error}. Load it with keras.models.load_model, and export "
            "it with its class names and its crop"
        ) from error
    importlib.import_module(_EXPORTING[contract.task][0])  # which knows the classes that the file names
    return KerasEngine(keras.models.load_model(path, compile=False, safe_mode=True), contract)
