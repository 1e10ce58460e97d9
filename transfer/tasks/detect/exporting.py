"""Export of detectors with proof: photos in, boxes in their own pixels out, all of it inside the graph.

`export` writes a folder as `transfer.export` does for classifiers:

* `model.keras`, the detector itself, to go on in Keras: `keras.models.load_model(...).detect(images)`;
* `saved_model/`, which needs neither Keras nor this project. Decoding, resizing, the decoding of the network's codes
  and non-maximum suppression are in its graph:

  ===================  ====================================================  ==========================================
  endpoint             takes                                                 gives
  ===================  ====================================================  ==========================================
  `serving_default`    `images`: float32 [n, h, w, 3], RGB in 0..255, any    `boxes`: float32 [n, m, 4], xyxy in pixels
                       size; also under the name `images`, which as a        of the photo; `classes`: int32 [n, m];
                       method takes uint8 too                                `scores`: float32 [n, m]; `valid`: int32
                                                                             [n], how many of the m are real
  `image_bytes`        `encoded`: string [n], JPEG, PNG, GIF, BMP or WebP    the same
                       files, turned upright by their EXIF orientation
  `resized`            `images`: float32 [n, H, W, 3], as                    the same in pixels of the canvas; and
                       `transfer.tasks.detect.Letterbox` makes them             `candidate_boxes` [n, p, 4] and
                                                                             `candidate_scores` [n, p, classes] before
                                                                             suppression
  `contract`           nothing                                               `contract`: JSON; `class_names`
  ===================  ====================================================  ==========================================

* `labels.txt`, `contract.json`, `manifest.json` and `proof.npz`, as there.

What is proven: all candidates, box by box and score by score, and what is left of them after suppression. A score,
and a coordinate as a share of the canvas or photo, may differ by 1e-4 (see `transfer.tasks.detect.proving`).
"""

import dataclasses
import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import zoo.detection.detectors  # noqa: F401  a .keras file names its classes, and Keras has to know them
from pipelines import decode_image
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.exporting import MAY_HOLD, Photo, check_formats, encoded_photo, proof_photos
from transfer.artifacts.folders import new_folder
from transfer.artifacts.manifest import write_manifest
from transfer.artifacts.proof import PROOF
from transfer.artifacts.saved_model import Endpoints, write_saved_model
from transfer.contract import TOLERANCE, Check, ExportError, Proof
from transfer.tasks.detect.contract import DetectionContract
from transfer.tasks.detect.proving import Reference, prove
from zoo.detection import nms

__all__ = ["endpoints", "export", "write_and_prove"]

DEFAULT_FORMATS = ("keras", "saved_model")
DETECTIONS = ("boxes", "classes", "scores", "valid")
TAKES = {"keras": "float32 [n, H, W, 3], on the canvas"}


