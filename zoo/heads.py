"""What stands on top of a trunk: classifiers and regressors on a pooled map, and dense tops on a flattened one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

__all__ = ["POOLINGS", "answers", "classifier", "dense_classifier", "hidden_layers", "pooled"]

POOLINGS = ("average", "max", "both")


def classifier(
    x,
    num_classes: int,
    *,
    activation: str | None = "softmax",
    dropout: float = 0.0,
    seed: int | None = None,
    pooling: str = "average",
    hidden: Sequence[int] = (),
):
    """Global pooling, dropout and one dense layer, in float32 whatever the policy; hidden layers before it on demand.

    Source: Lin et al. 2014, "Network In Network", section 3.2.

    Args:
        x: feature map `[n, h, w, c]`.
        num_classes: at least 1.
        activation: of the last dense layer; None gives logits.
        dropout: rate before each dense layer, in [0, 1).
        seed: of the dense layers' first weights and of the dropout.
        pooling: as of `pooled`.
        hidden: widths of dense layers with ReLU before the last one.

    Returns:
        float32 `[n, num_classes]`.

    >>> classifier(keras.Input((7, 9, 32)), 5, dropout=0.2, pooling="both", hidden=[16]).shape
    (None, 5)
    """
    x = pooled(x, pooling)
    return answers(x, num_classes, activation=activation, hidden=hidden, dropout=dropout, seed=seed)


def pooled(x, pooling: str = "average"):
    """One vector for each image.

    Args:
        x: feature map `[n, h, w, c]`.
        pooling: "average" over the map's pixels; "max", their largest, for a class that shows in a small place; or
            "both" beside each other.

    Returns:
        `[n, c]`, or `[n, 2 c]` for "both".

    Raises:
        ValueError: an unknown pooling.

    >>> pooled(keras.Input((7, 9, 32)), "both").shape
    (None, 64)
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}")
    pools = []
    if pooling in ("average", "both"):
        pools.append(keras.layers.GlobalAveragePooling2D(name="avg_pool")(x))
    if pooling in ("max", "both"):
        pools.append(keras.layers.GlobalMaxPooling2D(name="max_pool")(x))
    return pools[0] if len(pools) == 1 else keras.layers.Concatenate(name="pools")(pools)


def answers(
    x,
    units: int,
    *,
    activation: str | None = "softmax",
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
    seed: int | None = None,
    prefix: str = "",
):
    """Dense layers on a vector, the last one in float32 whatever the policy.

    Args:
        x: `[n, c]`.
        units: of the last layer.
        activation: of the last layer; None gives what it computes.
        hidden: widths of dense layers with ReLU before it.
        dropout: rate before each dense layer, in [0, 1).
        seed: of the dense layers' first weights and of the dropout.
        prefix: of all layers' names, for several heads on one trunk.

    Returns:
        float32 `[n, units]`.

    >>> answers(keras.Input((32,)), 2, activation=None, hidden=[16, 8], dropout=0.1).shape
    (None, 2)
    """
    for i, width in enumerate(hidden, 1):
        if dropout:
            x = _dropout(dropout, seed, i, f"{prefix}hidden{i}_dropout")(x)
        start = keras.initializers.HeNormal(_seed(seed, i))
        x = keras.layers.Dense(width, activation="relu", kernel_initializer=start, name=f"{prefix}hidden{i}")(x)
    if dropout:
        x = _dropout(dropout, seed, 0, f"{prefix}top_dropout")(x)
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        dtype="float32",
        name=f"{prefix}predictions",
    )(x)


def _dropout(rate: float, seed: int | None, index: int, name: str) -> Callable[..., Any]:
    return keras.layers.Dropout(rate, seed=_seed(seed, index), name=name)


def _seed(seed: int | None, index: int) -> int | None:
    """One for each layer, so that no two draw alike; the last layer's is the seed itself."""
    return None if seed is None else seed + 1000 * index


def dense_classifier(
    x,
    num_classes: int,
    *,
    units: tuple[int, ...] = (4096, 4096),
    hidden: str = "relu",
    dropout: float = 0.5,
    activation: str | None = "softmax",
):
    """Flattens the map, then dense layers with dropout after each, and one for the classes, in float32.

    The top of networks before global pooling. Its first layer has a weight for each place of the map, so the size of
    the image has to be known.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.5.

    Args:
        x: feature map `[n, h, w, c]`.
        num_classes: at least 1.
        units: of the hidden layers, named `fc1`, `fc2`, ...
        hidden: their activation.
        dropout: rate after each hidden layer, in [0, 1).
        activation: of the last layer; None gives logits.

    Returns:
        float32 `[n, num_classes]`.

    Raises:
        ValueError: a height or width that is not known.

    >>> dense_classifier(keras.Input((2, 3, 32)), 5, units=(16, 8)).shape
    (None, 5)
    """
    x = hidden_layers(x, units=units, activation=hidden, dropout=dropout)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def hidden_layers(x, *, units: tuple[int, ...], activation: str = "relu", dropout: float = 0.0):
    """`dense_classifier` without its last layer: `[n, units[-1]]`."""
    if None in x.shape[1:]:
        raise ValueError(
            f"dense layers on a flattened map need a known height and width, got a map of {x.shape[1:]}: give the "
            "model an input_shape without None, or leave its top out"
        )
    x = keras.layers.Flatten(name="flatten")(x)
    for i, width in enumerate(units, 1):
        x = keras.layers.Dense(width, activation=activation, kernel_initializer="he_normal", name=f"fc{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"fc{i}_dropout")(x)
    return x
