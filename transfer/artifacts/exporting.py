"""Export with proof: what is written is read back and compared with the trained model before anyone sees it.

`export` writes a folder with

* `model.keras`, to go on in Keras;
* `saved_model/`, a TensorFlow SavedModel that needs neither Keras nor this project. Its endpoints take photos as they
  come, because decoding, cropping and normalisation are in the graph:

  ===================  =====================================================  =========================
  endpoint             takes                                                  gives
  ===================  =====================================================  =========================
  `serving_default`    `images`: float32 [n, height, width, 3], RGB in        `probabilities`: float32
                       0..255, any height and width; also under the name      [n, classes]
                       `images`, which as a method takes uint8 too
  `image_bytes`        `encoded`: string [n], JPEG, PNG, GIF, BMP or WebP     `probabilities`
                       files, turned upright by their EXIF orientation
  `cropped`            `images`: uint8 [n, H, W, 3], cropped already          `probabilities`; `embedding`:
                                                                              float32 [n, features]
  `contract`           nothing                                                `contract`: the JSON below;
                                                                              `class_names`: string
                                                                              [classes]
  ===================  =====================================================  =========================

* `labels.txt`, one class name a line, in the order of the probabilities;
* `contract.json`, what the model takes and gives (`Contract`). The same text lies inside `model.keras` and is
  answered by the SavedModel's last endpoint, so that neither can be parted from it;
* `manifest.json`, what was compared, and a SHA-256 of each file;
* `proof.npz`, photos and the trained model's answers to them, with which `zoo verify` repeats the proof.

Formats for other runtimes lie beside them when they are asked for (`transfer.artifacts.writers`): `model.onnx`,
`model.xml` and
`model.bin` for OpenVINO, `model.tflite` for LiteRT.
"""

import dataclasses
import hashlib
import importlib.resources
import importlib.util
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import EvaluationCrop, Samples, decode_image
from pipelines.prepare.photos import crop_photo, decode
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.folders import new_folder
from transfer.artifacts.manifest import MANIFEST, write_manifest
from transfer.artifacts.proof import PROOF, Agreement, Reference, check_agreement, compare, prove, same_size
from transfer.artifacts.saved_model import Endpoints, write_saved_model
from transfer.artifacts.writers import WRITERS, folded, network
from transfer.contract import BATCH_SIZES, TOLERANCE, Check, Contract, ExportError, Proof, installed_versions

__all__ = [
    "CONTENTS",
    "Check",
    "Contract",
    "ExportError",
    "Proof",
    "check_formats",
    "encoded_photo",
    "endpoints",
    "export",
    "installed_versions",
    "proof_photos",
    "write_and_prove",
]

# What an exported folder holds unless other formats are asked for, and what it may hold.
CONTENTS = ("model.keras", "saved_model", "labels.txt", "contract.json", MANIFEST, PROOF)
MAY_HOLD = (*CONTENTS, "model.onnx", "model.xml", "model.bin", "model.tflite")
DEFAULT_FORMATS = ("keras", "saved_model")
QUANTIZATIONS = ("none", "float16", "int8")
QUANTIZED_WITHIN = 0.25  # of a probability, on the built-in photos; what counts is the agreement on labelled images

Photo = str | Path | bytes | np.ndarray


