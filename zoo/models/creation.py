"""Builds a model of the zoo, and loads weights into it."""

import os

import keras

from zoo.models.families import family_of
from zoo.models.loading import load_weights
from zoo.models.variants import Variant

__all__ = ["create_model"]


def create_model(
    variant: str | Variant,
    *,
    num_classes: int | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    in_channels: str | None = None,
) -> keras.Model:
    """Builds a functional model that takes RGB images in 0..255 and normalises them itself.

    Every convolution is a layer of the model itself, and not of a model inside it.

    Args:
        variant: Name of a model from `list_models`, or a row of the table of a family with your own values.
        num_classes: Number of classes of the classifier. Defaults to that of the variant, which is 1000 for photos. If
            it is given, and the weights are for another number of classes, the classifier keeps its random weights,
            and a warning says so.
        input_shape: (height, width, channels) of the images. The height and the width can be None, where the head
            allows it. Defaults to the size of the variant.
        weights: Source of the weights: None for random weights, "imagenet", or the path of a file that
            `zoo.load_weights` reads. Defaults to None.
        include_top: Whether the model has a classifier. Without it, the model ends at the last feature map. Defaults
            to True.
        classifier_activation: Activation of the last layer. None gives logits. Defaults to "softmax".
        in_channels: "adapt" allows images with another number of channels than the weights were trained for. The kernel
            of the first convolution is summed or tiled and rescaled, so that a grey image gives the same first
            activation, and a warning says so. Defaults to None, which refuses such weights.

    Returns:
        A model from images `[n, height, width, channels]` in 0..255 to probabilities `[n, num_classes]`, float32, or to
        the last feature map.

    Raises:
        ValueError: The name is unknown, the input is smaller than the network can take, `num_classes` is given without
            a top, `in_channels` is given without weights, or the weights do not fit.
        FileNotFoundError: The weights are not on this machine. The message says how to get them.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", num_classes=10, input_shape=(64, 96, 3))
    >>> model.output_shape
    (None, 10)
    """
    name = variant if isinstance(variant, str) else type(variant).__name__.lower()
    row = family_of(variant).VARIANTS[variant] if isinstance(variant, str) else variant
    # The family of the row builds it. It can differ from the family that lists it: ResNeXt's rows are rows of ResNet.
    family = family_of(row)
    if not include_top and num_classes is not None:
        raise ValueError(f"include_top=False has no classifier for num_classes={num_classes}: give only one of them")
    if in_channels is not None and weights is None:
        raise ValueError(f"in_channels={in_channels!r} adapts weights, but weights is None: give only one of them")
    shape = _checked_shape(name, row, input_shape)

    image = keras.Input(shape, name="image")
    x = family.trunk(image, row)
    if include_top:
        x = family.head(x, row, row.num_classes if num_classes is None else num_classes, classifier_activation)
    elif isinstance(x, dict):
        x = x["feature_map"]
    model = keras.Model(image, x, name=name)
    if weights is not None:
        load_weights(model, weights, fresh_head=num_classes is not None, in_channels=in_channels)
    return model


def _checked_shape(name: str, row: Variant, shape: tuple | None) -> tuple:
    if shape is None:
        return (row.image_size, row.image_size, row.channels)
    if len(shape) != 3 or shape[2] is None:
        raise ValueError(f"input_shape must be (height, width, channels) with a number of channels, got {shape}")
    if any(size is not None and size < row.min_size for size in shape[:2]):
        raise ValueError(f"{name} needs an image of at least {row.min_size}x{row.min_size} pixels, got {shape}")
    return tuple(shape)
