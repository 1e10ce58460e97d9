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
from pipelines import Letterbox, decode_image, read_scenes
from transfer.artifacts.engines.choosing import check_precision
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.exporting import export
from transfer.artifacts.manifest import read_manifest
from transfer.artifacts.quantisation import Labelled
from transfer.artifacts.writers.table import WRITERS
from transfer.contract import ExportError
from transfer.tasks.contracts import read_contract
from transfer.tasks.detect.answers import TASK, DetectContract
from transfer.tasks.detect.training import new_detector

LEAN = ("onnx", "openvino", "litert")


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run("detect")


@pytest.fixture(scope="module")
def saved_model(run):
    return tf.saved_model.load(str(run.folder / "saved_model"))


@pytest.fixture(scope="module")
def detector(run):
    return keras.models.load_model(run.folder / "model.keras", compile=False)


@pytest.fixture(scope="module")
def photos(annotated):
    return [scene.image for scene in read_scenes(annotated).test if len(scene)]


def pixels(path):
    return np.asarray(decode_image(tf.io.read_file(path)))


def by_hand(detector, contract, image):
    """Boxes in pixels of the photo, by the road that users of Keras have."""
    letterbox = contract.preparation
    found = detector.detect(np.asarray(letterbox(image))[None])
    count = int(found["valid"][0])
    return letterbox.boxes_to_photo(np.asarray(found["boxes"][0, :count]), image.shape[:2]), found["scores"][0]


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


def test_the_contract_is_beside_and_inside(run, saved_model):
    beside = (run.folder / "contract.json").read_text(encoding="utf-8")
    assert saved_model.signatures["contract"]()["contract"].numpy().decode() == beside
    with zipfile.ZipFile(run.folder / "model.keras") as archive:
        assert archive.read("contract.json").decode() == beside
    contract = read_contract(beside)
    assert (contract.preparation, contract.class_names) == (Letterbox((64, 96)), ("ant", "bee & co"))
    assert contract.detector == "yolo_tiny"
    with pytest.raises(ValueError, match="expected a contract"):
        read_contract(json.dumps({**json.loads(beside), "preparation": None}))


def test_the_manifest_has_the_proof(run):
    manifest = read_manifest(run.folder)
    assert {"keras", "saved_model"} <= set(manifest["artifacts"])
    checks = manifest["proof"]["checks"]
    ways = {(each["artifact"], each["endpoint"], each["batch"]) for each in checks}
    for endpoint in ("resized", "images uint8"):
        assert {("saved_model", endpoint, 1), ("saved_model", endpoint, 5), ("model.keras", endpoint, 5)} <= ways
    assert {("saved_model", "images float32", 5), ("saved_model", "image_bytes", 5)} <= ways
    assert manifest["proof"]["num_photos"] == 10
    assert "proof.npz" in manifest["files"]


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


CONTRACT = DetectContract(
    ("ant", "bee"), score_threshold=0.05, iou_threshold=0.5, max_detections=3, preparation=Letterbox((64, 96))
)
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
    difference = TASK.compare(ours, theirs, (64, 96), CONTRACT, 1e-4)
    assert (not difference.reason) == agree, difference.reason
    assert (difference.value <= 1e-4) == agree


def candidates(scores):
    return {"candidate_boxes": np.zeros((3, 4), "float32"), "candidate_scores": np.full((3, 2), scores, "float32")}


@pytest.mark.parametrize(
    ("name", "changed"), [("candidate_scores", 0.411), ("candidate_boxes", 5.0), ("candidate_scores", np.nan)]
)
def test_candidates_are_compared_though_nothing_is_found(name, changed):
    few, other = candidates(0.4), candidates(0.4)
    other[name][1, 1] = changed
    difference = TASK.compare(answer([], [], **few), answer([], [], **other), (64, 96), CONTRACT, 1e-4)
    assert difference.value > 1e-4
    assert f"{name} of point 1" in difference.reason


@pytest.mark.parametrize(("name", "changed"), [("candidate_scores", 0.02), ("candidate_boxes", 5.0)])
def test_candidates_that_no_threshold_lets_through_do_not_count(name, changed):
    few, other = candidates(0.01), candidates(0.01)
    other[name][1, 1] = changed
    assert TASK.compare(answer([], [], **few), answer([], [], **other), (64, 96), CONTRACT, 1e-4).value <= 1e-4
    few["candidate_scores"][1, 0] = 0.06  # This one could be shown, and so could its box.
    assert TASK.compare(answer([], [], **few), answer([], [], **other), (64, 96), CONTRACT, 1e-4).value > 1e-4


