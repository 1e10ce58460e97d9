"""Training and exporting models as people build them: sequential, nested and subclassed, with layers of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop
from transfer.artifacts.exporting import export
from transfer.models.heads import swap_head
from transfer.tasks.classify.answers import ClassifyContract
from transfer.training.division import divide
from transfer.training.fine_tuning import Plan, fine_tune
from transfer.training.freezing import freeze, unfreeze

L = keras.layers
SHAPE = (16, 24, 3)


def trunk():
    conv = L.Conv2D(4, 3, strides=2, padding="same", name="conv")
    layers = [keras.Input(SHAPE), L.Rescaling(1 / 255), conv, L.BatchNormalization(name="norm"), L.ReLU()]
    return keras.Sequential(layers, name="trunk")


def sequential():
    return keras.Sequential(
        [keras.Input(SHAPE), trunk(), L.GlobalAveragePooling2D(), L.Dense(2, "softmax", name="top")]
    )


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.trunk, self.pool, self.top = trunk(), L.GlobalAveragePooling2D(), L.Dense(2, "softmax", name="top")

    def call(self, images, training=None):
        return self.top(self.pool(self.trunk(images, training=training)))


def subclass():
    model = Subclass()
    model(np.zeros((3, *SHAPE), "float32"))
    return model


def images(count=4):
    return np.random.default_rng(0).uniform(0, 255, (count, *SHAPE)).astype("float32")


@pytest.mark.parametrize("make", [sequential, subclass])
def test_a_model_with_a_model_inside_is_fine_tuned_in_place(make):
    model = make()
    before = {weight.path: weight.numpy() for weight in model.weights}
    data = tf.data.Dataset.from_tensor_slices((images(), [0, 1, 0, 1])).batch(4)
    history = fine_tune(model, data, data, plan=Plan(head_epochs=1, epochs=0), progress=False)
    changed = {weight.path.split("/")[-2] for weight in model.weights if (weight.numpy() != before[weight.path]).any()}
    assert changed == {"top"}
    assert history.phases[0].cached
    assert history.phases[0].trained == 2 * 4 + 2
    answers = np.array(model(images()))
    assert history.best["val_loss"] == pytest.approx(-np.log(answers[range(4), [0, 1, 0, 1]]).mean(), abs=1e-5)


@pytest.mark.parametrize("make", [sequential, subclass])
def test_a_model_with_a_model_inside_is_frozen_and_given_another_head(make):
    model = make()
    freeze(model)
    assert {weight.path.split("/")[-2] for weight in model.trainable_weights} == {"top"}
    unfreeze(model, "c1")
    assert {weight.path.split("/")[-2] for weight in model.trainable_weights} == {"conv", "top"}
    swapped = swap_head(model, 3)
    assert swapped.output_shape == (None, 3)
    np.testing.assert_array_equal(swapped.get_layer("conv").kernel, model.weights[0])


def test_a_subclass_is_exported_as_the_graph_that_it_is(tmp_path):
    model = subclass()
    contract = ClassifyContract(("a", "b"), preparation=EvaluationCrop(SHAPE[:2]))
    assert export(model, tmp_path / "out", contract, formats=["keras"]).max_abs_diff <= 1e-5
    loaded = keras.models.load_model(tmp_path / "out" / "model.keras")
    np.testing.assert_allclose(np.array(loaded(images())), np.array(model(images())), atol=1e-6)


class Noisy(L.Layer):
    """A layer as people write one: it draws at random in training, and no generator of Keras' shows it."""

    def call(self, x, training=False):
        return x + tf.random.normal(tf.shape(x)) if training else x

    def compute_output_shape(self, shape):
        return shape


class Halved(L.Layer):
    """A layer that does the same in training."""

    def call(self, x):
        return x / 2


@pytest.mark.parametrize(
    ("layer", "border"),
    [
        (Noisy(name="own"), "own"),
        (keras.Sequential([Noisy()], name="own"), "own"),
        (L.TimeDistributed(Noisy(), name="own"), "own"),
        (Halved(name="own"), "pool"),
        (L.BatchNormalization(name="own"), "pool"),
    ],
    ids=["own", "inside of a model", "wrapped", "without training", "of Keras"],
)
def test_only_what_is_constant_is_stored(layer, border):
    image = keras.Input(SHAPE)
    x = L.GlobalAveragePooling2D(name="pool")(layer(L.Conv2D(4, 3, name="conv")(image)))
    model = keras.Model(image, L.Dense(2, name="top")(x))
    for each in model.layers[:-1]:
        each.trainable = False
    last = divide(model).trunk.layers[-1].name
    assert last == ("conv" if border == "own" else border)
