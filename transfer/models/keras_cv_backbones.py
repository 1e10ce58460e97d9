"""KerasCV's networks as backbones, each from a configuration that is written out here: nothing is fetched.

KerasCV's own named backbones reach for the network even where no weights are asked for; its generic classes with a
configuration do not. Taken are those that are one graph of Keras' own layers. CSPDarkNet, EfficientNetV2 and
MobileNetV3 have layers of KerasCV's, with which a model file could not be read without it, and where freezing cannot
hold the batch norms inside; the zoo has networks of these families that are flat.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

__all__ = ["KERAS_CV", "Configured", "build"]


@dataclass(frozen=True)
class Configured:
    """A row: one of KerasCV's generic classes, and its configuration.

    Attributes:
        backbone: name of the class in `keras_cv.models`.
        configuration: its arguments.
        image_size: height and width in pixels that the network was published with.
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

VALUES = "unit"  # all of KerasCV's networks were trained on 0..1


def build(name: str, shape: tuple[int, int, int], weights: str | None) -> "keras.Model":
    """The network from images in 0..255 to its last feature map, flat and of Keras' own layers alone.

    Args:
        name: one of `KERAS_CV`.
        shape: height, width and channels of the images.
        weights: None for random ones, or the path of a `.weights.h5` file of KerasCV's backbone.

    Raises:
        FileNotFoundError: other weights, or a file that is not there.
        ModuleNotFoundError: KerasCV is not installed.

    >>> build("resnet18", (64, 96, 3), None).output_shape
    (None, 2, 3, 512)
    """
    if weights == "imagenet":
        raise FileNotFoundError(
            f"keras_cv:{name} is built from a configuration, and comes without weights: give weights=None (`zoo fit` "
            "takes a backbone with weights, such as efficientnet_lite0), or the path of a .weights.h5 file of KerasCV's"
        )
    try:
        import keras_cv
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed, and keras_cv:{name} is of it: pip install keras-cv"
        ) from error
    from transfer.models.normalisation import on_our_normalisation

    row = KERAS_CV[name]
    made = getattr(keras_cv.models, row.backbone)(
        **row.configuration, include_rescaling=False, input_shape=(*shape[:2], 3)
    )
    if weights is not None:
        made.load_weights(weights)
    return on_our_normalisation(made, VALUES, shape, name=name, random=weights is None)
