"""LiteRT, which was TensorFlow Lite."""

import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from transfer.artifacts.engines.base import Engine
from transfer.tasks.contracts import read_contract
from transfer.tasks.task import Arrays

__all__ = ["LiteRTEngine", "open_model"]


class LiteRTEngine(Engine):
    """The signatures of `model.tflite`. An interpreter bears one caller at a time, so there is a lock.

    Args:
        interpreter: LiteRT's interpreter of the file.
        contract: The model's contract.
    """

    name = "litert"

    def __init__(self, interpreter: Any, contract: Any):
        self.contract = contract
        self._signatures = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
        self.ways = tuple(way for way in ("images", "prepared") if self.endpoint(way) in self._signatures)
        self._lock = threading.Lock()

    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        if way not in self.ways:
            height, width = self.contract.preparation.size
            raise ValueError(
                f"this file takes prepared images of {height} x {width} only, and got images of {images.shape[1:3]}"
            )
        with self._lock:
            return dict(self._signatures[self.endpoint(way)](images=images))


def open_model(path: Path) -> LiteRTEngine:
    """Opens a `.tflite` file.

    Raises:
        ValueError: It cannot be read, or this project did not write it.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # A .tflite file may have a zip archive behind its end.
            contract = read_contract(archive.read("contract.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is damaged, or was not exported by this project: {error}") from error
    try:
        return LiteRTEngine(Interpreter(str(path), num_threads=os.cpu_count()), contract)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
