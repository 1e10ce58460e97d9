"""Exported detectors: what each way in gives, that the proof sees what is wrong, and other runtimes."""

import dataclasses
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import transfer
from pipelines import ResizePolicy, decode_image, read_scenes
from pipelines.prepare.letterbox import letterbox_photo, restore
from pipelines.prepare.portable_letterbox import portable_letterbox
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.exporting import proof_photos
from transfer.artifacts.manifest import read_manifest
from transfer.contract import Contract, ExportError
from transfer.runs.exporting import export_run
from transfer.tasks.detect import DetectionContract, Letterbox, export
from transfer.tasks.detect.proving import compare
from transfer.tasks.detect.training import new_detector

SIZES = [(60, 100), (100, 60), (64, 96), (33, 2), (1, 1), (427, 640), (200, 300)]


@pytest.fixture(scope="module")
def saved_model(found):
    return tf.saved_model.load(str(found.folder / "saved_model"))


@pytest.fixture(scope="module")
def detector(found):
    return keras.models.load_model(found.folder / "model.keras", compile=False)


@pytest.fixture(scope="module")
def photos(annotated):
    return [scene.image for scene in read_scenes(annotated).test if len(scene)]


def pixels(path):
    return np.asarray(decode_image(tf.io.read_file(path)))


def by_hand(detector, contract, image):
    """Boxes in pixels of the photo, by the road that users of Keras have."""
    found = detector.detect(np.asarray(contract.letterbox(image))[None])
    count = int(found["valid"][0])
    return restore(np.asarray(found["boxes"][0, :count]), contract.letterbox, image.shape[:2]), found["scores"][0]


# The letterbox


@pytest.mark.parametrize("size", SIZES)
def test_three_letterboxes_are_one(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    letterbox = Letterbox((64, 96))
    in_graph = letterbox(image).numpy()
    assert in_graph.shape == (64, 96, 3)
    np.testing.assert_allclose(letterbox_photo(image, letterbox), in_graph, atol=2e-2)
    batch = np.stack([image, image[::-1]])
    traced = tf.function(lambda images: portable_letterbox(images, letterbox), autograph=False)
    np.testing.assert_allclose(traced(batch)[0], in_graph, atol=5e-2)
    np.testing.assert_allclose(letterbox(batch)[1], letterbox(image[::-1]), atol=1e-3)


def test_training_sees_the_same():
    """To the rounding of grey levels, and where half a pixel is rounded to even."""
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), "uint8")
    boxes = np.float32([[10, 5, 90, 40]])
    trained = ResizePolicy("pad", (64, 96), pad_value=114.0)({"image": image, "boxes": boxes})
    letterbox = Letterbox((64, 96))
    np.testing.assert_allclose(trained["image"], letterbox(image), atol=0.51)
    np.testing.assert_allclose(restore(trained["boxes"].numpy(), letterbox, (60, 100)), boxes, atol=1e-3)


def test_letterboxes_that_cannot_be():
    with pytest.raises(ValueError, match="1 pixel or more"):
        Letterbox((0, 32))
    with pytest.raises(ValueError, match=r"in 0\.\.255, got fill=300"):
        Letterbox((32, 32), 300)


# The SavedModel and the Keras file


def test_bytes_go_in_and_boxes_come_out(saved_model, detector, finder, photos):
    files = [tf.io.read_file(path).numpy() for path in photos[:3]]
    found = saved_model.signatures["image_bytes"](encoded=tf.constant(files))
    assert {name: values.shape[1:] for name, values in found.items()} == {
        "boxes": (100, 4), "classes": (100,), "scores": (100,), "valid": (),
    }  # fmt: skip
    for i, path in enumerate(photos[:3]):
        boxes, scores = by_hand(detector, finder.contract, pixels(path))
        assert len(boxes) == found["valid"][i] > 0
        np.testing.assert_allclose(found["boxes"][i, : len(boxes)], boxes, atol=0.01)
        np.testing.assert_allclose(found["scores"][i], scores, atol=1e-4)


def test_photos_of_any_size_alone_and_together(saved_model, detector, finder, photos):
    image = pixels(photos[0])
    for images in (image[None], np.stack([image, image[::-1]])):
        for dtype in ("uint8", "float32"):
            found = saved_model.images(tf.constant(images.astype(dtype)))
            assert len(found["boxes"]) == len(images)
            boxes, _ = by_hand(detector, finder.contract, image)
            np.testing.assert_allclose(found["boxes"][0, : len(boxes)], boxes, atol=0.01)


def test_a_photo_turned_by_exif(saved_model, photos, tmp_path):
    image = Image.open(photos[0]).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    image.save(tmp_path / "turned.jpg", quality=100, subsampling=0, exif=exif)
    Image.open(photos[0]).save(tmp_path / "upright.jpg", quality=100, subsampling=0)
    files = [(tmp_path / name).read_bytes() for name in ("turned.jpg", "upright.jpg")]
    found = saved_model.signatures["image_bytes"](encoded=tf.constant(files))
    assert found["valid"][0] == found["valid"][1] > 0
    best = found["boxes"][:, 0]
    np.testing.assert_allclose(best[0], best[1], atol=1.5)


