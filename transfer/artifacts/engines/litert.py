"""LiteRT, which was TensorFlow Lite."""

import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from transfer.artifacts.engines.base import Engine
from transfer.contract import read_contract

__all__ = ["LiteRTEngine", "open_model"]


class LiteRTEngine(Engine):
    """The signatures of `model.tflite`. An interpreter bears one caller at a time, so there is a lock."""

    name = "litert"

    def __init__(self, interpreter: Any, contract: Any):
        self.contract = contract
        self._signatures = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self._lock = threading.Lock()

    def outputs(self, way: str, images: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            return dict(self._signatures[way](images=images))

    def images(self, images: np.ndarray) -> np.ndarray:
        if "images" not in self._signatures:
            height, width = self.contract.crop.size
            raise ValueError(f"this file takes images of {height} x {width} only, got {images.shape[1:3]}")
        return self._run("images", "probabilities", images)

    def cropped(self, images: np.ndarray) -> np.ndarray:
        return self._run("cropped", "probabilities", images)

    def embeddings(self, images: np.ndarray) -> np.ndarray:
        return self._run("cropped", "embedding", images)

    def _run(self, signature: str, output: str, images: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._signatures[signature](images=images)[output]


def open_model(path: Path) -> LiteRTEngine:
    try:
        with zipfile.ZipFile(path) as archive:  # a .tflite file may have a zip archive behind its end
            contract = read_contract(archive.read("contract.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is damaged, or was not exported by this project: {error}") from error
    try:
        return LiteRTEngine(Interpreter(str(path), num_threads=os.cpu_count()), contract)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
