"""The named policies, and that their randomness comes from the seed alone."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import augment, augmentation


def images(n=3):
    return np.random.default_rng(0).uniform(0, 255, [n, 20, 28, 3]).astype(np.float32)


def test_policies():
    assert augmentation("none") == []
    light, strong = augmentation("light"), augmentation("strong")
    assert [type(layer).__name__ for layer in light] == [type(layer).__name__ for layer in strong]
    assert light[1].factor[1] < strong[1].factor[1]
    with pytest.raises(ValueError, match="none, light, strong; received 'heavy'"):
        augmentation("heavy")


@pytest.mark.parametrize("policy", ["light", "strong"])
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
    from pipelines.augmentations import _Draws

    draws = {tuple(_Draws(5, position).next().numpy()) for position in range(4)}
    assert len(draws) == 4


def test_half_of_the_images_are_flipped():
    gradient = np.tile(np.linspace(0, 255, 28, dtype=np.float32)[None, None, :, None], [200, 20, 1, 3])
    flipped = augment(gradient, augmentation("light")[:1], 1).numpy()[:, 0, 0, 0] > 128
    assert 70 < flipped.sum() < 130


def test_layers_work_by_themselves_and_are_serializable():
    for layer in augmentation("light", seed=3):
        assert layer(images(), training=True).shape == (3, 20, 28, 3)
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
