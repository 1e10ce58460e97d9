"""A model in two parts, at the border of what is frozen: below it is a constant function, above it something trains."""

from dataclasses import dataclass
from typing import Any

import keras

from zoo.layers import DropPath

__all__ = ["CacheNotUsed", "Division", "alone", "between", "divide", "tensors_of"]


class CacheNotUsed(Exception):
    """The reason why what frozen layers give is not stored. The training goes on without it."""


@dataclass(frozen=True)
class Division:
    """A model in two parts at the border of what is frozen.

    Attributes:
        trunk: The part from the model's inputs to `[tensor, ...]` at the border; a constant function.
        top: The part from these tensors to the model's outputs. Both parts share their layers with the model.
    """

    trunk: keras.Model
    top: keras.Model

    @property
    def borders(self) -> list[keras.KerasTensor]:
        """The tensors at the border."""
        return list(self.trunk.outputs)


def divide(model: keras.Model) -> Division | None:
    """Finds the constant part of a model as its layers are frozen now.

    A layer is constant if it neither trains nor draws at random, and if its inputs are constant. Batch norms are
    constant if they are frozen: their moving statistics do not move then. A layer of a class of your own whose `call`
    takes `training` is not constant, since it may compute another thing in training.

    Args:
        model: A functional and flat model. One that computes its own loss has a method `part(inputs, outputs)`, as
            `zoo.detection.Detector` has, which gives the part above the border the same loss.

    Returns:
        The two parts; None if nothing is constant.

    Raises:
        CacheNotUsed: A layer is called more than once, or maps at the border have no fixed size.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, trainable=False)(image)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Dropout(0.2)(x)))
    >>> [tuple(tensor.shape) for tensor in divide(model).borders]
    [(None, 4)]
    """
    constant = {id(tensor) for tensor in model.inputs}
    border: dict[int, keras.KerasTensor] = {}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inputs, outputs = tensors_of(operation, model)
        if _is_constant(operation) and all(id(tensor) in constant for tensor in inputs):
            constant |= {id(tensor) for tensor in outputs}
        else:
            border |= {id(tensor): tensor for tensor in inputs if id(tensor) in constant}
    tensors = list(border.values())
    if not tensors or {id(tensor) for tensor in tensors} <= {id(tensor) for tensor in model.inputs}:
        return None
    if any(None in tensor.shape[1:] for tensor in tensors):
        raise CacheNotUsed(f"the sizes of {[tuple(tensor.shape) for tensor in tensors]} are open")
    trunk = keras.Model(model.input, tensors, name=f"{model.name}_trunk")
    if hasattr(model, "part"):
        return Division(trunk, model.part(alone(tensors), model.output))
    return Division(trunk, keras.Model(alone(tensors), model.output, name=f"{model.name}_top"))


def between(first: Division, second: Division) -> keras.Model | None:
    """Returns the frozen layers from the border of one division to that of another, in which more is frozen.

    Returns:
        A model from the tensors of the first border to those of the second; None if the borders are the same.
    """
    if [id(tensor) for tensor in first.borders] == [id(tensor) for tensor in second.borders]:
        return None
    return keras.Model(alone(first.borders), second.borders, name="between")


def alone(tensors: Any) -> Any:
    """Returns a single tensor by itself, and several tensors as they are, as Keras takes them."""
    return tensors[0] if len(tensors) == 1 else tensors


def tensors_of(operation: keras.Operation, model: keras.Model) -> tuple[list, list]:
    """Returns what goes into an operation and what comes out, in this model: others may share the layer."""
    own = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    nodes = [node for node in operation._inbound_nodes if id(node) in own]
    if len(nodes) != 1:
        raise CacheNotUsed(f"layer {operation.name} is called {len(nodes)} times")
    return nodes[0].input_tensors, nodes[0].output_tensors


# Packages whose layers show in other ways (random generators, `trainable`) whether they differ in training.
KNOWN = ("keras", "keras_hub", "keras_cv", "zoo", "transfer", "pipelines")


def _may_differ_in_training(layer: keras.layers.Layer) -> bool:
    """Tells whether a layer of someone's own is told whether it is in training, so that it may compute another thing.

    Keras tells it even where it is frozen.
    """
    return layer._call_has_training_arg and type(layer).__module__.partition(".")[0] not in KNOWN


def _is_constant(operation: keras.Operation) -> bool:
    if not isinstance(operation, keras.layers.Layer):
        return True
    if operation.trainable_weights or isinstance(operation, keras.Model):
        return False
    if isinstance(operation, keras.layers.BatchNormalization):
        return not operation.trainable
    if isinstance(operation, DropPath):
        return not operation.trainable or operation.rate == 0
    if any(map(_may_differ_in_training, operation._flatten_layers())):
        return False
    return not any(variable.path.endswith("seed_generator_state") for variable in operation.variables)
