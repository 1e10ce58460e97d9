"""What `zoo fit` makes of its options, without a training."""

import json
import re

import pytest
from typer.testing import CliRunner

from transfer.cli.main import app
from transfer.runs import fitting as run_module
from transfer.runs.fitting import Run
from transfer.training.optimization import Optimization


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What `fit` was called with."""
    calls = []
    metrics = {"test_accuracy": None, "valid_accuracy": 1.0, "export_max_abs_diff": 0.0, "num_images": 3}

    def fit(data, out, **settings):
        calls.append({"data": data, "out": out, **settings})
        return Run(out, {**metrics, "skipped": 0, "seconds": 1.0})

    arguments_in = run_module.arguments_in
    real = run_module.fit
    monkeypatch.setattr(run_module, "arguments_in", lambda config, _: arguments_in(config, real))
    monkeypatch.setattr(run_module, "fit", fit)
    return calls


def zoo(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_without_options(asked, tmp_path):
    result = zoo("fit", "photos", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert (call["data"], call["unfreeze"], call["resume"], call["recipe"]) == ("photos", 0.3, False, None)
    assert call["optimization"] == Optimization()
    assert call["callbacks"] == []


def test_options_of_the_training(asked, tmp_path):
    steps = ["sgd", "cosine", "0.1", "0.5", "0.9", "4", "0.01"]
    names = ["optimizer", "schedule", "warm-up", "layer-decay", "ema", "accumulate", "weight-decay"]
    options = [word for name, value in zip(names, steps, strict=True) for word in (f"--{name}", value)]
    options += ["--unfreeze", "c5,c4", "--batch-norms", "re-estimated", "--patience", "3", "--balance", "weights"]
    options += ["--mix", "mixup", "--precision", "mixed_bfloat16", "--head-learning-rate", "0.1"]
    options += ["--learning-rate", "0.02", "--resume", "--recipe", "textbook"]
    result = zoo("fit", "photos", "--out", tmp_path / "run", "--memory", "4 GB", "--tensorboard", tmp_path, *options)
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["optimization"] == Optimization("sgd", "cosine", 0.1, 0.5, 0.9, 4, 0.01)
    expected = {
        "unfreeze": ["c5", "c4"], "batch_norms": "re-estimated", "patience": 3, "balance": "weights", "mix": "mixup",
        "precision": "mixed_bfloat16", "head_learning_rate": 0.1, "learning_rate": 0.02, "resume": True,
        "recipe": "textbook", "memory": "4 GB",
    }  # fmt: skip
    assert {name: call[name] for name in expected} == expected
    assert [type(each).__name__ for each in call["callbacks"]] == ["TensorBoard"]


def test_tensorboard_that_is_missing_is_named(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = zoo("fit", "photos", "--out", tmp_path / "run", "--tensorboard", tmp_path)
    assert result.exit_code == 1
    assert "pip install 'transfer-zoo[tensorboard]'" in result.output
    assert not asked


def test_a_configuration_is_repeated_and_what_is_given_besides_goes_before_it(asked, tmp_path):
    settings = {"name": "sgd", "schedule": "cosine", "warm_up": 0.0, "layer_decay": 1.0, "ema": 0.0, "accumulate": 1}
    config = {
        "data": "photos",
        "seed": 5,
        "epochs": 7,
        "memory": "4 GB",
        "optimization": settings,
        "versions": {"keras": "3.0"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = zoo("fit", "--config", tmp_path / "config.json", "--out", tmp_path / "run", "--seed", 6, "--ema", 0.5)
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert (call["data"], call["seed"], call["epochs"], call["like"]) == ("photos", 6, 7, config)
    assert call["optimization"] == Optimization("sgd", "cosine", ema=0.5)
    assert call["memory"] == "4 GB"
    assert "batch_size" not in call, "the defaults of fit"


def test_data_or_a_configuration_is_needed(asked, tmp_path):
    result = zoo("fit", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.search(r"give DATA, or a run to repeat by\s+--config", result.output.replace("│", " "))
    assert asked == []
