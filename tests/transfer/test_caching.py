"""Stored activations against the network that runs as a whole."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer.training import extraction as caching
from transfer.training import freezing, phase_data
from transfer.training.division import CacheNotUsed, between, divide
from transfer.training.extraction import extract, through
from transfer.training.feature_cache import FeatureCache
from transfer.training.feature_store import digest_of
from transfer.training.fine_tuning import Plan, fine_tune

L = keras.layers
H, W = 19, 27


def network(seed=0, rate=0.0):
    """A network with a residual connection, so that two tensors cross a border inside the unit."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((H, W, 3), name="image")
    x = L.Conv2D(4, 3, strides=2, padding="same", name="stem")(L.Rescaling(1 / 127.5, offset=-1.0)(image))
    shortcut = x = L.ReLU(name="stem_relu")(L.BatchNormalization(name="stem_bn")(x))
    x = L.Conv2D(4, 3, padding="same", name="conv1")(x)
    x = L.ReLU(name="relu1")(L.BatchNormalization(name="bn1")(x))
    x = L.Conv2D(4, 3, padding="same", name="conv2")(x)
    x = L.ReLU(name="relu2")(L.Add(name="add")([shortcut, L.BatchNormalization(name="bn2")(x)]))
    x = L.Dropout(rate)(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, L.Dense(3, activation="softmax", name="predictions")(x))
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def frozen_up_to(model, name):
    """Freezes the layers before one, and all batch norms."""
    names = [layer.name for layer in model.layers]
    for index, layer in enumerate(model.layers):
        layer.trainable = index >= names.index(name) and not isinstance(layer, L.BatchNormalization)
    return model


def photos(n=20, seed=0, *, batch_size=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype("int32")
    images = rng.uniform(0, 120, (n, H, W, 3)).astype("float32")
    images[np.arange(n), ..., labels] += 60
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)


def jittered(data):
    """Other images on each pass, as augmentation makes them."""
    noise = tf.data.Dataset.random(seed=3, rerandomize_each_iteration=True)
    zipped = tf.data.Dataset.zip(data, noise)
    return zipped.map(
        lambda pair, seed: (pair[0] + tf.random.stateless_uniform(tf.shape(pair[0]), [seed, 0], 0, 30), pair[1])
    )


# Division


@pytest.mark.parametrize(("first", "borders"), [("conv1", 1), ("conv2", 2), ("predictions", 1), ("stem", 0)])
def test_the_parts_are_the_whole(first, borders):
    model = frozen_up_to(network(), first)
    division = divide(model)
    if not borders:
        assert division is not None  # the image's own scaling is constant, and is all that is
        assert [layer.name for layer in division.trunk.layers if layer.weights] == []
        return
    assert len(division.borders) == borders
    images = next(iter(photos()))[0]
    middle = keras.tree.flatten(division.trunk(images))
    output = division.top(middle[0] if borders == 1 else middle)
    np.testing.assert_allclose(output, model(images), atol=1e-6)
    assert division.trunk.trainable_weights == []
    assert {id(w) for w in division.top.trainable_weights} == {id(w) for w in model.trainable_weights}


def test_a_batch_norm_that_trains_and_dropout_end_the_constant_part():
    model = frozen_up_to(network(rate=0.5), "predictions")
    division = divide(model)
    assert [tuple(tensor.shape) for tensor in division.borders] == [(None, 4)]  # dropout draws in each epoch
    model.get_layer("bn1").trainable = True
    names = [layer.name for layer in divide(model).top.layers]
    assert "bn1" in names
    assert "conv1" not in names


def test_nothing_frozen_is_nothing_to_store():
    image = keras.Input((H, W, 3))
    model = keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))))
    assert divide(model) is None


def test_a_layer_called_twice_is_not_divided():
    image = keras.Input((H, W, 3))
    conv = L.Conv2D(3, 3, padding="same", trainable=False)
    model = keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(conv(conv(image)))))
    with pytest.raises(CacheNotUsed, match="called 2 times"):
        divide(model)


