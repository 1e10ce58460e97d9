"""The graph of a model as a list of calls of operations; cost, memory and conversion are computed from it.

Models inside of models, and blocks that are layers, are entered. So the graph of a network does not depend on how it
was put together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from zoo.layers import BlockLayer
from zoo.surgery.flattening import functional
from zoo.surgery.state import copy_state

__all__ = ["Call", "Graph", "Replacement", "copied", "graph_of", "rebuild"]


@dataclass(frozen=True)
class Call:
    """One call of an operation: a layer, or an operation of `keras.ops`.

    Tensors are symbolic and compared by identity: an output of one call is an input of another.

    Attributes:
        name: Name of the operation, after the names of the models that contain it: "trunk/conv1".
        operation: The operation. A shared one has several calls.
        inputs: The input tensors, with shape and dtype.
        outputs: The output tensors, with shape and dtype.
    """

    name: str
    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def output(self) -> keras.KerasTensor:
        """The first output tensor."""
        return self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """The calls of a model, in an order in which they can be executed.

    Attributes:
        inputs: The input tensors of the model.
        calls: The calls.
        outputs: The output tensors of the model.
    """

    inputs: tuple[keras.KerasTensor, ...]
    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]

    def consumers(self) -> dict[int, list[Call]]:
        """Returns a dict from the id of each tensor to the calls that take it as an input."""
        consumers: dict[int, list[Call]] = {id(tensor): [] for tensor in self.inputs}
        for call in self.calls:
            consumers.update({id(tensor): [] for tensor in call.outputs})
            for tensor in call.inputs:
                consumers[id(tensor)].append(call)
        return consumers


def graph_of(model: keras.Model, *, input_shape: Any = None, batch_size: int | None = None) -> Graph:
    """Returns the graph of a model, with the shapes for inputs of a given size. Only shapes are computed.

    Args:
        model: A functional or sequential model.
        input_shape: Shape of one image without the batch, `(height, width, channels)`; in the structure of
            `model.input` if that has several tensors. Defaults to the model's own shape, in which open sizes stay None.
        batch_size: Size of the first axis of every tensor. Defaults to None.

    Raises:
        ValueError: If the model has no graph, or if it does not work on the size. The message names the layer.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, name="stem")(image))
    >>> [(call.name, call.output.shape) for call in graph_of(model, input_shape=(7, 9, 3)).calls]
    [('stem', (None, 3, 4, 4))]
    """
    model = _functional(model, input_shape)
    inputs = _symbolic_inputs(model, input_shape, batch_size)
    calls = []

    def record(name, operation, *args, **kwargs):
        tensors = _tensors((args, kwargs))
        with _naming(name, operation, tensors):
            _check_features(operation, tensors)
            outputs = operation.compute_output_spec(*args, **kwargs)
        calls.append(Call(name, operation, tensors, _tensors(outputs)))
        return outputs

    outputs = _walk(model, inputs, record)
    return Graph(_tensors(inputs), tuple(calls), _tensors(outputs))


# The replacement of an operation in a rebuilt model: a layer, or None for the operation's first input; and the weights
# of the layer, or None for the whole state of the operation that it replaces.
Replacement = tuple[keras.Operation | None, Sequence[Any] | None]


def rebuild(
    model: keras.Model,
    convert: Callable[[Call], Replacement | None] | None = None,
    *,
    input_shape: Any = None,
    graph: Graph | None = None,
) -> keras.Model:
    """Returns a new model with the same graph: new layers, with copies of their state. The given model does not change.

    Args:
        model: A functional or sequential model. Models inside of it are dissolved, so that the new one is flat.
        convert: A function that is called with each call of the graph. It returns the replacement of the operation, or
            None for a copy. By default all operations are copied.
        input_shape: Shape of one image, as for `graph_of`; a size that is None stays open.
        graph: The graph of the model whose calls `convert` expects, if the caller already has it.

    Raises:
        ValueError: If `graph_of` refuses the model, or if the model was not built.

    Example:

    >>> image = keras.Input((7, 9, 3))
    >>> model = keras.Model(image, keras.layers.ReLU()(keras.layers.Conv2D(4, 3, name="stem")(image)))
    >>> [layer.name for layer in rebuild(model, input_shape=(None, None, 3)).layers][1]
    'stem'
    """
    model = _functional(model)
    calls = iter((graph or graph_of(model)).calls)
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name),
        _symbolic_inputs(model, input_shape, None),
    )
    replacements: dict[int, keras.Operation] = {}  # one for all calls of a shared layer
    names: set[str] = set()

    def build(name, operation, *args, **kwargs):
        call = next(calls)
        with _naming(name, operation, _tensors((args, kwargs))):
            if id(operation) in replacements:
                return replacements[id(operation)](*args, **kwargs)
            new, weights = (convert and convert(call)) or _copy(operation, name, names)
            if new is None:
                return args[0]
            names.add(new.name)
            replacements[id(operation)] = new
            output = new(*args, **kwargs)
            if isinstance(new, keras.layers.Layer):
                copy_state(operation, new) if weights is None else new.set_weights(weights)
            return output

    return keras.Model(inputs, _walk(model, inputs, build), name=model.name)


def _copy(operation: keras.Operation, path: str, names: set[str]) -> Replacement:
    """Copies an operation. It keeps its name, unless another operation has that name."""
    new = copied(operation, name=operation.name if operation.name not in names else path.replace("/", "_"))
    return new, None


def copied(operation: keras.Operation, **changes: Any) -> Any:
    """Returns a new operation with the configuration of another, apart from `changes`. It has no state yet."""
    return type(operation).from_config({**operation.get_config(), **changes})


def _functional(model: Any, input_shape: Any = None) -> keras.Model:
    """Returns a model with a graph; a sequential model that was not built gets an input of that shape."""
    if isinstance(model, keras.Sequential) and not model.built and input_shape is not None:
        model = keras.Sequential([keras.Input(input_shape), *(copied(layer) for layer in model.layers)])
    return functional(model)


def _symbolic_inputs(model: keras.Model, input_shape: Any, batch_size: int | None) -> Any:
    """Returns symbolic tensors in the structure of the model's input."""

    def resized(tensor, shape):
        own = tensor.shape[1:]
        shape = own if shape is None else tuple(shape)
        if len(shape) != len(own) or (own and shape[-1] != own[-1] and own[-1] is not None):
            raise ValueError(f"expected an input_shape of {tensor.name!r} like {own}, without the batch; got {shape}")
        return keras.KerasTensor((batch_size, *shape), dtype=tensor.dtype, name=tensor.name)

    if not keras.tree.is_nested(model.input):
        return resized(model.input, input_shape)
    shapes = keras.tree.map_structure(lambda _: None, model.input) if input_shape is None else input_shape
    return keras.tree.map_structure_up_to(model.input, resized, model.input, shapes)


