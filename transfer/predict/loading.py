"""Opening what `zoo fit` or `zoo export` wrote, or a pretrained model of the zoo.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are read without importing TensorFlow.
"""

import importlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import zoo
from pipelines.prepare.crop import EvaluationCrop
from transfer.artifacts.engines.choosing import check_precision, choose
from transfer.artifacts.engines.objectron import find_objectron, open_objectron
from transfer.artifacts.engines.table import FORMATS, format_of, open_artifact
from transfer.artifacts.manifest import MANIFEST, check_files, read_manifest
from transfer.predict.predictor import Predictor
from transfer.tasks import task_of
from zoo.weights.pretrained import PRETRAINED, imagenet_classes

__all__ = ["EXPORTED", "load"]

EXPORTED = "exported"  # The folder inside of a run that `zoo export` writes by default.
ENGINES = {row.engine: name for name, row in FORMATS.items()}


def load(
    source: str | Path, *, engine: str = "auto", precision: str = "float32", max_pixels: int | None = None
) -> Predictor:
    """Opens a model, and returns what answers for it.

    Args:
        source: A folder that `zoo fit`, `zoo export` or `transfer.export` wrote, one artifact of it (`saved_model`,
            .keras, .onnx, .xml or .tflite), or the name of a zoo model that has ImageNet weights
            (`efficientnet_lite0`). In a run, what was exported into it is found, too, unless it was quantised.
            "objectron", or the path of its file, stands for MediaPipe's pretrained detector
            (`transfer.artifacts.engines.objectron`).
        engine: "openvino", "onnx", "litert", "tensorflow" or "keras". "auto" takes the fastest of those that are
            installed and have an artifact, by a short measurement that is remembered; TensorFlow's only if there is
            no other, since it takes seconds to load.
        precision: "float32", or "bfloat16", which only OpenVINO has, on processors that have it, where its answers to
            the folder's proof photos agree with the trained model's.
        max_pixels: Photos of more pixels are refused before they are unpacked. By default Pillow's own limit holds.

    Raises:
        FileNotFoundError: There is no such folder, file or model, or no artifact for that engine.
        ModuleNotFoundError: The runtime is not installed; the message says what to install.
        ValueError: The model was not written by this project, was changed since, or is of a newer format; or the
            engine is unknown, or the precision is too coarse for this model.

    Example:

        transfer.load("run").predict("photo.jpg")
    """
    path = Path(source)
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"engine is auto, {', '.join(ENGINES)}; got {engine!r}")
    if str(source) in zoo.list_models() and not path.exists():
        return _pretrained(str(source), max_pixels)
    if (packed := find_objectron(source)) is not None:
        return Predictor(open_objectron(packed), max_pixels=max_pixels)
    artifacts = _artifacts(path)
    if precision == "bfloat16" and engine == "auto" and "openvino" in artifacts:
        engine = "openvino"
    if engine != "auto":
        wanted = ENGINES[engine]
        if wanted not in artifacts:
            raise FileNotFoundError(
                f"{path} holds nothing for {engine}, but {', '.join(artifacts)}; "
                f"add it: zoo export RUN --format {wanted}"
            )
        artifacts = {wanted: artifacts[wanted]}
    elif len(artifacts) > 1:
        artifacts = choose(artifacts)
    name, artifact = next(iter(artifacts.items()))
    if (artifact.parent / MANIFEST).is_file():
        check_files(artifact.parent, FORMATS[name].files)
    opened = open_artifact(artifact, precision=precision)
    if precision != "float32":
        check_precision(opened, artifact)
    siblings = (artifact.parent / "model.keras", artifact.parent.parent / "model.keras")
    keras_file = next((file for file in siblings if file.is_file()), None)
    return Predictor(opened, keras_file=keras_file, max_pixels=max_pixels)


def _artifacts(path: Path) -> dict[str, Path]:
    """Returns all artifacts that a path holds, by format."""
    if path.exists() and (kind := format_of(path)) is not None:
        return {kind: path}
    artifacts: dict[str, Path] = {}
    exported = path / EXPORTED
    if (exported / MANIFEST).is_file() and read_manifest(exported).get("quantize") == "none":
        artifacts = _inside(exported)
    artifacts = _inside(path) | artifacts
    if artifacts:
        return artifacts
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but holds no model; expected one that `zoo fit` or an export wrote")
    if path.exists():
        raise ValueError(f"{path} is no model; expected a .keras file, or a folder that `zoo fit` or an export wrote")
    raise FileNotFoundError(_nothing_named(str(path)))


def _inside(folder: Path) -> dict[str, Path]:
    return {
        name: folder / row.files[0]
        for name, row in FORMATS.items()
        if format_of(folder / row.files[0]) == name and (folder / row.files[0]).exists()
    }


def _nothing_named(source: str) -> str:
    near = get_close_matches(source, zoo.list_models(), n=3)
    hint = f"; did you mean the model {' or '.join(near)}?" if near else "; `zoo models` lists the zoo's models"
    return f"no folder, no .keras file and no model is named {source}{hint}"


def _pretrained(name: str, max_pixels: int | None) -> Predictor:
    """Opens a zoo model with its ImageNet weights.

    Raises:
        ValueError: The weights have no classifier, so that the model cannot say what is in a photo.
    """
    if not getattr(PRETRAINED.get(name), "has_classifier", True):
        raise ValueError(
            f"the weights of {name} have no classifier: it is a trunk, for `zoo fit --backbone {name}`, and for the "
            "appearance of what is tracked (`zoo track --appearance`)"
        )
    model = zoo.create_model(name, weights="imagenet")
    row, classes = PRETRAINED[name], imagenet_classes()
    make: Any = task_of("classify").contract
    contract = make(
        tuple(one.label for one in classes),
        preparation=EvaluationCrop((row.image_size, row.image_size), row.crop_fraction, row.interpolation),
        wnids=tuple(one.wnid for one in classes),
    )
    engines = importlib.import_module(FORMATS["keras"].module)  # Loaded here, since it loads TensorFlow.
    return Predictor(engines.KerasEngine(model, contract), max_pixels=max_pixels)
