"""Any model as a functional one, and as a flat one: the same layers, put together so that tools can look at them.

A sequential model has a graph once it is built. Models inside of models are dissolved. The `call` of a subclass of
`keras.Model` is followed once with symbolic tensors, which works where it only calls layers and `keras.ops`.
"""

from collections.abc import Callable
from typing import Any

import keras

__all__ = ["flat", "functional", "has_graph", "input_of", "output_of"]


def has_graph(model: Any) -> bool:
    """Returns whether a model was put together of tensors, so that it has a graph."""
    return isinstance(model, keras.Model) and isinstance(model, keras.Function)


def functional(model: Any) -> keras.Model:
    """Returns a model with a graph that has the same layers, with the same weights; itself if it has a graph.

    Args:
        model: A functional model; a sequential one that is built; or a subclass of `keras.Model` that was called once
            and whose `call` only calls layers and operations of Keras.

    Raises:
        ValueError: The model has no graph, and none can be made; the message says what to do.

    Example:

    >>> model = keras.Sequential([keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D()])
    >>> functional(model).output.shape
    (None, 3)
    """
    if has_graph(model):
        return model
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"expected a functional keras.Model, got Sequential {model.name!r} that has not been built yet, so its "
                "shapes are open: give its input_shape, or begin it with keras.Input((height, width, channels))"
            )
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return _followed(model)


def _followed(model: Any) -> keras.Model:
    """Follows the `call` of a model with a symbolic tensor."""
    kind = type(model).__name__
    reason = ""
    if isinstance(model, keras.Model):
        shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
        if not isinstance(shape, tuple) or not all(size is None or isinstance(size, int) for size in shape):
            reason = ": it was not called on one batch of images yet"
        else:
            try:
                image = keras.Input(shape[1:])
                made = keras.Model(image, model.call(image), name=model.name)
            except Exception as error:  # Whatever its code does with a symbolic tensor.
                reason = f": {error}"
            else:
                if {id(variable) for variable in made.weights} == {id(variable) for variable in model.weights}:
                    return made
                reason = ": it has weights that are not those of layers"
    raise ValueError(
        f"expected a functional keras.Model, got {kind}: a subclass of keras.Model with a call() of its own has no "
        f"graph to look at, and its call() cannot be followed with keras.Input{reason}. Build it as "
        "keras.Model(inputs, outputs)"
    )


def flat(model: Any) -> keras.Model:
    """Returns a functional model without models inside of it; itself if it is one. Layers and weights are shared.

    What is done to the layers of the flat model, such as freezing or training, is done to those of the given one.

    Args:
        model: What `functional` takes, with any models inside of it.

    Raises:
        ValueError: A model has no graph, or two layers of different models have the same name.

    Example:

    >>> trunk = keras.Sequential([keras.Input((7, 9, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    >>> image = keras.Input((7, 9, 3))
    >>> [layer.name for layer in flat(keras.Model(image, keras.layers.ReLU(name="relu")(trunk(image)))).layers][1:]
    ['conv', 'relu']
    """
    model = functional(model)
    if not any(isinstance(operation, keras.Model) for operation in model.operations):
        return model
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name), model.input
    )

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.Model):
            return functional(operation)._run_through_graph(args[0], call_fn=call)
        return operation(*args, **kwargs)

    outputs = model._run_through_graph(inputs, call_fn=call)
    try:
        return keras.Model(inputs, outputs, name=model.name)
    except ValueError as error:
        raise ValueError(f"{model.name} has models inside of it that cannot be dissolved: {error}") from error


def output_of(model: keras.Model, layer: str) -> Any:
    """Returns what a layer gives in a model, by the layer's name. `layer.output` may be of another model that has it.

    Raises:
        ValueError: The model has no such layer.
    """
    return _tensor(model, layer, lambda node: node.output_tensors)


def input_of(model: keras.Model, layer: str) -> Any:
    """Returns the first tensor that a layer is given in a model, by the layer's name.

    Raises:
        ValueError: The model has no such layer.
    """
    return _tensor(model, layer, lambda node: node.input_tensors)


def _tensor(model: keras.Model, name: str, tensors: Callable[[Any], list[Any]]) -> Any:
    layer = model.get_layer(name)
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    return next(tensors(node)[0] for node in layer._inbound_nodes if id(node) in own)