def _walk(model: keras.Model, inputs: Any, call: Callable, prefix: str = "") -> Any:
    """Runs the graph of a model on other tensors, with `call(name, operation, *args, **kwargs)` for each operation."""

    def visit(operation, *args, **kwargs):
        inner = operation.graph if isinstance(operation, BlockLayer) else operation
        if isinstance(inner, keras.Model):
            return _walk(_functional(inner), args[0], call, f"{prefix}{operation.name}/")
        return call(prefix + operation.name, operation, *args, **kwargs)

    # Calling the model would refuse a size that is not its own. `keras.models.clone_model` also walks the graph this
    # way.
    return model._run_through_graph(inputs, call_fn=visit)


def _tensors(structure: Any) -> tuple[keras.KerasTensor, ...]:
    return tuple(leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor))


@contextmanager
def _naming(name: str, operation: keras.Operation, tensors: tuple) -> Iterator[None]:
    """Adds the name of the layer to the error with which it refuses its input."""
    try:
        yield
    except (ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(tensor.shape) for tensor in tensors)
        raise ValueError(f"{type(operation).__name__} {name!r} does not work on {shapes}: {error}") from error


def _check_features(operation: keras.Operation, tensors: tuple) -> None:
    """Checks by `input_spec` whether the weights of a layer fit its input; computing the output shape does not."""
    spec = getattr(operation, "input_spec", None)
    if not isinstance(spec, keras.layers.InputSpec) or not tensors:
        return
    for axis, size in (spec.axes or {}).items():
        got = tensors[0].shape[axis]
        if None not in (got, size) and got != size:
            raise ValueError(f"its weights are for {size} features, not {got}")
