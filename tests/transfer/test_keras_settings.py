"""Keras' global settings: each that leaks into models is refused at the start, in one line."""

import json

import keras
import numpy as np
import pytest

import transfer
from pipelines import EvaluationCrop
from transfer.artifacts.exporting import export
from transfer.keras_settings import check_backend, check_keras_settings
from transfer.models.precision import in_float32
from transfer.tasks.classify.answers import ClassifyContract

SIZE = (6, 8)


@pytest.fixture(params=["channels_first", "float64", "jax"])
def wrong(request, monkeypatch):
    """A setting that is none of ours, and a word of the message."""
    if request.param == "channels_first":
        monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
        return "set_image_data_format"
    if request.param == "float64":
        monkeypatch.setattr(keras.config, "floatx", lambda: "float64")
        return "set_floatx"
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    return "compute with jax.*KERAS_BACKEND=tensorflow"


def headed(policy="float32"):
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 255, dtype=policy)(image)
    inner = keras.Sequential([keras.layers.Conv2D(4, 3, dtype=policy), keras.layers.BatchNormalization(dtype=policy)])
    x = keras.layers.GlobalAveragePooling2D(dtype=policy)(inner(x))
    return keras.Model(image, keras.layers.Dense(2, "softmax", dtype=policy)(x))


def test_every_beginning_refuses_a_setting_that_leaks_into_models(wrong, tmp_path):
    contract = ClassifyContract(("a", "b"), preparation=EvaluationCrop(SIZE))
    for begin in (
        check_keras_settings,
        lambda: transfer.fit(tmp_path, tmp_path / "run"),
        lambda: transfer.backbone("tiny"),
        lambda: transfer.fine_tune(headed(), None, None),
        lambda: export(headed(), tmp_path / "out", contract),
    ):
        with pytest.raises(ValueError, match=wrong) as caught:
            begin()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["variable", "file"])
def test_the_backend_is_checked_before_keras_is_imported(monkeypatch, tmp_path, how):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    check_backend()
    if how == "variable":
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    else:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    with pytest.raises(ValueError, match="compute with torch"):
        check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    check_backend()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_a_model_of_any_policy_has_a_copy_in_float32(policy):
    model = headed(policy)
    copy = in_float32(model)
    assert {layer.compute_dtype for layer in copy._flatten_layers()} == {"float32"}
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    np.testing.assert_allclose(np.array(copy(images)), np.array(model(images), "float32"), atol=2e-2)
    assert {weight.dtype for weight in copy.weights} == {"float32"}
    assert in_float32(copy) is copy


def test_a_policy_is_left_alone_by_export_which_computes_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        contract = ClassifyContract(("a", "b"), preparation=EvaluationCrop(SIZE))
        assert export(headed("mixed_bfloat16"), tmp_path / "out", contract, formats=["keras"]).max_abs_diff < 1e-5
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "out" / "model.keras")
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
