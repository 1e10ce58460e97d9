"""Making a model of the zoo."""

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
    """Builds a flat functional model that takes RGB in 0..255 and normalises inside.

    Args:
        variant: a name from `list_models`, or a row of a family's table with values of one's own.
        num_classes: width of the classifier; unless told, the variant's own, which is 1000 for photos. If told, and
            the weights are for another number, the classifier starts afresh, and a warning says so.
        input_shape: (height, width, channels); height and width may be None where the head allows it. The variant's
            own size unless told.
        weights: None for random ones; "imagenet"; or the path of a file that `zoo.weights.pretrained.load_weights`
        reads.
        include_top: False ends the model at the last feature map.
        classifier_activation: of the last layer; None gives logits.
        in_channels: "adapt" lets weights into a model for images of other channels than they were trained on: the
            kernel of the first convolution is summed or tiled and rescaled, so that a grey image gives the same first
            activation, and a warning says so.

    Returns:
        `[n, height, width, channels]` in 0..255 -> float32 `[n, num_classes]`, or the last feature map.

    Raises:
        ValueError: unknown name, an input smaller than the network can take, `num_classes` where there is no top,
            `in_channels` where there are no weights, or weights that do not fit.
        FileNotFoundError: weights that cannot be had; the message says how to get them.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", num_classes=10, input_shape=(64, 96, 3))
    >>> model.output_shape
    (None, 10)
    """
    name = variant if isinstance(variant, str) else type(variant).__name__.lower()
    row = family_of(variant).VARIANTS[variant] if isinstance(variant, str) else variant
    # The table may list rows that another family builds: ResNeXt's are ResNet's
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
        raise ValueError(f"input_shape is (height, width, channels), got {shape}")
    if any(size is not None and size < row.min_size for size in shape[:2]):
        raise ValueError(f"{name} needs an image of at least {row.min_size}x{row.min_size} pixels, got {shape}")
    return tuple(shape)
