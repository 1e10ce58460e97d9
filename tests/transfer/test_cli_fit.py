"""What `zoo fit` makes of its options, without a training: every setting of every task is an option."""

import importlib.metadata
import json
import re
from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

import transfer
from transfer.cli.console import for_people
from transfer.cli.main import app
from transfer.runs import fitting
from transfer.runs.fitting import Run
from transfer.tasks import TASKS, settings_class, task_of_settings


@pytest.fixture
def asked(monkeypatch):
    """What `fit` was called with."""
    calls = []

    def fit(data, out, settings, **options):
        calls.append({"data": data, "out": out, "settings": settings, **options})
        metrics = {"task": task_of_settings(settings), "export_max_abs_diff": 0.0, "num_images": 3, "skipped": 0}
        metrics |= {"readout": None, "seconds_by_part": {}}
        return Run(out, {**metrics, "seconds": 1.0})

    monkeypatch.setattr(fitting, "fit", fit)
    return calls


def zoo(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def message(result):
    return " ".join(result.output.replace("│", " ").split())


def test_without_options(asked, tmp_path):
    result = zoo("fit", "photos", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert (call["data"], call["settings"], call["resume"]) == ("photos", transfer.Classify(), False)
    assert call["callbacks"] == []


OTHER = {
    int: lambda value, facts: (value or 0) + 1,
    float: lambda value, facts: 0.25 if value != 0.25 else 0.5,
    bool: lambda value, facts: not value,
    str: lambda value, facts: next((c for c in facts.choices if c != value), "other"),
}
WRITTEN = {
    "unfreeze": "c5,c4",
    "image_size": "64x96",
    "crop": "32x48",
    "targets": "age,colour",
    "loss_weights": "age=0.5",
}


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_is_an_option(task, asked, tmp_path):
    kind = settings_class(task)
    words, expected = [], {}
    for field in fields(kind):
        if field.name == "patience":
            continue
        facts = field.metadata["setting"]
        option = f"--{field.name.replace('_', '-')}"
        if field.name in WRITTEN:
            value = WRITTEN[field.name]
        else:
            plain = next(t for t in (bool, int, float, str) if t.__name__ in str(field.type).split(" | ")[0])
            value = OTHER[plain](field.default, facts)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words += [option, value]
        expected[field.name] = value
    result = zoo("fit", "data", "--task", task, "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["settings"] == kind.from_dict(expected)
    assert not [name for name in expected if name not in call["settings"].changed()], "each differs from its default"


@pytest.mark.parametrize(("option", "first"), [("--help", "DATA"), ("--help-all", "─ Options ─")])
def test_help_shows_common_options_first_and_those_of_a_task_under_its_heading(option, first):
    text = zoo("fit", option).output
    order = [text.index(words) for words in (first, "With --task classify", "With --task detect", "More options")]
    assert order == sorted(order)
    assert text.index("--epochs") < order[1]
    assert order[1] < text.index("--balance") < order[2]
    assert order[2] < text.index("--mosaic") < order[3]
    assert text.index("--layer-decay") > order[3]
    for task in TASKS:
        for field in fields(settings_class(task)):
            assert f"--{field.name.replace('_', '-')}" in text, field.name
    assert "detect: 40" in " ".join(text.split())


def test_help_fits_on_one_screen_and_the_other_help_explains_all(monkeypatch):
    monkeypatch.setattr("transfer.cli.console.out.width", 80)
    assert len(zoo("fit", "--help").output.splitlines()) <= 50
    assert "Overlap (IoU) from which on" not in zoo("fit", "--help").output
    assert "Overlap (IoU) from which on" in " ".join(zoo("fit", "--help-all").output.replace("│", " ").split())


def test_the_shell_says_its_version_and_completes_words():
    assert zoo("--version").output.split() == ["transfer-zoo", importlib.metadata.version("transfer-zoo")]
    assert "--install-completion" in zoo("--help").output


def test_a_missing_extra_is_a_message_and_a_missing_module_a_traceback():
    with pytest.raises(typer.Exit), for_people():
        raise ImportError('videos are read with PyAV. Install it with pip install "transfer-zoo[video]"')
    with pytest.raises(ModuleNotFoundError), for_people():
        raise ModuleNotFoundError("No module named 'transfer.gone'")


def test_tensorboard_writes_there(asked, tmp_path):
    result = zoo("fit", "photos", "--out", tmp_path / "run", "--tensorboard", tmp_path)
    assert result.exit_code == 0, result.output
    assert [type(callback).__name__ for callback in asked[0]["callbacks"]] == ["TensorBoard"]


def test_tensorboard_that_is_missing_is_named(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = zoo("fit", "photos", "--out", tmp_path / "run", "--tensorboard", tmp_path)
    assert result.exit_code == 1
    assert "pip install 'transfer-zoo[tensorboard]'" in message(result)
    assert not asked


def test_what_is_given_goes_before_a_recipe_even_where_it_is_the_default(asked, tmp_path):
    words = ["--recipe", "textbook", "--learning-rate", "1e-4"]
    result = zoo("fit", "photos", "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    settings = asked[0]["settings"]
    assert (settings.backbone, settings.optimizer, settings.learning_rate) == ("keras:Xception", "sgd", 1e-4)
    result = zoo("fit", "photos", "--out", tmp_path / "run", "--recipe", "cake")
    assert result.exit_code == 1
    assert "no recipe 'cake'; it has textbook" in message(result)


@pytest.mark.parametrize("task", TASKS)
def test_a_configuration_is_repeated_and_what_is_given_besides_goes_before_it(task, asked, tmp_path):
    settings = settings_class(task)(seed=5, epochs=7, memory="4 GB")
    document = {"format_version": 2, "task": task, "data": "photos", "settings": settings.as_dict(), "facts": {}}
    (tmp_path / "config.json").write_text(json.dumps(document))
    result = zoo("fit", "--config", tmp_path / "config.json", "--out", tmp_path / "run", "--seed", 6)
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["data"] == "photos"
    assert call["settings"] == settings_class(task)(seed=6, epochs=7, memory="4 GB")
    assert call["repeats"].settings == settings


def test_data_or_a_configuration_is_needed(asked, tmp_path):
    result = zoo("fit", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.search(r"give DATA, or a run to repeat by\s+--config", result.output.replace("│", " "))
    assert asked == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("--task detect --balance even", 1, "--balance is for --task classify, and says nothing to --task detect"),
        ("--task detect --patience 3", 1, "a detector knows no patience, got patience=3"),
        ("--task regress --mix mixup", 1, "--mix is for --task classify"),
        ("--learning-rate 0", 1, "learning_rate has to be above 0; got 0.0"),
        ("--ema 1", 1, "ema has to be at least 0 and below 1; got 1.0"),
        ("--batch-size 0", 1, "batch_size has to be at least 1; got 0"),
        ("--image-size 1x2x3", 1, "height x width as in 288x384; got image_size='1x2x3'"),
        ("--balance fair", 2, "'fair' is not one of"),
        ("--epochs many", 2, "Invalid value for '--epochs'"),
    ],
)
def test_settings_that_cannot_be(words, code, text, asked, tmp_path):
    result = zoo("fit", "data", "--out", tmp_path / "run", *words.split())
    assert result.exit_code == code, result.output
    assert text in message(result)
    assert not asked