def test_other_models_may_share_the_layers():
    trunk = network()
    model = keras.Model(trunk.input, L.Dense(2)(trunk.get_layer("relu2").output[:, 0, 0]))
    freezing.unfreeze(trunk, "none")
    keras.Model(trunk.get_layer("add").output, trunk.output)
    assert divide(frozen_up_to(model, model.layers[-1].name)) is not None


# Extraction


def test_what_is_stored_is_what_the_frozen_part_gives():
    model = frozen_up_to(network(), "conv2")
    division, train, valid = divide(model), photos(), photos(9, 1)
    stored, validation = extract(division, model, train, valid, FeatureCache(views=3))
    images = np.concatenate([batch.numpy() for batch, _ in train])
    labels = np.concatenate([batch.numpy() for _, batch in train])
    assert stored.labels.shape == (3, 20)
    assert validation.labels.shape == (1, 9)
    for array, expected in zip(stored.arrays, keras.tree.flatten(division.trunk(images)), strict=True):
        for view in range(3):
            np.testing.assert_allclose(array[view], expected, atol=1e-5)
    np.testing.assert_array_equal(stored.labels, [labels] * 3)


def test_views_are_augmented_anew():
    model = frozen_up_to(network(), "conv1")
    stored, _ = extract(divide(model), model, jittered(photos()), photos(9), FeatureCache(views=2))
    assert np.abs(stored.arrays[0][0] - stored.arrays[0][1]).max() > 0.01


def test_activations_are_carried_on_through_frozen_layers():
    model = network()
    low = divide(frozen_up_to(model, "conv2"))
    images = extract(low, model, photos(), photos(9), FeatureCache(views=2))[0]
    high = divide(frozen_up_to(model, "predictions"))
    carried = through(between(low, high), images)
    direct = extract(high, model, photos(), photos(9), FeatureCache(views=2))[0]
    np.testing.assert_allclose(carried.arrays[0], direct.arrays[0], atol=1e-5)
    assert between(low, low) is None


def test_batches_hold_each_image_once_an_epoch_in_an_order_of_their_own():
    model = frozen_up_to(network(), "conv1")
    stored, _ = extract(divide(model), model, jittered(photos()), photos(9), FeatureCache(views=2))
    batches = stored.batches(seed=1)
    epochs = []
    for _ in range(3):
        epochs.append(np.concatenate([batches[i][0] for i in range(len(batches))]))
        batches.on_epoch_end()
    assert [len(batches[i][1]) for i in range(len(batches))] == [8, 8, 4]
    for number, epoch in enumerate(epochs):
        expected = stored.arrays[0][number % 2]
        np.testing.assert_array_equal(np.sort(epoch.ravel()), np.sort(expected.ravel()))
    assert np.any(epochs[0] != epochs[2])  # the same view in another order
    again = stored.batches(seed=1)
    np.testing.assert_array_equal(again[1][0], np.concatenate([epochs[0][8:16]]))


def test_what_does_not_fit_is_not_stored():
    model = frozen_up_to(network(), "conv1")
    with pytest.raises(CacheNotUsed, match=r"would take 1 MB, and 0 MB are allowed"):
        extract(divide(model), model, photos(64), photos(64), FeatureCache(views=4, limit=10_000))


def test_activations_that_would_change_the_output_are_not_used():
    """In float16 values lose three digits in a thousand; this head multiplies by a thousand."""
    image = keras.Input((H, W, 3))
    x = L.Conv2D(4, 3, trainable=False)(image)
    model = keras.Model(image, L.Dense(2)(L.Rescaling(1000.0)(L.GlobalAveragePooling2D()(x))))
    with pytest.raises(CacheNotUsed, match=r"would change the outputs by .* more than 1e-05"):
        extract(divide(model), model, photos(), photos(), FeatureCache(dtype="float16"))


# On disk


@pytest.fixture
def stored(tmp_path):
    """A model, its division, and a cache in a folder that has been written once."""
    model = frozen_up_to(network(), "conv2")
    cache = FeatureCache(views=2, folder=tmp_path / "features", key="photos")
    division = divide(model)
    return model, division, cache, extract(division, model, photos(), photos(9), cache)


