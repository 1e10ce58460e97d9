"""The embedding of a photo: the numbers that the last layer of a network decides by."""

from typing import Any

import keras

from zoo.surgery.flattening import input_of

__all__ = ["embedding_of"]


def embedding_of(model: keras.Model) -> Any:
    """Returns the tensor that the last dense layer of a model sees.

    A model without dense layers has the input of its last layer averaged over all places instead.

    Args:
        model: A flat functional model.

    Returns:
        A `KerasTensor` of the shape `[None, features]`, from which a further model can be made.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(image))
    >>> model = keras.Model(image, keras.layers.Dense(2, "softmax")(x))
    >>> embedding_of(model).shape
    (None, 5)
    >>> both = keras.Model(model.inputs[0], {"probabilities": model.outputs[0], "embedding": embedding_of(model)})
    >>> {name: output.shape for name, output in both.output.items()}
    {'probabilities': (None, 2), 'embedding': (None, 5)}
    """
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    embedding = input_of(model, (dense[-1] if dense else model.layers[-1]).name)
    if len(embedding.shape) > 2:
        embedding = keras.ops.mean(embedding, axis=tuple(range(1, len(embedding.shape) - 1)))
    return embedding
