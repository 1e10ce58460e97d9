"""What stands on top of a trunk: classifiers, and later localisation and fully convolutional tops."""

import keras

__all__ = ["classifier"]


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