def export(
    model: keras.Model,
    folder: str | Path,
    contract: DetectionContract,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> Proof:
    """Writes a detector for use elsewhere, and proves that what was written finds what the detector does.

    Args:
        model: of `zoo.detection.create`, for images of the contract's size.
        folder: where to write; it appears only once everything is proven.
        contract: class names, size and thresholds.
        formats: "keras", "saved_model", "onnx", "openvino" or "litert".
        photos: files, encoded bytes or uint8 [h, w, 3] arrays to compare on, besides five built-in ones.
        tolerance: the largest difference of a score, or of a coordinate as a share of the size, that is let through.
        overwrite: replace an earlier export.

    Returns:
        The comparisons that were made.

    Raises:
        ExportError: an answer differs by more, or is no number, or an artifact cannot be written or read back. Nothing
            is left in `folder`.
        ModuleNotFoundError: a runtime is not installed.
        ValueError: model and contract do not fit each other, or an unknown format.
        FileExistsError: `folder` holds something already.
    """
    with new_folder(folder, overwrite=overwrite, contents=MAY_HOLD) as work:
        return write_and_prove(model, work, contract, formats=formats, photos=photos, tolerance=tolerance)


def write_and_prove(
    model: keras.Model,
    folder: Path,
    contract: DetectionContract,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    photos: Sequence[Photo] = (),
    tolerance: float = TOLERANCE,
) -> Proof:
    """What `export` does, into a folder that is there and that the caller throws away if this fails."""
    _check_fit(model, contract)
    check_formats(formats)
    contract = dataclasses.replace(contract, fingerprint=_fingerprint(model, contract))
    built_in = proof_photos()
    encoded = built_in + [encoded_photo(photo, index) for index, photo in enumerate(photos)]
    (folder / "labels.txt").write_text("\n".join(contract.class_names) + "\n", encoding="utf-8")
    (folder / "contract.json").write_text(contract.to_json(), encoding="utf-8")
    reference = _reference(model, contract, encoded)
    checks: list[Check] = []
    for name in formats:
        artifact = FORMATS[name].files[0]
        try:
            _writer(name)(model, folder / artifact, contract)
        except Exception as error:  # each converter has its own classes of errors
            said = str(error).strip() or type(error).__name__
            raise ExportError(f"{artifact} cannot be written: {said[:2000]}") from error
        try:
            engine = open_artifact(folder / artifact)
        except Exception as error:  # whatever it is, the artifact is of no use to anyone
            raise ExportError(f"{artifact} was written, and cannot be read back: {error}") from error
        if engine.contract != contract:
            raise ExportError(f"the contract inside {artifact} is not the one that was written")
        checks += prove(engine, artifact, reference, tolerance, encoded=encoded)
    # Only the built-in photos go along: those of the caller are nobody else's business.
    reference.part(len(built_in)).save(folder / PROOF, built_in)
    proof = Proof(tuple(checks), len(encoded), tolerance)
    write_manifest(
        folder,
        ["labels.txt", "contract.json", PROOF, *(file for name in formats for file in FORMATS[name].files)],
        fingerprint=contract.fingerprint,
        quantize="none",
        artifacts={
            name: {
                "file": FORMATS[name].files[0],
                "takes": TAKES.get(name, FORMATS[name].takes),
                "tolerance": tolerance,
            }
            for name in formats
        },
        proof=proof,
    )
    return proof


def _writer(name: str) -> Callable[[keras.Model, Path, DetectionContract], None]:
    own = {"keras": _write_keras, "saved_model": _write_saved_model}
    if name in own:
        return own[name]
    from transfer.tasks.detect.formats import WRITERS

    return WRITERS[name]


def _check_fit(model: keras.Model, contract: DetectionContract) -> None:
    height, width = contract.size
    if model.input_shape not in ((None, height, width, 3), (None, None, None, 3)):
        raise ValueError(
            f"the contract says images of {height} x {width}, and the model takes {model.input_shape}; give the size "
            "that the model was made for"
        )
    if model.num_classes != len(contract.class_names):
        names = len(contract.class_names)
        raise ValueError(f"the model knows {model.num_classes} classes, and the contract names {names}")
    for name in ("score_threshold", "iou_threshold", "max_detections"):
        if getattr(model, name) != getattr(contract, name):
            raise ValueError(
                f"the model's {name} is {getattr(model, name)}, and the contract says {getattr(contract, name)}; set "
                "the model's attribute before"
            )


def _fingerprint(model: keras.Model, contract: DetectionContract) -> str:
    """32 hexadecimal digits that are the same for the same weights, class names and size, and for no others."""
    digest = hashlib.sha256(repr((contract.class_names, contract.letterbox, contract.iou_threshold)).encode())
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return digest.hexdigest()[:32]


def _reference(model: keras.Model, contract: DetectionContract, encoded: Sequence[bytes]) -> Reference:
    """By another road than the artifacts': decoded and resized eagerly, one photo at a time, through `detect`."""
    photos = tuple(np.asarray(decode_image(contents)) for contents in encoded)

    def ask(canvas: np.ndarray) -> dict[str, np.ndarray]:
        boxes, scores = model.decode(model(canvas, training=False), contract.size)
        candidates = {"candidate_boxes": np.asarray(boxes), "candidate_scores": np.asarray(scores)}
        return {name: np.asarray(values) for name, values in model.detect(canvas).items()} | candidates

    return Reference.make(contract, photos, lambda photo: ask(np.asarray(contract.letterbox(photo))[None]))


def _write_keras(model: keras.Model, path: Path, contract: DetectionContract) -> None:
    # A copy that is not compiled: what an optimizer remembers is of no use to whoever predicts.
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("contract.json", contract.to_json())


def _write_saved_model(model: keras.Model, path: Path, contract: DetectionContract) -> None:
    write_saved_model(path, endpoints(model, contract))


def endpoints(model: keras.Model, contract: DetectionContract) -> Endpoints:
    """The ways into an exported detector: name -> the function, and the inputs to trace it for.

    Args:
        model: the detector.
        contract: its size and thresholds.

    Returns:
        `images`, `image_bytes`, `resized` and `contract`, as the table above has them.
    """
    letterbox = contract.letterbox
    canvas = tf.TensorSpec((None, *contract.size, 3), tf.float32, name="images")

    # Traced once, for all endpoints. training=False is not the default it seems to be: behind some layers a batch norm
    # would take the statistics of whoever's photos happen to share the batch.
    @tf.function(input_signature=[canvas], autograph=False)
    def resized(images):
        boxes, scores = model.decode(model(images, training=False), contract.size)
        found = nms.suppress(
            boxes,
            scores,
            iou_threshold=contract.iou_threshold,
            score_threshold=contract.score_threshold,
            max_detections=contract.max_detections,
        )
        return {**found, "candidate_boxes": boxes, "candidate_scores": scores}

    def of_photos(canvases, heights, widths):
        found = {name: values for name, values in resized(canvases).items() if name in DETECTIONS}
        return found | {"boxes": restored(found["boxes"], contract, heights, widths)}

    def images(images):
        shape = tf.shape(images)
        return of_photos(letterbox(images), shape[1], shape[2])

    def image_bytes(encoded):
        def one(contents):
            image = decode_image(contents)
            return letterbox(image), tf.shape(image)[:2]

        specs = (tf.TensorSpec((*contract.size, 3), tf.float32), tf.TensorSpec((2,), tf.int32))
        canvases, sizes = tf.map_fn(one, encoded, fn_output_signature=specs)
        return of_photos(canvases, sizes[:, 0], sizes[:, 1])

    def contract_():
        return {"contract": tf.constant(contract.to_json()), "class_names": tf.constant(list(contract.class_names))}

    any_size = (None, None, None, 3)
    return {
        "images": (images, [(tf.TensorSpec(any_size, dtype, name="images"),) for dtype in (tf.float32, tf.uint8)]),
        "image_bytes": (image_bytes, [(tf.TensorSpec((None,), tf.string, name="encoded"),)]),
        "resized": (resized, [(canvas,)]),
        "contract": (contract_, [()]),
    }


def restored(boxes: Any, contract: DetectionContract, height: Any, width: Any) -> tf.Tensor:
    """Boxes on the canvas, in pixels of the photos: `pipelines.prepare.letterbox.restore` in a graph.

    Args:
        boxes: float32 [n, m, 4].
        height, width: of the photos, int32, one for all or `[n]`.
    """
    top, left, rows, columns = (
        tf.reshape(tf.cast(edge, tf.float32), [-1, 1]) for edge in contract.letterbox.place(height, width)
    )
    height, width = (tf.reshape(tf.cast(side, tf.float32), [-1, 1]) for side in (height, width))
    x = tf.clip_by_value((boxes[..., 0::2] - left[..., None]) * (width / columns)[..., None], 0.0, width[..., None])
    y = tf.clip_by_value((boxes[..., 1::2] - top[..., None]) * (height / rows)[..., None], 0.0, height[..., None])
    return tf.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)
