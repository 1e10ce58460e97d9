"""Blocks that enlarge maps, and the fully convolutional head that gives every pixel a class."""

from collections.abc import Sequence

import keras

from zoo.primitives.upsampling import BilinearUpsampling, CropToMatch, PixelShuffle

__all__ = ["fcn_head", "sub_pixel_conv", "transposed_conv"]


def transposed_conv(
    x,
    filters: int | None = None,
    factor: int = 2,
    *,
    activation: str | None = None,
    use_bias: bool = False,
    kernel_initializer=None,
    trainable: bool = True,
    name: str,
):
    """Enlarges a map by a transposed convolution, which begins as bilinear interpolation and can learn.

    The kernel has `2 * factor - factor % 2` pixels in each direction, so that each pixel of the result is made of two
    neighbours in each direction.

    Source: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", section 3.3.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels. Defaults to the number of input channels.
        factor: How many times the height and the width grow. Defaults to 2.
        activation: Name of an activation. Defaults to None, which applies none.
        use_bias: Whether a bias is added. Defaults to False.
        kernel_initializer: Name or object of a Keras initializer. Defaults to bilinear interpolation, which needs as
            many filters as input channels.
        trainable: Whether the kernel learns. Without it, the layer keeps interpolating. Defaults to True.
        name: Name of the layer.

    Returns:
        A map `[n, factor * h, factor * w, filters]`.

    Raises:
        ValueError: The factor is below 1, or the number of channels changes and no initializer is given.

    Example:

    >>> x = keras.ops.reshape(keras.ops.arange(4.0), (1, 1, 4, 1))
    >>> transposed_conv(keras.ops.tile(x, (1, 4, 1, 1)), name="up")[0, 4, 1:-1, 0].numpy().tolist()
    [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]
    """
    channels = x.shape[-1]
    filters = filters or channels
    if factor < 1:
        raise ValueError(f"transposed_conv needs a factor of at least 1, got {factor}")
    if kernel_initializer is None and filters != channels:
        raise ValueError(
            f"bilinear interpolation keeps the number of channels, got {channels} channels and filters={filters}; "
            'give a kernel_initializer, such as "he_normal"'
        )
    return keras.layers.Conv2DTranspose(
        filters,
        2 * factor - factor % 2,
        strides=factor,
        padding="same",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer or BilinearUpsampling(),
        trainable=trainable,
        name=name,
    )(x)


def sub_pixel_conv(x, filters: int, factor: int = 2, *, kernel_size=3, activation: str | None = None, name: str):
    """Enlarges a map by a convolution on the small map, whose channels become the pixels of the large one.

    Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", section 3.2.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Number of output channels.
        factor: How many times the height and the width grow. Defaults to 2.
        kernel_size: Size of the kernel. Defaults to 3.
        activation: Name of an activation. Defaults to None, which applies none.
        name: Prefix of the names of the layers.

    Returns:
        A map `[n, factor * h, factor * w, filters]`.

    Example:

    >>> sub_pixel_conv(keras.Input((7, 9, 4)), 3, 2, name="up").shape
    (None, 14, 18, 3)
    """
    x = keras.layers.Conv2D(
        filters * factor**2, kernel_size, padding="same", activation=activation, name=f"{name}_conv"
    )(x)
    return PixelShuffle(factor, name=f"{name}_shuffle")(x)


def fcn_head(
    x,
    num_classes: int,
    *,
    factor: int = 32,
    skips: Sequence = (),
    image=None,
    dropout: float = 0.0,
    activation: str | None = "softmax",
    name: str = "fcn",
):
    """Turns the last map of a trunk into a class for every pixel: scores by a 1x1 convolution, enlarged to the image.

    Without skips, it is the head of FCN-32s; with the maps of strides 16, or 16 and 8, that of FCN-16s or FCN-8s. The
    scores of each skip are added to the scores so far, which are enlarged twice. Layers that give scores begin at zero,
    and layers that enlarge begin as bilinear interpolation, as in the paper; the last of them is frozen.

    Source: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", sections 3.3 and
    4.2, figure 3.

    Args:
        x: Feature map `[n, h, w, c]`.
        num_classes: Number of classes, the background included.
        factor: Stride of `x`: how many times smaller than the image it is. Defaults to 32.
        skips: Maps of half, a quarter, ... of that stride, the deepest first. Defaults to none.
        image: The network's input `[n, height, width, any]`, to whose size the result is cut where it is not a multiple
            of the stride. Defaults to None, which cuts nothing.
        dropout: Share of the values of `x` that are dropped in training, 0 to 1. Defaults to 0.
        activation: Name of the activation over the classes. Defaults to "softmax".
        name: Prefix of the names of the layers. Defaults to "fcn".

    Returns:
        A map `[n, factor * h, factor * w, num_classes]`, or `[n, height, width, num_classes]` of the image, in float32.

    Raises:
        ValueError: The factor is not a multiple of 2 for each of the skips.

    Example:

    >>> image = keras.Input((64, 96, 3))
    >>> x = keras.layers.Conv2D(8, 3, strides=32, padding="same")(image)
    >>> fcn_head(x, 5).shape
    (None, 64, 96, 5)
    """
    if factor < 1 or factor % 2 ** len(skips):
        raise ValueError(
            f"fcn_head enlarges by 2 for each skip, so it needs a factor that is a multiple of {2 ** len(skips)} with "
            f"{len(skips)} skips; got factor={factor}"
        )
    if dropout:
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = _scores(x, num_classes, f"{name}_score")
    for number, skip in enumerate(skips, 1):
        larger = CropToMatch(name=f"{name}_crop{number}")([transposed_conv(x, name=f"{name}_up{number}"), skip])
        x = keras.layers.Add(name=f"{name}_add{number}")([larger, _scores(skip, num_classes, f"{name}_score{number}")])
    x = transposed_conv(x, factor=factor // 2 ** len(skips), trainable=False, name=f"{name}_up")
    if image is not None:
        x = CropToMatch(name=f"{name}_crop")([x, image])
    return keras.layers.Activation(activation or "linear", dtype="float32", name=f"{name}_pixels")(x)


def _scores(x, num_classes: int, name: str):
    return keras.layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=name)(x)
