"""The same network in the layers of Keras alone, so that its file opens without this package; and back again.

Some layers of the zoo do what a layer of Keras does, but faster, exportable, or constant while they are frozen. Others
are a few operations of Keras under one name. Both have an equal in Keras' own terms, which is listed here.
"""

from collections.abc import Callable
from typing import Any

import keras

from zoo.layers import (
    DepthPool,
    DropPath,
    GroupedConv2D,
    LayerScale,
    LocalResponseNormalization,
    PatchMap,
    PatchTokens,
    RadialBasis,
    ScaledAdd,
    gelu,
    leaky_relu,
)
from zoo.surgery.graph import Call, Replacement, copied, graph_of, rebuild

__all__ = ["in_zoo", "with_keras_layers", "with_zoo_layers"]

L = keras.layers
ops = keras.ops


def with_keras_layers(model: keras.Model) -> keras.Model:
    """Returns the same network without layers of the zoo: a file of it opens in a process that knows Keras only.

    In inference the outputs are the same up to rounding. In training they differ in one point: where a layer that drops
    at random is frozen, Keras' `Dropout` goes on dropping.

    Args:
        model: A functional or sequential model.

    Returns:
        A flat model with copies of the weights, under the same names; the given model itself if all of its layers are
        Keras' own. A layer that has no equal for these shapes stays as it is: a vision transformer for images of any
        size keeps its tokens, whose positions are interpolated.

    Example:

    >>> image = keras.Input((7, 9, 3))
    >>> branch = DropPath(0.2, name="drop")(keras.layers.Conv2D(3, 3, padding="same")(image))
    >>> model = with_keras_layers(keras.Model(image, keras.layers.Add()([image, branch])))
    >>> type(model.get_layer("drop")).__module__.split(".")[0], model.get_layer("drop").noise_shape
    ('keras', (None, 1, 1, 1))
    """
    graph = graph_of(model)
    if not any(type(call.operation) in _IN_KERAS or _activation(call.operation) for call in graph.calls):
        return model
    # A layer that becomes several operations is a model inside of the new one, which the second pass dissolves.
    return rebuild(rebuild(model, _in_keras, graph=graph))


def with_zoo_layers(model: keras.Model) -> keras.Model:
    """Returns the same network with those layers of the zoo that have one equal layer in Keras.

    They can be exported to every format, they are fast on a CPU, and they are constant while they are frozen.

    Args:
        model: A functional or sequential model.

    Returns:
        A flat model with copies of the weights, under the same names; the given model itself if it has no such layer.

    Example:

    >>> image = keras.Input((7, 9, 4))
    >>> model = keras.Model(image, keras.layers.Conv2D(4, 3, groups=2, name="grouped")(image))
    >>> type(with_zoo_layers(model).get_layer("grouped")).__name__
    'GroupedConv2D'
    """
    graph = graph_of(model)
    if not any(in_zoo(call) for call in graph.calls):
        return model
    return rebuild(model, in_zoo, graph=graph)


def in_zoo(call: Call) -> Replacement | None:
    """Returns the layer of the zoo that does what a layer of Keras does, for `rebuild`; or None."""
    layer = call.operation
    exact_gelu = getattr(layer, "activation", None) is keras.activations.gelu
    if type(layer) is L.Dropout and layer.noise_shape:  # This is stochastic depth.
        return DropPath(layer.rate, seed=layer.seed, name=layer.name), []
    if type(layer) is L.Conv2D and layer.groups > 1:
        return GroupedConv2D.from_config({**layer.get_config(), **({"activation": gelu} if exact_gelu else {})}), None
    return (copied(layer, activation=gelu), None) if exact_gelu else None


def _activation(operation: keras.Operation) -> Any:
    """Returns the activation of a layer if it is one of the zoo's."""
    activation = getattr(operation, "activation", None)
    return activation if activation in (gelu, leaky_relu) else None


def _in_keras(call: Call) -> Replacement | None:
    layer = call.operation
    activation = _activation(layer)
    if activation is None:
        make = _IN_KERAS.get(type(layer))
        return make(layer, call) if make else None
    kind = L.Conv2D if type(layer) is GroupedConv2D else type(layer)
    if activation is gelu:
        return kind.from_config({**layer.get_config(), "activation": "gelu"}), None
    linear = kind.from_config({**layer.get_config(), "activation": "linear"})
    return _model(call, lambda x: L.LeakyReLU(0.1, name=f"{layer.name}_leaky_relu")(linear(x))), layer.get_weights()


