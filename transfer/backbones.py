"""Trunks to build on: the zoo's own models and `keras.applications`, under one name space and with one input.

Every backbone takes RGB in 0..255. What its network was trained on (-1..1, ImageNet's mean and deviation, ...) is
made of that by layers of the model, so that nothing outside it needs to know.
"""

import contextlib
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING

import zoo
from pipelines.preprocessing import EvaluationCrop
from zoo.models import Variant, family_of
from zoo.weights import PRETRAINED, FromPackage, Pretrained

if TYPE_CHECKING:
    import keras

__all__ = ["KERAS_APPLICATIONS", "Application", "Backbone", "backbone", "list_backbones", "values_of"]


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, and how images are brought to it.

    Attributes:
        name: as `backbone` takes it.
        model: flat functional model, RGB in 0..255 `[n, height, width, 3]` -> its last feature map.
        crop: what makes an image of any size one of the model's; the one that its weights were evaluated with.
        weights: "imagenet"; the path of a file; or None, for random ones.
        licence: of the weights; None if they are random or from a file of one's own.

    Images of other channels than RGB come as arrays, and are brought to size by what made them: `crop` is for photos.
    """

    name: str
    model: "keras.Model"
    crop: EvaluationCrop
    weights: str | None
    licence: str | None

    @property
    def values(self) -> str:
        """What the model makes of 0..255 before its first convolution: what its network was trained on.

        >>> backbone("keras:MobileNetV2", image_size=64, weights=None).values
        '-1..1'
        """
        return values_of(self.model)

    @property
    def levels(self) -> dict[str, str]:
        """Names of the last layers at stride 2, 4, ...: "c1", "c2", ..., found by shape."""
        from zoo.features import levels

        return levels(self.model)


@dataclass(frozen=True)
class Application:
    """A row of the table of `keras.applications`.

    Attributes:
        values: what the network was trained on, as `zoo.blocks.normalise` names it.
        licence: of its ImageNet weights.
        image_size: height and width in pixels of the images its weights were trained on.
        crop_fraction, interpolation: of the crop they were evaluated with.
    """

    values: str
    licence: str
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"


# Licences as keras.io/api/applications gives them for the places that the weights were taken from; sizes and values as
# in the code of `keras.applications`. Values are "none" where a network brings them to its range itself, always alike.
KERAS_APPLICATIONS = {
    "ConvNeXtBase": Application("imagenet", "MIT", interpolation="bicubic"),
    "ConvNeXtLarge": Application("imagenet", "MIT", interpolation="bicubic"),
    "ConvNeXtSmall": Application("imagenet", "MIT", interpolation="bicubic"),
    "ConvNeXtTiny": Application("imagenet", "MIT", interpolation="bicubic"),
    "ConvNeXtXLarge": Application("imagenet", "MIT", interpolation="bicubic"),
    "DenseNet121": Application("imagenet", "BSD-3-Clause"),
    "DenseNet169": Application("imagenet", "BSD-3-Clause"),
    "DenseNet201": Application("imagenet", "BSD-3-Clause"),
    "EfficientNetB0": Application("imagenet", "Apache-2.0", interpolation="bicubic"),
    "EfficientNetB1": Application("imagenet", "Apache-2.0", 240, interpolation="bicubic"),
    "EfficientNetB2": Application("imagenet", "Apache-2.0", 260, interpolation="bicubic"),
    "EfficientNetB3": Application("imagenet", "Apache-2.0", 300, interpolation="bicubic"),
    "EfficientNetB4": Application("imagenet", "Apache-2.0", 380, interpolation="bicubic"),
    "EfficientNetB5": Application("imagenet", "Apache-2.0", 456, interpolation="bicubic"),
    "EfficientNetB6": Application("imagenet", "Apache-2.0", 528, interpolation="bicubic"),
    "EfficientNetB7": Application("imagenet", "Apache-2.0", 600, interpolation="bicubic"),
    "EfficientNetV2B0": Application("imagenet", "Apache-2.0", interpolation="bicubic"),
    "EfficientNetV2B1": Application("imagenet", "Apache-2.0", 240, interpolation="bicubic"),
    "EfficientNetV2B2": Application("imagenet", "Apache-2.0", 260, interpolation="bicubic"),
    "EfficientNetV2B3": Application("imagenet", "Apache-2.0", 300, interpolation="bicubic"),
    "EfficientNetV2L": Application("none", "Apache-2.0", 480, interpolation="bicubic"),
    "EfficientNetV2M": Application("none", "Apache-2.0", 480, interpolation="bicubic"),
    "EfficientNetV2S": Application("none", "Apache-2.0", 384, interpolation="bicubic"),
    "InceptionResNetV2": Application("symmetric", "Apache-2.0", 299),
    "InceptionV3": Application("symmetric", "Apache-2.0", 299),
    "MobileNet": Application("symmetric", "Apache-2.0"),
    "MobileNetV2": Application("symmetric", "Apache-2.0"),
    "MobileNetV3Large": Application("symmetric", "Apache-2.0"),
    "MobileNetV3Small": Application("symmetric", "Apache-2.0"),
    "NASNetLarge": Application("symmetric", "Apache-2.0", 331),
    "NASNetMobile": Application("symmetric", "Apache-2.0"),
    "ResNet101": Application("caffe", "MIT"),
    "ResNet101V2": Application("symmetric", "BSD-3-Clause"),
    "ResNet152": Application("caffe", "MIT"),
    "ResNet152V2": Application("symmetric", "BSD-3-Clause"),
    "ResNet50": Application("caffe", "MIT"),
    "ResNet50V2": Application("symmetric", "BSD-3-Clause"),
    "VGG16": Application("caffe", "CC-BY-4.0"),
    "VGG19": Application("caffe", "CC-BY-4.0"),
    "Xception": Application("symmetric", "MIT", 299),
}


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that `backbone` takes and that match a shell-style pattern. Loads no TensorFlow.

    >>> list_backbones("*lite0"), list_backbones("keras:ResNet50*")
    (['efficientnet_lite0'], ['keras:ResNet50', 'keras:ResNet50V2'])
    """
    names = zoo.list_models() + [f"keras:{name}" for name in sorted(KERAS_APPLICATIONS)]
    return [name for name in names if fnmatchcase(name, pattern)]


