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
  `contract`           nothing                                                `contract`: the JSON below;
                                                                              `class_names`: string
                                                                              [classes]
  ===================  =====================================================  =========================

* `labels.txt`, one class name a line, in the order of the probabilities;
* `contract.json`, what the model takes and gives (`Contract`). The same text lies inside `model.keras` and is
  answered by the SavedModel's third endpoint, so that neither can be parted from it.
"""

import importlib.metadata
import importlib.resources
import json
import platform
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import EvaluationCrop, decode_image
from transfer.folders import new_folder

__all__ = [
    "CONTENTS",
    "Check",
    "Contract",
    "ExportError",
    "Proof",
    "endpoints",
    "export",
    "installed_versions",
    "proof_photos",
    "write_and_prove",
]

FORMAT_VERSION = 1
TOLERANCE = 1e-4
BATCH_SIZES = (1, 5)
# What an exported folder holds.
CONTENTS = ("model.keras", "saved_model", "labels.txt", "contract.json")

Photo = str | Path | bytes | np.ndarray


class ExportError(RuntimeError):
    """What was exported does not answer as the trained model does. Nothing of it is kept.

    Attributes:
        check: the comparison that failed, or None when the artifact could not even be written or read back.
    """

    def __init__(self, message: str, check: "Check | None" = None):
        super().__init__(message)
        self.check = check


def installed_versions() -> dict[str, str]:
    """Versions of what a model's numbers depend on, by distribution name.

    >>> sorted(installed_versions())
    ['keras', 'numpy', 'python', 'tensorflow', 'transfer-zoo']
    """
    found = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "transfer-zoo"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that was not installed
            found[name] = "unknown"
    return found


@dataclass(frozen=True)
class Contract:
    """What an exported model takes and gives.

    Attributes:
        class_names: one name for each probability, in order, each a line of printable text. (They may repeat:
            ImageNet has two kinds of crane.)
        crop: how a photo of any size becomes the model's input.
        versions: of the libraries that wrote it.

    Raises:
        ValueError: no class names, or one that is not a line of printable text.

    Example:

    >>> contract = Contract(("ant", "bee"), EvaluationCrop((224, 224)))
    >>> Contract.from_json(contract.to_json()) == contract
    True
    """

    class_names: tuple[str, ...]
    crop: EvaluationCrop
    versions: dict[str, str] = field(default_factory=installed_versions)

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not self.class_names:
            raise ValueError("expected the names of the classes, got none")
        for name in self.class_names:
            # isprintable: no line breaks, which `labels.txt` could not hold, and no bytes that are no Unicode.
            if not name.isprintable() or not name:
                raise ValueError(f"a class name has to be one line of printable text, got {name!r}; rename that class")

    def to_json(self) -> str:
        """The contract as a JSON document."""
        height, width = self.crop.size
        document = {
            "format": "transfer-zoo",
            "format_version": FORMAT_VERSION,
            "class_names": self.class_names,
            "crop": self.crop.as_dict(),
            "model_input": {
                "shape": [None, height, width, 3],
                "dtype": "float32",
                "range": [0, 255],
                "channels": "RGB",
            },
            "endpoints": {
                "images": {"shape": [None, None, None, 3], "dtype": "float32", "range": [0, 255], "channels": "RGB"},
                "image_bytes": {"shape": [None], "dtype": "string", "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"]},
            },
            "output": {"probabilities": {"shape": [None, len(self.class_names)], "dtype": "float32", "range": [0, 1]}},
            "versions": self.versions,
        }
        return json.dumps(document, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Contract":
        """The contract of a JSON document that `to_json` wrote.

        Raises:
            ValueError: it is not such a document, or a newer version of it.
        """
        try:
            document = json.loads(text)
            version = document["format_version"]
            if version > FORMAT_VERSION:
                raise ValueError(
                    f"this model was exported in format version {version}, and this installation reads up to "
                    f"{FORMAT_VERSION}; upgrade transfer-zoo"
                )
            crop = EvaluationCrop.from_dict(document["crop"])
            return cls(tuple(document["class_names"]), crop, dict(document["versions"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"expected a contract as transfer.export writes it, got one without {error}") from error


@dataclass(frozen=True)
class Check:
    """One comparison with the trained model.

    Attributes:
        artifact: "saved_model" or "model.keras".
        endpoint: which way in: "images uint8", "images float32", "image_bytes" or "call".
        batch: how many photos at a time.
        max_abs_diff: the largest absolute difference of a probability over all photos.
    """

    artifact: str
    endpoint: str
    batch: int
    max_abs_diff: float


@dataclass(frozen=True)
class Proof:
    """What was compared, and how well it agreed.

    Attributes:
        checks: one for each artifact, endpoint and batch size.
        num_photos: how many photos each of them saw.
        tolerance: the largest difference that would have been let through.
    """

    checks: tuple[Check, ...]
    num_photos: int
    tolerance: float

    @property
    def max_abs_diff(self) -> float:
        """The largest absolute difference of a probability in any check."""
        return max(check.max_abs_diff for check in self.checks)


def export(
    model: keras.Model,
    folder: str | Path,
    *,
    class_names: Sequence[str],
    crop: EvaluationCrop,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> Proof:
    """Writes a model for use elsewhere, and proves that what was written answers as the model does.

    What was written is loaded in new objects and given photos of several sizes, at batch 1 and 5, through each
    endpoint. The reference takes another road: `pipelines` decodes and crops eagerly, then `model(x, training=False)`.

    Args:
        model: takes float32 [n, height, width, 3], RGB in 0..255, and gives probabilities [n, classes].
        folder: where to write; it appears only once everything is proven.
        class_names: one for each probability, in order.
        crop: how a photo becomes the model's input.
        photos: files, encoded bytes or uint8 [h, w, 3] arrays to compare on, besides five built-in ones.
        tolerance: the largest absolute difference of a probability that is let through.
        overwrite: replace an earlier export.

    Returns:
        The comparisons that were made.

    Raises:
        ExportError: an answer differs by more than `tolerance` (or is no number), or an artifact cannot be written
            or read back. Says where. Nothing is left in `folder`.
        ValueError: the model, the class names and the crop do not fit each other, or a photo cannot be decoded.
        FileExistsError: `folder` holds something already.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([
    ...     keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, "softmax")])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     proof = export(model, Path(place) / "out", class_names=["ant", "bee"], crop=EvaluationCrop((32, 48)))
    ...     sorted(path.name for path in (Path(place) / "out").iterdir())
    ['contract.json', 'labels.txt', 'model.keras', 'saved_model']
    >>> proof.max_abs_diff <= 1e-4
    True
    """
    with new_folder(folder, overwrite=overwrite, contents=CONTENTS) as work:
        contract = Contract(tuple(class_names), crop)
        return write_and_prove(model, work, contract, photos=photos, tolerance=tolerance)


def write_and_prove(
    model: keras.Model,
    folder: Path,
    contract: Contract,
    *,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
) -> Proof:
    """What `export` does, into a folder that is there and that the caller throws away if this fails."""
    _check_fit(model, contract)
    encoded = proof_photos() + [_encoded(photo, index) for index, photo in enumerate(photos)]

    (folder / "labels.txt").write_text("\n".join(contract.class_names) + "\n", encoding="utf-8")
    (folder / "contract.json").write_text(contract.to_json(), encoding="utf-8")
    _write_keras(model, folder / "model.keras", contract)
    _write_saved_model(model, folder / "saved_model", contract)

    checks = _compare(model, contract, folder, encoded, tolerance)
    return Proof(tuple(checks), len(encoded), tolerance)


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


def _encoded(photo: Photo, index: int) -> bytes:
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


def _write_saved_model(model: keras.Model, path: Path, contract: Contract) -> None:
    # The archive finds the variables of its endpoints by itself; tracking the whole model too makes it twice as slow.
    archive = keras.export.ExportArchive()
    for name, (function, signatures) in endpoints(model, contract).items():
        endpoint = tf.function(function, autograph=False)
        for signature in signatures:
            endpoint.get_concrete_function(*signature)
        archive.add_endpoint(name, endpoint)
    archive.write_out(str(path), verbose=False)


def endpoints(model: keras.Model, contract: Contract) -> dict[str, tuple[Callable, list[tuple]]]:
    """The ways into an exported model: name -> the function, and the inputs to trace it for.

    Args:
        model: the classifier.
        contract: its class names and its crop.

    Returns:
        `images`, `image_bytes` and `contract`, as the table above has them.
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

    def contract_():
        return {"contract": tf.constant(contract.to_json()), "class_names": tf.constant(list(contract.class_names))}

    any_size = (None, None, None, 3)
    return {
        "images": (
            images,
            [(tf.TensorSpec(any_size, dtype, name="images"),) for dtype in (tf.float32, tf.uint8)],
        ),
        "image_bytes": (image_bytes, [(tf.TensorSpec((None,), tf.string, name="encoded"),)]),
        "contract": (contract_, [()]),
    }


