"""Batches: what is in them, in which order, and that the seed decides both."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import (
    CutMix,
    EvaluationCrop,
    RandomBrightness,
    ResizePolicy,
    Resumable,
    Samples,
    augmentation,
    batches,
    class_weights,
    decode_image,
    epoch_order,
    read_data,
)
from pipelines.loading import batches as loader_module

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


@pytest.fixture(scope="module")
def pixels():
    """Twenty-three decoded images: where files play no part, since every data set that decodes takes a second."""
    images = np.random.default_rng(0).integers(0, 40, [23, 20, 50, 3]) + 9 * np.arange(23)[:, None, None, None]
    return Samples(images.astype(np.uint8), np.arange(23), [f"{index}.jpg" for index in range(23)])


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


def test_the_same_seed_gives_the_same_batches(pixels):
    def two_epochs(seed):
        options = {"shuffle": True, "augment": augmentation("strong"), "seed": seed, "batch_size": 4}
        dataset = batches(pixels, CROP, **options)
        return epoch(dataset), epoch(dataset)

    (images, labels), (later_images, later_labels) = two_epochs(3)
    assert sorted(labels) == sorted(later_labels) == list(range(23))
    assert not np.array_equal(labels, later_labels)  # a new order each epoch
    for (again_images, again_labels), (first_images, first_labels) in zip(
        two_epochs(3), ((images, labels), (later_images, later_labels)), strict=True
    ):
        assert np.array_equal(again_labels, first_labels)
        assert np.array_equal(again_images, first_images)
    other = next(iter(batches(pixels, CROP, shuffle=True, seed=4, batch_size=23)))[1]
    assert not np.array_equal(other, labels)


def test_an_epoch_left_early_changes_nothing_later(pixels):
    def batch_of_next_epoch(taken):
        dataset = batches(pixels, CROP, augment=augmentation("light"), batch_size=4, seed=1)
        for _ in dataset.take(taken):
            pass
        return next(iter(dataset))[0].numpy()

    assert np.array_equal(batch_of_next_epoch(1), batch_of_next_epoch(5))


def test_augmentation_differs_from_epoch_to_epoch_though_cached(pixels):
    dataset = batches(pixels, CROP, augment=augmentation("light"), batch_size=8)
    (first, labels), (second, same_labels) = epoch(dataset), epoch(dataset)
    assert np.array_equal(labels, same_labels)
    assert not np.allclose(first, second)
    plain, _ = epoch(batches(pixels, CROP, batch_size=8))
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


def test_what_is_too_much_for_memory_goes_to_disk_and_what_is_too_much_for_that_is_not_kept(pixels, monkeypatch):
    size = 23 * 16 * 24 * 3
    expected, _ = epoch(batches(pixels, CROP, cache=False))
    monkeypatch.setattr(loader_module, "MEMORY_CACHE_BYTES", size - 1)
    stored = []
    make = loader_module._store
    monkeypatch.setattr(loader_module, "_store", lambda *options: stored.append(make(*options)) or stored[-1])
    for cache, kind in ((True, np.memmap), ("disk", np.memmap), ("memory", np.ndarray), (False, type(None))):
        dataset = batches(pixels, CROP, cache=cache)
        for _ in range(2):
            assert np.array_equal(epoch(dataset)[0], expected)
        assert type(stored[-1]) is kind
        assert kind is type(None) or np.array_equal(stored[-1], expected)
    monkeypatch.setattr(loader_module, "DISK_CACHE_BYTES", size - 1)
    batches(pixels, CROP)
    assert stored[-1] is None


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
    for options, message in [
        ({"batch_size": 0}, "batch_size of 1 or more, received 0"),
        ({"cache": "ram"}, "`cache` as True, False, .* received 'ram'"),
        ({"balance": "both"}, "`balance` as None, .* received 'both'"),
        ({"shard": (2, 2)}, "`shard` as"),
        ({"start": (0, 2)}, r"`start` as \(epoch, batch of 1\)"),
        ({"balance": [1.0, 2.0]}, "expected a weight for each class, received none for"),
    ]:
        with pytest.raises(ValueError, match=message):
            batches(samples, CROP, **options)


def labels_of(dataset):
    return [labels.tolist() for _, labels in dataset.as_numpy_iterator()]


def test_the_remainder_and_the_length(pixels):
    kept, dropped = (batches(pixels, CROP, batch_size=5, drop_remainder=drop) for drop in (False, True))
    assert [len(part) for part in labels_of(kept)] == [5, 5, 5, 5, 3]
    assert [len(part) for part in labels_of(dropped)] == [5, 5, 5, 5]
    assert (len(kept), len(dropped)) == (5, 4)


def test_workers_share_each_epoch(pixels):
    shards = [batches(pixels, CROP, batch_size=4, shuffle=True, seed=2, shard=(worker, 3)) for worker in range(3)]
    whole = batches(pixels, CROP, batch_size=23, shuffle=True, seed=2)
    for _ in range(2):
        parts = [[label for batch in labels_of(shard) for label in batch] for shard in shards]
        assert sorted(label for part in parts for label in part) == list(range(23))
        assert [len(part) for part in parts] == [8, 8, 7]
        (order,) = labels_of(whole)
        assert parts[1] == order[1::3]
    even = [batches(pixels, CROP, batch_size=4, drop_remainder=True, shard=(worker, 3)) for worker in range(3)]
    assert [[len(part) for part in labels_of(shard)] for shard in even] == [[4]] * 3


def test_an_epoch_goes_on_where_it_was_left(pixels):
    def make(start):
        options = {"shuffle": True, "augment": augmentation("light"), "seed": 4, "batch_size": 5, "start": start}
        return batches(pixels, CROP, **options)

    whole = make((0, 0))
    expected = [batch for _ in range(3) for batch in whole.as_numpy_iterator()]
    first = Resumable(make)
    for taken, _ in enumerate(first, start=1):
        if taken == 3:
            break
    state = json.loads(json.dumps(first.state()))
    assert state == {"epoch": 0, "batch": 3}
    second = Resumable(make, state)
    rest = [batch for _ in range(3) for batch in second]
    assert second.state() == {"epoch": 3, "batch": 0}
    assert len(rest) == len(expected) - 3
    for (images, labels), (expected_images, expected_labels) in zip(rest, expected[3:], strict=True):
        assert np.array_equal(labels, expected_labels)
        assert np.array_equal(images, expected_images)
    later = labels_of(make((2, 0)))  # a data set that begins later goes on by itself, too
    assert later == [labels.tolist() for _, labels in expected[10:]]


def uneven():
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones([1, 6, 8, 3], np.uint8)
    return Samples(pixels, [0] * 14 + [1] * 4 + [2] * 2, [str(index) for index in range(20)])


@pytest.mark.parametrize(("balance", "counts"), [("even", [7, 7, 6]), ("oversample", [14, 14, 14])])
def test_balanced_sampling_shows_each_class_equally_often(balance, counts):
    whole = EvaluationCrop((6, 8), 1.0)
    dataset = batches(uneven(), whole, balance=balance, shuffle=True, batch_size=4)
    shown = []
    for _ in range(6):
        images, labels = epoch(dataset)
        assert sorted(np.bincount(labels), reverse=True) == counts
        shown.append(images[labels == 0, 0, 0, 0])
    assert len(set(np.concatenate(shown))) > 11  # over the epochs, nearly every image of the large class of 14
    changed = batches(uneven(), whole, balance="oversample", augment=[RandomBrightness((0.0, 0.5))], batch_size=42)
    images, labels = epoch(changed)
    assert len(np.unique(images[labels == 2].mean((1, 2, 3)))) == 14  # two images, fourteen changes
    with pytest.raises(ValueError, match="expected one class number for each image"):
        epoch_order(np.zeros([4, 2]), 0, balance="even")


def test_weights_of_classes():
    weights = class_weights(uneven().labels, 4)
    assert weights @ [14, 4, 2, 0] == pytest.approx(20)
    assert weights[:3] * [14, 4, 2] == pytest.approx([20 / 3] * 3)
    for given in (weights, dict(enumerate(weights))):
        dataset = batches(uneven(), EvaluationCrop((6, 8), 1.0), balance=given, shuffle=True, batch_size=6)
        for _, labels, sample_weight in dataset:
            np.testing.assert_allclose(sample_weight, weights[labels.numpy()])


def test_mixing_mixes_labels():
    dataset = batches(uneven(), EvaluationCrop((6, 8), 1.0), augment=[CutMix(num_classes=3)], batch_size=20)
    ((images, labels),) = dataset
    assert images.shape == (20, 6, 8, 3)
    assert labels.shape == (20, 3)
    np.testing.assert_allclose(tf.reduce_sum(labels, axis=1), 1, atol=1e-5)


def test_large_photos_are_decoded_small_for_training_only(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, [6, 8, 3], dtype=np.uint8)
    Image.fromarray(coarse).resize((500, 380)).save(tmp_path / "large.jpg")
    one = Samples([str(tmp_path / "large.jpg")], [0], ["large"])
    exact = CROP(decode_image(tf.io.read_file(one.images[0])))
    small = CROP(decode_image(tf.io.read_file(one.images[0]), at_least=CROP.needs))
    assert not np.array_equal(exact, small)
    for options, expected in [({}, exact), ({"shuffle": True}, small)]:
        assert np.array_equal(epoch(batches(one, CROP, **options))[0][0], expected)


def test_by_a_resize_policy(pixels):
    resize = ResizePolicy("pad", (20, 30))
    assert np.array_equal(epoch(batches(pixels, resize))[0][4], resize(pixels.images[4]))


@pytest.mark.slow  # Keras' RandAugment takes long to trace
def test_layers_with_a_state_are_taken_in_turn(pixels):
    import keras

    def labels_and_pixels():
        layer = keras.layers.RandAugment(seed=3)
        dataset = batches(pixels, CROP, augment=[layer], batch_size=3)
        return epoch(dataset)

    first, again = labels_and_pixels(), labels_and_pixels()
    assert np.array_equal(first[0], again[0])


def test_keras_trains_on_it(pixels):
    import keras

    inputs = keras.Input((16, 24, 3))
    model = keras.Model(inputs, keras.layers.Dense(23)(keras.layers.GlobalAveragePooling2D()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train = batches(pixels, CROP, shuffle=True, augment=augmentation("light"), batch_size=6)
    model.fit(train, validation_data=batches(pixels, CROP), epochs=2, verbose=0)
