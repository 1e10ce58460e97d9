"""Presets of KerasHub as backbones, where KerasHub is installed.

A preset brings its configuration, its weights, and a converter that knows what images it was trained on. KerasHub
downloads it when it is first asked for; the folder of one that was saved with `save_to_preset` needs no network.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.prepare.crop import EvaluationCrop

if TYPE_CHECKING:
    import keras

__all__ = ["Preset", "build_preset"]


@dataclass(frozen=True)
class Preset:
    """What was made of a preset: the parts of a `transfer.Backbone`.

    Attributes:
        licence: of the weights, if the preset states one; None if not: see where it was published.
    """

    model: "keras.Model"
    crop: EvaluationCrop
    licence: str | None


def build_preset(name: str, image_size: int | tuple[int, int] | None, weights: str | None, channels: int) -> Preset:
    """Builds a preset's network behind a normalisation from 0..255.

    Args:
        name: of the preset, such as "resnet_18_imagenet", or its folder.
        image_size: pixels, of a square or as (height, width); the preset's own unless told.
        weights: "imagenet" for those of the preset, whatever it was trained on; None for random ones.
        channels: of the images.

    Raises:
        ValueError: an unknown preset, one that is no convolutional network, or a file as weights.
        FileNotFoundError: the preset could not be downloaded.
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
    from transfer.models.normalisation import on_our_normalisation

    converter = _read(name, keras_hub.layers.ImageConverter.from_preset)
    height, width = _size(image_size, converter)

    def load(preset: str) -> Any:
        return keras_hub.models.Backbone.from_preset(
            preset, load_weights=weights is not None, image_shape=(height, width, 3)
        )

    original = _read(name, load)
    values = (1.0 if converter.scale is None else converter.scale, converter.offset or 0.0)
    model = on_our_normalisation(
        original, values, (height, width, channels), name=original.name, random=weights is None
    )
    interpolation = converter.interpolation if converter.interpolation in ("bilinear", "bicubic") else "bilinear"
    # The converter takes the largest part of the photo's middle that has the shape
    crop = EvaluationCrop((height, width), fraction=1.0, interpolation=interpolation)
    metadata = getattr(keras_hub.models.Backbone, "presets", {}).get(name, {}).get("metadata", {})
    return Preset(model, crop, metadata.get("license"))


def _size(asked: int | tuple[int, int] | None, converter: Any) -> tuple[int, int]:
    size = converter.image_size if asked is None else asked
    if size is None:
        raise ValueError("the preset states no size of images: give image_size, such as image_size=224")
    height, width = (size, size) if isinstance(size, int) else size
    return math.ceil(height), math.ceil(width)


def _read(name: str, load: Any) -> Any:
    try:
        return load(name)
    except ValueError as error:
        raise ValueError(f"KerasHub has no backbone keras_hub:{name}, nor a folder of that name: {error}") from error
    except Exception as error:  # Kaggle's and Hugging Face's clients raise their own
        raise FileNotFoundError(
            f"keras_hub:{name} is not on this machine, and KerasHub could not download it ({error}). Connect to the "
            "network and try again; or give the folder of a preset that was saved with save_to_preset"
        ) from error