def _compare(
    model: keras.Model, contract: Contract, folder: Path, encoded: list[bytes], tolerance: float
) -> list[Check]:
    """Reads back what was written, and lets it answer on every photo in every way."""
    photos = [np.asarray(decode_image(contents)) for contents in encoded]
    saved_model = _read_back("saved_model", lambda: tf.saved_model.load(str(folder / "saved_model")))
    revived = _read_back("model.keras", lambda: keras.models.load_model(folder / "model.keras", compile=False))
    told = saved_model.signatures["contract"]()["contract"].numpy().decode()
    if told != contract.to_json():
        raise ExportError("the contract inside the SavedModel is not the one that was written")

    serving, by_bytes = saved_model.signatures["serving_default"], saved_model.signatures["image_bytes"]

    def cropped(images: np.ndarray) -> Any:
        return contract.crop(tf.constant(images))

    # Each takes a batch of photos of one size, uint8 [n, h, w, 3], as the endpoint would get it.
    answers: list[tuple[str, str, Callable[[np.ndarray], Any]]] = [
        ("saved_model", "images float32", lambda x: serving(images=tf.constant(x, tf.float32))["probabilities"]),
        ("saved_model", "images uint8", lambda x: saved_model.images(tf.constant(x))["probabilities"]),
        ("model.keras", "call", lambda x: revived(cropped(x), training=False)),
    ]
    checks = []
    for batch in BATCH_SIZES:
        groups = [_take(range(len(photos)), start, batch) for start in range(0, len(photos), batch)]
        # Encoded photos of different sizes go together in one batch.
        expected = [np.asarray(model(np.stack([contract.crop(photos[i]) for i in g]), training=False)) for g in groups]
        got = [by_bytes(encoded=tf.constant([encoded[i] for i in g]))["probabilities"] for g in groups]
        checks.append(_agree("saved_model", "image_bytes", batch, groups, photos, contract, expected, got, tolerance))
        # Arrays have to share a size: the top left of each photo, as large as all of the group have it.
        stacks = [_same_size([photos[i] for i in g]) for g in groups]
        expected = [np.asarray(model(np.stack([contract.crop(x) for x in s]), training=False)) for s in stacks]
        for artifact, endpoint, answer in answers:
            got = [answer(stack) for stack in stacks]
            checks.append(_agree(artifact, endpoint, batch, groups, photos, contract, expected, got, tolerance))
    return checks