def runs(monkeypatch):
    """Counts the batches that the frozen part runs on."""
    counted, original = [], caching.frozen_function

    def counting(model):
        run = original(model)
        return lambda *inputs: counted.append(1) or run(*inputs)

    monkeypatch.setattr(caching, "frozen_function", counting)
    return counted


def test_a_second_training_on_the_same_data_starts_from_what_is_stored(stored, monkeypatch):
    model, division, cache, first = stored
    counted = runs(monkeypatch)
    second = extract(division, model, photos(), photos(9), cache)
    assert counted == []
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a.arrays, b.arrays, strict=True):
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(a.labels, b.labels)


@pytest.mark.parametrize("harm", ["cut short", "altered", "digests gone", "other data under the key"])
def test_what_is_damaged_or_of_something_else_is_computed_anew(stored, monkeypatch, harm):
    model, division, cache, first = stored
    (folder,) = cache.folder.iterdir()
    train = photos()
    if harm == "cut short":
        (folder / "train-0.npy").write_bytes((folder / "train-0.npy").read_bytes()[:-9])
    elif harm == "altered":
        raw = bytearray((folder / "train-1.npy").read_bytes())
        raw[-3] ^= 1
        (folder / "train-1.npy").write_bytes(raw)
    elif harm == "digests gone":
        (folder / "digests.json").unlink()
    else:
        train = photos(seed=5)
    counted = runs(monkeypatch)
    second = extract(division, model, train, photos(9), cache)
    assert len(counted) == 1 + 2 * 3 + 2
    if harm != "other data under the key":
        np.testing.assert_array_equal(first[0].arrays[0], second[0].arrays[0])
    assert extract(division, model, train, photos(9), cache)[0].nbytes == second[0].nbytes
    assert len(counted) == 1 + 2 * 3 + 2  # it is stored again


def test_other_frozen_weights_are_another_entry(stored):
    model, division, cache, _ = stored
    kernel, bias = model.get_layer("stem").get_weights()
    model.get_layer("stem").set_weights([kernel + 0.1, bias])
    other, _ = extract(division, model, photos(), photos(9), cache)
    assert len(list(cache.folder.iterdir())) == 2
    np.testing.assert_allclose(other.arrays[0][0], division.trunk(next(iter(photos(batch_size=20)))[0])[0], atol=1e-5)


def test_the_folder_stays_inside_its_limit(stored, tmp_path):
    model, division, cache, (train, valid) = stored
    limit = int(2.5 * (train.nbytes + valid.nbytes))
    for number in range(4):
        small = FeatureCache(views=2, limit=limit, folder=cache.folder, key=f"photos {number}")
        extract(division, model, photos(), photos(9), small)
    assert sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()) <= limit
    assert len(list(cache.folder.iterdir())) == 2


