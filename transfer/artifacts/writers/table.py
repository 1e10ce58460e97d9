"""Which function writes which format."""

from collections.abc import Callable
from pathlib import Path

from transfer.artifacts.writers import keras, litert, onnx, openvino, saved_model
from transfer.artifacts.writers.source import Source

__all__ = ["QUANTIZABLE", "WRITERS"]

# Each takes what is to be written, and the path of its file or folder.
WRITERS: dict[str, Callable[[Source, Path], None]] = {
    "keras": keras.write,
    "saved_model": saved_model.write,
    "onnx": onnx.write,
    "openvino": openvino.write,
    "litert": litert.write,
}
QUANTIZABLE = ("onnx", "openvino", "litert")
