"""Batch norms folded away before a model is written for other runtimes."""

import keras

from zoo.surgery.conversion import fold_batch_norms

__all__ = ["folded"]


def folded(model: keras.Model) -> keras.Model:
    """Returns a model whose batch norms became part of their neighbours, where that changes nothing but rounding.

    Args:
        model: A functional or sequential model. Of a model with methods of its own, such as a detector, give the plain
            network: `keras.Model(model.inputs[0], model.output)`.

    Returns:
        A new model with copies of the weights; or the same model, if it has no graph in which anything could be folded.
    """
    try:
        return fold_batch_norms(model)
    except ValueError:
        return model
