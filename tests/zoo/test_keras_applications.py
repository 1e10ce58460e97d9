"""Checks networks that `keras.applications` has as well: with the files that Keras downloads, the outputs are the same.

The tests need no network. The file of a download is written from a model of `keras.applications` with random weights,
biases and batch-norm statistics, so that no error is hidden by values of zero or one. Sizes are odd and the height is
not the width, so that errors of padding and rounding show.
"""

import sys
from pathlib import Path
from urllib.error import HTTPError, URLError

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

import zoo
from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.models.loading import application_pairs
from zoo.weights.pretrained import PRETRAINED, FromKeras, keras_application

SIZE = (75, 107)
NAMES = [name for name, row in PRETRAINED.items() if isinstance(row, FromKeras)]
# There is one network for each special case: folded biases, colours in the order BGR, layers that are paired by their
# order, and 1x1 convolutions as dense layers. EfficientNets have their own test.
FAST = {"mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small"}


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of the model and of the models inside it, without these models themselves."""
    return [layer for layer in model._flatten_layers(include_self=False) if not hasattr(layer, "layers")]


def normalisations(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the normalisation layers whose constants are in the file of weights."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization) and layer.weights]


def give_constants(model: keras.Model, variance: np.ndarray) -> None:
    for layer in normalisations(model):
        layer.set_weights([np.array(IMAGENET_MEAN), variance, np.array(0)])
        layer.finalize_state()


def residual_branches(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the batch norms whose outputs are added to a shortcut."""
    ends = []
    for add in (layer for layer in all_layers(model) if isinstance(layer, keras.layers.Add)):
        sources = [tensor._keras_history.operation for tensor in add.input]
        sources = [
            each.input._keras_history.operation if isinstance(each, keras.layers.Dropout) else each for each in sources
        ]
        norms = [each for each in sources if isinstance(each, keras.layers.BatchNormalization)]
        ends += norms if len(norms) < len(sources) else []
    return ends


def randomise(model: keras.Model, images: np.ndarray) -> None:
    """Sets random weights and random batch-norm statistics.

    The statistics are near those of some images, so that activations depend on the image, and neither explode nor
    vanish. The branches that are added to shortcuts are scaled to a few hundredths of them. Otherwise, the deepest
    networks multiply the smallest change of an image by 140,000, and the rounding error of float32 as well.
    """
    random = np.random.default_rng(1)
    keras.utils.set_random_seed(1)  # It seeds the dropout while statistics are computed.
    give_constants(model, np.square(IMAGENET_STD))
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            continue
        for weight in layer.weights:
            if len(weight.shape) > 1:
                inputs = weight.shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else weight.shape[:-1]
                weight.assign(random.standard_normal(weight.shape, dtype="float32") / np.prod(inputs) ** 0.5)
            elif weight.name == "gamma":
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("bias", "beta"):
                weight.assign(random.normal(0, 0.2, weight.shape))
    for norm in residual_branches(model):
        norm.gamma.assign(random.uniform(0.02, 0.08, norm.gamma.shape))

    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm in norms:
        mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
        norm.moving_mean.assign(mean + random.normal(0, 0.2, mean.shape) * variance**0.5)
        norm.moving_variance.assign(variance * random.uniform(0.7, 1.4, variance.shape))