def export(
    model: keras.Model,
    folder: str | Path,
    *,
    class_names: Sequence[str],
    crop: EvaluationCrop,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    quantize: str = "none",
    data: Samples | None = None,
    calibration: Samples | None = None,
    bound: float = 1.0,
    thresholds: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Proof:
    """Writes a model for use elsewhere, and proves that what was written answers as the model does.

    What was written is loaded in new objects, each format in its own runtime, and given photos of several sizes, at
    batch 1 and 5, through each way in. The reference takes another road: `pipelines` decodes and crops eagerly, then
    `model(x, training=False)`.

    Args:
        model: takes float32 [n, height, width, 3], RGB in 0..255, and gives probabilities [n, classes].
        folder: where to write; it appears only once everything is proven.
        class_names: one for each probability, in order.
        crop: how a photo becomes the model's input.
        formats: "keras", "saved_model", "onnx", "openvino" or "litert".
        photos: files, encoded bytes or uint8 [h, w, 3] arrays to compare on, besides five built-in ones.
        tolerance: the largest absolute difference of a probability that is let through.
        quantize: "none", "float16" or "int8", for ONNX, OpenVINO and LiteRT. Such artifacts may differ by more than
            `tolerance`, and are held to `bound` on `data` instead.
        data: labelled images that the model was not trained on, to measure quantised artifacts on.
        calibration: images to choose the ranges of int8 on; `data` unless given.
        bound: how many points (hundredths) of accuracy, and of agreement with the trained model, may be lost.
        thresholds: scores from which classes count as found, by name.
        overwrite: replace an earlier export.

    Returns:
        The comparisons that were made.

    Raises:
        ExportError: an answer differs by more than is allowed (or is no number), or an artifact cannot be written
            or read back. Says where. Nothing is left in `folder`.
        ModuleNotFoundError: a runtime is not installed; says what to install.
        ValueError: the model, the class names and the crop do not fit each other, a format that is none, or a photo
            that cannot be decoded.
        FileExistsError: `folder` holds something already.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([
    ...     keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     proof = export(model, Path(place) / "out", class_names=["ant", "bee"], crop=EvaluationCrop((32, 48)))
    ...     sorted(path.name for path in (Path(place) / "out").iterdir())
    ['contract.json', 'labels.txt', 'manifest.json', 'model.keras', 'proof.npz', 'saved_model']
    >>> proof.max_abs_diff <= 1e-4
    True
    """
    with new_folder(folder, overwrite=overwrite, contents=MAY_HOLD) as work:
        contract = Contract(tuple(class_names), crop, thresholds=dict(thresholds or {}))
        return write_and_prove(
            model,
            work,
            contract,
            formats=formats,
            photos=photos,
            tolerance=tolerance,
            quantize=quantize,
            data=data,
            calibration=calibration,
            bound=bound,
        )


def write_and_prove(
    model: keras.Model,
    folder: Path,
    contract: Contract,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    quantize: str = "none",
    data: Samples | None = None,
    calibration: Samples | None = None,
    bound: float = 1.0,
) -> Proof:
    """What `export` does, into a folder that is there and that the caller throws away if this fails."""
    _check_fit(model, contract)
    check_formats(formats)
    _check_quantizing(formats, quantize, data)
    contract = dataclasses.replace(contract, fingerprint=fingerprint(model, contract))
    built_in = proof_photos()
    encoded = built_in + [encoded_photo(photo, index) for index, photo in enumerate(photos)]

    (folder / "labels.txt").write_text("\n".join(contract.class_names) + "\n", encoding="utf-8")
    (folder / "contract.json").write_text(contract.to_json(), encoding="utf-8")
    checks: list[Check] = []
    agreements: list[Agreement] = []
    if "keras" in formats:
        _write_keras(model, folder / "model.keras", contract)
    if "saved_model" in formats:
        write_saved_model(folder / "saved_model", endpoints(model, contract))
    if {"keras", "saved_model"} & set(formats):
        checks += _compare(model, contract, folder, encoded, tolerance, formats)

    reference = _reference(model, contract, encoded)
    others = [name for name in formats if name in WRITERS]
    if others:
        lean = network(folded(model))
        measured_on = _cropped(data, contract) if data is not None and quantize != "none" else None
        samples = _cropped(calibration, contract) if calibration is not None else measured_on
        allowed = tolerance if quantize == "none" else QUANTIZED_WITHIN
        for name in others:
            artifact = FORMATS[name].files[0]
            engine = _written(lean, name, folder, contract, quantize=quantize, calibration=samples)
            checks += prove(engine, artifact, reference, allowed)
            if measured_on is not None and data is not None:
                trained = _answers(lambda batch: model(batch.astype("float32"), training=False), measured_on)
                got = _answers(engine.cropped, measured_on)
                agreements.append(check_agreement(artifact, trained, got, data.labels, data.names, bound=bound))

    # Only the built-in photos go along: those of the caller are nobody else's business.
    _reference(model, contract, built_in).save(folder / PROOF, built_in)
    proof = Proof(tuple(checks), len(encoded), tolerance, tuple(agreements))
    write_manifest(
        folder,
        ["labels.txt", "contract.json", PROOF, *(file for name in formats for file in FORMATS[name].files)],
        fingerprint=contract.fingerprint,
        quantize=quantize,
        artifacts={
            name: {
                "file": FORMATS[name].files[0],
                "takes": _what_it_takes(name, contract, quantize),
                "tolerance": tolerance if quantize == "none" else QUANTIZED_WITHIN,
            }
            for name in formats
        },
        proof=proof,
    )
    return proof


def fingerprint(model: keras.Model, contract: Contract) -> str:
    """32 hexadecimal digits that are the same for the same weights, class names and crop, and for no others."""
    digest = hashlib.sha256(repr((contract.class_names, contract.crop)).encode())
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(repr((values.shape, values.dtype.str)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:32]


def check_formats(formats: Sequence[str]) -> None:
    """Raises a ValueError for formats that are none, a ModuleNotFoundError for those whose runtime is missing."""
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


def _check_quantizing(formats: Sequence[str], quantize: str, data: Samples | None) -> None:
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"quantize is one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize != "none":
        full = [name for name in formats if name not in WRITERS]
        if full:
            raise ValueError(f"{', '.join(full)} cannot be quantised; {', '.join(WRITERS)} can. Export it by itself")
        if data is None or not len(data):
            raise ValueError(f"what {quantize} loses has to be measured: give labelled images (data=..., --int8-data)")


def _what_it_takes(name: str, contract: Contract, quantize: str) -> str:
    if (name, quantize) == ("litert", "int8"):
        height, width = contract.crop.size
        return f"uint8 [n, {height}, {width}, 3], cropped"
    return FORMATS[name].takes


def _reference(model: keras.Model, contract: Contract, encoded: Sequence[bytes]) -> Reference:
    photos = tuple(np.asarray(decode_image(contents)) for contents in encoded)
    most = BATCH_SIZES[1]

    def answers(images: Sequence[Any]) -> np.ndarray:
        groups = [np.stack(images[start : start + most]) for start in range(0, len(images), most)]
        return np.concatenate([np.asarray(model(group, training=False)) for group in groups])

    cut = [image for start in range(0, len(photos), most) for image in same_size(photos[start : start + most])]
    crop = contract.crop
    return Reference(photos, answers([crop(photo) for photo in photos]), answers([crop(image) for image in cut]))


def _cropped(samples: Samples, contract: Contract) -> np.ndarray:
    """All images as the network gets them: uint8 [n, H, W, 3]."""
    found = []
    for image in samples.images:
        if not isinstance(image, np.ndarray):
            image = decode(image if isinstance(image, bytes) else Path(image).read_bytes())
        found.append(crop_photo(image, contract.crop))
    return np.stack(found)


def _answers(ask: Callable[[np.ndarray], Any], images: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(ask(images[start : start + 32])) for start in range(0, len(images), 32)])


def _written(
    model: keras.Model, name: str, folder: Path, contract: Contract, *, quantize: str, calibration: np.ndarray | None
) -> Engine:
    """Writes one artifact, and reads it back."""
    artifact = FORMATS[name].files[0]
    try:
        WRITERS[name](model, folder, contract, quantize=quantize, calibration=calibration)
    except Exception as error:  # each converter has its own classes of errors
        said = str(error).strip() or type(error).__name__
        raise ExportError(f"{artifact} cannot be written: {said[:2000]}") from error
    return _read_back(artifact, lambda: open_artifact(folder / artifact))


def proof_photos() -> list[bytes]:
    """Five encoded photos, none of them square, from 57 x 83 to 427 x 640 pixels: scikit-learn's two, and cuts.

    >>> len(proof_photos())
    5
    """
    china, flower = (
        (importlib.resources.files("sklearn.datasets.images") / name).read_bytes()
        for name in ("china.jpg", "flower.jpg")
    )
    whole = decode_image(china), decode_image(flower)
    cuts = whole[0][:331, 30:247], whole[1][90:147, 200:283], whole[0][100:299, 5:638]
    return [china, flower, *(tf.io.encode_png(cut).numpy() for cut in cuts)]


def _check_fit(model: keras.Model, contract: Contract) -> None:
    height, width = contract.crop.size
    if model.input_shape != (None, height, width, 3) and model.input_shape != (None, None, None, 3):
        raise ValueError(
            f"the crop gives images of {height} x {width}, and the model takes {model.input_shape}; "
            "give the crop that the model was trained with"
        )
    if len(model.output_shape) != 2 or model.output_shape[1] != len(contract.class_names):
        raise ValueError(
            f"expected a model that gives {len(contract.class_names)} probabilities, one for each class name, "
            f"got one whose output has the shape {model.output_shape}"
        )


def encoded_photo(photo: Photo, index: int) -> bytes:
    """A photo as a file's contents; number `index` where it has no name.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        if isinstance(photo, np.ndarray):
            return tf.io.encode_png(photo).numpy()
        contents = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        decode_image(contents)
        return contents
    except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
        name = photo if isinstance(photo, str | Path) else f"number {index}"
        raise ValueError(f"photo {name} cannot be decoded, so nothing can be compared on it: {error}") from error


def _write_keras(model: keras.Model, path: Path, contract: Contract) -> None:
    # A model of the same layers, but not compiled: what an optimizer remembers is of no use to whoever predicts.
    # (A Sequential model knows its `inputs`, and its `input` only once it was called.)
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("contract.json", contract.to_json())


def endpoints(model: keras.Model, contract: Contract) -> Endpoints:
    """The ways into an exported model: name -> the function, and the inputs to trace it for.

    Args:
        model: the classifier.
        contract: its class names and its crop.

    Returns:
        `images`, `image_bytes`, `cropped` and `contract`, as the table above has them.
    """
    crop = contract.crop

    # Traced once, for all endpoints. training=False is not the default it seems to be: behind some layers a batch norm
    # would take the statistics of whoever's photos happen to share the batch.
    @tf.function(input_signature=[tf.TensorSpec((None, *crop.size, 3), tf.float32)], autograph=False)
    def probabilities(cropped):
        return {"probabilities": model(cropped, training=False)}

    def images(images):
        return probabilities(crop(images))

    def image_bytes(encoded):
        one = tf.TensorSpec((*crop.size, 3), tf.float32)
        return probabilities(tf.map_fn(lambda contents: crop(decode_image(contents)), encoded, fn_output_signature=one))

    tapped = network(model)

    def cropped(images):
        return tapped(tf.cast(images, tf.float32), training=False)

    def contract_():
        return {"contract": tf.constant(contract.to_json()), "class_names": tf.constant(list(contract.class_names))}

    any_size = (None, None, None, 3)
    return {
        "images": (
            images,
            [(tf.TensorSpec(any_size, dtype, name="images"),) for dtype in (tf.float32, tf.uint8)],
        ),
        "image_bytes": (image_bytes, [(tf.TensorSpec((None,), tf.string, name="encoded"),)]),
        "cropped": (cropped, [(tf.TensorSpec((None, *crop.size, 3), tf.uint8, name="images"),)]),
        "contract": (contract_, [()]),
    }


def _compare(
    model: keras.Model,
    contract: Contract,
    folder: Path,
    encoded: list[bytes],
    tolerance: float,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> list[Check]:
    """Reads back the SavedModel and the Keras file, and lets them answer on every photo in every way."""
    photos = [np.asarray(decode_image(contents)) for contents in encoded]
    crop = contract.crop
    # Each takes a batch of photos of one size, uint8 [n, h, w, 3], as the endpoint would get it.
    answers: list[tuple[str, str, Callable[[np.ndarray], Any]]] = []
    by_bytes = None
    if "saved_model" in formats:
        saved_model = _read_back("saved_model", lambda: tf.saved_model.load(str(folder / "saved_model")))
        told = saved_model.signatures["contract"]()["contract"].numpy().decode()
        if told != contract.to_json():
            raise ExportError("the contract inside the SavedModel is not the one that was written")
        ways = saved_model.signatures
        serving, by_bytes, network_ = ways["serving_default"], ways["image_bytes"], ways["cropped"]
        answers += [
            ("saved_model", "images float32", lambda x: serving(images=tf.constant(x, tf.float32))["probabilities"]),
            ("saved_model", "images uint8", lambda x: saved_model.images(tf.constant(x))["probabilities"]),
            ("saved_model", "cropped", lambda x: network_(images=tf.cast(crop(x), tf.uint8))["probabilities"]),
        ]
    if "keras" in formats:
        revived = _read_back("model.keras", lambda: keras.models.load_model(folder / "model.keras", compile=False))
        answers.append(("model.keras", "call", lambda x: revived(crop(tf.constant(x)), training=False)))

    checks = []

    def agree(artifact: str, endpoint: str, batch: int, group: np.ndarray, expected: Any, got: Any) -> None:
        shown = [photos[i] for i in group]
        whole = np.concatenate([np.asarray(x) for x in got])
        expected = np.concatenate(expected)
        checks.append(compare(artifact, endpoint, batch, shown, contract, expected, whole, tolerance))

    for batch in BATCH_SIZES:
        groups = [_take(range(len(photos)), start, batch) for start in range(0, len(photos), batch)]
        flat = np.concatenate([np.array(g) for g in groups])
        if by_bytes is not None:
            # Encoded photos of different sizes go together in one batch.
            expected = [np.asarray(model(np.stack([crop(photos[i]) for i in g]), training=False)) for g in groups]
            got = [by_bytes(encoded=tf.constant([encoded[i] for i in g]))["probabilities"] for g in groups]
            agree("saved_model", "image_bytes", batch, flat, expected, got)
        # Arrays have to share a size: the top left of each photo, as large as all of the group have it.
        stacks = [same_size([photos[i] for i in g]) for g in groups]
        expected = [np.asarray(model(np.stack([crop(x) for x in s]), training=False)) for s in stacks]
        for artifact, endpoint, answer in answers:
            agree(artifact, endpoint, batch, flat, expected, [answer(stack) for stack in stacks])
    return checks


def _read_back(artifact: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # whatever it is, the artifact is of no use to anyone
        raise ExportError(f"{artifact} was written, and cannot be read back: {error}") from error


def _take(indices: range, start: int, count: int) -> list[int]:
    """`count` of them from `start` on, beginning again at the front when they run out."""
    return [indices[i % len(indices)] for i in range(start, start + count)]
