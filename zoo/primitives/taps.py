"""The border between a trunk and what is built on its maps, marked in the graph itself."""

import keras

__all__ = ["TrunkMap"]


@keras.saving.register_keras_serializable(package="zoo")
class TrunkMap(keras.layers.Identity):
    """Hands a feature map of a trunk on to a decoder, and changes nothing.

    What lies below such layers is the trunk, and all else is new. A network whose output is a map has no other mark of
    where its trunk ends, and this one is still there when the network was saved and loaded.

    Input shape:
        `[n, h, w, c]`.

    Output shape:
        The same.

    Example:

    >>> TrunkMap(name="trunk_c5")(keras.ops.ones((1, 2, 3, 4))).shape
    TensorShape([1, 2, 3, 4])
    """
