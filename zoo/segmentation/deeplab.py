"""DeepLabV3+: convolutions of several dilations side by side, and a small decoder that sharpens the borders.

Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation": section 3 and
figure 2; the pyramid with the image's mean: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image
Segmentation", section 3.3. Convolutions of the pyramid and of the decoder are separable, as in section 3.1.
"""

from collections.abc import Sequence

import keras

from zoo.blocks import conv_bn, separable_bn
from zoo.layers import ResizeToMatch
from zoo.segmentation.maps import check_classes, trunk_maps
from zoo.surgery.dilation import dilated

__all__ = ["deeplab_v3_plus"]

MOMENTUM = 0.9  # of batch norms: new ones must settle within the few hundred steps of a small data set
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # Output stride -> dilations of the pyramid.
LOW_LEVEL_FILTERS = 48


def deeplab_v3_plus(
    backbone: keras.Model,
    num_classes: int,
    *,
    output_stride: int = 16,
    rates: Sequence[int] | None = None,
    filters: int = 256,
    dropout: float = 0.1,
    activation: str | None = "softmax",
    name: str = "deeplab_v3_plus",
) -> keras.Model:
    """Builds DeepLabV3+ on any trunk.

    Args:
        backbone: A functional model from images of any size or of one size. Its strides beyond `output_stride` become
            dilations (`zoo.surgery.dilation.dilated`), so its weights are copied; it does not change.
        num_classes: Number of classes, the background included.
        output_stride: Stride of the deepest map: 16 or 8. Defaults to 16.
        rates: Dilations of the pyramid. Defaults to those of the paper: 6, 12 and 18 for a stride of 16, and twice as
            many for 8.
        filters: Channels of the pyramid and of the decoder. Defaults to 256.
        dropout: Share of the values of the pyramid's result that are dropped in training. Defaults to 0.1.
        activation: Name of the activation over the classes. Defaults to "softmax".
        name: Name of the model. Defaults to "deeplab_v3_plus".

    Returns:
        A model from images to probabilities, float32 `[n, height, width, num_classes]` at the size of the images.

    Raises:
        ValueError: The stride is another one, there are too few or too many classes, or a map is missing.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> deeplab_v3_plus(backbone, 5, filters=16).output_shape
    (None, 64, 96, 5)
    """
    check_classes(num_classes)
    if output_stride not in RATES:
        raise ValueError(f"the output stride of DeepLabV3+ is 16 or 8, got {output_stride}")
    deepest = f"c{output_stride.bit_length() - 1}"
    image, (low, deep) = trunk_maps(dilated(backbone, output_stride), ("c2", deepest))
    x = _pyramid(deep, rates or RATES[output_stride], filters)
    if dropout:
        x = keras.layers.Dropout(dropout, name="aspp_dropout")(x)
    x = ResizeToMatch(name="decoder_enlarge")([x, low])
    low = conv_bn(low, LOW_LEVEL_FILTERS, momentum=MOMENTUM, name="decoder_low_level")
    x = keras.layers.Concatenate(name="decoder_concat")([x, low])
    for number in (1, 2):
        x = separable_bn(x, filters, momentum=MOMENTUM, name=f"decoder_{number}")
    scores = keras.layers.Conv2D(num_classes, 1, name="pixels_scores")(x)
    scores = ResizeToMatch(name="pixels_enlarge")([scores, image])
    outputs = keras.layers.Activation(activation or "linear", dtype="float32", name="pixels")(scores)
    return keras.Model(image, outputs, name=name)


def _pyramid(x, rates: Sequence[int], filters: int):
    """Applies atrous convolutions of several rates side by side: the pyramid of section 3.3 (ASPP)."""
    branches = [conv_bn(x, filters, momentum=MOMENTUM, name="aspp_1x1")]
    branches += [
        separable_bn(x, filters, dilation_rate=rate, momentum=MOMENTUM, name=f"aspp_rate{rate}") for rate in rates
    ]
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)
    mean = conv_bn(mean, filters, momentum=MOMENTUM, name="aspp_image")
    branches.append(ResizeToMatch(name="aspp_image_enlarge")([mean, x]))
    x = keras.layers.Concatenate(name="aspp_concat")(branches)
    return conv_bn(x, filters, momentum=MOMENTUM, name="aspp_project")
