"""OpenVINO."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as operations

from transfer.artifacts.engines.base import ON_CANVAS, Engine
from transfer.contract import read_contract

__all__ = ["OpenVINOEngine", "open_model"]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine(Engine):
    """`model.xml`, compiled for the way in and the batch size that are asked for: 1 image, or any number."""

    name = "openvino"

    def __init__(self, model: Any, core: Any, contract: Any, precision: str):
        self.contract = contract
        self.precision = precision
        self._model = model
        self._core = core
        self._compiled: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def outputs(self, way: str, images: np.ndarray) -> dict[str, np.ndarray]:
        request = self._request(way, 1 if way != "images" and len(images) == 1 else -1)
        request.infer([images], share_inputs=True)
        found = {port.get_any_name(): request.get_tensor(port).data.copy() for port in request.model_outputs}
        if way == "resized":
            return {name.removeprefix(ON_CANVAS): values for name, values in found.items()}
        return {name: values for name, values in found.items() if not name.startswith(ON_CANVAS)}

    def images(self, images: np.ndarray) -> np.ndarray:
        return self._run("images", "probabilities", images)

    def cropped(self, images: np.ndarray) -> np.ndarray:
        return self._run("cropped", "probabilities", images)

    def embeddings(self, images: np.ndarray) -> np.ndarray:
        return self._run("cropped", "embedding", images)

    def _run(self, way: str, output: str, images: np.ndarray) -> np.ndarray:
        request = self._request(way, 1 if way == "cropped" and len(images) == 1 else -1)
        request.infer([images], share_inputs=True)
        return request.get_tensor(output).data.copy()

    def _request(self, way: str, batch: int) -> Any:
        """One for each thread: a request holds the tensors of one inference."""
        mine = self._local.__dict__.setdefault("requests", {})
        if (way, batch) not in mine:
            mine[way, batch] = self.compiled(way, batch).create_infer_request()
        return mine[way, batch]

    def compiled(self, way: str, batch: int) -> Any:
        """The model for a way in and a batch size, 1 or -1 for any; compiled the first time it is asked for."""
        with self._lock:
            if (way, batch) not in self._compiled:
                model = self._model.clone()
                if way == "cropped":
                    model = _without_crop(model, (batch, *self.contract.crop.size, 3))
                elif way == "resized":
                    model = _without_letterbox(model, (batch, *self.contract.size, 3))
                # Crops have to be made in float32: in 16 bits they are not the crops that the network knows.
                precision = self.precision if way == "cropped" else "float32"
                hints = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
                self._compiled[way, batch] = self._core.compile_model(model, "CPU", hints)
            return self._compiled[way, batch]


def _without_crop(model: Any, shape: tuple[int, int, int, int]) -> Any:
    """The model from behind its crop on. The exporter gave that place a name."""
    place = next(node for node in model.get_ops() if node.friendly_name == "cropped")
    images = operations.parameter(shape, np.uint8, name="images")
    place.output(0).replace(operations.convert(images, "f32").output(0))
    return openvino.Model(model.get_results(), [images], "cropped")


def _without_letterbox(model: Any, shape: tuple[int, int, int, int]) -> Any:
    """A detector from behind its letterbox on, with only what is in pixels of the canvas."""
    place = next(node for node in model.get_ops() if node.friendly_name == "resized")
    images = operations.parameter(shape, np.float32, name="images")
    place.output(0).replace(images.output(0))
    names = {result.output(0).get_any_name(): result for result in model.get_results()}
    kept = [result for name, result in names.items() if ON_CANVAS + name not in names]
    return openvino.Model(kept, [images], "resized")


def open_model(path: Path, precision: str = "float32") -> OpenVINOEngine:
    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bfloat16; take precision='float32'")
    try:
        model = core.read_model(path)
        contract = model.get_rt_info(["transfer_zoo", "contract"]).astype(str)
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read, or was not exported by this project: {error}") from error
    return OpenVINOEngine(model, core, read_contract(contract), precision)
