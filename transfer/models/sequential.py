"""Sequential models as the functional models that they are."""

import keras

__all__ = ["as_functional"]


def as_functional(model: keras.Model) -> keras.Model:
    """Returns a sequential model as a functional one with the same layers, and any other model as it is.

    A sequential model knows its `output` only once it was called, and a functional one always.

    >>> model = keras.Sequential([keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D()])
    >>> as_functional(model).output.shape
    (None, 3)
    """
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name) if type(model) is keras.Sequential else model