def test_the_contract_is_beside_and_inside(found, saved_model):
    beside = (found.folder / "contract.json").read_text(encoding="utf-8")
    assert saved_model.signatures["contract"]()["contract"].numpy().decode() == beside
    with zipfile.ZipFile(found.folder / "model.keras") as archive:
        assert archive.read("contract.json").decode() == beside
    contract = DetectionContract.from_json(beside)
    assert (contract.size, contract.class_names) == ((64, 96), ("ant", "bee & co"))
    assert (contract.detector, contract.backbone) == ("yolo_tiny", "efficientnet_lite0")
    with pytest.raises(ValueError, match="expected the contract of a classifier, got that of a detector"):
        Contract.from_json(beside)
    with pytest.raises(ValueError, match="expected a contract"):
        DetectionContract.from_json(json.dumps({**json.loads(beside), "size": None}))


def test_the_manifest_has_the_proof(found):
    manifest = read_manifest(found.folder)
    assert set(manifest["artifacts"]) == {"keras", "saved_model"}
    checks = manifest["proof"]["checks"]
    ways = {(each["artifact"], each["endpoint"], each["batch"]) for each in checks}
    for endpoint in ("resized", "images uint8"):
        assert {("saved_model", endpoint, 1), ("saved_model", endpoint, 5), ("model.keras", endpoint, 5)} <= ways
    assert {("saved_model", "images float32", 5), ("saved_model", "image_bytes", 5)} <= ways
    assert manifest["proof"]["num_photos"] == 10
    assert "proof.npz" in manifest["files"]


@pytest.mark.slow
def test_the_proof_can_be_repeated(found):
    verdicts = transfer.verify(found.folder)
    assert {verdict.artifact for verdict in verdicts} == {"keras", "saved_model"}
    assert all(check.max_abs_diff <= 1e-4 for verdict in verdicts for check in verdict.checks)


# What the proof sees


def answer(boxes, scores, classes=None, **more):
    boxes = np.float32(boxes).reshape(-1, 4)
    return {
        "boxes": boxes,
        "scores": np.float32(scores),
        "classes": np.int32(classes if classes is not None else [0] * len(boxes)),
        "valid": np.int32(len(boxes)),
        **more,
    }


CONTRACT = DetectionContract(("ant", "bee"), (64, 96), score_threshold=0.05, iou_threshold=0.5, max_detections=3)
BOX, FAR = [10, 10, 30, 30], [50, 10, 70, 30]
HALF = [10, 10, 30, 23.333334]  # overlaps with BOX by two thirds
LIMIT = [10, 10, 30, 20]  # overlaps with BOX by exactly a half


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        (answer([BOX], [0.9]), answer([BOX], [0.90005]), True),
        (answer([BOX], [0.9]), answer([BOX], [0.9005]), False),
        (answer([BOX], [0.9]), answer([[10, 10, 30, 30.005]], [0.9]), True),
        (answer([BOX], [0.9]), answer([[10, 10, 30, 30.5]], [0.9]), False),
        (answer([BOX], [0.9]), answer([BOX], [0.9], [1]), False),
        (answer([BOX], [0.9]), answer([], []), False),
        (answer([], []), answer([BOX], [0.9]), False),
        # Nearly equal scores may change places
        (answer([BOX, FAR], [0.80001, 0.8]), answer([FAR, BOX], [0.8, 0.79999]), True),
        # At the threshold of scores, and at the end of a full list, the last bit decides
        (answer([BOX, FAR], [0.9, 0.05005]), answer([BOX], [0.9]), True),
        (answer([BOX, FAR], [0.9, 0.06]), answer([BOX], [0.9]), False),
        (answer([BOX, FAR, HALF], [0.9, 0.8, 0.3]), answer([BOX, FAR, LIMIT], [0.9, 0.8, 0.30005]), True),
        # At the threshold of overlaps, too
        (answer([BOX, LIMIT], [0.9, 0.8]), answer([BOX], [0.9]), True),
        (answer([BOX, LIMIT], [0.9, 0.8], [0, 1]), answer([BOX], [0.9]), False),
        (answer([BOX, HALF], [0.9, 0.8]), answer([BOX], [0.9]), False),
    ],
)
def test_only_last_bits_are_excused(ours, theirs, agree):
    difference, why = compare(ours, theirs, CONTRACT, (64, 96), 1e-4)
    assert (not why) == agree, why
    assert (difference <= 1e-4) == agree


def test_candidates_are_compared_though_nothing_is_found():
    few = {"candidate_boxes": np.zeros((3, 4), "float32"), "candidate_scores": np.full((3, 2), 0.01, "float32")}
    for name, changed in (("candidate_scores", 0.011), ("candidate_boxes", 5.0), ("candidate_scores", np.nan)):
        other = {**few, name: few[name].copy()}
        other[name][1, 1] = changed
        difference, why = compare(answer([], [], **few), answer([], [], **other), CONTRACT, (64, 96), 1e-4)
        assert difference > 1e-4
        assert f"{name} of point 1" in why


