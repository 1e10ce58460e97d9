"""ONNX, OpenVINO and LiteRT: each answers as the model does, proves itself anywhere, and is refused when changed."""

import json
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, Samples
from pipelines.prepare.portable_crop import portable_crop
from transfer.artifacts import exporting
from transfer.artifacts import proof as proving
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.exporting import export
from transfer.artifacts.manifest import MANIFEST, check_files, read_manifest
from transfer.artifacts.proof import Reference, check_agreement, verify
from transfer.contract import Contract, ExportError

LEAN = ("onnx", "openvino", "litert")  # without TensorFlow


@pytest.fixture(scope="module", params=list(FORMATS))
def artifact(request, everywhere):
    model, folder, _ = everywhere
    return model, open_artifact(folder / FORMATS[request.param].files[0])


def expected(model, crop, images):
    return np.stack([np.asarray(model(crop(image)[None], training=False))[0] for image in images])


@pytest.mark.parametrize("shape", [(1, 71, 45, 3), (3, 33, 90, 3), (2, 32, 48, 3)])
def test_every_engine_answers_as_the_model(artifact, shape):
    model, engine = artifact
    draw = np.random.default_rng(0)
    colours = draw.integers(0, 256, (shape[0], 1, 1, 3))
    images = np.clip(draw.normal(colours, 40, shape), 0, 255).astype("uint8")
    crop = engine.contract.crop
    answers = expected(model, crop, images)
    assert np.ptp(answers, axis=0).max() > 1e-2 or len(images) == 1
    np.testing.assert_allclose(engine.images(images), answers, atol=1e-5)
    crops = crop(images).numpy().astype("uint8")
    found = engine.cropped(crops)
    np.testing.assert_allclose(found, answers, atol=1e-5)
    assert found.dtype == np.float32
    seen = keras.Model(model.input, model.layers[-1].input)(crops.astype("float32"), training=False)
    np.testing.assert_allclose(engine.embeddings(crops), seen, atol=1e-4)


def test_the_contract_is_inside_every_artifact(artifact, everywhere):
    _, engine = artifact
    _, folder, _ = everywhere
    assert engine.contract == Contract.from_json((folder / "contract.json").read_bytes())
    assert engine.contract.class_names[3] == 'Hornisse "ö"'
    assert engine.contract.thresholds == {"bee": 0.9}
    assert len(engine.contract.fingerprint) == 32


def test_the_proof_covers_every_format(everywhere):
    _, _, proof = everywhere
    ways = {(check.artifact, check.endpoint, check.batch) for check in proof.checks}
    for name in LEAN:
        for endpoint in ("images uint8", "cropped"):
            assert {(FORMATS[name].files[0], endpoint, batch) for batch in (1, 5)} <= ways
    assert ("saved_model", "image_bytes", 5) in ways
    assert proof.max_abs_diff <= 1e-4


def test_the_fingerprint_is_that_of_the_weights(everywhere):
    model, _, _ = everywhere
    contract = Contract(("a", "b", "c", "d"), EvaluationCrop((32, 48)))
    one = exporting.fingerprint(model, contract)
    assert one == exporting.fingerprint(model, contract)
    other = keras.models.clone_model(model)
    other.set_weights([weight + (i == 0) * 1e-7 for i, weight in enumerate(model.get_weights())])
    assert exporting.fingerprint(other, contract) != one
    assert exporting.fingerprint(model, Contract(("a", "b", "c", "e"), contract.crop)) != one


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("shape", [(2, 200, 301, 3), (1, 19, 11, 3), (1, 64, 96, 3)])
def test_the_portable_crop_is_the_crop(interpolation, shape):
    images = np.random.default_rng(1).integers(0, 256, shape, "uint8")
    for fraction in (0.875, 1.0, 0.9):
        crop = EvaluationCrop((32, 48), fraction, interpolation)
        difference = np.abs(portable_crop(images, crop).numpy() - crop(images).numpy())
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001


# The manifest


