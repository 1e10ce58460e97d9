"""U-Net: a way down that sees what is in an image, and a way up that finds out where.

Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation": figure 1 and
section 2. `unet` is that network. `backbone_unet` has a pretrained trunk on the way down; on the way up, its maps are
enlarged by bilinear interpolation, and convolutions have batch norms.
"""

from collections.abc import Sequence

import keras

from zoo.blocks import DefaultConv2D, conv_bn
from zoo.layers import CropToMatch, ResizeToMatch
from zoo.segmentation.maps import check_classes, pixels, trunk_maps

__all__ = ["backbone_unet", "unet"]

MOMENTUM = 0.9  # of batch norms: new ones must settle within the few hundred steps of a small data set


def unet(
    input_shape: tuple[int | None, int | None, int],
    num_classes: int,
    *,
    filters: int = 64,
    depth: int = 4,
    padding: str = "valid",
    dropout: float = 0.5,
    activation: str | None = "softmax",
) -> keras.Model:
    """Builds U-Net as it was published.

    Args:
        input_shape: Height, width and channels; sizes may be None. The paper has (572, 572, 1), which gives 388 x 388.
        num_classes: Number of classes, the background included.
        filters: Channels of the first level, which double from level to level. Defaults to 64.
        depth: How often the maps are halved. Defaults to 4.
        padding: "valid", as published: every convolution loses a pixel at each side, and the map for the image's middle
            comes out. "same" keeps the size. Defaults to "valid".
        dropout: Share of the values of the deepest maps that are dropped in training. Defaults to 0.5.
        activation: Name of the activation over the classes. Defaults to "softmax".

    Returns:
        A model from images to probabilities, float32 `[n, height, width, num_classes]`.

    Raises:
        ValueError: There are too few or too many classes, or the padding is unknown.

    Example:

    >>> unet((572, 572, 1), 2, filters=2).output_shape
    (None, 388, 388, 2)
    >>> unet((63, 90, 3), 2, filters=2, padding="same").output_shape
    (None, 63, 90, 2)
    """
    check_classes(num_classes)
    if padding not in ("valid", "same"):
        raise ValueError(f'the padding of U-Net is "valid" or "same"; got {padding!r}')

    def twice(x, channels: int, name: str):
        for number in (1, 2):
            x = DefaultConv2D(channels, padding=padding, name=f"{name}_conv{number}")(x)
        return x

    image = keras.Input(input_shape)
    x, skips = image, []
    for level in range(depth):
        x = twice(x, filters * 2**level, f"down{level + 1}")
        if level == depth - 1 and dropout:
            x = keras.layers.Dropout(dropout, name="down_dropout")(x)
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, padding=padding, name=f"down{level + 1}_pool")(x)
    x = twice(x, filters * 2**depth, "bottom")
    if dropout:
        x = keras.layers.Dropout(dropout, name="bottom_dropout")(x)
    for level in reversed(range(depth)):
        channels, skip, name = filters * 2**level, skips[level], f"up{level + 1}"
        x = keras.layers.Conv2DTranspose(
            channels, 2, strides=2, kernel_initializer="he_normal", activation="relu", name=f"{name}_enlarge"
        )(x)
        if padding == "valid":
            skip = CropToMatch(centred=True, name=f"{name}_crop")([skip, x])
        else:
            x = CropToMatch(name=f"{name}_crop")([x, skip])
        x = keras.layers.Concatenate(name=f"{name}_concat")([skip, x])
        x = twice(x, channels, name)
    return keras.Model(image, pixels(x, num_classes, activation=activation), name="unet")


def backbone_unet(
    backbone: keras.Model,
    num_classes: int,
    *,
    levels: Sequence[str] = ("c1", "c2", "c3", "c4", "c5"),
    filters: Sequence[int] = (24, 32, 48, 64, 128),
    image_filters: int = 16,
    activation: str | None = "softmax",
    name: str = "unet",
) -> keras.Model:
    """Builds U-Net with any trunk on the way down.

    The deepest map is enlarged to the size of the map before it, both are concatenated, and two convolutions follow; so
    up to the size of the image, whose own pixels take part, too.

    Args:
        backbone: A functional model from images of any size or of one size. Its layers and weights are shared.
        num_classes: Number of classes, the background included.
        levels: The maps of the trunk, from fine to coarse, as levels or names of layers. Defaults to c1 to c5; those
            that a trunk does not have can be left out.
        filters: Channels on the way up, at the stride of each of these maps but the deepest; that of the deepest map is
            the number to which its channels are reduced. Defaults to (24, 32, 48, 64, 128).
        image_filters: Channels at the size of the image. Defaults to 16.
        activation: Name of the activation over the classes. Defaults to "softmax".
        name: Name of the model. Defaults to "unet".

    Returns:
        A model from images to probabilities, float32 `[n, height, width, num_classes]` at the size of the images.

    Raises:
        ValueError: There are too few or too many classes, a map is missing, or there are not as many filters as maps.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> backbone_unet(backbone, 5).output_shape
    (None, 64, 96, 5)
    """
    check_classes(num_classes)
    if len(filters) != len(levels):
        raise ValueError(f"expected a number of filters for each of the {len(levels)} levels, got {tuple(filters)}")
    image, maps = trunk_maps(backbone, levels)
    x = _conv(maps[-1], filters[-1], 1, "reduce")
    for level, skip, channels in reversed(list(zip(levels[:-1], maps[:-1], filters[:-1], strict=True))):
        x = ResizeToMatch(name=f"up_{level}_enlarge")([x, skip])
        skip = _conv(skip, channels, 1, f"up_{level}_skip")
        x = keras.layers.Concatenate(name=f"up_{level}_concat")([x, skip])
        x = _conv(_conv(x, channels, 3, f"up_{level}_1"), channels, 3, f"up_{level}_2")
    x = ResizeToMatch(name="up_image_enlarge")([x, image])
    own = keras.layers.Rescaling(1 / 127.5, offset=-1, name="up_image_pixels")(image)
    x = keras.layers.Concatenate(name="up_image_concat")([x, own])
    x = _conv(x, image_filters, 3, "up_image")
    return keras.Model(image, pixels(x, num_classes, activation=activation), name=name)


def _conv(x, filters: int, kernel_size: int, name: str):
    return conv_bn(x, filters, kernel_size, momentum=MOMENTUM, name=name)
