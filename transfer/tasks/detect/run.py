"""The main job for detectors: from a folder of annotated images to a proven, exported detector with a report.

`fit` is what `zoo fit --task detect` calls. Its result is a folder that appears whole or not at all, with the files
that a classifier's run has (`transfer.runs.fitting`), and in `metrics.json` `valid_map50`, `valid_map`, `test_map50`
and
`test_map`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import pipelines
from pipelines import Fault, Scene, SceneData
from pipelines.prepare.letterbox import Letterbox
from transfer.artifacts.folders import new_folder
from transfer.contract import installed_versions
from transfer.measuring.boxes import Measured, detections_of, measure, truths_of
from transfer.predict.predictor import EXPORTED, load
from transfer.runs.files import Clock, write_audit, write_csv, write_json
from transfer.runs.fitting import CONTENTS, PROVEN_ON, Run
from transfer.runs.state import differences
from transfer.tasks.detect import report
from transfer.tasks.detect.contract import DetectionContract
from transfer.tasks.detect.exporting import write_and_prove
from transfer.tasks.detect.predictor import DetectionPredictor
from transfer.tasks.detect.training import canvas_size, new_detector, train

__all__ = ["Scores", "fit", "read_size", "score"]

LONGER_SIDE = 320  # of the canvas, unless told
SIZES = {"ssd300": (300, 300)}  # of detectors that take no other
SCALES = (0.75, 0.875, 1.0, 1.125, 1.25)  # of the canvas, with several sizes


def fit(
    data: str | Path,
    out: str | Path,
    *,
    detector: str = "yolo_tiny",
    backbone: str = "efficientnet_lite0",
    weights: str | None = "imagenet",
    image_size: int | str | tuple[int, int] | None = None,
    epochs: int = 40,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
    warm_up: float = 0.05,
    weight_decay: float = 0.05,
    ema: float | None = None,
    mosaic: float = 0.5,
    augment: str = "light",
    flip: str = "horizontal",
    multi_scale: bool = False,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int = 100,
    seed: int = 0,
    valid: float = 0.15,
    test: float = 0.15,
    audit: bool = True,
    overwrite: bool = False,
    like: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda part: None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a detector on annotated images, measures, exports and proves it, and writes a report.

    Args:
        data: a folder with annotations of Pascal VOC, YOLO or COCO, or whatever else `pipelines.read_scenes` reads.
        out: the folder to write. It appears only when all is done; if anything fails, nothing is left.
        detector: one of `zoo.detection.list_detectors()`.
        backbone: one of `transfer.list_backbones()`, as its trunk.
        weights: of the backbone: "imagenet", a file, or None for random ones.
        image_size: of the canvas that photos are shown on, in pixels: a square's side, "288x384" or (height, width),
            multiples of the detector's largest stride. Unless told, of the shape that most photos have, 320 at most.
        epochs, batch_size, learning_rate, warm_up, weight_decay, ema, mosaic, augment, flip: see
            `transfer.tasks.detect.train`.
        multi_scale: train with five sizes from 0.75 to 1.25 times that; it takes about as long.
        score_threshold: detections with lower scores are left out by the exported model, 0..1; the detector's own
            unless given.
        iou_threshold: two boxes of a class that overlap by more are one object, 0..1; likewise.
        max_detections: of a photo.
        seed: of the division of the data, of the order, of the augmentation and of the new weights.
        valid, test: shares of the images for splits that the data does not bring along.
        audit: look for what is wrong with the data before training, and write a page of it.
        overwrite: replace an earlier run in `out`.
        like: the configuration of a run that this one repeats: `say` is told where data or versions differ.
        say: is told, in a few words, of each part of the job as it begins.
        progress: whether to show a bar while training.
        callbacks: of Keras, for the training.

    Returns:
        The folder and its metrics: `valid_map50`, `valid_map`, `test_map50` and `test_map` (None where there is
        nothing to find), `num_images`, `num_objects`, `skipped`, `seconds`, `export_max_abs_diff`.

    Raises:
        FileExistsError: `out` holds something.
        FileNotFoundError: no such data, or weights that are not to be had.
        ValueError: an unknown detector or backbone, a size that is no multiple of the stride, thresholds outside 0..1,
            data without boxes or without validation images, and what `pipelines.read_scenes` refuses.
        transfer.TrainingDiverged: the loss is no number any more.
        transfer.ExportError: the exported model does not find what the trained one does.
    """
    asked: dict[str, Any] = {
        "task": "detect",
        "data": str(Path(data).resolve()) if Path(data).exists() else str(data),
        "detector": detector,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size if isinstance(image_size, int | str | None) else list(image_size),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warm_up": warm_up,
        "weight_decay": weight_decay,
        "ema": ema,
        "mosaic": mosaic,
        "augment": augment,
        "flip": flip,
        "multi_scale": multi_scale,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
        "seed": seed,
        "valid": valid,
        "test": test,
        "audit": audit,
    }
    if Path(data).is_dir() and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(f"{out} lies in {data}, where it would be taken for data; choose a folder elsewhere")
    if epochs < 1:
        raise ValueError(f"a detector has to learn for 1 epoch or more, got epochs={epochs}")
    given_size = read_size(image_size)
    clock = Clock(say)
    with new_folder(out, overwrite=overwrite, contents=(*CONTENTS, EXPORTED)) as work:
        with clock("listing the data"):
            listed = pipelines.read_scenes(data, valid=valid, test=test, seed=seed)
            _check_boxes(listed, data)
            size = given_size or SIZES.get(detector) or canvas_size(listed.train, LONGER_SIDE)
        with clock("building the model"):
            keras.utils.set_random_seed(seed)
            model, licence = new_detector(
                detector, backbone, len(listed.class_names), size, any_size=multi_scale, weights=weights
            )
            # Here, so that a bad name or threshold is said before an hour of training, not after
            contract = DetectionContract(
                listed.class_names,
                size,
                model.score_threshold if score_threshold is None else score_threshold,
                model.iou_threshold if iou_threshold is None else iou_threshold,
                max_detections,
                detector=detector,
                backbone=backbone,
            )
        with clock("checking that all images can be read"):
            found = pipelines.check_scenes(listed)
            versions = installed_versions()
            described = {**asked, "data_fingerprint": _fingerprint(found), "versions": versions}
        if audit:
            with clock("auditing the data"):
                write_audit(found, work / "audit.html", say)
        known = {name: like[name] for name in described if name in like} if like else {}
        for difference in differences(known, {name: described[name] for name in known}):
            say(f"not as in the run that is repeated: {difference}")
        with clock("training"):
            training = train(
                model,
                found.train,
                found.valid,
                size=size,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                warm_up=warm_up,
                weight_decay=weight_decay,
                ema=ema,
                mosaic=mosaic,
                augment=augment,
                flip=flip,
                scales=SCALES if multi_scale else (1.0,),
                seed=seed,
                callbacks=callbacks,
                progress=progress,
            )
            model = _final(model, detector, backbone, contract)
        with clock("measuring"):
            parts = {name: part for name, part in (("test", found.test), ("valid", found.valid)) if len(part)}
            measured = {name: measure(model, part, found.class_names, size=size) for name, part in parts.items()}
            contract = contract.with_thresholds(measured["valid"].best_thresholds())
        with clock("exporting and proving it"):
            proof = write_and_prove(model, work, contract, photos=[each.image for each in found.valid[:PROVEN_ON]])
        metrics = {
            **{
                f"{part}_{name}": _number(measured[part].summary()[name]) if part in measured else None
                for part in ("valid", "test")
                for name in ("map50", "map")
            },
            "num_images": len(found),
            "num_objects": sum(len(scene) for part in found.splits.values() for scene in part),
            "skipped": len(found.skipped),
            "seconds": round(clock.total, 1),
            "export_max_abs_diff": proof.max_abs_diff,
        }
        config = {**described, "size": list(size), "weights_licence": licence, "thresholds": contract.thresholds}
        with clock("writing the report"):
            judged = next(iter(measured))
            report.write(
                work / "report.html",
                data=found,
                training=training,
                measured=measured,
                scenes=parts[judged],
                thresholds=contract.thresholds,
                proof=proof,
                seconds=clock.seconds,
                config={**asked, "size": f"{size[0]} x {size[1]}"},
                versions=versions,
            )
        write_json(work / "metrics.json", metrics)
        write_json(work / "config.json", config)
        card = report.model_card(config, metrics, measured, found)
        (work / "model_card.md").write_text(card, encoding="utf-8", errors="backslashreplace")
        write_csv(work / "history.csv", list(training.rows[0]), [row.values() for row in training.rows])
        write_csv(work / "skipped.csv", ["path", "reason"], [(each.path, each.reason) for each in found.skipped])
    return Run(Path(out), metrics)


