"""A model's graph, one call of an operation after another: what cost, memory and conversion share.

Models inside models, and blocks as layers, are entered, so that a network looks the same however it was put together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from zoo.layers import BlockLayer

__all__ = ["Call", "Graph", "Replacement", "copied", "graph_of", "rebuild"]


@dataclass(frozen=True)
class Call:
    """One call of an operation: a layer, or one of `keras.ops`.

    Tensors are symbolic, and compared by identity: what one call puts out, another takes in.

    Attributes:
        name: of the operation, after the names of the models that it stands in: "trunk/conv1".
        operation: what is called; one that is shared has several calls.
        inputs, outputs: with shape and dtype.
    """

    name: str
    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def output(self) -> keras.KerasTensor:
        return self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be executed."""

    inputs: tuple[keras.KerasTensor, ...]
    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]

    def consumers(self) -> dict[int, list[Call]]:
        """id of a tensor -> the calls that take it."""
        found: dict[int, list[Call]] = {id(tensor): [] for tensor in self.inputs}
        for call in self.calls:
            found.update({id(tensor): [] for tensor in call.outputs})
            for tensor in call.inputs:
                found[id(tensor)].append(call)
        return found


def graph_of(model: keras.Model, *, input_shape: Any = None, batch_size: int | None = None) -> Graph:
    """The graph of a model, with the shapes that it has for inputs of a given size. Computes nothing else.

    Args:
        model: functional or sequential.
        input_shape: of one image, without the batch: `(height, width, channels)`; in the structure of `model.input`
            where that has several tensors. The model's own unless told; sizes that are open stay None.
        batch_size: the first axis of every tensor.

    Raises:
        ValueError: a model without a graph, or a size that it does not work on; the layer that refuses is named.

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


# What stands for an operation in a rebuilt model: a layer, or None for its first input; and the layer's weights.
Replacement = tuple[keras.Operation | None, Sequence[Any]]


def rebuild(
    model: keras.Model,
    convert: Callable[[Call], Replacement | None] | None = None,
    *,
    input_shape: Any = None,
    graph: Graph | None = None,
) -> keras.Model:
    """A new model with the same graph: new layers, with copies of the weights. The model itself stays as it is.

    Args:
        model: functional or sequential. Models inside it are dissolved, so that the new one is flat.
        convert: called with each call of the graph; returns what is to stand for its operation, or None for a copy.
        input_shape: as for `graph_of`; None in it leaves a size open.
        graph: the graph whose calls `convert` gets, if it was asked for before.

    Raises:
        ValueError: as for `graph_of`, or a model that was not built.

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
                new.set_weights(weights)
            return output

    return keras.Model(inputs, _walk(model, inputs, build), name=model.name)


def _copy(operation: keras.Operation, path: str, names: set[str]) -> Replacement:
    """An operation of models inside the model keeps its name, unless another has it."""
    new = copied(operation, name=operation.name if operation.name not in names else path.replace("/", "_"))
    return new, operation.get_weights() if isinstance(operation, keras.layers.Layer) else []


def copied(operation: keras.Operation, **changes: Any) -> Any:
    """A new operation with the configuration of another, apart from `changes`; it has no weights yet."""
    return type(operation).from_config({**operation.get_config(), **changes})


def _functional(model: Any, input_shape: Any = None) -> keras.Model:
    """The model itself if it has a graph; a sequential one as a functional one of the same layers."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            if input_shape is None:
                raise ValueError(f"{model.name} has not been built yet, so its shapes are open: give its input_shape")
            model = keras.Sequential([keras.Input(input_shape), *(copied(layer) for layer in model.layers)])
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Model) and isinstance(model, keras.Function):
        return model
    raise ValueError(
        f"expected a functional or sequential keras.Model, got {type(model).__name__}: a subclass of keras.Model with "
        "a call() of its own has no graph to look at. Build it as keras.Model(inputs, outputs)"
    )


def _symbolic_inputs(model: keras.Model, input_shape: Any, batch_size: int | None) -> Any:
    """Symbolic tensors in the structure of the model's input."""

    def resized(tensor, shape):
        own = tensor.shape[1:]
        shape = own if shape is None else tuple(shape)
        if len(shape) != len(own) or (own and shape[-1] != own[-1] and own[-1] is not None):
            raise ValueError(f"input_shape of {tensor.name!r} has the form of {own}, without the batch; got {shape}")
        return keras.KerasTensor((batch_size, *shape), dtype=tensor.dtype, name=tensor.name)

    if not keras.tree.is_nested(model.input):
        return resized(model.input, input_shape)
    shapes = keras.tree.map_structure(lambda _: None, model.input) if input_shape is None else input_shape
    return keras.tree.map_structure_up_to(model.input, resized, model.input, shapes)


def _walk(model: keras.Model, inputs: Any, call: Callable, prefix: str = "") -> Any:
    """Runs a model's graph on other tensors: `call(name, operation, *args, **kwargs)` in place of each operation."""

    def visit(operation, *args, **kwargs):
        inner = operation.graph if isinstance(operation, BlockLayer) else operation
        if isinstance(inner, keras.Model):
            return _walk(_functional(inner), args[0], call, f"{prefix}{operation.name}/")
        return call(prefix + operation.name, operation, *args, **kwargs)

    # Calling the model would refuse a size that is not its own. `keras.models.clone_model` walks it this way, too.
    return model._run_through_graph(inputs, call_fn=visit)


def _tensors(structure: Any) -> tuple[keras.KerasTensor, ...]:
    return tuple(leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor))


@contextmanager
def _naming(name: str, operation: keras.Operation, tensors: tuple) -> Iterator[None]:
    """Says which layer it was that refused its input."""
    try:
        yield
    except (ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(tensor.shape) for tensor in tensors)
        raise ValueError(f"{type(operation).__name__} {name!r} does not work on {shapes}: {error}") from error


def _check_features(operation: keras.Operation, tensors: tuple) -> None:
    """Computing an output's shape alone does not ask whether a layer's weights fit its input; `input_spec` knows."""
    spec = getattr(operation, "input_spec", None)
    if not isinstance(spec, keras.layers.InputSpec) or not tensors:
        return
    for axis, size in (spec.axes or {}).items():
        got = tensors[0].shape[axis]
        if None not in (got, size) and got != size:
            raise ValueError(f"its weights are for {size} features, not {got}")
