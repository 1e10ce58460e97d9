"""Exported folders of format version 1, which people have: they open, answer as their proofs say, and are verified."""

import json
from pathlib import Path

import numpy as np
import pytest

import transfer
from transfer.artifacts.engines.table import FORMATS, open_artifact
from transfer.artifacts.manifest import read_manifest
from transfer.artifacts.proof import PROOF, Reference, prove, verify
from transfer.tasks import TASKS
from transfer.tasks.contracts import read_contract

DATA = Path(__file__).parent / "data" / "version_1"
FOLDERS = {"classifier": ("keras", "onnx", "saved_model"), "detector": ("openvino", "litert")}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folder_is_verified(name):
    verdicts = verify(DATA / name)
    assert {verdict.artifact for verdict in verdicts} == set(FOLDERS[name])
    for verdict in verdicts:
        assert verdict.skipped is None
        assert {check.batch for check in verdict.checks} == {1, 5}
        assert max(check.max_abs_diff for check in verdict.checks) <= 1e-4


@pytest.mark.parametrize("name", FOLDERS)
def test_the_contract_is_read(name):
    contract = read_contract((DATA / name / "contract.json").read_bytes())
    assert type(contract).__name__ == {"classifier": "ClassifyContract", "detector": "DetectContract"}[name]
    assert contract.preparation.size == {"classifier": (32, 48), "detector": (64, 96)}[name]
    assert (
        contract.names
        == {"classifier": ("ant", "bee", "fly & co", 'Hornisse "ö"'), "detector": ("ant", "bee & co")}[name]
    )
    assert contract.thresholds == {"classifier": {"bee": 0.9}, "detector": {"ant": 0.4}}[name]
    assert contract.fingerprint == json.loads((DATA / name / "contract.json").read_text())["fingerprint"]
    assert read_contract(contract.to_json()) == contract  # In version 2.


@pytest.mark.parametrize(("name", "format"), [("classifier", "onnx"), ("detector", "openvino")])
def test_it_answers_as_its_proof_says(name, format):
    reference = Reference.load(DATA / name / PROOF)
    predictor = transfer.load(DATA / name / FORMATS[format].files[0])
    outputs = predictor.outputs(list(reference.photos))
    if name == "classifier":
        np.testing.assert_allclose(outputs["probabilities"], reference.whole["probabilities"], atol=1e-5)
    else:
        assert reference.whole["valid"].tolist() == outputs["valid"].tolist()
        np.testing.assert_allclose(np.sort(outputs["scores"]), np.sort(reference.whole["scores"]), atol=1e-4)
        size = reference.photos[1].shape[:2]
        boxes = predictor.contract.preparation.boxes_to_photo(reference.whole["boxes"][1], size)
        np.testing.assert_allclose(outputs["boxes"][1, 0], boxes[0], atol=0.02)


def test_the_flag_of_classifiers_in_onnx_is_given():
    """Prepared images go in beside a flag, and would otherwise be cropped once more."""
    engine = open_artifact(DATA / "classifier" / "model.onnx")
    reference = Reference.load(DATA / "classifier" / PROOF)
    prepared = np.stack([engine.contract.preparation.on_photo(photo) for photo in reference.photos])
    expected = reference.whole["probabilities"]
    np.testing.assert_allclose(engine.outputs("prepared", prepared)["probabilities"], expected, atol=1e-5)
    assert np.abs(engine.outputs("images", prepared)["probabilities"] - expected).max() > 1e-4


def test_proofs_had_one_output_without_a_name():
    reference = Reference.load(DATA / "classifier" / PROOF)
    assert set(reference.whole) == set(reference.cut) == {"probabilities"}
    detector = Reference.load(DATA / "detector" / PROOF)
    assert {"boxes", "classes", "scores", "valid", "candidate_boxes", "candidate_scores"} == set(detector.cut)


def test_another_answer_is_noticed(tmp_path):
    reference = Reference.load(DATA / "detector" / PROOF)
    reference.whole["candidate_scores"][1] += 0.001
    with pytest.raises(transfer.ExportError, match=r"model\.tflite, endpoint resized, batch of 1, photo 1 of 64 x 96"):
        prove(open_artifact(DATA / "detector" / "model.tflite"), "model.tflite", reference, 1e-4)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_newer_version_says_so(name):
    document = json.loads((DATA / name / "contract.json").read_text()) | {"format_version": 99}
    with pytest.raises(ValueError, match=r"format version 99.*reads up to 2; upgrade"):
        read_contract(json.dumps(document))


def test_an_unknown_task_lists_the_known_ones():
    document = json.loads((DATA / "detector" / "contract.json").read_text()) | {"task": "detekt"}
    with pytest.raises(
        ValueError, match=rf"no task 'detekt'; the tasks are {', '.join(TASKS)}\. Did you mean detect\?"
    ):
        read_contract(json.dumps(document))


def test_the_manifest_is_as_it_was_written():
    for name, formats in FOLDERS.items():
        manifest = read_manifest(DATA / name)
        assert manifest["format_version"] == 1
        assert tuple(sorted(manifest["artifacts"])) == tuple(sorted(formats))