def test_an_artifact_that_says_something_else_is_not_kept(detector, finder, tmp_path, monkeypatch):
    write = WRITERS["keras"]

    def forgetful(source, path):
        copy = type(source.model).from_config(source.model.get_config())
        copy.set_weights([weight + 0.01 for weight in source.model.get_weights()])
        write(dataclasses.replace(source, model=copy), path)

    monkeypatch.setitem(WRITERS, "keras", forgetful)
    with pytest.raises(ExportError, match=r"model\.keras, endpoint resized, batch of 1, photo 0 of 64 x 96: "):
        export(detector, tmp_path / "out", finder.contract, formats=["keras"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preparation": Letterbox((32, 96))}, "the contract prepares images of 32 x 96, and the model takes"),
        (
            {"class_names": ("ant",), "thresholds": {}},
            r"'candidate_scores' has the shape \[None, 1\].* gives \[\d+, 2\]",
        ),
    ],
)
def test_contracts_that_do_not_fit(detector, finder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        export(detector, tmp_path / "out", dataclasses.replace(finder.contract, **changes), formats=["keras"])


def test_contracts_that_cannot_be():
    for changes, message in (
        ({"score_threshold": 1.5}, "in 0..1, got score_threshold=1.5"),
        ({"max_detections": 0}, "max_detections=0"),
        ({"thresholds": {"wasp": 0.5}}, "for 'wasp'"),
        ({"class_names": ()}, "expected at least one class name"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(CONTRACT, **changes)


# Other runtimes


@pytest.fixture(scope="module")
def elsewhere(tiny_export):
    return tiny_export("detect")


@pytest.mark.parametrize("engine", LEAN)
def test_other_runtimes_find_the_same(engine, elsewhere, finder, photos):
    there = transfer.load(elsewhere, engine=engine)
    for ours, theirs in zip(finder.predict(photos), there.predict(photos), strict=True):
        assert [one.label for one in ours.objects] == [one.label for one in theirs.objects]
        for one, other in zip(ours.objects, theirs.objects, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box == pytest.approx(other.box, abs=0.02)


@pytest.mark.parametrize("engine", LEAN)
def test_other_runtimes_take_photos_of_any_size(engine, elsewhere, detector, finder, photos):
    opened = open_artifact(elsewhere / FORMATS[engine].files[0])
    image = pixels(photos[1])
    boxes, scores = by_hand(detector, finder.contract, image)
    assert len(boxes)
    found = opened.outputs("images", np.stack([image] * 3))
    assert found["valid"].tolist() == [len(boxes)] * 3
    np.testing.assert_allclose(found["boxes"][2, : len(boxes)], boxes, atol=0.02)
    np.testing.assert_allclose(found["scores"][2], scores, atol=1e-4)
    assert (found["classes"][0, len(boxes) :] == -1).all()


@pytest.mark.parametrize("engine", LEAN)
def test_prepared_canvases_get_boxes_on_the_canvas(engine, elsewhere, finder, photos):
    opened, contract = open_artifact(elsewhere / FORMATS[engine].files[0]), finder.contract
    canvas = contract.preparation.on_photo(pixels(photos[1]))[None]
    found, expected = opened.outputs("prepared", canvas), finder.engine.outputs("prepared", canvas)
    assert set(found) == set(contract.outputs())
    for name, atol in (("boxes", 0.01), ("candidate_boxes", 0.01), ("scores", 1e-4), ("valid", 0)):
        np.testing.assert_allclose(found[name], expected[name], atol=atol)


def test_boxes_without_tensorflow(elsewhere, photos):
    code = (
        "import sys, transfer\n"
        f"found = transfer.load({str(elsewhere)!r}, engine='openvino').predict({photos[0]!r}, threshold=0.01)\n"
        "print(len(found[0].objects) > 0, [name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True []"


def test_the_fastest_is_chosen(elsewhere):
    assert transfer.load(elsewhere).engine.name in LEAN


def test_a_coarser_precision_is_measured(elsewhere):
    """As with bfloat16, which not every processor has: here engines whose boxes or scores are off."""
    for by, passes in ((0.001, True), (2000.0, False)):  # Its scores are low, and boxes count as much as them.
        engine = open_artifact(elsewhere / "model.onnx")
        engine.precision, outputs = "bfloat16", engine.outputs

        def shifted(way, images, outputs=outputs, by=by):
            answers = outputs(way, images)
            return answers | {name: answers[name] + np.float32(by) for name in ("boxes", "candidate_boxes")}

        engine.outputs = shifted
        if passes:
            check_precision(engine, elsewhere / "model.onnx")
        else:
            with pytest.raises(ValueError, match="bfloat16 is too coarse for this model; take float32"):
                check_precision(engine, elsewhere / "model.onnx")


# Quantised


@pytest.mark.parametrize(
    ("quantize", "format"),
    [
        ("int8", "litert"),
        *(pytest.param("int8", name, marks=pytest.mark.slow) for name in ("onnx", "openvino")),
        *(pytest.param("float16", name, marks=pytest.mark.slow) for name in LEAN),
    ],
)
def test_quantised_detectors_are_held_to_a_bound(quantize, format, detector, finder, annotated, elsewhere, tmp_path):
    data = read_scenes(annotated)
    held_out = Labelled((*data.valid, *data.test))
    proof = export(
        detector, tmp_path / "out", finder.contract, formats=[format], quantize=quantize, labelled=held_out, bound=10,
        calibration=data.valid,
    )  # fmt: skip
    (one,) = proof.agreements
    assert (one.num_images, one.metric) == (12, "map50")
    assert one.agreement >= 0.9
    assert one.before - one.after <= 0.1
    assert transfer.verify(tmp_path / "out")[0].checks
    artifact = FORMATS[format].files[-1]
    if quantize == "int8":
        assert (tmp_path / "out" / artifact).stat().st_size < 0.6 * (elsewhere / artifact).stat().st_size


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
def test_detectors_of_every_family(name, formats, tmp_path):
    model, _ = new_detector(name, "tiny", 2, (64, 96))
    contract = DetectContract(
        ("ant", "bee"),
        score_threshold=model.score_threshold,
        iou_threshold=model.iou_threshold,
        max_detections=model.max_detections,
        preparation=Letterbox((64, 96)),
    )
    proof = export(model, tmp_path / "out", contract, formats=formats)
    assert {FORMATS[name].files[0] for name in formats} == {check.artifact for check in proof.checks}
    assert proof.max_abs_diff <= 1e-4
