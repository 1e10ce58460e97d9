"""ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from transfer.artifacts.engines.base import Engine
from transfer.tasks.contracts import read_contract
from transfer.tasks.task import Arrays

__all__ = ["OnnxEngine", "open_model"]


class OnnxEngine(Engine):
    """A session with `model.onnx`.

    Prepared images go into the input `canvases`. Classifiers of format version 1 have a flag instead, `cropped`, which
    says that `images` are cropped already.

    Args:
        session: ONNX Runtime's session with the file.
        contract: The model's contract.
    """

    name = "onnx"

    def __init__(self, session: onnxruntime.InferenceSession, contract: Any):
        self.contract = contract
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        self._has_flag = "cropped" in {one.name for one in session.get_overridable_initializers()} | {
            one.name for one in session.get_inputs()
        }

    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        inputs = {"images": images}
        if way == "prepared":
            inputs = {"images": images, "cropped": np.array(True)} if self._has_flag else {"canvases": images}
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


def open_model(path: Path) -> OnnxEngine:
    """Opens an ONNX file.

    Raises:
        ValueError: It cannot be read, or this project did not write it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        contract = session.get_modelmeta().custom_metadata_map.get("contract")
    except Exception as error:  # ONNX Runtime has a dozen classes of errors and no common one.
        raise ValueError(f"{path} cannot be read: {error}") from error
    if contract is None:
        raise ValueError(f"{path} is an ONNX file, but not one that this project exported: it has no contract")
    return OnnxEngine(session, read_contract(contract))
