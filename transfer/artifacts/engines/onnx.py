"""ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from transfer.artifacts.engines.base import Engine
from transfer.contract import read_contract

__all__ = ["OnnxEngine", "open_model"]


class OnnxEngine(Engine):
    """A session with `model.onnx`, which takes uint8 images, and a flag that says whether they are cropped already."""

    name = "onnx"

    def __init__(self, session: onnxruntime.InferenceSession, contract: Any):
        self.contract = contract
        self._session = session

    def outputs(self, way: str, images: np.ndarray) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        inputs = {"resized": {"canvases": images}, "cropped": {"images": images, "cropped": np.array(True)}}
        return dict(zip(names, self._session.run(names, inputs.get(way, {"images": images})), strict=True))

    def images(self, images: np.ndarray) -> np.ndarray:
        return self._run("probabilities", {"images": images})

    def cropped(self, images: np.ndarray) -> np.ndarray:
        return self._run("probabilities", {"images": images, "cropped": np.array(True)})

    def embeddings(self, images: np.ndarray) -> np.ndarray:
        return self._run("embedding", {"images": images, "cropped": np.array(True)})

    def _run(self, output: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self._session.run([output], inputs)[0]


def open_model(path: Path) -> OnnxEngine:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        contract = session.get_modelmeta().custom_metadata_map.get("contract")
    except Exception as error:  # ONNX Runtime has a dozen classes of errors and no common one
        raise ValueError(f"{path} cannot be read: {error}") from error
    if contract is None:
        raise ValueError(f"{path} is an ONNX file, but not one that this project exported: it has no contract")
    return OnnxEngine(session, read_contract(contract))
