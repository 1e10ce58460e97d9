"""What a proof must contain is fixed by the program, not by the folder that is to be proven."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines import EvaluationCrop
from transfer.artifacts import proof
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.manifest import MANIFEST, check_files, sha256, write_manifest
from transfer.artifacts.proof import Reference, verify
from transfer.cli.main import app
from transfer.contract import ExportError, Proof
from transfer.tasks.classify.answers import ClassifyContract

NAMES = ("ant", "bee", "fly")
CONTRACT = ClassifyContract(NAMES, preparation=EvaluationCrop((8, 12), 1.0), versions={}, fingerprint="f1")


def network(images):
    means = np.asarray(images, np.float32).mean(axis=(1, 2))
    powers = np.exp(means / 40 - (means / 40).max(axis=-1, keepdims=True))
    return {"probabilities": powers / powers.sum(axis=-1, keepdims=True), "embedding": means}


class NumPyEngine(Engine):
    """Stands for a runtime that opens a file."""

    name, ways = "onnx", ("prepared",)

    def __init__(self, contract=CONTRACT, *, off=0.0):
        self.contract, self.off = contract, off

    def outputs(self, way, images):
        outputs = network(images)
        return outputs | {"probabilities": outputs["probabilities"] + np.float32(self.off)}


def write_folder(folder, *, quantize="none", tolerance=1e-4):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (9 + i, 14, 3)).astype(np.uint8) for i in range(5)]
    encoded = []
    for photo in photos:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        encoded.append(file.getvalue())
    prepare = CONTRACT.preparation.on_photo
    Reference.make(photos, lambda images: network([prepare(image) for image in images])).save(
        folder / "proof.npz", encoded
    )
    (folder / "model.onnx").write_bytes(b"a model")
    (folder / "contract.json").write_text(CONTRACT.to_json())
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES))
    write_manifest(
        folder,
        ["labels.txt", "contract.json", "proof.npz", "model.onnx"],
        fingerprint="f1",
        quantize=quantize,
        artifacts={"onnx": {"file": "model.onnx", "tolerance": tolerance}},
        proof=Proof((), 5, tolerance),
    )
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    open_with(monkeypatch, NumPyEngine())
    return write_folder(tmp_path / "out")


def open_with(monkeypatch, engine):
    monkeypatch.setattr(proof, "open_artifact", lambda path: engine)
    monkeypatch.setattr(proof, "runtime_is_installed", lambda name: True)


def change(folder, **changes):
    """Changes the manifest, and gives it the right SHA-256 of each file: whoever changes files can do that, too."""
    document = json.loads((folder / MANIFEST).read_text()) | changes
    for name, facts in document["files"].items():
        facts["sha256"] = sha256(folder / name)
    (folder / MANIFEST).write_text(json.dumps(document))


def test_a_whole_folder_is_proven(folder):
    (verdict,) = verify(folder)
    assert [check.batch for check in verdict.checks] == [1, 5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"artifacts": {}}, "lists no artifacts"),
        ({"files": {}}, "does not list labels.txt"),
        ({"artifacts": {"onnx": {"tolerance": 1e9}}}, "differ by 1e.09, which proves nothing"),
        ({"artifacts": {"onnx": {"tolerance": float("nan")}}}, "gives no tolerance"),
        ({"artifacts": {"onnx": {"tolerance": "much"}}}, "gives no tolerance"),
        ({"artifacts": {"onnx": {}}}, "gives no tolerance"),
        ({"artifacts": {"onnx": 3}}, "gives no tolerance"),
        ({"artifacts": {"tarball": {"tolerance": 0}}}, "unknown formats, tarball"),
        ({"fingerprint": "f2"}, "their fingerprints differ"),
        ({"quantize": "int8"}, "how the quantised onnx did on annotated images"),
    ],
)
def test_a_manifest_that_claims_too_little_or_too_much_is_refused(folder, changes, words):
    change(folder, **changes)
    with pytest.raises(ValueError, match=words):
        verify(folder)
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert result.exit_code == 1
    assert "proven, differs" not in result.output


def test_a_quantised_artifact_is_held_to_what_it_differs_by(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "out", quantize="int8", tolerance=0.5)
    measured = {"agreements": [{"artifact": "model.onnx", "agreement": 1.0}]}
    for off, tolerance, works in ((0.2, 0.25, True), (0.3, 0.6, True), (0.3, 1e9, False), (0.0, 0.5, False)):
        open_with(monkeypatch, NumPyEngine(off=off))
        change(folder, artifacts={"onnx": {"tolerance": tolerance}}, proof=measured)
        if works:
            assert verify(folder)[0].checks
        else:
            with pytest.raises(ValueError, match="that proves nothing"):
                verify(folder)


def test_swapped_names_of_classes_are_refused(folder, monkeypatch):
    """Answers of a model are the same whatever its classes are called, so that comparing numbers sees nothing."""
    (folder / "labels.txt").write_text("bee\nant\nfly\n")
    change(folder)
    with pytest.raises(ValueError, match=r"labels\.txt does not list the names of contract\.json in their order"):
        verify(folder)
    document = json.loads((folder / "contract.json").read_text())
    (folder / "contract.json").write_text(json.dumps(document | {"class_names": ["bee", "ant", "fly"]}))
    change(folder)
    with pytest.raises(ExportError, match=r"model\.onnx holds another contract than contract\.json"):
        verify(folder)


def test_files_that_nobody_has_proven_are_refused(folder):
    (folder / "model.tflite").write_bytes(b"another model")
    with pytest.raises(ValueError, match=r"holds model\.tflite, which its manifest does not list"):
        verify(folder)
    with pytest.raises(ValueError, match=r"does not list model\.tflite, so nobody has proven it"):
        check_files(folder, ["model.tflite"])
    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"does not list saved_model/saved_model\.pb"):
        check_files(folder, ["saved_model"])


@pytest.mark.parametrize(
    "keep", [lambda name: False, lambda name: not name.startswith("photo_"), lambda name: "cut" not in name]
)
def test_a_proof_without_photos_or_answers_is_none(folder, keep):
    with np.load(folder / "proof.npz") as file:
        kept = {name: file[name] for name in file.files if keep(name)}
    np.savez(folder / "proof.npz", **kept)
    change(folder)
    with pytest.raises(ValueError, match=r"a proof needs 2 photos|the proof lacks the output"):
        verify(folder)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:200])


def another_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("photo_x.npy", b"nothing")


@pytest.mark.parametrize("damage", [cut_short, another_zip, lambda path: path.write_bytes(b"")])
def test_a_damaged_proof_is_named(folder, damage):
    """Its error was not one that the server's watcher knew, which then ended for good."""
    damage(folder / "proof.npz")
    change(folder)
    with pytest.raises(ValueError, match=r"proof\.npz cannot be read as a proof"):
        verify(folder)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "3", "[]", '{"format_version": "x"}', '{"format_version": 2}', "\udcff", "9" * 5000]
)
def test_a_manifest_that_is_none_is_named(folder, text):
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest"):
        verify(folder)