def _read_back(artifact: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # whatever it is, the artifact is of no use to anyone
        raise ExportError(f"{artifact} was written, and cannot be read back: {error}") from error


def _take(indices: range, start: int, count: int) -> list[int]:
    """`count` of them from `start` on, beginning again at the front when they run out."""
    return [indices[i % len(indices)] for i in range(start, start + count)]


def _same_size(photos: list[np.ndarray]) -> np.ndarray:
    height, width = (min(photo.shape[axis] for photo in photos) for axis in (0, 1))
    return np.stack([photo[:height, :width] for photo in photos])


def _agree(artifact, endpoint, batch, groups, photos, contract, expected, got, tolerance) -> Check:
    """The comparison of one endpoint at one batch size; an error that names the worst answer if it fails."""
    group = np.concatenate([np.array(g) for g in groups])
    trained, exported = np.concatenate(expected), np.concatenate([np.asarray(x) for x in got])
    difference = np.abs(trained - exported)
    difference[~np.isfinite(difference)] = np.inf
    check = Check(artifact, endpoint, batch, float(difference.max()))
    if check.max_abs_diff <= tolerance:
        return check
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    height, width = photos[group[row]].shape[:2]
    raise ExportError(
        f"{artifact}, endpoint {endpoint}, batch of {batch}: photo {group[row]} ({height} x {width}) got "
        f"{exported[row, column]:.6g} for class {contract.class_names[column]!r}, and the trained model says "
        f"{trained[row, column]:.6g}: a difference of {check.max_abs_diff:.3g}, where {tolerance:g} is allowed. "
        "Nothing was kept.",
        check,
    )