def backbone(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = "imagenet",
    channels: int = 3,
) -> Backbone:
    """Builds a trunk by name.

    Args:
        name: one of `list_backbones`: a model of the zoo, or `keras:` and the name of a `keras.applications` model.
        image_size: pixels, of a square or as (height, width); what the weights were trained on unless told.
        weights: "imagenet"; None for random ones; or the path of a file.
        channels: of the images, such as 1 for grey ones and 8 for multispectral ones, all in 0..255. What was trained
            on RGB is adapted: the first convolution's kernel is summed or tiled and rescaled, so that an image with the
            same in all channels gives what it gives as RGB, except for the colours' different means in normalisation,
            which further channels take in turn; see `zoo.convert.adapted_kernel` and `zoo.blocks.normalise`.

    Raises:
        ValueError: an unknown name; the message shows near ones. An image too small for the network, or without
            channels.
        FileNotFoundError: weights that cannot be had; the message says how to get them.

    Example:

    >>> trunk = backbone("keras:MobileNetV2", image_size=(64, 96), weights=None)
    >>> trunk.model.output_shape, trunk.crop.size
    ((None, 2, 3, 1280), (64, 96))
    """
    if name not in list_backbones():
        raise ValueError(f"no backbone is named {name!r}; {_near(name)}")
    if name.startswith("keras:"):
        row: Application | Pretrained | Variant = KERAS_APPLICATIONS[name.removeprefix("keras:")]
    else:
        row = PRETRAINED.get(name) or family_of(name).VARIANTS[name]
    size = row.image_size if image_size is None else image_size
    height, width = (size, size) if isinstance(size, int) else size
    if channels < 1:
        raise ValueError(f"an image has at least 1 channel, got channels={channels}")
    if isinstance(row, Application):
        model = _application(name.removeprefix("keras:"), row, (height, width, channels), weights)
    else:
        model = zoo.create_model(
            name,
            include_top=False,
            input_shape=(height, width, channels),
            weights=weights,
            in_channels=None if weights is None or channels == 3 else "adapt",
        )
    crop = EvaluationCrop(size=(height, width))
    if not isinstance(row, Variant):
        crop = EvaluationCrop((height, width), fraction=row.crop_fraction, interpolation=row.interpolation)
    licence = row.licence if weights == "imagenet" and not isinstance(row, Variant) else None
    return Backbone(name, model, crop, weights, licence)


def _near(name: str) -> str:
    """What may have been meant: names are compared without case, and without the name space."""
    names = {known.lower(): known for known in list_backbones()}
    names |= {known.lower().partition(":")[2]: known for known in list_backbones("keras:*")}
    near = dict.fromkeys(names[match] for match in get_close_matches(name.lower(), names, n=5, cutoff=0.5))
    return f"did you mean {', '.join(near)}?" if near else "transfer.list_backbones() has them all."