def _model(call: Call, function: Callable[..., Any]) -> keras.Model:
    """Returns a function of tensors as a model that takes the place of a call."""
    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in call.inputs]
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, function(*inputs), name=call.operation.name)


def _drop_path(layer: DropPath, call: Call) -> Replacement:
    one_per_sample = (None, *(1 for _ in call.output.shape[1:]))
    return L.Dropout(layer.rate, noise_shape=one_per_sample, seed=layer.seed, name=layer.name), []


def _grouped_conv(layer: GroupedConv2D, call: Call) -> Replacement:
    return L.Conv2D.from_config(layer.get_config()), None


def _layer_scale(layer: LayerScale, call: Call) -> Replacement:
    letters = "abcdefgh"[: len(call.output.shape)]
    shape = call.output.shape[1:]
    return L.EinsumDense(f"{letters},{letters[-1]}->{letters}", shape, name=layer.name), layer.get_weights()


def _scaled_add(layer: ScaledAdd, call: Call) -> Replacement:
    def add(x: Any, branch: Any) -> Any:
        return L.Add(name=layer.name)([x, L.Rescaling(layer.scale, name=f"{layer.name}_scale")(branch)])

    return _model(call, add), []


def _depth_pool(layer: DepthPool, call: Call) -> Replacement:
    def pool(x: Any) -> Any:
        members = [x[..., i :: layer.pool_size] for i in range(layer.pool_size)]
        if layer.pool_size == 1:
            return members[0]
        return (L.Maximum if layer.mode == "max" else L.Average)(name=layer.name)(members)

    return _model(call, pool), []


def _response_normalization(layer: LocalResponseNormalization, call: Call) -> Replacement:
    def normalise(x: Any) -> Any:
        channels, radius = x.shape[-1], layer.depth_radius
        squares = ops.pad(ops.square(x), [(0, 0)] * (len(x.shape) - 1) + [(radius, radius)])
        energy = sum(squares[..., i : i + channels] for i in range(2 * radius + 1))
        return x / (layer.k + layer.alpha * energy) ** layer.beta

    return _model(call, normalise), []


def _radial_basis(layer: RadialBasis, call: Call) -> Replacement:
    return _model(call, lambda x: ops.sum(ops.square(ops.expand_dims(x, 1) - layer.codes), axis=-1)), []


def _patch_tokens(layer: PatchTokens, call: Call) -> Replacement | None:
    _, height, width, channels = call.inputs[0].shape
    if height is None or width is None:
        return None
    length = 1 + height * width

    def tokens(x: Any) -> Any:
        x = L.ZeroPadding1D((1, 0))(L.Reshape((height * width, channels))(x))
        places = ops.cumsum(ops.ones_like(x[..., 0], dtype="int32"), axis=1) - 1
        return L.Add()([x, L.Embedding(length, channels, name=layer.name)(places)])

    # The layer's answer to an empty map is the class token and the positions, at the size of this map.
    table = ops.convert_to_numpy(layer(ops.zeros((1, height, width, channels), layer.compute_dtype)))[0]
    return _model(call, tokens), [table]


def _patch_map(layer: PatchMap, call: Call) -> Replacement | None:
    height, width = call.inputs[1].shape[1:3]
    if height is None or width is None:
        return None
    shape = (height, width, call.inputs[0].shape[-1])
    return _model(call, lambda tokens, patches: L.Reshape(shape, name=layer.name)(tokens[:, 1:])), []


# A class of the zoo -> a function that makes its equal in Keras, as `rebuild` takes it; or None for these shapes.
_IN_KERAS: dict[type, Callable[[Any, Call], Replacement | None]] = {
    DropPath: _drop_path,
    GroupedConv2D: _grouped_conv,
    LayerScale: _layer_scale,
    ScaledAdd: _scaled_add,
    DepthPool: _depth_pool,
    LocalResponseNormalization: _response_normalization,
    RadialBasis: _radial_basis,
    PatchTokens: _patch_tokens,
    PatchMap: _patch_map,
}