@pytest.mark.slow
def test_an_artifact_that_says_something_else_is_not_kept(detector, finder, tmp_path, monkeypatch):
    from transfer.tasks.detect import exporting

    write = exporting._write_saved_model

    def forgetful(model, path, contract):
        copy = type(model).from_config(model.get_config())
        copy.set_weights([weight + 0.01 for weight in model.get_weights()])
        write(copy, path, contract)

    monkeypatch.setattr(exporting, "_write_saved_model", forgetful)
    with pytest.raises(ExportError, match="saved_model, endpoint resized, batch of 1, photo 0 of 64 x 96: got"):
        export(detector, tmp_path / "out", finder.contract, formats=["saved_model"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (32, 96)}, "the contract says images of 32 x 96"),
        ({"class_names": ("ant",), "thresholds": {}}, "the model knows 2 classes, and the contract names 1"),
        ({"iou_threshold": 0.3}, "the model's iou_threshold is 0.6, and the contract says 0.3"),
    ],
)
def test_contracts_that_do_not_fit(detector, finder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        export(detector, tmp_path / "out", dataclasses.replace(finder.contract, **changes))


def test_contracts_that_cannot_be():
    for changes, message in (
        ({"score_threshold": 1.5}, "in 0..1, got score_threshold=1.5"),
        ({"max_detections": 0}, "max_detections=0"),
        ({"thresholds": {"wasp": 0.5}}, "for 'wasp'"),
        ({"class_names": ()}, "names of the classes, got none"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(CONTRACT, **changes)


def test_what_detectors_are_not_exported_as(found, tmp_path):
    with pytest.raises(ValueError, match="float32 only, got quantize='int8'"):
        export_run(found.folder, tmp_path / "out", quantize="int8")
    with pytest.raises(ValueError, match="calculates in float32"):
        transfer.load(found.folder, precision="bfloat16")


# Other runtimes


@pytest.fixture(scope="module")
def elsewhere(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "out"
    return folder, export_run(found.folder, folder, formats=("onnx", "openvino", "litert"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino", "litert"])
def test_other_runtimes_find_the_same(engine, elsewhere, finder, photos):
    folder, proof = elsewhere
    assert proof.max_abs_diff <= 1e-4
    there = transfer.load(folder, engine=engine)
    for ours, theirs in zip(finder.predict(photos), there.predict(photos), strict=True):
        assert [each.label for each in ours.objects] == [each.label for each in theirs.objects]
        for one, other in zip(ours.objects, theirs.objects, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box == pytest.approx(other.box, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino", "litert"])
def test_other_runtimes_take_photos_of_any_size(engine, elsewhere, detector, finder, photos):
    folder, _ = elsewhere
    artifact = {"onnx": "model.onnx", "openvino": "model.xml", "litert": "model.tflite"}[engine]
    opened = open_artifact(folder / artifact)
    image = pixels(photos[1])
    boxes, scores = by_hand(detector, finder.contract, image)
    assert len(boxes)
    found = opened.outputs("images", np.stack([image] * 3))
    assert found["valid"].tolist() == [len(boxes)] * 3
    np.testing.assert_allclose(found["boxes"][2, : len(boxes)], boxes, atol=0.02)
    np.testing.assert_allclose(found["scores"][2], scores, atol=1e-4)
    assert (found["classes"][0, len(boxes) :] == -1).all()


@pytest.mark.slow
def test_boxes_without_tensorflow(elsewhere, photos):
    folder, _ = elsewhere
    code = (
        "import sys, transfer\n"
        f"found = transfer.load({str(folder)!r}, engine='openvino').predict({photos[0]!r}, threshold=0.01)\n"
        "print(len(found[0].objects) > 0, [name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True []"


@pytest.mark.slow
def test_the_fastest_is_chosen(elsewhere):
    folder, _ = elsewhere
    assert transfer.load(folder).engine.name in ("onnx", "openvino", "litert")


def test_proof_photos_are_enough_for_a_group():
    assert len(proof_photos()) == 5, "Reference.part cuts after whole groups"


# Every detector, as new: what its network and its suppression are made of, every format has


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("ssd", ("saved_model", "openvino")),
        ("ssd_mobilenet", ("litert",)),
        ("retinanet_tiny", ("keras", "openvino")),
        ("efficientdet_d0", ("onnx",)),
        ("faster_rcnn_tiny", ("saved_model", "openvino")),
    ],
)
def test_detectors_of_every_family(name, formats, tmp_path, small_trunk):
    model, _ = new_detector(name, "efficientnet_lite0", 2, (64, 96))
    contract = DetectionContract(
        ("ant", "bee"), (64, 96), model.score_threshold, model.iou_threshold, model.max_detections
    )
    proof = export(model, tmp_path / "out", contract, formats=formats)
    assert {FORMATS[each].files[0] for each in formats} == {check.artifact for check in proof.checks}
    assert proof.max_abs_diff <= 1e-4
