"""The last layers of networks: dense layers on a pooled feature map, or on a flattened one."""

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
    """Applies global pooling, dropout and a dense layer for the classes.

    Source: Lin et al. 2014, "Network In Network", section 3.2.

    Args:
        x: Feature map `[n, h, w, c]`.
        num_classes: Number of classes, at least 1.
        activation: Activation of the last layer. None gives logits. Defaults to "softmax".
        dropout: Rate of the dropout before each dense layer, in [0, 1). Defaults to 0.
        seed: Seed of the initial weights of the dense layers and of the dropout. Defaults to None.
        pooling: "average", "max" or "both", which `pooled` explains. Defaults to "average".
        hidden: Widths of dense layers with ReLU before the last layer. Defaults to none.

    Returns:
        Probabilities (or logits) `[n, num_classes]`, float32 under every policy.

    >>> classifier(keras.Input((7, 9, 32)), 5, dropout=0.2, pooling="both", hidden=[16]).shape
    (None, 5)
    """
    x = pooled(x, pooling)
    return answers(x, num_classes, activation=activation, hidden=hidden, dropout=dropout, seed=seed)


def pooled(x, pooling: str = "average"):
    """Reduces a feature map to one vector for each image.

    Args:
        x: Feature map `[n, h, w, c]`.
        pooling: "average" takes the mean over the pixels. "max" takes their maximum, which suits classes that are
            visible in a small part of the image. "both" concatenates the two. Defaults to "average".

    Returns:
        Vectors `[n, c]`, or `[n, 2 c]` for "both".

    Raises:
        ValueError: The pooling is unknown.

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
    """Applies dense layers to a vector.

    Args:
        x: Vectors `[n, c]`.
        units: Number of units of the last layer.
        activation: Activation of the last layer. None applies no activation. Defaults to "softmax".
        hidden: Widths of dense layers with ReLU before the last layer. Defaults to none.
        dropout: Rate of the dropout before each dense layer, in [0, 1). Defaults to 0.
        seed: Seed of the initial weights of the dense layers and of the dropout. Defaults to None.
        prefix: Prefix of the names of all layers, which tells several heads on one trunk apart. Defaults to "".

    Returns:
        Outputs `[n, units]`, float32 under every policy.

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
    """Returns a seed for one of the layers, so that no two layers draw the same numbers. The last layer has index 0."""
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
    """Flattens a feature map, and applies dense layers and one dense layer for the classes.

    Networks from before global pooling end in this way. The first dense layer has a weight for each place of the map,
    so the size of the image must be known.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.5.

    Args:
        x: Feature map `[n, h, w, c]`.
        num_classes: Number of classes, at least 1.
        units: Widths of the hidden layers, whose names are `fc1`, `fc2`, ... Defaults to two layers of 4096.
        hidden: Activation of the hidden layers. Defaults to "relu".
        dropout: Rate of the dropout after each hidden layer, in [0, 1). Defaults to 0.5.
        activation: Activation of the last layer. None gives logits. Defaults to "softmax".

    Returns:
        Probabilities (or logits) `[n, num_classes]`, float32 under every policy.

    Raises:
        ValueError: The height or the width of the map is unknown.

    >>> dense_classifier(keras.Input((2, 3, 32)), 5, units=(16, 8)).shape
    (None, 5)
    """
    x = hidden_layers(x, units=units, activation=hidden, dropout=dropout)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name="predictions")(x)


def hidden_layers(x, *, units: tuple[int, ...], activation: str = "relu", dropout: float = 0.0):
    """Applies `dense_classifier` without its last layer, and returns vectors `[n, units[-1]]`."""
    if None in x.shape[1:]:
        raise ValueError(
            f"dense layers on a flattened map need a known height and width, got a map of {x.shape[1:]}: give the "
            "model an input_shape without None, or build it without its top"
        )
    x = keras.layers.Flatten(name="flatten")(x)
    for i, width in enumerate(units, 1):
        x = keras.layers.Dense(width, activation=activation, kernel_initializer="he_normal", name=f"fc{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"fc{i}_dropout")(x)
    return x
