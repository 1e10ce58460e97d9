import keras
import numpy as np
import pytest

from pipelines import Data, EvaluationCrop, Samples
from transfer.models.backbones import Backbone
from transfer.training.recommending import feature_shift, recommend

H, W = 24, 32


def colours(per_class, *, classes=3, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    images = (scale * rng.uniform(0, 255, (len(labels), H, W, 3))).astype("uint8")
    return Samples(images, labels, [str(i) for i in range(len(labels))])


def data(per_class, **more):
    some = colours(2)
    return Data(("a", "b", "c"), colours(per_class, **more), some, some)


@pytest.fixture(scope="module")
def trunk():
    """A backbone whose batch norms know noise of full contrast."""
    image = x = keras.Input((H, W, 3))
    for level in range(4):
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same", name=f"conv{level}")(x)
        x = keras.layers.BatchNormalization(momentum=0.0, name=f"bn{level}")(x)
    model = keras.Model(image, x)
    model(colours(40).images.astype("float32"), training=True)
    return Backbone("noise", model, EvaluationCrop((H, W), fraction=1.0), "imagenet", None)


def test_the_shift_is_small_for_the_same_kind_and_large_for_another(trunk):
    same, other = feature_shift(data(20), trunk), feature_shift(data(20, scale=0.1), trunk)
    assert same < 0.2
    assert other > 0.5


def test_the_shift_is_the_distance_in_standard_deviations(trunk):
    samples = colours(10)
    norm = trunk.model.get_layer("bn0")
    maps = np.asarray(keras.Model(trunk.model.input, norm.input)(samples.images.astype("float32")))
    expected = np.abs(maps.mean(axis=(0, 1, 2)) - norm.moving_mean) / np.sqrt(norm.moving_variance + norm.epsilon)
    only = Backbone("one", keras.Model(trunk.model.input, norm.output), trunk.crop, None, None)
    assert feature_shift(data(10), only) == pytest.approx(float(np.mean(expected)), rel=1e-3)


@pytest.mark.parametrize(
    ("per_class", "scale", "name", "norms"),
    [
        (20, 1.0, "head", "frozen"),
        (20, 0.1, "staged", "re-estimated"),
        (60, 1.0, "staged", "frozen"),
        (60, 0.1, "staged", "re-estimated"),
        (1001, 1.0, "all", "frozen"),
    ],
)
def test_the_table(trunk, per_class, scale, name, norms):
    found = recommend(data(per_class, scale=scale), trunk)
    assert (found.name, found.batch_norms, found.images_per_class) == (name, norms, per_class)
    assert f"{per_class} training images" in found.reason
    if name == "staged":
        assert set(found.unfreeze) <= set(trunk.levels)


def test_without_batch_norms_likeness_is_not_known():
    image = keras.Input((H, W, 3))
    plain = Backbone("plain", keras.Model(image, keras.layers.Conv2D(3, 3, strides=2)(image)), None, None, None)
    found = recommend(data(20), plain)
    assert found.shift is None
    assert "not known" in found.reason


def test_other_labels_are_refused(trunk):
    some = colours(3)
    with pytest.raises(ValueError, match="one class each"):
        recommend(Data(("a", "b"), some, some, some, kind="labels"), trunk)
