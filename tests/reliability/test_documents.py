"""Documents that are damaged, or made by somebody else, are refused in words that name the file."""

import json

import numpy as np
import pytest

import transfer
from pipelines import read_scenes
from pipelines.annotations.documents import read_json
from pipelines.annotations.faults import Log
from pipelines.annotations.layouts import read_description
from transfer.runs.comparing import compare
from transfer.runs.configuration import read_config
from transfer.tasks.contracts import read_contract

DIGITS, DEEP = "9" * 5000, "[" * 100_000
VALID = {"format_version": 2, "task": "classify", "data": "x", "settings": {}, "facts": {}}


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", "[]", DIGITS, DEEP, f'{{"data": {DIGITS}}}', "{}"),
        *(json.dumps(VALID | change) for change in ({"settings": 3}, {"task": []}, {"task": "no"}, {"data": None})),
        *(json.dumps(VALID | change) for change in ({"settings": {"sed": 1}}, {"format_version": "new"})),
        json.dumps({name: value for name, value in VALID.items() if name != "settings"}),
    ],
)
def test_a_configuration_that_is_none_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is not the configuration of a run"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", "10", "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", 2.5, "a whole number"),
        ("patience", "5", "a whole number"),
        ("learning_rate", "1e-3", "a number"),
        ("learning_rate", float("inf"), "a number"),
        ("ema", [0.9], "a number"),
        ("audit", "no", "true or false"),
        ("backbone", 7, "text"),
        ("layout", {"x": 1}, "text"),
        ("formats", [1], "names"),
        ("formats", {"onnx": 1}, "names"),
    ],
)
def test_a_setting_of_another_type_is_named(tmp_path, name, value, words):
    """As somebody else's file has it: Python would go on with it, and fail much later."""
    (tmp_path / "config.json").write_text(json.dumps(VALID | {"settings": {name: value}}))
    with pytest.raises(ValueError, match=f"{name if words != 'names' else ''}.*{words}"):
        read_config(tmp_path)


def test_whole_numbers_and_numpys_numbers_will_do():
    settings = transfer.Classify(learning_rate=1, epochs=np.int64(3), ema=np.float32(0.5), patience=None)
    assert (settings.learning_rate, settings.epochs, settings.ema) == (1, 3, 0.5)


@pytest.mark.parametrize("text", ["", "3", "[]", DEEP, DIGITS])
def test_a_run_whose_documents_are_damaged_is_named(tmp_path, text):
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        run.mkdir()
        (run / "metrics.json").write_text(text)
        (run / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"\.json is not a document of a run"):
        compare(runs)


CONTRACT = {
    "format_version": 2,
    "task": "classify",
    "class_names": ["a", "b"],
    "thresholds": {},
    "wnids": None,
    "preparation": {"kind": "crop", "size": [8, 8], "fraction": 1.0, "interpolation": "bicubic"},
    "versions": {},
    "fingerprint": "",
}


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", "[]", "{}", DIGITS, DEEP),
        *(
            json.dumps(CONTRACT | change)
            for change in (
                *({"preparation": None}, {"preparation": []}, {"preparation": {"kind": "crop", "size": "x"}}),
                *({"class_names": 3}, {"versions": 3}, {"thresholds": 3}, {"task": 3}),
                *({"format_version": None}, {"format_version": "2"}),
            )
        ),
    ],
)
def test_a_contract_that_is_none_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        read_contract(text)


@pytest.mark.parametrize("text", [DIGITS, f'{{"a": {DIGITS}}}', f'{{"a": [[{DIGITS}]]}}', DEEP, "{"])
def test_annotations_that_are_no_json_are_a_fault_with_a_place(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    log = Log()
    assert read_json(tmp_path / "a.json", log) is None
    assert log.faults[0].path.endswith("a.json")


@pytest.mark.parametrize("text", ["names: " + "[" * 5000, "a: [", "- 1", "\x00"])
def test_a_description_that_is_no_yaml_is_named(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml"):
        read_description(tmp_path / "data.yaml")


def test_dates_and_long_numbers_are_names_of_classes(tmp_path):
    (tmp_path / "data.yaml").write_text(f"train: images\nnames: [2001-99-99, {DIGITS}]\n")
    assert read_description(tmp_path / "data.yaml")["names"] == ["2001-99-99", DIGITS]
    with pytest.raises((ValueError, FileNotFoundError), match=r"data\.yaml"):
        read_scenes(tmp_path, layout="yolo")
