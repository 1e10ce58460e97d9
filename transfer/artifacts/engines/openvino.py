"""OpenVINO."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as operations

from transfer.artifacts.engines.base import ON_CANVAS, Engine
from transfer.tasks.contracts import read_contract
from transfer.tasks.task import Arrays

__all__ = ["OpenVINOEngine", "open_model"]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine(Engine):
    """`model.xml`, compiled for a way in and a batch size when they are asked for: 1 image, or any number.

    Args:
        model: OpenVINO's model of the file.
        core: OpenVINO's core.
        contract: The model's contract.
        precision: "float32" or "bfloat16", for prepared images. Photos are always prepared in float32, since in 16 bits
            they would not be the images that the network knows.
    """

    name = "openvino"

    def __init__(self, model: Any, core: Any, contract: Any, precision: str):
        self.contract = contract
        self.precision = precision
        self._model = model
        self._core = core
        self._compiled: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        request, ports = self._request(way, 1 if way == "prepared" and len(images) == 1 else -1)
        request.infer([images], share_inputs=True)
        return {name: request.get_tensor(port).data.copy() for name, port in ports.items()}

    def compiled(self, way: str, batch: int) -> Any:
        """Returns the compiled model for a way in and a batch size; it is compiled the first time.

        Args:
            way: "images" or "prepared".
            batch: 1, or -1 for any number of images.
        """
        with self._lock:
            if (way, batch) not in self._compiled:
                model = self._model.clone()
                if way == "prepared":
                    model = _without_preparation(model, self.contract, batch)
                precision = self.precision if way == "prepared" else "float32"
                hints = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
                self._compiled[way, batch] = self._core.compile_model(model, "CPU", hints)
            return self._compiled[way, batch]

    def _request(self, way: str, batch: int) -> tuple[Any, dict[str, Any]]:
        """Returns the request of this thread, which holds the tensors of one inference, and its ports by output."""
        requests = self._local.__dict__.setdefault("requests", {})
        if (way, batch) not in requests:
            request = self.compiled(way, batch).create_infer_request()
            ports = {}
            for name in self.contract.outputs():
                own = ON_CANVAS + name if way == "prepared" and name in self.contract.placed_outputs else name
                # A tensor may have further names, and any of them may come first.
                ports[name] = next(port for port in request.model_outputs if own in port.get_names())
            requests[way, batch] = request, ports
        return requests[way, batch]


def _without_preparation(model: Any, contract: Any, batch: int) -> Any:
    """Returns the model from behind the preparation on, without what is in pixels of photos.

    The exporter gave that place the name of the preparation's endpoint.
    """
    preparation = contract.preparation
    place = next(node for node in model.get_ops() if node.friendly_name == preparation.endpoint)
    images = operations.parameter((batch, *preparation.size, 3), np.dtype(preparation.dtype), name="images")
    place.output(0).replace(operations.convert(images, "f32").output(0))
    in_photos = set(contract.placed_outputs)
    kept = [result for result in model.get_results() if not in_photos & result.output(0).get_names()]
    return openvino.Model(kept, [images], preparation.endpoint)


def open_model(path: Path, precision: str = "float32") -> OpenVINOEngine:
    """Opens a `.xml` file, with the `.bin` file beside it.

    Raises:
        ValueError: It cannot be read, this project did not write it, or the processor does not have the precision.
    """
    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor has no bfloat16; take precision='float32'")
    try:
        model = core.read_model(path)
        contract = model.get_rt_info(["transfer_zoo", "contract"]).astype(str)
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read, or was not exported by this project: {error}") from error
    return OpenVINOEngine(model, core, read_contract(contract), precision)