def test_the_manifest_has_a_hash_of_every_file(everywhere):
    _, folder, _ = everywhere
    listed = set(read_manifest(folder)["files"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {MANIFEST}
    assert listed <= there
    check_files(folder)


def test_verify_repeats_the_proof(everywhere):
    _, folder, _ = everywhere
    verdicts = {verdict.artifact: verdict for verdict in verify(folder)}
    assert set(verdicts) == set(FORMATS)
    for verdict in verdicts.values():
        assert len(verdict.checks) == 4
        assert max(check.max_abs_diff for check in verdict.checks) <= 1e-4


def test_lean_artifacts_are_verified_without_tensorflow(everywhere, tmp_path):
    _, folder, _ = everywhere
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["artifacts"] = {name: facts for name, facts in manifest["artifacts"].items() if name in LEAN}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    code = (
        "import sys\nfrom transfer.artifacts.proof import verify\n"
        f"print([verdict.artifact for verdict in verify({str(copy)!r})])\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(list(manifest["artifacts"])), "[]"]


def test_a_runtime_that_is_not_installed_is_named(everywhere, monkeypatch):
    _, folder, _ = everywhere
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"model\.onnx needs onnxruntime.*pip install"):
        open_artifact(folder / "model.onnx")
    assert all("pip install 'transfer-zoo[export]'" in verdict.skipped for verdict in verify(folder))
    with pytest.raises(ModuleNotFoundError, match=r"litert needs ai_edge_litert.*transfer-zoo\[export\]"):
        exporting.check_formats(["litert"])


@pytest.mark.parametrize("name", ["model.onnx", "model.bin", "model.tflite", "saved_model/saved_model.pb", "proof.npz"])
def test_a_changed_byte_is_refused(everywhere, tmp_path, name):
    _, folder, _ = everywhere
    copy = shutil.copytree(folder, tmp_path / "copy")
    contents = bytearray((copy / name).read_bytes())
    contents[len(contents) // 2] ^= 1
    (copy / name).write_bytes(contents)
    with pytest.raises(ValueError, match=f"{name} is not the file that was exported"):
        verify(copy)
    check_files(copy, ["labels.txt"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99.*upgrade"),
        ({"files": {"../secret": {"sha256": ""}}}, "lies outside"),
        ({"files": {"gone.bin": {"sha256": ""}}}, "is gone"),
        ({"files": 3}, "no manifest as"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(everywhere, tmp_path, change, message):
    _, folder, _ = everywhere
    (tmp_path / "secret").write_text("x")
    (tmp_path / "copy").mkdir()
    document = json.loads((folder / MANIFEST).read_text()) | change
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(document))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_files(tmp_path / "copy")


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_artifact(tmp_path / "model.onnx")
    for name in ("model.onnx", "model.xml", "model.tflite", "model.keras"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name):
            open_artifact(tmp_path / name)
    with pytest.raises(ValueError, match="is no artifact"):
        open_artifact(tmp_path)


def test_a_lambda_is_refused(tmp_path):
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x * 2)(image))
    keras.Model(image, keras.layers.Dense(2, "softmax")(x)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr("contract.json", Contract(("a", "b"), EvaluationCrop((32, 48))).to_json())
    with pytest.raises(ValueError, match="Lambda"):
        open_artifact(tmp_path / "model.keras")


# What must fail


def small():
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=4)(image))
    return keras.Model(image, keras.layers.Dense(2, "softmax")(x))


CROP = EvaluationCrop((32, 48))


def test_another_crop_in_the_artifact_is_noticed(everywhere, tmp_path, monkeypatch):
    def squashed(images, crop):
        return tf.image.resize(tf.cast(images, tf.float32), crop.size)

    monkeypatch.setattr("transfer.artifacts.writers.portable_crop", squashed)
    with pytest.raises(ExportError, match=r"model\.onnx, endpoint images uint8, batch of 1"):
        export(everywhere[0], tmp_path / "out", class_names="abcd", crop=CROP, formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_a_format_cannot_hold_is_said(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no such operation: RollTheDice")

    monkeypatch.setitem(exporting.WRITERS, "litert", fail)
    with pytest.raises(ExportError, match=r"model\.tflite cannot be written: .*RollTheDice"):
        export(small(), tmp_path / "out", class_names=["a", "b"], crop=CROP, formats=["litert"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["onyx"]}, "formats are one or more of .*got onyx"),
        ({"formats": []}, "got none"),
        ({"formats": ["onnx", "onnx"]}, "each once"),
        ({"formats": ["onnx"], "quantize": "int4"}, "quantize is one of none, float16, int8, got 'int4'"),
        ({"formats": ["keras", "onnx"], "quantize": "int8"}, "keras cannot be quantised"),
        ({"formats": ["onnx"], "quantize": "int8"}, "has to be measured: give labelled images"),
        ({"thresholds": {"wasp": 0.5}}, "a threshold is a score"),
        ({"thresholds": {"a": 1.5}}, "a threshold is a score"),
    ],
)
def test_what_cannot_be_exported_is_said_first(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(small(), tmp_path / "out", class_names=["a", "b"], crop=CROP, **options)
    assert list(tmp_path.iterdir()) == []


# Quantised


def labelled(model, n=24):
    """Images on which the model is right, so that every change of its mind costs accuracy."""
    draw = np.random.default_rng(5)
    colours = draw.integers(0, 256, (n, 1, 1, 3))
    images = np.clip(draw.normal(colours, 30, (n, 40, 56, 3)), 0, 255).astype("uint8")
    labels = np.argmax([np.asarray(model(CROP(image)[None]))[0] for image in images], axis=1)
    return Samples(images, labels, [f"image {i}" for i in range(n)])


@pytest.mark.parametrize(
    ("quantize", "formats"),
    [
        ("int8", ("onnx",)),
        pytest.param("float16", LEAN, marks=pytest.mark.slow),
        pytest.param("int8", ("openvino", "litert"), marks=pytest.mark.slow),
    ],
)
def test_quantised_artifacts_are_held_to_a_bound(everywhere, tmp_path, quantize, formats):
    model, folder, _ = everywhere
    names = Contract.from_json((folder / "contract.json").read_bytes()).class_names
    proof = export(
        model, tmp_path / "out", class_names=names, crop=CROP, formats=formats, quantize=quantize,
        data=labelled(model), bound=10,
    )  # fmt: skip
    assert [each.artifact for each in proof.agreements] == [FORMATS[name].files[0] for name in formats]
    assert all(each.agreement >= 0.9 and each.num_images == 24 for each in proof.agreements)
    manifest = read_manifest(tmp_path / "out")
    assert manifest["quantize"] == quantize
    assert len(manifest["proof"]["agreements"]) == len(formats)
    assert {verdict.artifact for verdict in verify(tmp_path / "out")} == set(formats)
    if quantize == "int8" and "litert" in formats:
        assert manifest["artifacts"]["litert"]["takes"] == "uint8 [n, 32, 48, 3], cropped"
        with pytest.raises(ValueError, match="32 x 48 only"):
            open_artifact(tmp_path / "out" / "model.tflite").images(np.zeros((1, 50, 60, 3), "uint8"))


def test_losing_more_than_the_bound_names_the_worst_sample():
    trained = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    got = trained.copy()
    got[2] = [0.7, 0.3]
    labels, names = np.array([0, 0, 1, 1]), ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    with pytest.raises(ExportError, match=r"agrees .* on 75\.0%.*25\.0 points are lost, and 1 are allowed\. c\.jpg"):
        check_agreement("model.onnx", trained, got, labels, names, bound=1.0)
    found = check_agreement("model.onnx", trained, got, labels, names, bound=25.0)
    assert (found.agreement, found.accuracy) == (0.75, (1.0, 0.75))


def test_what_proof_photos_hold_is_never_unpickled(tmp_path):
    np.savez(tmp_path / "proof.npz", whole=np.array([{"a": 1}], dtype=object), cut=np.zeros(1))
    with pytest.raises(ValueError, match="pickle"):
        Reference.load(tmp_path / "proof.npz")


def test_an_answer_that_is_no_number_is_no_proof(everywhere):
    _, folder, _ = everywhere
    engine = open_artifact(folder / "model.onnx")
    engine.cropped = lambda images: np.full((len(images), 4), np.nan, "float32")
    with pytest.raises(ExportError, match=r"cropped, batch of 1: photo 0 .*nan"):
        proving.prove(engine, "model.onnx", Reference.load(folder / "proof.npz"), 1e-4)
