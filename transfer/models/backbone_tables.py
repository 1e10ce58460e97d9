"""The tables of backbones, and the names that they give them. This module loads no TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import zoo

if TYPE_CHECKING:
    import keras

__all__ = [
    "KERAS_APPLICATIONS",
    "KERAS_CV",
    "REGISTERED",
    "Application",
    "Configured",
    "Registered",
    "list_backbones",
    "near_backbones",
    "register_backbone",
]


@dataclass(frozen=True)
class Application:
    """A row of the table of `keras.applications`.

    Attributes:
        values: The range of values that the network was trained on, as `zoo.blocks.normalise` names it.
        licence: The licence of its ImageNet weights.
        image_size: Height and width in pixels of the images that its weights were trained on.
        crop_fraction: Fraction of the crop that its weights were evaluated with.
        interpolation: Interpolation of that crop.
    """

    values: str
    licence: str
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"


# Licences are those that keras.io/api/applications gives for the sources of the weights; sizes and values are those in
# the code of `keras.applications`. Values are "none" where a network always normalises its images itself.
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
class Configured:
    """A row of the table of KerasCV: one of its generic classes, and the configuration of the network.

    Attributes:
        backbone: The name of the class in `keras_cv.models`.
        configuration: The arguments of the class.
        image_size: Height and width in pixels of the images that the network was published with.
    """

    backbone: str
    configuration: dict[str, Any]
    image_size: int = 224


def _resnet(*blocks: int, block: str, version: str = "") -> Configured:
    """He et al. 2015, "Deep Residual Learning for Image Recognition", table 1; 2016 for version 2."""
    stages = {"stackwise_filters": [64, 128, 256, 512], "stackwise_strides": [1, 2, 2, 2]}
    return Configured(f"ResNet{version}Backbone", {**stages, "stackwise_blocks": list(blocks), "block_type": block})


def _densenet(*repeats: int) -> Configured:
    """Huang et al. 2017, "Densely Connected Convolutional Networks", table 1."""
    return Configured("DenseNetBackbone", {"stackwise_num_repeats": list(repeats)})


def _efficientnet(width: float, depth: float, image_size: int, *, lite: bool) -> Configured:
    """Tan & Le 2019, "EfficientNet", table 1, with the published coefficients of width and depth."""
    stages: dict[str, list] = {
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    }
    if not lite:
        stages["stackwise_squeeze_and_excite_ratios"] = [0.25] * 7
    backbone = "EfficientNetLiteBackbone" if lite else "EfficientNetV1Backbone"
    return Configured(backbone, {**stages, "width_coefficient": width, "depth_coefficient": depth}, image_size)


KERAS_CV: dict[str, Configured] = {
    "densenet121": _densenet(6, 12, 24, 16),
    "densenet169": _densenet(6, 12, 32, 32),
    "densenet201": _densenet(6, 12, 48, 32),
    "efficientnet_lite_b0": _efficientnet(1.0, 1.0, 224, lite=True),
    "efficientnet_lite_b1": _efficientnet(1.0, 1.1, 240, lite=True),
    "efficientnet_lite_b2": _efficientnet(1.1, 1.2, 260, lite=True),
    "efficientnet_lite_b3": _efficientnet(1.2, 1.4, 280, lite=True),
    "efficientnet_lite_b4": _efficientnet(1.4, 1.8, 300, lite=True),
    "efficientnet_v1_b0": _efficientnet(1.0, 1.0, 224, lite=False),
    "efficientnet_v1_b1": _efficientnet(1.0, 1.1, 240, lite=False),
    "efficientnet_v1_b2": _efficientnet(1.1, 1.2, 260, lite=False),
    "efficientnet_v1_b3": _efficientnet(1.2, 1.4, 300, lite=False),
    "efficientnet_v1_b4": _efficientnet(1.4, 1.8, 380, lite=False),
    "efficientnet_v1_b5": _efficientnet(1.6, 2.2, 456, lite=False),
    "efficientnet_v1_b6": _efficientnet(1.8, 2.6, 528, lite=False),
    "efficientnet_v1_b7": _efficientnet(2.0, 3.1, 600, lite=False),
    "resnet18": _resnet(2, 2, 2, 2, block="basic_block"),
    "resnet34": _resnet(3, 4, 6, 3, block="basic_block"),
    "resnet50": _resnet(3, 4, 6, 3, block="block"),
    "resnet101": _resnet(3, 4, 23, 3, block="block"),
    "resnet152": _resnet(3, 8, 36, 3, block="block"),
    "resnet18_v2": _resnet(2, 2, 2, 2, block="basic_block", version="V2"),
    "resnet34_v2": _resnet(3, 4, 6, 3, block="basic_block", version="V2"),
    "resnet50_v2": _resnet(3, 4, 6, 3, block="block", version="V2"),
    "resnet101_v2": _resnet(3, 4, 23, 3, block="block", version="V2"),
    "resnet152_v2": _resnet(3, 8, 36, 3, block="block", version="V2"),
    "vgg16": Configured("VGG16Backbone", {"include_top": False}),
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
    """Returns the names that `transfer.backbone` takes and that match a shell-style pattern. Loads no TensorFlow.

    The presets of KerasHub are not among them, since only KerasHub knows their names.

    >>> list_backbones("*lite0"), list_backbones("keras:ResNet50*")
    (['efficientnet_lite0'], ['keras:ResNet50', 'keras:ResNet50V2'])
    """
    names = zoo.list_models() + [f"keras:{name}" for name in sorted(KERAS_APPLICATIONS)]
    names += [f"keras_cv:{name}" for name in sorted(KERAS_CV)] + list(REGISTERED)
    return [name for name in names if fnmatchcase(name, pattern)]


def near_backbones(name: str) -> list[str]:
    """Returns the names that may have been meant by a wrong one, best first.

    Names are compared without case, and without their name space.

    >>> near_backbones("resnet50v2")[0]
    'keras:ResNet50V2'
    """
    names = {known.lower(): known for known in list_backbones()}
    for space in ("keras_cv", "keras"):
        names |= {known.lower().partition(":")[2]: known for known in list_backbones(f"{space}:*")}
    return list(dict.fromkeys(names[match] for match in get_close_matches(name.lower(), names, n=5, cutoff=0.5)))