@pytest.fixture
def downloads(monkeypatch, tmp_path):
    """Returns a function. After it is called with a model, Keras downloads the file of the weights of this model."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    # The expected hashes are those of the published files.
    monkeypatch.setattr("keras.src.utils.file_utils.validate_file", lambda *args, **options: True)

    def bring(model: keras.Model) -> list[str]:
        tried = []

        def retrieve(url, target, progress):
            tried.append(url)
            with h5py.File(target, "w") as file:
                save_weights_to_hdf5_group(file, model)

        monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", retrieve)
        return tried

    return bring


def photos(size: tuple[int, int]) -> np.ndarray:
    """Returns images of coloured squares. White noise has the same mean everywhere, which is what most layers see."""
    squares = np.random.default_rng(2).uniform(0, 255, (2, 5, 8, 3)).astype("float32")
    scale = -(-size[0] // 5)
    return squares.repeat(scale, axis=1).repeat(scale, axis=2)[:, : size[0], : size[1]]


def random_application(name: str, size: tuple[int, int], *, include_top: bool = True) -> tuple[keras.Model, np.ndarray]:
    """Returns the model of `keras.applications` at that size, and its logits, or its feature map, for `photos`."""
    row = PRETRAINED[name]
    build = getattr(keras.applications, row.application)
    options = {} if row.alpha is None else {"alpha": row.alpha}
    options |= {"classifier_activation": None} if include_top else {}
    model = build(weights=None, input_shape=(*size, 3), include_top=include_top, **options)
    # The function may change its argument.
    images = sys.modules[build.__module__].preprocess_input(photos(size).copy())
    randomise(model, images)
    return model, np.asarray(model(images, training=False))


def check(ours: keras.Model, size: tuple[int, int], expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale, "outputs this alike prove nothing"
    np.testing.assert_allclose(np.asarray(ours(photos(size), training=False)) / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_the_outputs_are_those_of_keras_applications(name, downloads):
    # The dense layers of a VGG need one size.
    size = (224, 224) if name.startswith("vgg") else SIZE
    theirs, expected = random_application(name, size)
    give_constants(theirs, np.array(IMAGENET_STD))  # The published files have it in place of the variance.
    downloads(theirs)
    ours = zoo.create_model(name, input_shape=(*size, 3), classifier_activation=None, weights="imagenet")
    check(ours, size, expected)


@pytest.mark.parametrize("name", ["mobilenet_v2_035", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_without_a_top_the_file_is_the_one_without_a_top(name, downloads):
    theirs, expected = random_application(name, SIZE, include_top=False)
    tried = downloads(theirs)
    ours = zoo.create_model(name, input_shape=(*SIZE, 3), include_top=False, weights="imagenet")
    assert ("notop" in tried[0]) or ("no_top" in tried[0])
    check(ours, SIZE, expected)


def test_efficientnet_as_keras_itself_reads_the_file(downloads):
    """The file has a standard deviation in place of a variance, and a layer that is not in the file corrects this."""
    theirs, _ = random_application("efficientnet_b0", SIZE)
    give_constants(theirs, np.array(IMAGENET_STD))
    tried = downloads(theirs)
    theirs = keras.applications.EfficientNetB0(weights="imagenet", classifier_activation=None)
    ours = zoo.create_model("efficientnet_b0", classifier_activation=None, weights="imagenet")
    assert len(tried) == 1, "the second time, the file is in the cache"
    check(ours, (224, 224), np.asarray(theirs(photos((224, 224)), training=False)))


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        (
            np.array(IMAGENET_MEAN),
            np.array(IMAGENET_STD),
            r"deviation \[0.229, .*, but .* trained with \[0.4785, 0.4733",
        ),
        (np.zeros(3), np.square(IMAGENET_STD), r"the mean \[0.485, .*, but .* trained with \[0.0, 0.0, 0.0\]"),
    ],
)
def test_an_efficientnet_that_normalises_in_another_way_is_refused(mean, variance, message):
    """This is a file from a model that was trained without the correcting layer."""
    theirs = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
    ours = zoo.create_model("efficientnet_b0", input_shape=(32, 32, 3), include_top=False)
    theirs.layers[2].set_weights([mean, variance, np.array(0)])
    theirs.layers[2].finalize_state()
    with pytest.raises(ValueError, match=message):
        application_pairs(ours, theirs)


# --- Downloads that fail


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (URLError("no network here"), r"mobilenet_2_5_224_tf\.h5 \(no network here\)"),
        (HTTPError("a", 403, "Forbidden", None, None), r"mobilenet_2_5_224_tf\.h5 \(Forbidden\)"),
        (TimeoutError("timed out"), r"that of keras\.applications\.MobileNet \(timed out\)"),
    ],
)
def test_a_download_that_fails_names_the_file_and_what_to_do(error, what, monkeypatch, tmp_path):
    def refuse(url, target, progress):
        raise error

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(FileNotFoundError, match=f"Keras could not download {what}. Connect to the") as caught:
        zoo.create_model("mobilenet_v1_025", input_shape=(*SIZE, 3), weights="imagenet")
    message = str(caught.value)
    assert "folder models of Keras' cache" in message
    assert "//" not in message


def test_a_download_that_was_cut_off_is_refused(monkeypatch, tmp_path):
    def half(url, target, progress):
        Path(target).write_text("half")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", half)
    with pytest.raises(ValueError, match="Incomplete or corrupted file detected"):
        zoo.create_model("mobilenet_v3_small", input_shape=(*SIZE, 3), weights="imagenet")


def test_other_networks_have_no_such_file():
    with pytest.raises(ValueError, match=r"has no weights for 'resnet18'; it has them for convnext_tiny, "):
        keras_application("resnet18")
