"""Networks that `keras.applications` has, too: the same weights give the same outputs.

Their weights, batch-norm statistics and biases are random here, so that nothing can be right by being zero or one.
Sizes are odd and height is not width, so that padding and rounding show.
"""

import importlib
from typing import NamedTuple

import keras
import numpy as np
import pytest

import zoo
from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.models import family_of

SIZE = (75, 107)


class Twin(NamedTuple):
    ours: str
    theirs: str
    preprocessing: str | None = None  # module of keras.applications; None where their model takes 0..255
    options: dict = {}  # noqa: RUF012 (never changed)


TWINS = [
    Twin("vgg16", "VGG16", "vgg16"),
    Twin("inception_v3", "InceptionV3", "inception_v3"),
    Twin("xception", "Xception", "xception"),
    Twin("resnet50", "ResNet50", "resnet"),
    Twin("resnet50_v2", "ResNet50V2", "resnet_v2"),
    Twin("densenet121", "DenseNet121", "densenet"),
    Twin("mobilenet_v1", "MobileNet", "mobilenet"),
    Twin("mobilenet_v1_025", "MobileNet", "mobilenet", {"alpha": 0.25}),
    Twin("mobilenet_v2", "MobileNetV2", "mobilenet_v2"),
    Twin("mobilenet_v2_035", "MobileNetV2", "mobilenet_v2", {"alpha": 0.35}),
    Twin("mobilenet_v3_small", "MobileNetV3Small"),
    Twin("mobilenet_v3_large", "MobileNetV3Large"),
    Twin("efficientnet_b0", "EfficientNetB0"),
    Twin("mobilenet_v3_large_075", "MobileNetV3Large", options={"alpha": 0.75}),
]
SLOW_TWINS = [
    Twin("vgg19", "VGG19", "vgg19"),
    Twin("inception_resnet_v2", "InceptionResNetV2", "inception_resnet_v2"),
    Twin("resnet101", "ResNet101", "resnet"),
    Twin("resnet152", "ResNet152", "resnet"),
    Twin("resnet101_v2", "ResNet101V2", "resnet_v2"),
    Twin("resnet152_v2", "ResNet152V2", "resnet_v2"),
    Twin("densenet169", "DenseNet169", "densenet"),
    Twin("densenet201", "DenseNet201", "densenet"),
    Twin("convnext_tiny", "ConvNeXtTiny"),
    *(Twin(f"efficientnet_b{i}", f"EfficientNetB{i}") for i in range(1, 8)),
]


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Also those of models inside the model, which are left out themselves."""
    return [layer for layer in model._flatten_layers(include_self=False) if not hasattr(layer, "layers")]


def randomise(model: keras.Model, images: np.ndarray) -> None:
    """Random weights, and batch-norm statistics that are random, but near enough to the true ones of some images that
    activations depend on the image, and neither explode nor vanish."""
    random = np.random.default_rng(1)
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            if layer.weights:
                # The constants are in their file of weights, and not in a fresh model
                layer.set_weights([np.array(IMAGENET_MEAN), np.square(IMAGENET_STD), np.array(0)])
                layer.finalize_state()
            continue
        for weight in layer.weights:
            if len(weight.shape) > 1:
                inputs = weight.shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else weight.shape[:-1]
                weight.assign(random.standard_normal(weight.shape, dtype="float32") / np.prod(inputs) ** 0.5)
            elif weight.name == "gamma":
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("bias", "beta"):
                weight.assign(random.normal(0, 0.2, weight.shape))

    norms = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm in norms:
        mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
        norm.moving_mean.assign(mean + random.normal(0, 0.2, mean.shape) * variance**0.5)
        norm.moving_variance.assign(variance * random.uniform(0.7, 1.4, variance.shape))


def copy_weights(theirs: keras.Model, ours: keras.Model, keras_layer, *, bgr: bool) -> int:
    """Copies by the names that a family's `keras_layer` gives; where it has none, for theirs number their layers
    through, in the order of the layers. Returns how many numbers it copied."""
    targets = [layer for layer in ours.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    if keras_layer is None:
        in_order = [layer for layer in theirs.layers if layer.weights]
        names = {layer.name: source.name for layer, source in zip(targets, in_order, strict=True)}
        keras_layer = names.__getitem__
    sources = {layer.name: layer for layer in all_layers(theirs)}
    first = next(layer.name for layer in targets if isinstance(layer, keras.layers.Conv2D))
    copied, biases = 0, {}
    for layer in targets:
        values = {weight.name: np.asarray(weight) for weight in sources[keras_layer(layer.name)].weights}
        copied += sum(value.size for value in values.values())
        if "bias" in values and "bias" not in {weight.name for weight in layer.weights}:
            biases[layer.name.removesuffix("_conv") + "_bn"] = values["bias"]
        if bgr and layer.name == first:
            values["kernel"] = values["kernel"][:, :, ::-1]
        for weight in layer.weights:
            # A dense layer is their 1x1 convolution, a depthwise one their grouped; a lone weight may have no name
            value = values[weight.name] if weight.name in values else values.popitem()[1]
            weight.assign(value.reshape(weight.shape))
    for name, bias in biases.items():
        layer = ours.get_layer(name)
        layer.moving_mean.assign(layer.moving_mean - bias)
    return copied


@pytest.mark.parametrize(
    "twin", [*TWINS, *(pytest.param(twin, marks=pytest.mark.slow) for twin in SLOW_TWINS)], ids=lambda twin: twin.ours
)
def test_the_outputs_are_those_of_keras_applications(twin):
    shape = (*SIZE, 3)
    theirs = getattr(keras.applications, twin.theirs)(
        weights=None, input_shape=shape, classes=10, classifier_activation=None, **twin.options
    )
    # Squares of colour, since the mean of white noise, which most of a network sees, is the same everywhere
    images = np.random.default_rng(2).uniform(0, 255, (2, 5, 8, 3)).astype("float32")
    images = images.repeat(16, axis=1).repeat(16, axis=2)[:, : SIZE[0], : SIZE[1]]
    prepared = images.copy()  # preprocessing may change its argument
    if twin.preprocessing:
        prepared = importlib.import_module(f"keras.applications.{twin.preprocessing}").preprocess_input(prepared)
    randomise(theirs, prepared)

    ours = zoo.create_model(twin.ours, input_shape=shape, num_classes=10, classifier_activation=None)
    bgr = getattr(family_of(twin.ours).VARIANTS[twin.ours], "normalisation", None) == "caffe"
    copied = copy_weights(theirs, ours, getattr(family_of(twin.ours), "keras_layer", None), bgr=bgr)
    constants = sum(layer.count_params() for layer in theirs.layers if isinstance(layer, keras.layers.Normalization))
    assert copied == theirs.count_params() - constants, "a weight of theirs was not copied"

    expected = np.asarray(theirs(prepared, training=False))
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale, "outputs this alike prove nothing"
    np.testing.assert_allclose(np.asarray(ours(images, training=False)) / scale, expected / scale, atol=1e-4)
