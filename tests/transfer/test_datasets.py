"""Training data in every form: all train to the same weights, and what is none is refused at once, by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, Samples, batches
from transfer.training.datasets import as_dataset
from transfer.training.fine_tuning import Plan, fine_tune

SIZE, N = (6, 8), 8
IMAGES = np.random.default_rng(0).integers(0, 256, (N, *SIZE, 3)).astype("uint8")
LABELS = np.arange(N) % 2
WEIGHTS = np.linspace(0.5, 2, N).astype("float32")


class Batches(keras.utils.PyDataset):
    """Two batches, which knows how many epochs are over."""

    epochs = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        chosen = slice(4 * index, 4 * index + 4)
        return IMAGES[chosen], LABELS[chosen]

    def on_epoch_end(self):
        self.epochs += 1


class Endless(Batches):
    num_batches = None


def parts(*arrays):
    return [tuple(array[start : start + 4] for array in arrays) for start in (0, 4)]


FORMS = {
    "float32": lambda: tf.data.Dataset.from_tensor_slices((IMAGES.astype("float32"), LABELS)).batch(4),
    "uint8": lambda: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4),
    "float16": lambda: tf.data.Dataset.from_tensor_slices((IMAGES.astype("float16"), LABELS)).batch(4),
    "float64": lambda: parts(IMAGES.astype("float64"), LABELS),
    "PyDataset": lambda: Batches(),
    "list": lambda: parts(IMAGES, LABELS),
    "tensors": lambda: parts(tf.constant(IMAGES), tf.constant(LABELS)),
    "generator": lambda: iter(parts(IMAGES, LABELS)),
    "function": lambda: lambda: iter(parts(IMAGES, LABELS)),
    "labels in lists": lambda: [(images, labels.tolist()) for images, labels in parts(IMAGES, LABELS)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_batches_each_time(form):
    dataset = as_dataset(FORMS[form](), "train")
    assert dataset.element_spec[0].dtype == tf.float32
    for _ in range(2):
        found = list(dataset.as_numpy_iterator())
        assert [len(images) for images, _ in found] == [4, 4]
        np.testing.assert_array_equal(np.concatenate([images for images, _ in found]), IMAGES)
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), LABELS)
    assert int(dataset.cardinality()) in (2, tf.data.UNKNOWN_CARDINALITY)


def test_a_py_dataset_is_told_when_an_epoch_is_over():
    data = Batches()
    for _ in as_dataset(data, "train"):
        pass
    assert data.epochs == 1


def test_arrays_are_shuffled_for_training_alike_for_the_same_seed():
    def order(seed):
        dataset = as_dataset((IMAGES, np.arange(N)), "train", shuffle=True, seed=seed)
        return [next(iter(dataset))[1].numpy().tolist() for _ in range(2)]

    first, second = order(0)
    assert first != second
    assert sorted(first) == list(range(N))
    assert order(0) == [first, second] != order(1)
    in_order, labels, weights = next(iter(as_dataset((tf.constant(IMAGES), LABELS.tolist(), WEIGHTS), "valid")))
    np.testing.assert_array_equal(in_order, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(weights, WEIGHTS)


def headed():
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(2, "softmax", name="top")(x))


def tune(train, valid=None, **arguments):
    model = headed()
    plan = arguments.pop("plan", Plan(head_epochs=1, epochs=0))
    valid = FORMS["uint8"]() if valid is None else valid
    return model, fine_tune(model, train, valid, plan=plan, progress=False, **arguments)


def test_a_model_is_fine_tuned_on_python_data_to_the_weights_of_a_data_set():
    plan = Plan(head_epochs=2, epochs=0)
    expected, _ = tune(FORMS["float32"](), plan=plan, cache=False)
    actual, _ = tune(Batches(), Batches(), plan=plan, cache=False)
    for ours, theirs in zip(expected.get_weights(), actual.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
def test_weights_of_images_count_in_the_loss(cache):
    samples = Samples(IMAGES, LABELS, [str(number) for number in range(N)])
    crop = EvaluationCrop(SIZE, fraction=1.0)
    weighed = batches(samples, crop, batch_size=4, balance={0: 1.0, 1: 3.0})
    plan = Plan(head_epochs=1, epochs=0, head_learning_rate=1e-9)
    model, history = tune(weighed, plan=plan, cache=cache)
    assert history.phases[0].cached is cache
    answers = np.array(model(IMAGES.astype("float32")))[np.arange(N), LABELS]
    expected = float(np.mean(-np.log(answers) * np.where(LABELS == 1, 3.0, 1.0)))
    assert history.rows[0]["loss"] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="train has weights of its images, and there is class_weight"):
        tune(weighed, class_weight={0: 1.0})


@pytest.mark.parametrize("cache", [True, False])
def test_callbacks_of_keras_know_the_metrics_that_they_are_to_watch(cache, tmp_path):
    stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=1)
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_accuracy", save_best_only=True)
    plan = Plan(head_epochs=5, epochs=0, head_learning_rate=1e-12)
    _, history = tune(FORMS["uint8"](), plan=plan, callbacks=[stop, keep], cache=cache)
    assert len(history.rows) == 2
    assert (tmp_path / "best.keras").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES, "train is a ndarray; expected batches"),
        ("photos", "train is a str; expected"),
        ({"images": IMAGES}, "train is a dict; expected"),
        (None, "train is a NoneType; expected"),
        ([], "train has to be a finite number of batches .* it is empty"),
        (iter(()), "it is empty"),
        ([IMAGES], r"a batch of train has to be \(images, labels\).*got a ndarray"),
        ([(IMAGES,)], "got 1 parts"),
        ((IMAGES, LABELS[:3]), r"as many labels as images; got arrays of \[3, 8\]"),
        (Endless(), "Endless without an end"),
        ((IMAGES, LABELS, np.ones((N, 2), "float32")), r"weights of train have to be one number for each image"),
        ((IMAGES.transpose(0, 3, 1, 2), LABELS), r"train has to be batches of .*got images \(None, 3, 6, 8\)"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_by_name(data, message):
    with pytest.raises(ValueError, match=message):
        tune(data)
