"""Any model as a flat functional one: sequential, nested and subclassed ones; and what none of these can be."""

import re

import keras
import numpy as np
import pytest

from zoo.explain import grad_cam
from zoo.surgery.conversion import fold_batch_norms
from zoo.surgery.feature_maps import features, levels
from zoo.surgery.flattening import flat, functional, input_of, output_of

L = keras.layers
SHAPE = (16, 24, 3)
RANDOM = np.random.default_rng(0)


def trunk(name="trunk"):
    conv = L.Conv2D(4, 3, strides=2, padding="same", name="conv")
    layers = [keras.Input(SHAPE), conv, L.BatchNormalization(name="norm"), L.ReLU(name="relu")]
    return keras.Sequential(layers, name=name)


def head():
    return [L.GlobalAveragePooling2D(name="pool"), L.Dense(3, "softmax", name="top")]


class Subclass(keras.Model):
    """A model as people write one, with a trunk that is a model."""

    def __init__(self):
        super().__init__(name="subclass")
        self.trunk, (self.pool, self.top) = trunk(), head()
        self.drop = L.Dropout(0.5, name="drop")

    def call(self, images, training=None):
        return self.top(self.drop(self.pool(self.trunk(images, training=training)), training=training))


def subclass():
    model = Subclass()
    model(np.zeros((2, *SHAPE), "float32"))
    return model


def nested():
    image = keras.Input(SHAPE)
    x = trunk()(image, training=False)
    for layer in head():
        x = layer(x)
    return keras.Model(image, x, name="nested")


KINDS = {
    "sequential": lambda: keras.Sequential([keras.Input(SHAPE), *trunk().layers, *head()]),
    "nested": nested,
    "sequential and nested": lambda: keras.Sequential([keras.Input(SHAPE), trunk(), *head()]),
    "nested twice": lambda: keras.Sequential([keras.Input(SHAPE), keras.Sequential([trunk()]), *head()]),
    "called sequential": lambda: (lambda model: (model(np.zeros((1, *SHAPE))), model)[1])(
        keras.Sequential([trunk(), *head()])
    ),
    "subclass": subclass,
}


@pytest.fixture(params=KINDS)
def model(request):
    return KINDS[request.param]()


def images(count=2):
    return RANDOM.uniform(0, 255, (count, *SHAPE)).astype("float32")


def test_a_flat_model_has_the_layers_of_the_given_one_and_answers_alike(model):
    batch = images()
    same = flat(model)
    names = [layer.name for layer in same.layers if not isinstance(layer, L.InputLayer | L.Dropout)]
    assert names == ["conv", "norm", "relu", "pool", "top"]
    assert {id(weight) for weight in same.weights} == {id(weight) for weight in model.weights}
    np.testing.assert_array_equal(np.array(same(batch)), np.array(model(batch)))
    assert flat(same) is same
    assert output_of(same, "relu") is input_of(same, "pool")


def test_the_tools_work_on_every_kind_of_model(model):
    batch = images()
    assert levels(flat(model)) == {"c1": "relu"}
    maps = np.array(features(model, ["c1"])(batch)["c1"])
    same = flat(model)
    relu = np.array(keras.Model(same.inputs[0], output_of(same, "relu"))(batch))
    np.testing.assert_array_equal(maps, relu)
    cam = grad_cam(model, batch)
    assert cam.shape == (2, *SHAPE[:2])
    assert cam.max() <= 1
    np.testing.assert_array_equal(grad_cam(model, batch, layer="relu"), cam)
    folded = fold_batch_norms(model)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(np.array(folded(batch)), np.array(model(batch)), atol=1e-5)


def test_a_flat_model_stays_itself():
    image = keras.Input(SHAPE)
    model = keras.Model(image, L.Conv2D(2, 3)(image))
    assert functional(model) is flat(model) is model


class OwnWeights(keras.Model):
    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=())

    def call(self, images):
        return images * self.scale


class Branches(keras.Model):
    def call(self, images):
        return images if np.asarray(images).any() else -images


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (OwnWeights, "it has weights that are not those of layers"),
        (Branches, "cannot be followed with keras.Input: "),
        (Subclass, "not called on one batch of images yet"),
        (lambda: keras.Sequential([trunk()]), "not been built yet"),
        (lambda: "model", "got str"),
    ],
)
def test_what_cannot_be_made_flat_gets_one_message_with_the_way(make, message):
    model = make()
    if isinstance(model, OwnWeights | Branches):
        model(np.ones((1, *SHAPE), "float32"))
    for tool in (flat, levels, features, fold_batch_norms, lambda model: grad_cam(model, images())):
        with pytest.raises(ValueError, match=message) as caught:
            tool(model)
        assert re.search(r"expected a (functional keras\.Model|Keras model), got ", str(caught.value))


def test_two_layers_of_one_name_are_named():
    image = keras.Input(SHAPE)
    model = keras.Model(image, L.Conv2D(2, 3, name="conv")(trunk()(image)), name="clash")
    with pytest.raises(ValueError, match=r"clash has models inside of it that cannot be dissolved: .*conv"):
        flat(model)
