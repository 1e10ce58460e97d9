"""Which file belongs to which format, and which engine opens it."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer.artifacts.engines.base import Engine
from transfer.artifacts.plain_paths import plain_path

__all__ = ["FORMATS", "Format", "check_formats", "format_of", "open_artifact", "runtime_is_installed"]


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Attributes:
        files: The files and folders that an exported folder holds of this format. The engine opens the first one.
        engine: The name of the runtime.
        module: The module with the function `open_model`.
        needs: The module that the runtime is imported as, and the package that brings it.
        takes: What the artifact takes, in words for people.
    """

    files: tuple[str, ...]
    engine: str
    module: str
    needs: tuple[str, str]
    takes: str = "uint8 [n, h, w, 3], any size"


ENGINES = "transfer.artifacts.engines"
FORMATS: dict[str, Format] = {
    "openvino": Format(("model.xml", "model.bin"), "openvino", f"{ENGINES}.openvino", ("openvino", "openvino")),
    "onnx": Format(("model.onnx",), "onnx", f"{ENGINES}.onnx", ("onnxruntime", "onnxruntime")),
    "litert": Format(("model.tflite",), "litert", f"{ENGINES}.litert", ("ai_edge_litert", "ai-edge-litert")),
    "saved_model": Format(
        ("saved_model",),
        "tensorflow",
        f"{ENGINES}.tensorflow",
        ("tensorflow", "tensorflow"),
        "uint8 [n, h, w, 3], any size, or encoded files",
    ),
    "keras": Format(
        ("model.keras",), "keras", f"{ENGINES}.keras", ("keras", "keras"), "float32 [n, H, W, 3], prepared"
    ),
}


def runtime_is_installed(name: str) -> bool:
    """Tells whether the runtime that opens artifacts of a format is installed; it is not imported.

    >>> runtime_is_installed("keras")
    True
    """
    return importlib.util.find_spec(FORMATS[name].needs[0]) is not None


def check_formats(formats: Sequence[str]) -> None:
    """Checks that formats are known and can be written here.

    Raises:
        ValueError: A format is unknown or occurs twice, or there is none.
        ModuleNotFoundError: The runtime of a format is not installed.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats or len(set(formats)) < len(formats):
        raise ValueError(
            f"formats are one or more of {', '.join(FORMATS)}, each once; got {', '.join(formats) or 'none'}"
        )
    for name in formats:
        packages = {"onnx": ("tf2onnx", "onnxruntime")}.get(name, (FORMATS[name].needs[0],))
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            raise ModuleNotFoundError(
                f"{name} needs {', '.join(missing)}, not installed here: pip install 'transfer-zoo[export]'"
            )


def format_of(path: str | Path) -> str | None:
    """Returns the format of a file or folder, by its name, or None if it is none of the formats.

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
        path: What `transfer.export` wrote: model.onnx, model.xml, model.tflite, model.keras or saved_model.
        precision: "float32", or "bfloat16" for OpenVINO. Defaults to "float32".

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: Its runtime is not installed. The message says what to install.
        ValueError: It is not an artifact, this project did not write it, or it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    name = format_of(path)
    if name is None:
        raise ValueError(f"{path} is no artifact: expected a SavedModel, or .keras, .onnx, .xml or .tflite")
    row = FORMATS[name]
    if not runtime_is_installed(name):
        raise ModuleNotFoundError(
            f"{path} needs {row.needs[1]}, which is not installed: pip install {row.needs[1]}, "
            "or all runtimes with pip install 'transfer-zoo[export]'"
        )
    if precision != "float32" and (precision, name) != ("bfloat16", "openvino"):
        raise ValueError(f"{row.engine} calculates in float32 here, got precision={precision!r}; OpenVINO has bfloat16")
    open_model = importlib.import_module(row.module).open_model
    with plain_path(path) as plain:
        try:
            return open_model(plain, precision) if name == "openvino" else open_model(plain)
        except ValueError as error:
            reason = str(error).replace(str(plain), str(path))
            raise ValueError(reason if str(path) in reason else f"{path} cannot be opened: {reason}") from error
