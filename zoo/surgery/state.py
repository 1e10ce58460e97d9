"""The state of layers: all that they compute with besides their configuration, copied from layer to layer.

`get_weights` and `set_weights` are not enough for that: an adapted `Normalization` computes with tensors that it makes
of its weights when it is told to, and a lookup layer has its vocabulary in a table. Keras' own way of saving knows all
of this, layer by layer, and it is used here without any file of weights.
"""

import tempfile

import keras

__all__ = ["copy_state"]


def copy_state(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Gives a layer or a model the state of another one of the same configuration, and of the layers inside of it.

    The states of random generators are left out: what is drawn next says nothing about what was learned.

    Args:
        source: A built layer, or a model.
        target: A built layer of the same class, or a model of the same layers; it is changed.

    Raises:
        ValueError: The two do not have the same layers, or weights of other shapes.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.Normalization()
    >>> layer.adapt(np.array([[2.0], [6.0]]))
    >>> copy = keras.layers.Normalization()
    >>> copy.build((None, 1))
    >>> copy_state(layer, copy)
    >>> copy(np.array([[8.0]])).numpy().tolist()
    [[2.0]]
    """
    for old, new in zip(source._flatten_layers(), target._flatten_layers(), strict=True):
        variables: dict = {}
        old.save_own_variables(variables)
        new.load_own_variables(variables)
        if hasattr(old, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)
