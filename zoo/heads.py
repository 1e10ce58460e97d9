"""What stands on top of a trunk: classifiers, and later localisation and fully convolutional tops."""

import keras

__all__ = ["classifier", "dense_classifier", "hidden_layers"]


def classifier(
    x, num_classes: int, *, activation: str | None = "softmax", dropout: float = 0.0, seed: int | None = None
):
    """Global average pooling, dropout and one dense layer, in float32 whatever the policy.

    Source: Lin et al. 2014, "Network In Network", section 3.2.

    Args:
        x: feature map `[n, h, w, c]`.
        num_classes: at least 1.
        activation: of the dense layer; None gives logits.
        dropout: rate before the dense layer, in [0, 1).
        seed: of the dense layer's first weights and of the dropout.

    Returns:
        float32 `[n, num_classes]`.

    >>> classifier(keras.Input((7, 9, 32)), 5, dropout=0.2).shape
    (None, 5)
    """
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=seed, name="top_dropout")(x)
    return keras.layers.Dense(
        num_classes,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotUniform(seed),
        dtype="float32",
        name="predictions",
    )(x)


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
