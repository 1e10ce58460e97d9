"""What `fit` hands on to the training: recipes, mixing, balance, precision and memory."""

import json

import keras
import numpy as np
import pytest

from transfer.artifacts.exporting import Check, Proof
from transfer.runs import fitting as run_module
from transfer.runs.fitting import fit, read_config
from transfer.training.optimization import Optimization

QUICK = {"head_epochs": 1, "epochs": 1, "unfreeze": 0.5, "batch_size": 8, "progress": False, "audit": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tiny):
    """Without the proof and the report, which others test; notes how `fine_tune` was called."""

    def nothing(model, folder, contract, *, photos=()):
        model.save(folder / "model.keras")
        return Proof((Check("saved_model", "images", 1, 0.0),), 0, 1e-4)

    calls = []

    def noted(model, train, valid, **settings):
        calls.append({"batch": train.element_spec[0].shape, "labels": train.element_spec[1], **settings})
        calls[-1]["first"] = next(iter(train))
        return fine_tune(model, train, valid, **settings)

    fine_tune = run_module.fine_tune
    monkeypatch.setattr(run_module, "write_and_prove", nothing)
    monkeypatch.setattr(run_module.report, "write", lambda path, **_: path.write_text(""))
    monkeypatch.setattr(run_module, "fine_tune", noted)
    return calls


def test_settings_of_the_optimizer_come_back_from_the_configuration(photos, tmp_path, quick):
    settings = Optimization("sgd", schedule="cosine", layer_decay=0.5, ema=0.9)
    fit(photos, tmp_path / "run", optimization=settings, **{**QUICK, "unfreeze": ("c3", "c2")})
    arguments, _ = read_config(tmp_path / "run")
    assert arguments["optimization"] == settings == quick[0]["optimization"]
    assert arguments["unfreeze"] == ["c3", "c2"]
    history = (tmp_path / "run" / "history.csv").read_text()
    assert "top c3" in history
    assert "top c2" in history


def test_mixed_images_have_mixed_labels(photos, tmp_path, quick):
    run = fit(photos, tmp_path / "run", mix="mixup", **QUICK)
    labels = quick[0]["first"][1].numpy()
    assert labels.shape == (8, 3)
    assert ((labels > 0).sum(axis=1) > 1).any()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    assert 0 <= run.metrics["valid_accuracy"] <= 1


def test_rare_classes_count_more_or_come_oftener(photos, tmp_path, quick):
    for path in sorted((photos / "sea").iterdir())[4:]:
        path.unlink()
    fit(photos, tmp_path / "weights", balance="weights", **QUICK)
    weights = quick[0]["class_weight"]
    assert weights[2] > 2 * weights[0]  # classes in the order of their folders' names: the sea is the last
    fit(photos, tmp_path / "even", balance="oversample", **QUICK)
    assert quick[1]["class_weight"] is None


def test_training_in_16_bits_leaves_a_model_of_32(photos, tmp_path):
    before = keras.config.dtype_policy()
    fit(photos, tmp_path / "run", precision="mixed_bfloat16", **QUICK)
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy() == before


def test_what_does_not_fit_into_memory_is_trained_in_parts(photos, tmp_path, quick, monkeypatch):
    from transfer.training.memory import MicroBatches

    monkeypatch.setattr(run_module, "micro_batches", lambda *_, **__: MicroBatches(2, 4, 9 * 10**9, "8 GB"))
    said = []
    fit(photos, tmp_path / "run", say=said.append, memory="8 GB", optimization=Optimization(accumulate=2), **QUICK)
    arguments, config = read_config(tmp_path / "run")
    assert (arguments["memory"], config["micro_batch"]) == ("8 GB", 2)
    assert any("of 8 images is predicted to take 9 GB: it is made of 4 steps of 2" in line for line in said), said
    assert quick[0]["optimization"].accumulate == 8
    assert len(quick[0]["first"][0]) == 2


def test_too_little_memory_for_one_image_is_said(photos, tmp_path):
    with pytest.raises(ValueError, match="with one image takes about"):
        fit(photos, tmp_path / "run", memory="1 MB", **QUICK)
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_the_textbook(photos, tmp_path, quick, monkeypatch):
    asked = []
    make = run_module.make_backbone
    monkeypatch.setattr(run_module, "make_backbone", lambda name, **more: asked.append(name) or make(name, **more))
    monkeypatch.setitem(run_module.RECIPES["textbook"], "unfreeze", "conv2d_2")  # the stand-in has no block 7
    keras.backend.clear_session()
    fit(photos, tmp_path / "run", recipe="textbook", batch_size=8, epochs=1, progress=False, audit=False)
    assert asked == ["keras:Xception"]
    call = quick[0]
    assert (call["head_epochs"], call["epochs"]) == (3, 1), "what is given goes before the recipe"
    assert (call["head_learning_rate"], call["learning_rate"]) == (0.1, 0.01)
    assert call["optimization"].name == "sgd"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["backbone"] == "keras:Xception"
    with pytest.raises(ValueError, match="recipe is one of textbook"):
        fit(photos, tmp_path / "other", recipe="cake", progress=False)


@pytest.mark.slow
def test_the_textbooks_layer_56_is_what_the_recipe_names():
    xception = keras.applications.Xception(weights=None, include_top=False)
    assert xception.layers[56].name == run_module.RECIPES["textbook"]["unfreeze"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": "fair"}, "balance is one of none, even, oversample, weights"),
        ({"mix": "blend"}, "mix is one of none, mixup, cutmix"),
        ({"precision": "float16"}, "precision is one of float32, mixed_bfloat16"),
    ],
)
def test_unknown_choices(photos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit(photos, tmp_path / "run", **QUICK, **options)
