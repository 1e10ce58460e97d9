"""ResNet-18, 34, 50, 101 and 152, and Wide ResNet-50-2: units that learn what to add to their input.

He, Zhang, Ren & Sun 2016, "Deep Residual Learning for Image Recognition", table 1. The shortcuts are option B of
section 3.3. Wide ResNet-50-2 is the bottleneck network of Zagoruyko & Komodakis 2016, "Wide Residual Networks", table
8. ResNeXt (`zoo.models.resnext`) and SE-ResNet (`zoo.models.senet`) are rows of the table here.

`resnet50`, `resnet101` and `resnet152` are the published networks and those of `keras.applications`: the stride of a
stage is in the first 1x1 convolution of its first unit. The rows `*_v1_5` have it in the 3x3 convolution, as PyTorch's
models do. This costs 12% more multiply-adds and gains about half a point of accuracy.

Deliberate deviation: convolutions before a batch norm have no bias. `keras.applications` and Caffe's files have one,
which becomes a part of the mean of the batch norm when such a file is read.
"""

import re
from dataclasses import dataclass

import keras

from zoo.blocks import bottleneck, conv_bn, normalise, pad_symmetric, residual_unit
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "ResNet", "head", "keras_layer", "torch_modules", "trunk"]

EPSILON = 1.001e-5  # This is the value of keras.applications. Other libraries have 1e-5.


@dataclass(frozen=True)
class ResNet(Variant):
    """A column of table 1.

    Attributes:
        units: Number of units of each of the four stages.
        bottleneck: Whether the units have three convolutions and not two. Defaults to True.
        stride_at: Convolution of a bottleneck that has the stride of a stage: "1x1" or "3x3". Defaults to "1x1".
        groups: Number of groups of the 3x3 convolutions. Defaults to 1.
        group_width: Number of channels of a group in the first stage, which doubles at each stage. Defaults to 64.
        se_ratio: Ratio of squeeze-and-excitation in each bottleneck. 0 leaves it out. Defaults to 0.
        normalisation: Normalisation of the image, which `zoo.blocks.normalise` takes. Defaults to "imagenet".
    """

    units: tuple[int, ...]
    bottleneck: bool = True
    stride_at: str = "1x1"
    groups: int = 1
    group_width: int = 64
    se_ratio: int = 0
    normalisation: str = "imagenet"


VARIANTS = {
    "resnet18": ResNet((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet((3, 4, 6, 3), normalisation="caffe"),
    "resnet101": ResNet((3, 4, 23, 3), normalisation="caffe"),
    "resnet152": ResNet((3, 8, 36, 3), normalisation="caffe"),
    "resnet50_v1_5": ResNet((3, 4, 6, 3), stride_at="3x3"),
    "resnet101_v1_5": ResNet((3, 4, 23, 3), stride_at="3x3"),
    "resnet152_v1_5": ResNet((3, 8, 36, 3), stride_at="3x3"),
    "wide_resnet50_2": ResNet((3, 4, 6, 3), stride_at="3x3", group_width=128),
}


def trunk(image, variant: ResNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at each stride.
    """
    x = normalise(image, variant.normalisation)
    x = conv_bn(x, 64, 7, strides=2, padding="symmetric", epsilon=EPSILON, name="stem")
    x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(pad_symmetric(x, 3, name="stem_pool"))
    for stage, units in enumerate(variant.units):
        for unit in range(units):
            strides = 2 if stage > 0 and unit == 0 else 1
            name = f"stage{stage + 2}_unit{unit + 1}"
            if variant.bottleneck:
                x = bottleneck(
                    x,
                    256 * 2**stage,
                    width=variant.groups * variant.group_width * 2**stage,
                    strides=strides,
                    stride_at=variant.stride_at,
                    groups=variant.groups,
                    se_ratio=variant.se_ratio,
                    epsilon=EPSILON,
                    name=name,
                )
            else:
                x = residual_unit(x, 64 * 2**stage, strides=strides, padding="symmetric", epsilon=EPSILON, name=name)
    return x


def head(x, variant: ResNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of ResNet-50, 101 or 152 in `keras.applications`.

    >>> keras_layer("stem_bn"), keras_layer("stage2_unit1_shortcut_conv"), keras_layer("stage5_unit3_1_bn")
    ('conv1_bn', 'conv2_block1_0_conv', 'conv5_block3_1_bn')
    """
    name = name.replace("stem_", "conv1_").replace("shortcut", "0")
    return re.sub(r"stage(\d)_unit(\d+)", r"conv\1_block\2", name)


def torch_modules(model: keras.Model) -> dict[str, str]:
    """Returns the names of the layers in torchvision's ResNets, ResNeXts and wide ResNets."""
    names = {"stem_conv": "conv1", "stem_bn": "bn1", "predictions": "fc"}
    for layer in model.layers:
        if match := re.fullmatch(r"stage(\d)_unit(\d+)_(\d|shortcut)_(conv|bn)", layer.name):
            stage, unit, place, kind = match.groups()
            module = f"downsample.{int(kind == 'bn')}" if place == "shortcut" else f"{kind}{place}"
            names[layer.name] = f"layer{int(stage) - 1}.{int(unit) - 1}.{module}"
    return names
