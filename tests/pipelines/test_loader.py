"""Batches: what is in them, in which order, and that the seed decides both."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import EvaluationCrop, Samples, augmentation, batches, decode_image, read_data
from pipelines import loader as loader_module

CROP = EvaluationCrop(size=(16, 24))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Twenty-three JPEGs of different sizes, each of its own brightness."""
    root = tmp_path_factory.mktemp("photos é")
    rng = np.random.default_rng(0)
    paths = []
    for index in range(23):
        pixels = rng.integers(0, 40, [20 + index, 50 - index, 3], dtype=np.uint8) + 9 * index
        paths.append(str(root / f"{index} 犬.jpg"))
        Image.fromarray(pixels).save(paths[-1])
    return Samples(paths, np.arange(23), [f"{index}.jpg" for index in range(23)])


def epoch(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize("cache", [True, False])
def test_each_sample_once_in_order_and_exactly_as_exported(samples, cache):
    """The crop's own pixels, though they went through a cache of 8 bits: what the export is compared on."""
    dataset = batches(samples, CROP, batch_size=5, cache=cache)
    assert dataset.element_spec[0].shape.as_list() == [None, 16, 24, 3]
    assert (dataset.element_spec[0].dtype, dataset.element_spec[1].dtype) == (tf.float32, tf.int32)
    assert [len(labels) for _, labels in dataset] == [5, 5, 5, 5, 3]
    expected = np.stack([CROP(decode_image(tf.io.read_file(path))) for path in samples.images])
    for _ in range(2):
        images, labels = epoch(dataset)
        assert np.array_equal(labels, np.arange(23))
        assert np.array_equal(images, expected)


@pytest.mark.parametrize("cache", [True, False])
def test_the_same_seed_gives_the_same_batches(samples, cache):
    def two_epochs(seed):
        options = {"shuffle": True, "augment": augmentation("strong"), "seed": seed, "cache": cache, "batch_size": 4}
        dataset = batches(samples, CROP, **options)
        return epoch(dataset), epoch(dataset)

    (images, labels), (later_images, later_labels) = two_epochs(3)
    assert sorted(labels) == sorted(later_labels) == list(range(23))
    assert not np.array_equal(labels, later_labels)  # a new order each epoch
    for (again_images, again_labels), (first_images, first_labels) in zip(
        two_epochs(3), ((images, labels), (later_images, later_labels)), strict=True
    ):
        assert np.array_equal(again_labels, first_labels)
        assert np.array_equal(again_images, first_images)
    assert not np.array_equal(two_epochs(4)[0][1], labels)


def test_an_epoch_left_early_changes_nothing_later(samples):
    def batch_of_next_epoch(taken):
        dataset = batches(samples, CROP, augment=augmentation("light"), batch_size=4, seed=1)
        for _ in dataset.take(taken):
            pass
        return next(iter(dataset))[0].numpy()

    assert np.array_equal(batch_of_next_epoch(1), batch_of_next_epoch(5))


def test_augmentation_differs_from_epoch_to_epoch_though_cached(samples):
    dataset = batches(samples, CROP, augment=augmentation("light"), batch_size=8)
    (first, labels), (second, same_labels) = epoch(dataset), epoch(dataset)
    assert np.array_equal(labels, same_labels)
    assert not np.allclose(first, second)
    plain, _ = epoch(batches(samples, CROP, batch_size=8))
    assert np.abs(first.mean((1, 2, 3)) - plain.mean((1, 2, 3))).max() < 30  # the same photos


def test_files_are_decoded_once_when_cached(samples, tmp_path):
    copies = [str(tmp_path / f"{index}.jpg") for index in range(23)]
    for source, copy in zip(samples.images, copies, strict=True):
        Image.open(source).save(copy)
    moved = Samples(copies, samples.labels, samples.names)
    cached = batches(moved, CROP, shuffle=True)
    epoch(cached)
    for copy in tmp_path.iterdir():
        copy.unlink()
    epoch(cached)
    with pytest.raises(tf.errors.NotFoundError):
        epoch(batches(moved, CROP, cache=False))


def test_too_much_for_memory_is_not_cached(samples, monkeypatch):
    monkeypatch.setattr(loader_module, "MEMORY_CACHE_BYTES", 23 * 16 * 24 * 3 - 1)
    monkeypatch.setattr(tf.data.Dataset, "cache", None)  # not to be called
    images, _ = epoch(batches(samples, CROP, shuffle=True))
    assert images.shape == (23, 16, 24, 3)


def test_encoded_bytes_and_pixels(samples):
    contents = [Path(path).read_bytes() for path in samples.images]
    from_bytes = Samples(contents, samples.labels, samples.names)
    assert np.array_equal(epoch(batches(from_bytes, CROP))[0], epoch(batches(samples, CROP))[0])
    digits = read_data("sklearn:digits").valid
    images, labels = epoch(batches(digits, CROP))
    assert np.array_equal(labels, digits.labels)
    assert np.array_equal(images[5], CROP(digits.images[5]))


def test_one_sample_and_none(samples):
    ((images, labels),) = batches(samples[3:4], CROP, shuffle=True, augment=augmentation("light"))
    assert images.shape == (1, 16, 24, 3)
    assert labels.numpy().tolist() == [3]
    with pytest.raises(ValueError, match="expected at least one sample"):
        batches(samples[:0], CROP)
    with pytest.raises(ValueError, match="batch_size of 1 or more, received 0"):
        batches(samples, CROP, batch_size=0)


def test_keras_trains_on_it(samples):
    import keras

    inputs = keras.Input((16, 24, 3))
    model = keras.Model(inputs, keras.layers.Dense(23)(keras.layers.GlobalAveragePooling2D()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train = batches(samples, CROP, shuffle=True, augment=augmentation("light"), batch_size=6)
    model.fit(train, validation_data=batches(samples, CROP), epochs=2, verbose=0)
