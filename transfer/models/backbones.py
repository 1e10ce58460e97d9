"""Trunks to build on, from four places, under one name space and with one input.

=====================  =======================================================================================
`efficientnet_lite0`   the zoo's own models
`keras:Xception`       `keras.applications`
`keras_cv:resnet18`    KerasCV's networks, without weights; see `transfer.models.keras_cv_backbones`
`keras_hub:PRESET`     presets of KerasHub, where that is installed; see `transfer.models.keras_hub_backbones`
=====================  =======================================================================================

Every backbone takes RGB in 0..255. What its network was trained on (-1..1, ImageNet's mean and deviation, ...) is
made of that by layers of the model, so that nothing outside it needs to know.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import zoo
from pipelines.prepare.crop import EvaluationCrop
from transfer.models.keras_cv_backbones import KERAS_CV, Configured
from zoo.models import Variant, family_of
from zoo.weights.pretrained import PRETRAINED, FromPackage, Pretrained

if TYPE_CHECKING:
    import keras

__all__ = ["KERAS_APPLICATIONS", "Application", "Backbone", "backbone", "list_backbones", "register_backbone"]


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
        from transfer.models.normalisation import values_of

        return values_of(self.model)

    @property
    def levels(self) -> dict[str, str]:
        """Names of the last layers at stride 2, 4, ...: "c1", "c2", ..., found by shape."""
        from zoo.surgery.feature_maps import levels

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


@dataclass(frozen=True)
class Registered:
    """A network of the user's own.

    Attributes:
        build: A function from (height, width, channels) of the images to a flat functional model, RGB in 0..255 to its
            last feature map.
        image_size: Height and width of the images in pixels, unless others are asked for.
        crop_fraction: Fraction of the crop that photos are evaluated with.
    """

    build: Callable[[tuple[int, int, int]], "keras.Model"]
    image_size: int
    crop_fraction: float = 0.875


REGISTERED: dict[str, Registered] = {}


def register_backbone(
    name: str,
    build: Callable[[tuple[int, int, int]], "keras.Model"],
    *,
    image_size: int = 224,
    crop_fraction: float = 0.875,
) -> None:
    """Gives a network of your own a name that `transfer.backbone`, and with it `transfer.fit`, takes in this process.

    Args:
        name: The name. It is not the name of another backbone.
        build: A function from (height, width, channels) of the images to a flat functional model, RGB in 0..255 to its
            last feature map.
        image_size: Height and width of the images in pixels, unless others are asked for. Defaults to 224.
        crop_fraction: Fraction of the crop that photos are evaluated with, above 0 and at most 1. Defaults to 0.875.

    Raises:
        ValueError: The name is taken.
    """
    if name in list_backbones():
        raise ValueError(f"there is a backbone {name!r} already; choose another name")
    REGISTERED[name] = Registered(build, image_size, crop_fraction)


def list_backbones(pattern: str = "*") -> list[str]:
    """Names that `backbone` takes and that match a shell-style pattern. Loads no TensorFlow.

    KerasHub's presets, of which it knows itself, are not among them.

    >>> list_backbones("*lite0"), list_backbones("keras:ResNet50*")
    (['efficientnet_lite0'], ['keras:ResNet50', 'keras:ResNet50V2'])
    """
    names = zoo.list_models() + [f"keras:{name}" for name in sorted(KERAS_APPLICATIONS)]
    names += [f"keras_cv:{name}" for name in sorted(KERAS_CV)] + list(REGISTERED)
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
        name: one of `list_backbones`: a model of the zoo, or `keras:` and the name of a `keras.applications` model, or
            `keras_cv:` and one of `transfer.models.keras_cv_backbones`; or `keras_hub:` and the name or folder of a
            preset.
        image_size: pixels, of a square or as (height, width); what the weights were trained on unless told.
        weights: "imagenet"; None for random ones; or the path of a file.
        channels: of the images, such as 1 for grey ones and 8 for multispectral ones, all in 0..255. What was trained
            on RGB is adapted: the first convolution's kernel is summed or tiled and rescaled, so that an image with the
            same in all channels gives what it gives as RGB, except for the colours' different means in normalisation,
            which further channels take in turn; see `zoo.surgery.conversion.adapted_kernel` and `zoo.blocks.normalise`.

    Raises:
        ValueError: an unknown name; the message shows near ones. An image too small for the network, or without
            channels.
        FileNotFoundError: weights that cannot be had; the message says how to get them.
        ModuleNotFoundError: KerasCV or KerasHub is not installed; the message says how to get it.

    Example:

    >>> trunk = backbone("keras:MobileNetV2", image_size=(64, 96), weights=None)
    >>> trunk.model.output_shape, trunk.crop.size
    ((None, 2, 3, 1280), (64, 96))
    """
    if channels < 1:
        raise ValueError(f"an image has at least 1 channel, got channels={channels}")
    if name.startswith("keras_hub:"):
        from transfer.models.keras_hub_backbones import build_preset

        made = build_preset(name.removeprefix("keras_hub:"), image_size, weights, channels)
        return Backbone(name, made.model, made.crop, weights, made.licence if weights == "imagenet" else None)
    if name not in list_backbones():
        raise ValueError(f"no backbone is named {name!r}; {_near(name)}")
    if name in REGISTERED:
        own = REGISTERED[name]
        height, width = _size(image_size, own.image_size)
        model = own.build((height, width, channels))
        return Backbone(name, model, EvaluationCrop((height, width), own.crop_fraction), weights, None)
    space, _, own_name = name.rpartition(":")
    row: Application | Configured | Pretrained | Variant
    if space == "keras":
        row = KERAS_APPLICATIONS[own_name]
    elif space == "keras_cv":
        row = KERAS_CV[own_name]
    else:
        row = PRETRAINED.get(name) or family_of(name).VARIANTS[name]
    height, width = _size(image_size, row.image_size)
    if isinstance(row, Application):
        model = _application(own_name, row, (height, width, channels), weights)
    elif isinstance(row, Configured):
        from transfer.models.keras_cv_backbones import build

        model = build(own_name, (height, width, channels), weights)
    else:
        model = zoo.create_model(
            name,
            include_top=False,
            input_shape=(height, width, channels),
            weights=weights,
            in_channels=None if weights is None or channels == 3 else "adapt",
        )
    crop = EvaluationCrop(size=(height, width))
    if isinstance(row, Application | Pretrained):
        crop = EvaluationCrop((height, width), fraction=row.crop_fraction, interpolation=row.interpolation)
    licence = row.licence if weights == "imagenet" and isinstance(row, Application | Pretrained) else None
    return Backbone(name, model, crop, weights, licence)


def _size(asked: int | tuple[int, int] | None, own: int) -> tuple[int, int]:
    size = own if asked is None else asked
    return (size, size) if isinstance(size, int) else size


def _near(name: str) -> str:
    """What may have been meant: names are compared without case, and without the name space."""
    names = {known.lower(): known for known in list_backbones()}
    for space in ("keras_cv", "keras"):
        names |= {known.lower().partition(":")[2]: known for known in list_backbones(f"{space}:*")}
    near = dict.fromkeys(names[match] for match in get_close_matches(name.lower(), names, n=5, cutoff=0.5))
    return f"did you mean {', '.join(near)}?" if near else "transfer.list_backbones() has them all."


def _application(name: str, row: Application, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    original = _download(name, (*shape[:2], 3), weights)
    from transfer.models.normalisation import on_our_normalisation

    return on_our_normalisation(original, row.values, shape, name=name, random=weights is None)


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
