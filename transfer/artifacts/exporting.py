"""Export with proof: what is written is read back and compared with the trained model before anyone uses it.

`export` writes a folder with

* `model.keras`, to go on in Keras;
* `saved_model/`, a TensorFlow SavedModel that needs neither Keras nor this project, with decoding and preparation in
  its graph (`transfer.artifacts.endpoints` lists its endpoints);
* `model.onnx`, `model.xml` and `model.bin` for OpenVINO, and `model.tflite` for LiteRT, where they are asked for
  (`transfer.artifacts.writers`);
* `labels.txt`, one name a line, in the order of the outputs;
* `contract.json`, what the model takes and gives (`transfer.contract.Contract`). The same text lies inside each
  artifact, so that neither can be parted from it;
* `manifest.json`, what was compared, and a SHA-256 of each file;
* `proof.npz`, photos and the trained model's outputs for them, with which `zoo verify` repeats the proof.

It serves every task: a task's learning half brings the network (`transfer.tasks.learning.Learning.network`), and its
answering half says which differences count (`transfer.tasks.task.Task.compare`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.outputs.locks import output_lock
from transfer.artifacts.claims import CONTRACT, LABELS, MOST_TOLERANCE
from transfer.artifacts.endpoints import Network
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import FORMATS, check_formats, open_artifact
from transfer.artifacts.folders import new_folder
from transfer.artifacts.manifest import MANIFEST, write_manifest
from transfer.artifacts.photos import Photo, decoded_photo, encoded_photo, proof_photos
from transfer.artifacts.plain_paths import plain_path
from transfer.artifacts.proof import PROOF, Reference, largest_difference, prove
from transfer.artifacts.quantisation import (
    QUANTIZATIONS,
    QUANTIZED_WITHIN,
    Labelled,
    Split,
    answers_on,
    check_agreement,
)
from transfer.artifacts.writers.source import Source
from transfer.artifacts.writers.table import QUANTIZABLE, WRITERS
from transfer.contract import TOLERANCE, Agreement, Check, Contract, ExportError, Proof
from transfer.keras_settings import check_keras_settings
from transfer.models.precision import in_float32
from transfer.probabilities import check_probabilities
from transfer.tasks import learning_of
from transfer.tasks.task import Arrays
from zoo.surgery.flattening import functional

__all__ = ["CONTENTS", "export", "fingerprint", "write_and_prove"]

# The names that an exported folder may hold.
CONTENTS = (LABELS, CONTRACT, MANIFEST, PROOF, *(name for row in FORMATS.values() for name in row.files))
DEFAULT_FORMATS = ("keras", "saved_model")
CALIBRATED_ON = 128  # images


def export(
    model: keras.Model,
    folder: str | Path,
    contract: Contract,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    quantize: str = "none",
    labelled: Labelled | None = None,
    calibration: Split | None = None,
    bound: float = 1.0,
    overwrite: bool = False,
) -> Proof:
    """Writes a model for use elsewhere, and proves that what was written answers as the model does.

    What was written is loaded in new objects, each format in its own runtime, and given photos of several sizes, at
    batch 1 and 5, through each way in. The reference takes another road: `pipelines` decodes as for training and
    prepares eagerly, and the network runs eagerly, too. Before that, all decoders are compared pixel for pixel.

    Args:
        model: The model. It takes float32 images `[n, height, width, 3]`, RGB in 0..255.
        folder: The folder to write. It appears only once everything is proven.
        contract: What the model takes and gives. Its fingerprint and its versions are filled in.
        formats: One or more of "keras", "saved_model", "onnx", "openvino" and "litert".
        photos: Files, their contents or uint8 `[h, w, 3]` arrays to compare on, besides five built-in photos.
        tolerance: The largest difference that is allowed: of a score, or of a coordinate as a share of the size; at
            most 0.01. Defaults to 1e-4.
        quantize: "none", "float16" (weights only) or "int8", for ONNX, OpenVINO and LiteRT. Such artifacts may differ
            by more than `tolerance`. They are held to `bound` on `labelled` instead.
        labelled: Annotated images that the model was not trained on, to measure quantised artifacts on.
        calibration: A split of a data set, to choose the ranges of int8 on. By default these are 128 images of
            `labelled`, spread evenly.
        bound: How many points (hundredths) may be lost, of the agreement with the trained model and of the task's
            headline metric (`transfer.artifacts.quantisation.points_lost`). Defaults to 1.
        overwrite: Whether to replace an earlier export. Defaults to False.

    Returns:
        The comparisons that were made.

    Raises:
        ExportError: An answer differs by more than is allowed, or an artifact cannot be written or read back. The
            message says where. `folder` is as it was before.
        ModuleNotFoundError: A runtime is not installed. The message says what to install.
        ValueError: The model and the contract do not fit each other, a format is unknown, or a photo cannot be decoded.
        FileExistsError: `folder` holds something already, or another process writes it.

    Example:

    >>> import tempfile
    >>> from pipelines import EvaluationCrop
    >>> from transfer.tasks.classify.answers import ClassifyContract
    >>> model = keras.Sequential([
    ...     keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")])
    >>> contract = ClassifyContract(("ant", "bee"), preparation=EvaluationCrop((32, 48)))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     proof = export(model, Path(place) / "out", contract)
    ...     sorted(path.name for path in (Path(place) / "out").iterdir())
    ['contract.json', 'labels.txt', 'manifest.json', 'model.keras', 'proof.npz', 'saved_model']
    >>> proof.max_abs_diff <= 1e-4
    True
    """
    with output_lock(folder), new_folder(folder, overwrite=overwrite, contents=CONTENTS) as work:
        try:
            return write_and_prove(
                model,
                work,
                contract,
                formats=formats,
                photos=photos,
                tolerance=tolerance,
                quantize=quantize,
                labelled=labelled,
                calibration=calibration,
                bound=bound,
            )
        except ExportError as error:
            raise ExportError(
                f"{error} Nothing was written to {folder}; the model that was to be exported is untouched.",
                error.check,
                artifact=error.artifact,
            ) from error


def write_and_prove(
    model: keras.Model,
    folder: Path,
    contract: Contract,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    quantize: str = "none",
    labelled: Labelled | None = None,
    calibration: Split | None = None,
    bound: float = 1.0,
) -> Proof:
    """Writes and proves a model as `export` does, into a folder that is there.

    `model.keras` is written first. When anything fails, what was written until then stays in the folder, and there is
    no manifest.

    Args:
        folder: The folder.
        model, contract, formats, photos, tolerance, quantize, labelled, calibration, bound: See `export`.

    Raises:
        ExportError: As `export` raises it; its `artifact` and its `check` say what failed.
        ModuleNotFoundError, ValueError: As `export` raises them.
    """
    check_keras_settings()
    given, model = model, functional(model)
    if (single := in_float32(model)) is not model:
        given = model = single  # In 16 bits the model itself is less sure than what the proof allows.
    _check_fit(model, contract)
    check_formats(formats)
    if not 0 < tolerance <= MOST_TOLERANCE:
        raise ValueError(f"the tolerance of a proof is above 0 and at most {MOST_TOLERANCE}, got {tolerance}")
    _check_quantizing(formats, quantize, labelled)
    contract = dataclasses.replace(contract, fingerprint=fingerprint(model, contract))
    built_in = proof_photos()
    encoded = built_in + [encoded_photo(photo, index) for index, photo in enumerate(photos)]
    calibrated = Labelled(calibration) if calibration is not None else labelled and labelled.spread(CALIBRATED_ON)
    source = Source(model, contract, quantize, calibrated)

    _write_texts(folder, contract)
    for name in set(formats) & {"keras"}:
        _write(name, source, folder)
    reference = _reference(given, source.network, contract, encoded)
    trained = None
    if labelled is not None and quantize != "none":
        trained = answers_on(labelled, contract, _graph(source.network))

    allowed: dict[str, float] = {}
    checks: list[Check] = []
    agreements: list[Agreement] = []
    for name in formats:
        artifact = FORMATS[name].files[0]
        if name != "keras":
            _write(name, source, folder)
        engine = _read_back(folder / artifact, contract)
        allowed[name] = tolerance if quantize == "none" else _quantised_tolerance(engine, artifact, reference)
        checks += prove(engine, artifact, reference, allowed[name], encoded=encoded)
        if labelled is not None and trained is not None:
            actual = answers_on(labelled, contract, partial(engine.outputs, "prepared"))
            agreements.append(check_agreement(artifact, trained, actual, labelled, contract, bound=bound))

    # Only the built-in photos go along: those of the caller are nobody else's business.
    reference.part(len(built_in)).save(folder / PROOF, built_in)
    proof = Proof(tuple(checks), len(encoded), tolerance, tuple(agreements))
    _write_manifest(folder, contract, allowed, quantize, proof)
    return proof


def fingerprint(model: keras.Model, contract: Contract) -> str:
    """Computes a digest of the weights and of what the contract says, apart from the versions of libraries.

    Returns:
        32 hexadecimal digits, which are the same for the same weights with the same names, shapes and types, the same
        names of classes, the same preparation and the same facts of the task, and for no others.
    """
    document = contract.as_document()
    described = ("format", "format_version", "endpoints", "outputs", "fingerprint", "versions")
    facts = {name: value for name, value in document.items() if name not in described}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(repr((weight.name, values.shape, values.dtype.str)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:32]


def _check_quantizing(formats: Sequence[str], quantize: str, labelled: Labelled | None) -> None:
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize is one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize == "none":
        return
    others = [name for name in formats if name not in QUANTIZABLE]
    if others:
        raise ValueError(f"{', '.join(others)} cannot be quantised; {', '.join(QUANTIZABLE)} can. Export it by itself")
    if labelled is None or not len(labelled):
        raise ValueError(f"what {quantize} loses has to be measured: give annotated images (labelled=..., --int8-data)")


def _check_fit(model: keras.Model, contract: Contract) -> None:
    """Checks what a model says about itself: the images that it takes, and numbers that the contract states, too."""
    height, width = contract.preparation.size
    if model.input_shape not in ((None, height, width, 3), (None, None, None, 3)):
        raise ValueError(
            f"the contract prepares images of {height} x {width}, and the model takes {model.input_shape}; give the "
            "size that the model was made for"
        )
    for name in (field.name for field in dataclasses.fields(contract)):
        own, stated = getattr(model, name, None), getattr(contract, name)
        if isinstance(own, int | float) and own != stated:
            raise ValueError(
                f"the model's {name} is {own}, and the contract says {stated}; set the model's attribute before"
            )


def _check_outputs(outputs: Arrays, contract: Contract) -> None:
    """Checks that the network gives what the contract says: these shapes, and probabilities where it says so."""
    for name, output in contract.outputs().items():
        if name not in outputs:
            raise ValueError(f"the contract names the output {name!r}, and the model gives {', '.join(outputs)}")
        shape = outputs[name].shape[1:]
        if len(shape) != len(output.shape) or any(
            expected not in (None, actual) for expected, actual in zip(output.shape, shape, strict=True)
        ):
            raise ValueError(
                f"the contract says that {name!r} has the shape {list(output.shape)} for each image, and the model "
                f"gives {list(shape)}; give the contract that the model was made for"
            )
        if not output.internal:
            check_probabilities(outputs[name], output.values, f"the outputs {name!r} of a {contract.task} contract")


def _reference(model: keras.Model, network: Network, contract: Contract, encoded: Sequence[bytes]) -> Reference:
    """Asks the trained model by another road than the artifacts': everything runs eagerly, and the model as given."""
    called = learning_of(contract.task).called
    photos = [decoded_photo(contents, index) for index, contents in enumerate(encoded)]

    def answer(images: Sequence[np.ndarray]) -> Arrays:
        pixels = np.stack([contract.preparation(image) for image in images])
        outputs = {**network(pixels), **called(model, contract, pixels)}
        arrays = {name: np.asarray(values) for name, values in outputs.items()}
        _check_outputs(arrays, contract)
        return {name: arrays[name] for name in contract.outputs()}

    return Reference.make(photos, answer)


def _graph(network: Network) -> Callable[[np.ndarray], Any]:
    traced = tf.function(network, autograph=False, reduce_retracing=True)
    return lambda images: traced(tf.cast(images, tf.float32))


def _write_texts(folder: Path, contract: Contract) -> None:
    (folder / CONTRACT).write_text(contract.to_json(), encoding="utf-8")
    (folder / LABELS).write_text("".join(f"{name}\n" for name in contract.names), encoding="utf-8")


def _write(name: str, source: Source, folder: Path) -> None:
    artifact = FORMATS[name].files[0]
    try:
        with plain_path(folder / artifact) as path:
            WRITERS[name](source, path)
    except Exception as error:  # Each converter has its own classes of errors.
        raise ExportError(f"{artifact} cannot be written: {_sentence(error)}", artifact=artifact) from error


def _sentence(error: Exception) -> str:
    """Returns what an error says, which may be long, with a full stop behind it."""
    return (str(error).strip() or type(error).__name__)[:2000].rstrip(".") + "."


def _read_back(path: Path, contract: Contract) -> Engine:
    try:
        engine = open_artifact(path)
    except Exception as error:  # Whatever it is, the artifact is of no use to anyone.
        raise ExportError(
            f"{path.name} was written, and cannot be read back: {_sentence(error)}", artifact=path.name
        ) from error
    if engine.contract != contract:
        raise ExportError(f"the contract inside {path.name} is not the one that was written.", artifact=path.name)
    return engine


def _quantised_tolerance(engine: Engine, artifact: str, reference: Reference) -> float:
    """Returns how far a quantised artifact may be from the trained model on the built-in photos.

    What it is worth is measured on annotated images. These photos are of another kind, and numbers that a network tells
    from such photos may differ by much. They show that all ways in and all batches give the same, here and wherever
    `verify` repeats the proof: so twice the difference that prepared photos have is allowed, and at least 0.25.
    """
    difference = largest_difference(engine, artifact, reference)
    return max(QUANTIZED_WITHIN, 2 * difference) if np.isfinite(difference) else QUANTIZED_WITHIN


def _write_manifest(
    folder: Path, contract: Contract, allowed: Mapping[str, float], quantize: str, proof: Proof
) -> None:
    height, width = contract.preparation.size
    prepared_only = f"{contract.preparation.dtype} [n, {height}, {width}, 3], prepared"
    write_manifest(
        folder,
        [LABELS, CONTRACT, PROOF, *(file for name in allowed for file in FORMATS[name].files)],
        fingerprint=contract.fingerprint,
        quantize=quantize,
        artifacts={
            name: {
                "file": FORMATS[name].files[0],
                "takes": prepared_only if (name, quantize) == ("litert", "int8") else FORMATS[name].takes,
                "tolerance": tolerance,
            }
            for name, tolerance in allowed.items()
        },
        proof=proof,
    )
