"""CSPResNet-50 and CSPDarknet-53: cross stage partial networks.

Wang et al. 2020, "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", section 3. CSPDarknet-53 is that
of Bochkovskiy et al. 2020, "YOLOv4", section 3.4. The sizes are those of the authors' configuration files, from which
timm's models of these names were made as well.

Deliberate deviation: the two parts of the first stage have equal widths, as in timm. The authors' files give them
different widths.
"""

from dataclasses import dataclass
from functools import partial

import keras

from zoo.blocks import bottleneck, conv_bn, csp_stage, normalise, pad_symmetric, residual_add
from zoo.heads import classifier
from zoo.layers import leaky_relu
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "CSPNet", "dark_unit", "head", "trunk"]

EPSILON = 1e-5


@dataclass(frozen=True)
class CSPNet(Variant):
    """A row of the table of cross stage partial networks.

    Attributes:
        units: Number of units of each stage.
        dark: Whether the units are those of Darknet. The network then has a stride before each stage and no pooling.
    """

    units: tuple[int, ...]
    dark: bool


VARIANTS = {
    "cspresnet50": CSPNet((3, 3, 5, 2), dark=False, image_size=256),
    "cspdarknet53": CSPNet((1, 2, 8, 8, 4), dark=True, image_size=256),
}


def trunk(image, variant: CSPNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 1024]`.

    Sizes are rounded up at each stride.
    """
    conv = partial(conv_bn, padding="symmetric", activation=leaky_relu, epsilon=EPSILON)
    x = normalise(image, "imagenet")
    if variant.dark:
        x = conv(x, 32, 3, name="stem")
    else:
        x = conv(x, 64, 7, strides=2, name="stem")
        x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(pad_symmetric(x, 3, name="stem_pool"))
    for stage, units in enumerate(variant.units):
        filters = (64 if variant.dark else 128) * 2**stage
        name = f"stage{stage + 1}"
        if variant.dark:
            # The units have half of the channels of the stage, except in the first stage, which has few channels.
            part = filters if stage == 0 else filters // 2
            unit = partial(dark_unit, width=filters // 2)
            x = conv(x, filters, 3, strides=2, name=f"{name}_down")
        else:
            part = filters
            unit = partial(bottleneck, filters=filters, width=filters // 2, activation=leaky_relu, epsilon=EPSILON)
            x = x if stage == 0 else conv(x, x.shape[-1], 3, strides=2, name=f"{name}_down")
        x = csp_stage(
            x,
            filters,
            units,
            unit,
            part=part,
            activation=leaky_relu,
            part_activation=leaky_relu if variant.dark else None,
            epsilon=EPSILON,
            name=name,
        )
    return x


def dark_unit(x, *, width: int, name: str):
    """Applies a 1x1 convolution to `width` channels and a 3x3 convolution back to those of `x`, and adds `x`.

    Source: Redmon & Farhadi 2018, "YOLOv3: An Incremental Improvement", table 1.
    """
    conv = partial(conv_bn, activation=leaky_relu, epsilon=EPSILON)
    branch = conv(x, width, name=f"{name}_1")
    return residual_add(conv(branch, x.shape[-1], 3, name=f"{name}_2"), x, name=name)


def head(x, variant: CSPNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation)