def read_size(image_size: int | str | Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width as people write them.

    Raises:
        ValueError: neither a number nor two.

    >>> read_size("288x384"), read_size(320)
    ((288, 384), (320, 320))
    """
    if image_size is None:
        return None
    try:
        numbers = str(image_size).lower().split("x") if isinstance(image_size, int | str) else list(image_size)
        sides = [int(number) for number in numbers]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError:
        raise ValueError(
            f"the image size is one number of pixels, or height x width as in 288x384; got {image_size!r}"
        ) from None
    return height, width


def _check_boxes(data: SceneData, spec: str | Path) -> None:
    counts = {part: sum(len(scene) for scene in scenes) for part, scenes in data.splits.items()}
    if not data.class_names or not counts["train"]:
        wrong = f" {len(data.faults)} faults were found; the first: {data.faults[0]}." if data.faults else ""
        raise ValueError(
            f"{spec} has no boxes to learn from: {len(data.train)} training images with {counts['train']} objects."
            f"{wrong} Look at the annotations with zoo audit {spec}"
        )
    if not len(data.valid):
        raise ValueError(f"{spec} has no validation images; keep some apart, as with valid=0.15 (--valid 0.15)")


def _final(trained: keras.Model, detector: str, backbone: str, contract: DetectionContract) -> keras.Model:
    """The trained weights in a detector for images of one size, with the thresholds of the contract."""
    model = trained
    if trained.input_shape[1] is None:
        model, _ = new_detector(detector, backbone, trained.num_classes, contract.size, weights=None)
        model.set_weights(trained.get_weights())
        # In the order of the weights: names that Keras gave may differ.
        pairs = zip(*([layer for layer in each.layers if layer.weights] for each in (model, trained)), strict=True)
        for layer, before in pairs:
            layer.trainable = before.trainable
    for name in ("score_threshold", "iou_threshold", "max_detections"):
        setattr(model, name, getattr(contract, name))
    model.predict_function = None  # what was traced with other thresholds
    return model


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _fingerprint(data: SceneData) -> str:
    """Stands for the names of the classes, all boxes, and the contents of all images, split by split."""
    digest = hashlib.blake2b("\0".join(data.class_names).encode(errors="surrogateescape"), digest_size=16)
    for scenes in data.splits.values():
        digest.update(str(len(scenes)).encode())
        for scene in scenes:
            digest.update(scene.boxes.tobytes() + scene.classes.tobytes())
            digest.update(_contents(scene))
    return digest.hexdigest()


def _contents(scene: Scene) -> bytes:
    if isinstance(scene.image, str):
        with Path(scene.image).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    contents = scene.image if isinstance(scene.image, bytes) else np.asarray(scene.image).tobytes()
    return hashlib.blake2b(contents).digest()


# Measuring a finished run on other data


@dataclass(frozen=True)
class Scores:
    """How good a run is on data.

    Attributes:
        part: of the data that was used: "all", or what is held out of it: "test" or "valid".
        measured: on that part.
        faults: of the annotations, and of images that could not be read.
    """

    part: str
    measured: Measured
    faults: tuple[Fault, ...]


def score(run: str | Path, data: str | Path, *, batch_size: int = 8) -> Scores:
    """Measures an exported detector on annotated images.

    Of data with splits of their own, the test images, else those for validation; of data without, all. Of the very data
    that the run was trained on, what was held out.

    Args:
        run: what `transfer.load` takes.
        data: what `fit` takes. Classes are matched by name; the run may know more of them.
        batch_size: images at a time.

    Raises:
        ValueError: data with a class that the run does not know, nothing held out, or a run of a classifier.
    """
    predictor = load(run)
    if not isinstance(predictor, DetectionPredictor):
        raise ValueError(f"{run} is a classifier, which says nothing of places; expected a run of --task detect")
    part, scenes, data_found = _held_out(Path(run), str(data))
    names, known = data_found.class_names, predictor.class_names
    used = np.unique(np.concatenate([scene.classes for scene in scenes]))
    unknown = [names[number] for number in used if names[number] not in known]
    if unknown:
        raise ValueError(
            f"{data} has objects of the classes {', '.join(unknown)}, which {run} does not know; it knows "
            f"{', '.join(known[:20])}. Rename these classes, or leave them out"
        )
    order = np.array([known.index(name) if name in known else -1 for name in names], "int32")
    readable = pipelines.check_scenes(SceneData(names, scenes, faults=data_found.faults))
    truths = tuple({**truth, "classes": order[truth["classes"]]} for truth in truths_of(readable.train))
    contract = predictor.contract
    found = detections_of(
        lambda images: predictor.engine.outputs("resized", images),
        readable.train,
        Letterbox(contract.size, contract.fill),
        batch_size=batch_size,
    )
    return Scores(part, Measured(known, truths, tuple(found)), readable.faults)


def _held_out(run: Path, data: str) -> tuple[str, tuple[Scene, ...], SceneData]:
    config = run / "config.json"
    asked = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    same = "data" in asked and Path(asked["data"]).resolve() == Path(data).resolve()
    if same:
        found = pipelines.read_scenes(data, **{name: asked[name] for name in ("valid", "test", "seed")})
        parts = {"test": found.test, "valid": found.valid}
    else:
        found = pipelines.read_scenes(data, valid=0, test=0)
        parts = {"test": found.test, "valid": found.valid, "all": found.train}
    for name, part in parts.items():
        if len(part):
            return name, part, found
    raise ValueError(f"{data}: nothing of it was held out from training; evaluate on other photos")
