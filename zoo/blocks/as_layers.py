"""Block functions as layers, for `keras.Sequential`."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import keras

from zoo.blocks.excitation import squeeze_excite
from zoo.blocks.inception import inception_module
from zoo.blocks.residual import residual_unit
from zoo.blocks.upsampling import fcn_head

__all__ = ["BlockLayer", "FCNHead", "InceptionModule", "ResidualUnit", "SqueezeExcite", "block_layer"]


class BlockLayer(keras.layers.Layer):
    """A block function as one layer. `block_layer` makes its subclasses.

    Its arguments are those of the function except `x` and `name`, and those of every Keras layer. The layer holds the
    graph that the function builds, so that each block has one definition. In a functional model prefer the function:
    its layers stay visible there.

    The input and the output are those of the function: one tensor each.
    """

    block: Callable
    graph: keras.Model

    def __init__(self, *args: Any, **options: Any):
        signature = inspect.signature(self.block)
        block_options = {
            key: options.pop(key) for key in list(options) if key in signature.parameters and key != "name"
        }
        super().__init__(**options)
        bound = signature.bind(None, *args, **block_options, name=self.name)
        self.options = {key: value for key, value in list(bound.arguments.items())[1:] if key != "name"}

    def build(self, input_shape):
        # The layers of the block take the policy of this layer, which can differ from the global policy.
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            # The height and the width stay open, so that one layer serves all sizes.
            x = keras.Input((*(None for _ in input_shape[1:-1]), input_shape[-1]), dtype=self.compute_dtype)
            self.graph = keras.Model(x, self.block(x, **self.options, name=self.name))
            self.graph.trainable = self.trainable
        finally:
            keras.config.set_dtype_policy(policy)

    def call(self, inputs, training=None):
        return self.graph(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), **self.options}


def block_layer(name: str, block: Callable | str) -> type[BlockLayer]:
    """Makes a layer class of a block function. Keras can save the layers of this class.

    Args:
        name: Name of the class.
        block: The function, or its dotted name. Its first argument is a tensor, and its keyword `name` is the prefix
            of the names of its layers.

    Returns:
        A subclass of `keras.layers.Layer`, which is registered with Keras under the package "zoo".

    Example:

    >>> ConvBN = block_layer("ConvBN", "zoo.blocks.conv_bn")
    >>> keras.Sequential([keras.Input((7, 9, 3)), ConvBN(8, 3, strides=2), ConvBN(16)]).output_shape
    (None, 4, 5, 16)
    """
    function = _function_of(block) if isinstance(block, str) else block
    doc = f"`{function.__name__}` as a layer: it takes the same arguments except `x` and `name`."
    attributes = {"block": staticmethod(function), "__doc__": doc, "__module__": __name__}
    return keras.saving.register_keras_serializable(package="zoo")(type(name, (BlockLayer,), attributes))


def _function_of(dotted_name: str) -> Callable:
    module, _, function = dotted_name.rpartition(".")
    return getattr(importlib.import_module(module), function)


ResidualUnit = block_layer("ResidualUnit", residual_unit)
SqueezeExcite = block_layer("SqueezeExcite", squeeze_excite)
InceptionModule = block_layer("InceptionModule", inception_module)
FCNHead = block_layer("FCNHead", fcn_head)
