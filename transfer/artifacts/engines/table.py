"""Which file belongs to which format, and which engine opens it."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from transfer.artifacts.engines.base import Engine

__all__ = ["FORMATS", "Format", "format_of", "open_artifact", "runtime_is_installed"]


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Attributes:
        files: what the exported folder holds of this format; the first is what the engine opens.
        engine: the name of the runtime.
        module: where its class `Engine` is.
        needs: the module that the runtime is imported as, and the package that brings it.
        takes: what the artifact takes, in words for people.
    """

    files: tuple[str, ...]
    engine: str
    module: str
    needs: tuple[str, str]
    takes: str


ANY_SIZE = "uint8 [n, h, w, 3], any size"
FORMATS: dict[str, Format] = {
    "openvino": Format(
        ("model.xml", "model.bin"),
        "openvino",
        "transfer.artifacts.engines.openvino",
        ("openvino", "openvino"),
        ANY_SIZE,
    ),
    "onnx": Format(
        ("model.onnx",), "onnx", "transfer.artifacts.engines.onnx", ("onnxruntime", "onnxruntime"), ANY_SIZE
    ),
    "litert": Format(
        ("model.tflite",), "litert", "transfer.artifacts.engines.litert", ("ai_edge_litert", "ai-edge-litert"), ANY_SIZE
    ),
    "saved_model": Format(
        ("saved_model",),
        "tensorflow",
        "transfer.artifacts.engines.tensorflow",
        ("tensorflow", "tensorflow"),
        ANY_SIZE + ", or encoded files",
    ),
    "keras": Format(
        ("model.keras",),
        "keras",
        "transfer.artifacts.engines.keras",
        ("keras", "keras"),
        "float32 [n, H, W, 3], cropped",
    ),
}


def runtime_is_installed(name: str) -> bool:
    """Whether what opens artifacts of a format is there, without importing it.

    >>> runtime_is_installed("keras")
    True
    """
    return importlib.util.find_spec(FORMATS[name].needs[0]) is not None


def format_of(path: str | Path) -> str | None:
    """The format of a file or folder, by its name; None if it is none of ours.

    >>> format_of("somewhere/model.onnx"), format_of("photo.jpg")
    ('onnx', None)
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    suffixes = {Path(row.files[0]).suffix: name for name, row in FORMATS.items() if name != "saved_model"}
    return suffixes.get(path.suffix)


def open_artifact(path: str | Path, *, precision: str = "float32") -> Engine:
    """Opens an exported file, or a SavedModel's folder, with its own runtime.

    Args:
        path: what `transfer.export` wrote: model.onnx, model.xml, model.tflite, model.keras or saved_model.
        precision: "float32", or "bfloat16" for OpenVINO.

    Raises:
        FileNotFoundError: there is none.
        ModuleNotFoundError: its runtime is not installed; says what to install.
        ValueError: it is none of these, was not written by this project, or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    kind = format_of(path)
    if kind is None:
        raise ValueError(f"{path} is no artifact: expected a SavedModel, or .keras, .onnx, .xml or .tflite")
    row = FORMATS[kind]
    if not runtime_is_installed(kind):
        raise ModuleNotFoundError(
            f"{path} needs {row.needs[1]}, which is not installed: pip install {row.needs[1]}, "
            "or all runtimes with pip install 'transfer-zoo[export]'"
        )
    if precision != "float32" and (precision, kind) != ("bfloat16", "openvino"):
        raise ValueError(f"{row.engine} calculates in float32 here, got precision={precision!r}; OpenVINO has bfloat16")
    engine = importlib.import_module(row.module).open_model
    return engine(path, precision) if kind == "openvino" else engine(path)
