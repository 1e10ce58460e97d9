"""Presets of KerasHub as backbones, where KerasHub is installed.

A preset brings its configuration, its weights, and a converter that knows what images it was trained on. KerasHub
downloads it when it is first asked for; the folder of one that was saved with `save_to_preset` needs no network.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras

from pipelines.prepare.crop import EvaluationCrop
from transfer.models.normalisation import normalising_copy

__all__ = ["Preset", "build_preset"]


@dataclass(frozen=True)
class Preset:
    """A preset, built: the parts of a `transfer.Backbone`.

    Attributes:
        model: A flat functional model from RGB in 0..255 to its last feature map.
        crop: The crop that makes an image of any size one of the model's.
        licence: The licence of the weights, if the preset states one. If it is None, look where the preset was
            published.
    """

    model: keras.Model
    crop: EvaluationCrop
    licence: str | None


def build_preset(name: str, image_size: int | tuple[int, int] | None, weights: str | None, channels: int) -> Preset:
    """Builds the network of a preset behind a normalisation from 0..255.

    Args:
        name: The name of the preset, such as "resnet_18_imagenet", or its folder.
        image_size: Size of the images in pixels, one number for a square or (height, width). By default it is the
            preset's own.
        weights: "imagenet" for the weights of the preset, whatever it was trained on; None for random ones.
        channels: Number of channels of the images.

    Raises:
        ValueError: The preset is unknown or is no convolutional network, or `weights` is a file.
        FileNotFoundError: The preset could not be downloaded.
        ModuleNotFoundError: KerasHub is not installed.
    """
    if weights not in ("imagenet", None):
        raise ValueError(
            f'weights of keras_hub:{name} are "imagenet", for the preset\'s own, or None; got {weights!r}. A folder '
            "that KerasHub's save_to_preset wrote is a preset, too: keras_hub:FOLDER"
        )
    try:
        import keras_hub
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed, and keras_hub:{name} is of KerasHub: pip install 'transfer-zoo[hub]'"
        ) from error

    converter = _read(name, keras_hub.layers.ImageConverter.from_preset)
    height, width = _size(image_size, converter)

    def load(preset: str) -> Any:
        return keras_hub.models.Backbone.from_preset(
            preset, load_weights=weights is not None, image_shape=(height, width, 3)
        )

    original = _read(name, load)
    values = (1.0 if converter.scale is None else converter.scale, converter.offset or 0.0)
    model = normalising_copy(original, values, (height, width, channels), name=original.name, random=weights is None)
    interpolation = converter.interpolation if converter.interpolation in ("bilinear", "bicubic") else "bilinear"
    # The converter takes the largest part of the photo's middle that has the right shape.
    crop = EvaluationCrop((height, width), fraction=1.0, interpolation=interpolation)
    metadata = getattr(keras_hub.models.Backbone, "presets", {}).get(name, {}).get("metadata", {})
    return Preset(model, crop, metadata.get("license"))


def _size(image_size: int | tuple[int, int] | None, converter: Any) -> tuple[int, int]:
    size = converter.image_size if image_size is None else image_size
    if size is None:
        raise ValueError("the preset states no size of images: give image_size, such as image_size=224")
    height, width = (size, size) if isinstance(size, int) else size
    return math.ceil(height), math.ceil(width)


def _read(name: str, load: Any) -> Any:
    try:
        return load(name)
    except ValueError as error:
        raise ValueError(f"KerasHub has no backbone keras_hub:{name}, nor a folder of that name: {error}") from error
    except Exception as error:  # Kaggle's and Hugging Face's clients raise errors of their own.
        raise FileNotFoundError(
            f"keras_hub:{name} is not on this machine, and KerasHub could not download it ({error}). Connect to the "
            "network and try again; or give the folder of a preset that was saved with save_to_preset"
        ) from error
