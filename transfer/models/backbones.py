"""Trunks to build on, from four places, under one name space and with one input.

=====================  =======================================================================================
`efficientnet_lite0`   the zoo's own models
`keras:Xception`       `keras.applications`
`keras_cv:resnet18`    KerasCV's networks, without weights; see `transfer.models.keras_cv_backbones`
`keras_hub:PRESET`     presets of KerasHub, where that is installed; see `transfer.models.keras_hub_backbones`
=====================  =======================================================================================

Every backbone takes RGB in 0..255. Layers of the model bring these values to the range that its network was trained on
(-1..1, ImageNet's mean and deviation, ...), so that nothing outside of the model needs to know that range.
"""

import contextlib
import sys
from dataclasses import dataclass

import keras

import zoo
from pipelines.prepare.crop import EvaluationCrop
from transfer.keras_settings import check_keras_settings
from transfer.models.backbone_tables import (
    KERAS_APPLICATIONS,
    KERAS_CV,
    REGISTERED,
    Application,
    Configured,
    list_backbones,
    near_backbones,
)
from transfer.models.keras_cv_backbones import build_configured
from transfer.models.keras_hub_backbones import build_preset
from transfer.models.normalisation import normalising_copy, values_of
from transfer.python_values import as_python
from zoo.models import Variant, family_of
from zoo.surgery.feature_maps import levels
from zoo.surgery.state import copy_state
from zoo.weights.pretrained import PRETRAINED, FromPackage, Pretrained

__all__ = ["Backbone", "any_size", "backbone"]


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, and how images are brought to it.

    Images with channels other than RGB come as arrays, and whoever makes these arrays brings them to the right size:
    `crop` is for photos.

    Attributes:
        name: The name, as `backbone` takes it.
        model: A flat functional model from RGB in 0..255, `[n, height, width, 3]`, to its last feature map.
        crop: The crop that makes an image of any size one of the model's; its weights were evaluated with it.
        weights: "imagenet"; the path of a file; or None, for random weights.
        licence: The licence of the weights; None if they are random or from a file of your own.
    """

    name: str
    model: keras.Model
    crop: EvaluationCrop
    weights: str | None
    licence: str | None

    @property
    def values(self) -> str:
        """The range that the model brings 0..255 to before its first convolution: what its network was trained on.

        >>> backbone("keras:MobileNetV2", image_size=64, weights=None).values
        '-1..1'
        """
        return values_of(self.model)

    @property
    def levels(self) -> dict[str, str]:
        """Names of the last layers at stride 2, 4, ...: "c1", "c2", ..., which are found by their shapes."""
        return levels(self.model)


def backbone(
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = "imagenet",
    channels: int = 3,
) -> Backbone:
    """Builds a trunk by its name.

    Args:
        name: One of `list_backbones`: a model of the zoo; `keras:` and the name of a `keras.applications` model;
            `keras_cv:` and one of `transfer.models.keras_cv_backbones`; or `keras_hub:` and the name or the folder of a
            preset.
        image_size: Size of the images in pixels, one number for a square or (height, width). By default it is the size
            that the weights were trained on.
        weights: "imagenet", the default; None for random ones; or the path of a file.
        channels: Number of channels of the images, such as 1 for grey images and 8 for multispectral ones, all in
            0..255. Defaults to 3. What was trained on RGB is adapted to others: the first convolution's kernel is
            summed or tiled and rescaled, so that an image with the same values in all channels gives what it gives as
            RGB, except for the colours' different means in normalisation, which further channels take in turn; see
            `zoo.surgery.conversion.adapted_kernel` and `zoo.blocks.normalise`.

    Raises:
        ValueError: The name is unknown (the message shows near ones), the images are too small for the network, or they
            have no channels.
        FileNotFoundError: The weights cannot be had; the message says how to get them.
        ModuleNotFoundError: KerasCV or KerasHub is not installed; the message says how to get it.

    Example:

    >>> trunk = backbone("keras:MobileNetV2", image_size=(64, 96), weights=None)
    >>> trunk.model.output_shape, trunk.crop.size
    ((None, 2, 3, 1280), (64, 96))
    """
    check_keras_settings()
    if channels < 1:
        raise ValueError(f"an image has at least 1 channel, got channels={channels}")
    if name.startswith("keras_hub:"):
        preset = build_preset(name.removeprefix("keras_hub:"), image_size, weights, channels)
        return Backbone(name, preset.model, preset.crop, weights, preset.licence if weights == "imagenet" else None)
    if name not in list_backbones():
        near = near_backbones(name)
        hint = f"did you mean {', '.join(near)}?" if near else "transfer.list_backbones() has them all."
        raise ValueError(f"no backbone is named {name!r}; {hint}")
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
        model = build_configured(own_name, (height, width, channels), weights)
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


def any_size(model: keras.Model) -> keras.Model:
    """Returns a copy of a trunk that takes images of any size, with the same weights and names of layers."""
    image = keras.Input((None, None, model.input_shape[-1]), name=model.input.name)
    copy = keras.models.clone_model(model, input_tensors=image)
    copy_state(model, copy)
    return copy


def _size(size: int | tuple[int, int] | None, default: int) -> tuple[int, int]:
    size = default if size is None else size
    size = as_python(size)
    return (size, size) if isinstance(size, int) else tuple(size)


def _application(name: str, row: Application, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    original = _download(name, (*shape[:2], 3), weights)
    return normalising_copy(original, row.values, shape, name=name, random=weights is None)


def _download(name: str, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    build = getattr(keras.applications, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows the progress of downloads there.
            return build(include_top=False, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises no narrower one.
        if "URL fetch failure" not in str(error):
            raise
        own = ", ".join(name for name, row in PRETRAINED.items() if isinstance(row, FromPackage))
        raise FileNotFoundError(
            f"the ImageNet weights of keras:{name} are not on this machine, and a download was tried and failed "
            f"({error}). Connect to the network and try again; or take a backbone whose weights come as a package "
            f"({own}), or weights=None for random ones"
        ) from error