def test_a_full_disk_is_no_reason_to_stop(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    model = frozen_up_to(network(), "conv2")
    cache = FeatureCache(views=2, folder=tmp_path / "features", key="photos")
    train, _ = extract(divide(model), model, photos(), photos(9), cache)
    assert train.labels.shape == (2, 20)
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("first", ["conv2", "predictions"])
def test_openvino_gives_what_tensorflow_does_where_it_is_worth_it(monkeypatch, first):
    pytest.importorskip("openvino")
    made, openvino_function = [], caching.openvino_function
    monkeypatch.setattr(caching, "openvino_function", lambda model: made.append(1) or openvino_function(model))
    model = frozen_up_to(network(), first)
    division, cache = divide(model), FeatureCache(views=2)
    slow = extract(division, model, photos(), photos(9), cache)
    assert made == []
    monkeypatch.setattr(caching, "WORTH_OPENVINO", 40)
    fast = extract(division, model, photos(), photos(9), cache)
    assert made == [1]
    for one, other in zip(slow, fast, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        for a, b in zip(one.arrays, other.arrays, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_where_openvino_is_too_far_off_tensorflow_is_taken(monkeypatch):
    pytest.importorskip("openvino")
    right = caching.frozen_function
    monkeypatch.setattr(caching, "openvino_function", lambda model: lambda *x: [1.5 * a for a in right(model)(*x)])
    monkeypatch.setattr(caching, "WORTH_OPENVINO", 1)
    model = frozen_up_to(network(), "conv2")
    train, _ = extract(divide(model), model, photos(), photos(9), FeatureCache(views=1))
    expected = np.concatenate([np.asarray(right(divide(model).trunk)(images)[0]) for images, _ in photos()])
    np.testing.assert_allclose(train.arrays[0][0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("harm", ["cut short", "altered", "lost"])
def test_harm_to_what_is_stored_is_said(stored, harm):
    model, division, cache, _ = stored
    (folder,) = cache.folder.iterdir()
    path = folder / "train-0.npy"
    if harm == "cut short":
        path.write_bytes(path.read_bytes()[:-10])
    elif harm == "altered":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        path.unlink()
    with pytest.warns(UserWarning, match="are cut short or altered; they are computed anew"):
        extract(division, model, photos(), photos(9), cache)


def test_nothing_stored_is_unpickled(stored, monkeypatch):
    model, division, cache, _ = stored
    (folder,) = cache.folder.iterdir()
    np.save(folder / "train-0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    digests = json.loads((folder / "digests.json").read_text())
    digests["train-0.npy"] = digest_of(folder / "train-0.npy")
    (folder / "digests.json").write_text(json.dumps(digests))
    counted = runs(monkeypatch)
    extract(division, model, photos(), photos(9), cache)
    assert len(counted) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": 0}, "at least one view"),
        ({"limit": -1}, "a limit in bytes"),
        ({"dtype": "int8"}, "float16 or float32, got 'int8'"),
        ({"folder": "somewhere"}, "need a key"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureCache(**arguments)


# Training


def tune(model, train, valid, **arguments):
    plan = Plan(head_epochs=2, epochs=2, unfreeze=0.5)
    return fine_tune(model, train, valid, plan=plan, progress=False, **arguments)


def test_training_on_stored_activations_is_training_of_the_whole():
    """Without augmentation, dropout and shuffling, both see the same batches, in the same order."""
    whole, stored = network(), network()
    data = photos(8), photos(9, 1)  # one batch, since the order within an epoch differs
    first = tune(whole, *data, cache=False)
    second = tune(stored, *data)
    assert [phase.cached for phase in first.phases] == [False, False]
    assert first.not_cached == "it was not asked for"
    assert [phase.cached for phase in second.phases] == [True, True]
    for a, b in zip(first.rows, second.rows, strict=True):
        for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert a[column] == pytest.approx(b[column], abs=1e-5)
    for a, b in zip(whole.get_weights(), stored.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_what_cannot_be_stored_is_said_and_trained_all_the_same():
    history = tune(network(), photos(), photos(9), cache=FeatureCache(limit=0))
    assert "0 MB are allowed" in history.not_cached
    assert [phase.cached for phase in history.phases] == [False, False]


def test_with_all_unfrozen_only_the_head_phase_is_stored():
    model = network()
    history = fine_tune(model, photos(), photos(9), plan=Plan(1, 1, "all"), progress=False)
    assert history.phases[0].cached


def test_callbacks_see_the_whole_model(tmp_path):
    model = network()
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(self.model)

        def on_test_batch_end(self, batch, logs=None):
            seen.append(self.model)

    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    history = tune(model, photos(), photos(9), callbacks=[Look(), checkpoint])
    assert all(phase.cached for phase in history.phases)
    assert {id(each) for each in seen} == {id(model)}
    assert keras.models.load_model(tmp_path / "model.keras").input_shape == (None, H, W, 3)


@pytest.mark.parametrize(("epochs", "views"), [(0, 2), (5, 4)])
def test_a_head_alone_gets_fewer_views(monkeypatch, epochs, views):
    kept, original = [], phase_data.extract
    monkeypatch.setattr(phase_data, "extract", lambda *a, **k: kept.append(original(*a, **k)) or kept[-1])
    fine_tune(network(), photos(8), photos(9), plan=Plan(5, epochs, 0.5), progress=False)
    assert kept[0][0].passes == views