def _application(name: str, row: Application, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    original = _download(name, (*shape[:2], 3), weights)
    return _normalised(original, row.values, shape, name=name, random=weights is None)


def _normalised(
    original: "keras.Model", values: str, shape: tuple[int, int, int], *, name: str, random: bool
) -> "keras.Model":
    """A model's layers copied onto our normalisation in place of its own, if it has one, and onto `shape[-1]` channels.

    Some models normalise themselves, EfficientNet of `keras.applications` with one layer more when it has ImageNet
    weights; some have models inside. The copy is one graph whatever the weights are, flat and with one input.
    """
    import keras

    from zoo.blocks import normalise
    from zoo.graph import graph_of, rebuild
    from zoo.layers import DropPath

    L = keras.layers
    graph = graph_of(original)
    own_normalisation = set()
    if values != "none":
        first = takewhile(lambda call: isinstance(call.operation, L.Rescaling | L.Normalization), graph.calls)
        own_normalisation = {id(call) for call in first}

    def convert(call):
        if id(call) in own_normalisation:
            return None, []
        if isinstance(call.operation, L.Dropout) and call.operation.noise_shape:
            # Stochastic depth; unlike Dropout's, DropPath's is still where it is frozen.
            return DropPath(call.operation.rate, name=call.operation.name), []
        return None

    image = keras.Input(shape, name="image")
    normalised = normalise(image, values)
    body = rebuild(original, convert, graph=graph)
    if values == "caffe" and not random:
        _from_bgr(body)
    body = _for_channels(body, normalised.shape[-1], random=random)
    return rebuild(keras.Model(image, body(normalised), name=name))


def _download(name: str, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    import keras

    build = getattr(keras.applications, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras shows the progress of downloads
            return build(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises no narrower one
        if "URL fetch failure" not in str(error):
            raise
        own = ", ".join(name for name, row in PRETRAINED.items() if isinstance(row, FromPackage))
        raise FileNotFoundError(
            f"the ImageNet weights of keras:{name} are not on this machine, and a download was tried and failed "
            f"({error}). Connect to the network and try again; or take a backbone whose weights come as a package "
            f"({own}), or weights=None for random ones"
        ) from error


def _stem(model: "keras.Model") -> "keras.layers.Conv2D":
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))


def _from_bgr(model: "keras.Model") -> None:
    """Reorders the first convolution's input channels: Caffe's networks read BGR, the model is given RGB."""
    kernel, *bias = _stem(model).get_weights()
    _stem(model).set_weights([kernel[:, :, ::-1], *bias])


def _for_channels(model: "keras.Model", channels: int, *, random: bool) -> "keras.Model":
    """The same layers, apart from the first convolution, which is adapted, or drawn afresh where weights are random."""
    import keras

    from zoo.convert import adapted_kernel
    from zoo.graph import copied

    if channels == model.input_shape[-1]:
        return model
    old = _stem(model)
    kernel, *bias = old.get_weights()
    new = copied(old)
    new.build((*model.input_shape[:-1], channels))
    if not random:
        new.set_weights([adapted_kernel(kernel, channels), *bias])
    return keras.models.clone_model(
        model,
        input_tensors=keras.Input((*model.input_shape[1:-1], channels)),
        clone_function=lambda layer: new if layer is old else layer,
    )


# What `zoo.blocks.normalise` makes of 0..255, as people say it.
VALUES = {
    "none": "0..255",
    "unit": "0..1",
    "symmetric": "-1..1",
    "imagenet": "0..1 less ImageNet's mean, over its deviation",
    "caffe": "0..255 less ImageNet's mean",
}


def values_of(model: "keras.Model") -> str:
    """What the layers before the first convolution make of black and of white; in the words of `VALUES` if it can."""
    import keras
    import numpy as np

    from zoo.blocks import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD

    low, high = np.array(0.0), np.array(255.0)
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Rescaling):
            low, high = (value * np.array(layer.scale) + np.array(layer.offset) for value in (low, high))
        elif not isinstance(layer, keras.layers.Concatenate):  # `normalise` gives grey images a channel for each colour
            break
    if low.ndim == 0:
        return f"{low:.3g}..{high:.3g}"
    for scheme, black in (("imagenet", -np.array(IMAGENET_MEAN) / IMAGENET_STD), ("caffe", -np.array(CAFFE_MEAN))):
        if np.allclose(low, np.resize(black, low.shape)):
            return VALUES[scheme]
    return ", ".join(f"{black:.3g}..{white:.3g}" for black, white in zip(low, high, strict=True))
