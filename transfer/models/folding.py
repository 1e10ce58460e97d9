"""Batch norms folded away before a model is written for other runtimes."""

import keras

from zoo.surgery.conversion import fold_batch_norms

__all__ = ["folded"]


def folded(model: keras.Model) -> keras.Model:
    """Returns a model whose batch norms became part of their neighbours, where that changes nothing but rounding.

    Args:
        model: A functional or sequential model.

    Returns:
        A new plain model with copies of the weights. It is the same model where there is no graph to fold anything in,
        and where its class is not one of Keras' own, since the new model would lack the methods of that class. Of a
        detector, fold the plain network: `keras.Model(model.inputs[0], model.output)`.
    """
    if not type(model).__module__.startswith("keras."):
        return model
    try:
        return fold_batch_norms(model)
    except ValueError:
        return model
