"""What TensorFlow keeps of a layer's forward pass for its gradient: the tensors that the gradient functions read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from math import prod
from typing import Any

import keras

from zoo.layers import DepthPool, DropPath, LayerScale, LocalResponseNormalization, PatchMap, PatchTokens, ScaledAdd
from zoo.surgery.graph import Call

__all__ = ["Kept", "kept_for_gradient"]


@dataclass(frozen=True)
class Kept:
    """What one call keeps, for one image.

    Attributes:
        tensors: Inputs and outputs of the call that its gradient reads.
        internal: Bytes of tensors inside the layer that its gradient reads.
        temporary: Bytes that the computation of the gradient takes, apart from the gradients of the output and the
            inputs.
        in_place: Whether the gradient of the first input takes the memory of the gradient of the output.
        is_view: Whether the output has the memory of the input.
        known: Whether there is a rule for the type. Without a rule, inputs and outputs count as kept.
    """

    tensors: tuple = ()
    internal: int = 0
    temporary: int = 0
    in_place: bool = False
    is_view: bool = False
    known: bool = True

    def nothing(self) -> "Kept":
        """Returns the rule of a call that no gradient reaches."""
        return Kept(is_view=self.is_view)


@dataclass(frozen=True)
class Activation:
    """What the gradient of an activation reads.

    Attributes:
        input: Whether it reads the input.
        output: Whether it reads the output.
        internal: Number of tensors of that size in between that it reads.
    """

    input: bool = False
    output: bool = False
    internal: int = 0


# The keys are the names of Keras. Activations that are composed of several operations read what those read.
READS_OUTPUT, READS_INPUT = Activation(output=True), Activation(input=True)
ACTIVATIONS = {
    "linear": Activation(),
    **dict.fromkeys(("relu", "relu6", "sigmoid", "tanh", "elu", "selu", "exponential"), READS_OUTPUT),
    **dict.fromkeys(("softmax", "log_softmax"), READS_OUTPUT),
    **dict.fromkeys(("silu", "softplus", "softsign", "leaky_relu"), READS_INPUT),
    "hard_sigmoid": Activation(internal=1),
    "hard_silu": Activation(input=True, internal=2),
    "mish": Activation(input=True, internal=1),
    "gelu": Activation(internal=3),
}
L = keras.layers


def kept_for_gradient(operation: keras.Operation, call: Call, *, compute_dtype: str | None = None) -> Kept:
    """Returns what the gradient of one call reads, for one image.

    Args:
        operation: The operation of the call.
        call: The call, with the shapes for a batch of 1.
        compute_dtype: The dtype in which the layer computes. Defaults to the layer's own.

    Example:

    >>> from zoo.surgery.graph import graph_of
    >>> image = keras.Input((7, 9, 3))
    >>> model = keras.Model(image, keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(image)))
    >>> [len(kept_for_gradient(call.operation, call).tensors) for call in graph_of(model, batch_size=1).calls]
    [1, 2]
    """
    dtype = compute_dtype or getattr(operation, "compute_dtype", None) or "float32"
    return _kept(operation, call, 2 if dtype in ("float16", "bfloat16") else 4)


@singledispatch
def _kept(operation: Any, call: Call, width: int) -> Kept:
    """Returns the rule for the type of an operation. `width` is the number of bytes per value in the compute dtype."""
    everything = Kept((*call.inputs, *call.outputs), known=False)
    if isinstance(operation, keras.layers.Layer):
        return everything
    # The operations of `keras.ops` have classes without public names.
    name = type(operation).__name__
    if name in OPS_THAT_READ_NOTHING:
        return Kept(in_place=True)
    if name in OPS_THAT_READ_INPUTS:
        # If the other operand is a constant, nothing is read.
        return Kept(call.inputs if len(call.inputs) > 1 else ())
    return _activated(call, name.lower(), width) if name.lower() in ACTIVATIONS else everything


OPS_THAT_READ_NOTHING = {"Add", "Subtract", "Negative", "Concatenate", "Stack", "Split", "Pad", "Reshape", "Transpose"}
OPS_THAT_READ_NOTHING |= {"Squeeze", "ExpandDims", "GetItem", "BroadcastTo", "Mean", "Sum", "Flip", "Roll", "Cast"}
OPS_THAT_READ_INPUTS = {"Multiply", "Divide", "TrueDivide", "Matmul", "Einsum", "Maximum", "Minimum"}


def _rule(*kinds: type) -> Callable:
    """Registers one rule for several types."""

    def register(function):
        for kind in kinds:
            _kept.register(kind)(function)
        return function

    return register


@_rule(*(getattr(L, f"Conv{n}D{transpose}") for n in (1, 2, 3) for transpose in ("", "Transpose")))
@_rule(L.DepthwiseConv1D, L.DepthwiseConv2D, L.Dense, L.EinsumDense)
def _product(layer, call, width):
    # The gradient of the kernel is a product of the input and the gradient of the output. The gradient of the input
    # only needs the kernel.
    rule = _activated(call, layer.activation, width, inside=True)
    return replace(rule, tensors=(*(call.inputs if layer.trainable_weights else ()), *rule.tensors), in_place=False)


@_rule(L.SeparableConv1D, L.SeparableConv2D)
def _separable(layer, call, width):
    rule = _product(layer, call, width)
    between = prod(call.output.shape[:-1]) * layer.pointwise_kernel.shape[-2]
    return replace(rule, internal=rule.internal + width * between) if layer.trainable_weights else rule


def _activated(call: Call, activation: Any, width: int, *, inside: bool = False) -> Kept:
    """Returns the rule of an activation, given its function or name.

    Inside of a layer, the input of the activation is not a tensor of `call`.
    """
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "linear")
    reads = ACTIVATIONS.get(name, Activation(input=True, output=True, internal=1))
    return Kept(
        tensors=(*(call.inputs if reads.input and not inside else ()), *(call.outputs if reads.output else ())),
        internal=(reads.internal + (reads.input and inside)) * _bytes(call.output, width),
        temporary=2 * _bytes(call.output, width) if reads.internal or reads.input else 0,
        in_place=True,
        is_view=name == "linear" and not inside,
        known=name in ACTIVATIONS,
    )


@_rule(L.Activation)
def _activation(layer, call, width):
    return _activated(call, layer.activation, width)


@_rule(L.ReLU)
def _relu(layer, call, width):
    plain = layer.max_value in (None, 6) and not layer.negative_slope and not layer.threshold
    return _activated(call, "relu" if plain else "capped relu", width)


@_rule(L.LeakyReLU, L.ELU, L.Softmax)
def _named_activation(layer, call, width):
    return _activated(call, {"LeakyReLU": "leaky_relu"}.get(type(layer).__name__, type(layer).__name__.lower()), width)


@_rule(L.PReLU)
def _prelu(layer, call, width):
    return Kept(internal=2 * _bytes(call.output, width), in_place=True)


@_rule(L.BatchNormalization, L.LayerNormalization, L.GroupNormalization, L.RMSNormalization)
def _normalisation(layer, call, width):
    # These layers are composed of elementwise operations, in float32 under every policy. In half precision a copy of
    # the input is read. Layer and RMS normalisation also read the scale of each value.
    values = prod(call.output.shape)
    scales = 4 * values if isinstance(layer, L.LayerNormalization | L.RMSNormalization) else 0
    if isinstance(layer, L.BatchNormalization) and not layer.trainable:
        return Kept(in_place=True)  # a constant scale and shift
    copy = 4 * values if width != 4 else 0
    return Kept(() if copy else call.inputs, internal=copy + scales, temporary=3 * 4 * values)


@_rule(L.MultiHeadAttention)
def _attention(layer, call, width):
    query, value = call.inputs[0], call.inputs[-1 if len(call.inputs) < 2 else 1]
    heads, length, source = layer.num_heads, query.shape[1], value.shape[1]
    value_dim = layer.value_dim or layer.key_dim
    weights = heads * length * source
    if layer.dropout:
        weights += weights + weights // width  # the weights after dropout, and a mask of one byte per value
    values = weights + heads * (length * (layer.key_dim + value_dim) + source * (layer.key_dim + value_dim))
    inputs = call.inputs if layer.trainable_weights else ()
    return Kept(inputs, internal=width * values, temporary=2 * width * heads * length * source)


@_rule(L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D)
@_rule(L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.GlobalMaxPooling3D)
def _maximum(layer, call, width):
    return Kept((*call.inputs, *call.outputs))  # to find where the maximum was


@_rule(DepthPool)
def _depth_pool(layer, call, width):
    return _maximum(layer, call, width) if layer.mode == "max" else Kept()


@_rule(L.Multiply, L.Maximum, L.Minimum, L.Dot)
def _factors(layer, call, width):
    return Kept(call.inputs)


@_rule(LayerScale)
def _scale(layer, call, width):
    return Kept(call.inputs if layer.trainable else ())


@_rule(LocalResponseNormalization)
def _response(layer, call, width):
    return Kept(call.inputs, internal=2 * 4 * prod(call.output.shape), temporary=2 * 4 * prod(call.output.shape))


@_rule(L.Dropout)
def _dropout(layer, call, width):
    # It keeps a mask of one byte per value.
    return Kept(internal=prod(call.output.shape), in_place=True) if layer.rate else Kept(is_view=True, in_place=True)


@_rule(L.GaussianDropout)
def _noise(layer, call, width):
    return Kept(internal=_bytes(call.output, width), in_place=True)


@_rule(L.UpSampling2D, L.Resizing)
def _resized(layer, call, width):
    # The gradient of interpolation reads the size of the input.
    return Kept(() if getattr(layer, "interpolation", "nearest") == "nearest" else call.inputs)


@_rule(L.Flatten, L.Reshape, L.Identity)
def _view(layer, call, width):
    return Kept(is_view=True, in_place=True)


@_rule(L.Add, L.Subtract, L.Average, L.Rescaling, L.Normalization, L.SpatialDropout1D, L.SpatialDropout2D, DropPath)
@_rule(L.SpatialDropout3D, L.GaussianNoise, ScaledAdd)
def _constant_gradient(layer, call, width):
    return Kept(in_place=True)


@_rule(L.Concatenate, L.Permute, L.RepeatVector, L.Embedding, L.UpSampling1D, L.UpSampling3D, PatchMap, PatchTokens)
@_rule(*(getattr(L, f"{kind}{n}D") for kind in ("ZeroPadding", "Cropping", "AveragePooling") for n in (1, 2, 3)))
@_rule(*(getattr(L, f"GlobalAveragePooling{n}D") for n in (1, 2, 3)))
def _moved(layer, call, width):
    return Kept()  # values are copied, or their gradient is spread: nothing is read


def _bytes(tensor: keras.KerasTensor, width: int) -> int:
    return width * prod(tensor.shape)
