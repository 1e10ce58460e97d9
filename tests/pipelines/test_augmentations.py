"""The named policies, and that their randomness comes from the seed alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import (
    Augmentation,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomShear,
    RandomZoom,
    Transform,
    augment,
    augmentation,
)


def images(n=3):
    return np.random.default_rng(0).uniform(0, 255, [n, 20, 28, 3]).astype(np.float32)


def test_policies():
    assert augmentation("none") == []
    light, strong = augmentation("light"), augmentation("strong")
    assert [type(layer).__name__ for layer in light] == [type(layer).__name__ for layer in strong]
    assert light[1].factor[1] < strong[1].factor[1]
    with pytest.raises(
        ValueError, match="none, light, strong, textbook, randaugment, trivialaugment; received 'heavy'"
    ):
        augmentation("heavy")


@pytest.mark.parametrize("policy", ["light", "strong", "randaugment", "trivialaugment"])
def test_the_seed_alone_decides(policy):
    layers = augmentation(policy)
    first = augment(images(), layers, 7)
    assert first.shape == (3, 20, 28, 3)
    assert first.dtype == tf.float32
    assert np.array_equal(augment(images(), layers, 7), first)
    assert np.array_equal(augment(images(), augmentation(policy), 7), first)
    assert not np.allclose(augment(images(), layers, 8), first)
    in_graph = tf.function(lambda batch, seed: augment(batch, layers, seed))
    np.testing.assert_allclose(in_graph(images(), tf.constant(7, tf.int64)), first, atol=1e-2)


def test_values_stay_in_range_and_each_image_gets_its_own_change():
    same = np.repeat(images(1), 4, axis=0)
    result = augment(same, augmentation("strong"), 3).numpy()
    assert result.min() >= 0
    assert result.max() <= 255
    assert not np.allclose(result[0], result[1])


def test_layers_draw_independently():
    """One seed for all layers must not make, say, every flipped image a bright one."""
    same = np.repeat(images(1), 200, axis=0)[:, :4, :4]
    layers = [RandomFlip("horizontal"), RandomBrightness((0.01, 0.2)), RandomContrast(0.0)]
    result = augment(same, layers, 1).numpy()
    flipped = result[:, 0, 0, 0] - result[:, 0, -1, 0] > 0
    brightness = result.mean((1, 2, 3))
    assert abs(np.corrcoef(flipped, brightness)[0, 1]) < 0.2


def test_half_of_the_images_are_flipped():
    gradient = np.tile(np.linspace(0, 255, 28, dtype=np.float32)[None, None, :, None], [200, 20, 1, 3])
    flipped = augment(gradient, augmentation("light")[:1], 1).numpy()[:, 0, 0, 0] > 128
    assert 70 < flipped.sum() < 130


@pytest.mark.parametrize("policy", ["light", "randaugment", "trivialaugment"])
def test_layers_work_by_themselves_and_are_serializable(policy):
    for layer in augmentation(policy, seed=3):
        assert layer(images(), training=True).shape == (3, 20, 28, 3)
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_the_same_seed_of_a_layer_gives_the_same_sequence():
    first, second = (Augmentation(augmentation("strong"), seed=4) for _ in range(2))
    batches = [first(images(), training=True).numpy() for _ in range(2)]
    for batch in batches:
        assert np.array_equal(second(images(), training=True), batch)
    assert not np.allclose(*batches)


def test_in_tf_data_as_when_called():
    layers = augmentation("strong")
    dataset = tf.data.Dataset.from_tensors(images()).map(lambda batch: augment(batch, layers, 7))
    np.testing.assert_allclose(next(iter(dataset)), augment(images(), layers, 7), atol=0.05)
    sample = {"image": images(), "boxes": np.float32([[[2, 3, 12, 15]]] * 3), "mask": np.ones([3, 20, 28], np.uint8)}
    from_dataset = next(iter(tf.data.Dataset.from_tensors(sample).map(lambda sample: augment(sample, layers, 7))))
    for name, value in augment(sample, layers, 7).items():
        np.testing.assert_allclose(from_dataset[name], value, atol=0.05)
    layer = Augmentation(layers, seed=1)
    with_state = tf.data.Dataset.from_tensors(images()).map(lambda batch: layer(batch, training=True))
    assert next(iter(with_state)).shape == (3, 20, 28, 3)


def test_in_a_model_it_rests_unless_training_and_is_saved(tmp_path):
    inputs = keras.Input([20, 28, 3])
    layer = Augmentation([*augmentation("strong"), RandomCrop(16, 18)], seed=2)
    outputs = keras.layers.BatchNormalization()(layer(inputs))
    model = keras.Model(inputs, outputs)
    assert model.output_shape == (None, 16, 18, 3)
    shifted = images() + np.arange(3)[:, None, None, None]
    at_rest = model(shifted).numpy()
    np.testing.assert_allclose(model.predict(shifted, verbose=0), at_rest, atol=1e-4)
    np.testing.assert_allclose(model(shifted[:1]), at_rest[:1], atol=1e-4)  # whatever else is in the batch
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(shifted), at_rest, atol=1e-5)
    assert not np.allclose(layer(shifted, training=True), layer(shifted), atol=1)
    assert [type(part) for part in again.layers[1].layers] == [type(part) for part in layer.layers]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip("sideways"), "expected `mode` as one of horizontal, vertical, .* received 'sideways'"),
        (lambda: RandomZoom("much"), "expected `height_factor` as a number or a pair of numbers in -0.99..1"),
        (lambda: RandomPerspective(1.0, 0.5), "expected `scale` of 0 or more and below 0.5, received 0.5"),
        (lambda: RandomShear(1.0, 1.0), "press the image into a line"),
        (lambda: RandomShear(-0.1), "expected `x_factor`"),
        (lambda: RandomZoom(0.1, fill_mode="mirror"), "`fill_mode` as one of .* received 'mirror'"),
        (lambda: RandomZoom(0.1, interpolation="cubic"), '"bilinear" or "nearest"; received \'cubic\''),
        (lambda: RandomCrop(0, 4), "expected `height` and `width` in pixels, received 0 and 4"),
        (lambda: RandomResizedCrop(4, 4, scale=(0.5, 2)), "expected `scale`"),
        (lambda: augment(images(), [7], 0), "expected a Keras layer, received 7"),
    ],
)
def test_refusals(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_transform_of_ones_own_is_applied_in_its_place_and_saved(tmp_path):
    @keras.saving.register_keras_serializable(package="tests")
    class Posterize(Transform):
        def transform_batch(self, sample, seed):
            return {**sample, "image": sample["image"] // 64 * 64}

    bright = RandomBrightness((0.1, 0.1))
    expected = images() + 25.5
    result = augment(images(), [bright, Posterize(), bright], 0).numpy()
    np.testing.assert_allclose(result, np.clip(np.clip(expected, 0, 255) // 64 * 64 + 25.5, 0, 255), atol=1e-3)
    inputs = keras.Input([20, 28, 3])
    model = keras.Model(inputs, Posterize(name="few_levels")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[1].name == "few_levels"
    np.testing.assert_array_equal(again(images(), training=True), images() // 64 * 64)
    np.testing.assert_array_equal(again(images()), images())
    with pytest.raises(NotImplementedError, match=r"Transform has to define transform_batch\(sample, seed\)"):
        augment(images(), [Transform()], 0)
