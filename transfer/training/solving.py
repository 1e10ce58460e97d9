"""The head solved in place of its training: which heads that is possible for, and how Keras gets the solution."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np

from transfer.probabilities import Values
from transfer.training.division import CacheNotUsed, divide, tensors_of
from transfer.training.features import Features
from transfer.training.objective_interface import HasParts, Objective, OneOutput
from transfer.training.readout import Choice, Link, choose_strength, linear_readout, solve

__all__ = ["LinearHead", "linear_heads", "solve_heads", "with_class_weights"]

LINKS: dict[Values, Link] = {"shares": "softmax", "probabilities": "sigmoid", "numbers": "linear"}
ACTIVATIONS = {
    "softmax": keras.activations.softmax,
    "sigmoid": keras.activations.sigmoid,
    "linear": keras.activations.linear,
}


@dataclass(frozen=True)
class LinearHead:
    """A dense layer on the features themselves, and what follows it.

    Attributes:
        dense: The layer.
        link: What makes its output the head's: "softmax", "sigmoid" or "linear".
        scale, offset: What a linear output is multiplied by, and what is added to it then.
    """

    dense: keras.layers.Dense
    link: Link
    scale: np.ndarray
    offset: np.ndarray

    def set(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Gives the layer a solution of the head."""
        self.dense.set_weights([kernel / self.scale, (bias - self.offset) / self.scale])


def linear_heads(model: keras.Model, objective: Objective) -> dict[str, LinearHead] | str:
    """Finds the heads that stand on one vector for each image, and that are linear on it.

    Args:
        model: A flat model whose trunk is frozen.
        objective: What it is trained for.

    Returns:
        The head of each output, by the name of the output as the objective has it; or the reason in words why there
        are none.
    """
    if not isinstance(objective, HasParts):
        return f"{type(objective).__name__} is no objective of a linear head"
    try:
        division = divide(model)
    except CacheNotUsed as reason:
        return str(reason)
    if division is None:
        return "nothing below it is frozen"
    top = division.top
    if len(top.inputs) != 1 or len(top.inputs[0].shape) != 2:
        return "the head does not stand on one pooled vector for each image"
    outputs = top.output if isinstance(top.output, Mapping) else {"": top.outputs[0]}
    if sorted(outputs) != sorted(objective.parts):
        return "the model has other outputs than the objective"
    heads = {name: _head(top, outputs[name], objective.parts[name]) for name in outputs}
    for name, head in heads.items():
        if isinstance(head, str):
            return f"{head}{f' of {name!r}' if name else ''}"
    trained = {id(weight) for head in heads.values() for weight in head.dense.weights}  # type: ignore[union-attr]
    if {id(weight) for weight in top.trainable_weights} != trained:
        return "more trains than the last dense layers"
    return heads  # type: ignore[return-value]


def _head(top: keras.Model, output: keras.KerasTensor, objective: OneOutput) -> LinearHead | str:
    """Goes down from an output to the features."""
    wanted = LINKS[objective.values]
    width = output.shape[-1]
    if objective.targets(_some_labels(objective, width), width) is None:
        return "its loss is no plain one"
    source = {id(made): operation for operation in top.operations for made in tensors_of(operation, top)[1]}
    scale, offset = np.ones(()), np.zeros(())
    activation = keras.activations.linear
    tensor = output
    dense = None
    while id(tensor) != id(top.inputs[0]):
        operation = source[id(tensor)]
        match operation:
            case keras.layers.Dense() if dense is None:
                dense = operation
                if dense.activation is not keras.activations.linear:
                    if activation is not keras.activations.linear:
                        return "there are two activations in the head"
                    activation = dense.activation
            case keras.layers.Softmax() if dense is None:
                activation = keras.activations.softmax
            case keras.layers.Activation() if dense is None:
                activation = operation.activation
            case keras.layers.Rescaling() if dense is None and activation is keras.activations.linear:
                offset = offset + scale * np.asarray(operation.offset, float)
                scale = scale * np.asarray(operation.scale, float)
            case keras.layers.Dropout():
                pass
            case _:
                return f"{operation.name} is more than a linear head"
        (tensor,) = tensors_of(operation, top)[0]
    if dense is None or not dense.use_bias or activation is not ACTIVATIONS[wanted]:
        return f"the head is no dense layer with a bias and the activation {wanted}"
    if any((dense.kernel_regularizer, dense.bias_regularizer, dense.kernel_constraint, dense.bias_constraint)):
        return f"{dense.name} has a penalty or a constraint of its own"
    return LinearHead(dense, wanted, scale, offset)


def _some_labels(objective: OneOutput, width: int) -> np.ndarray:
    """Returns a label as the objective takes it, to ask whether it is solved."""
    return np.zeros(1, int) if objective.values == "shares" and width > 1 else np.zeros((1, width))


def solve_heads(
    heads: Mapping[str, LinearHead], features: Features, objective: HasParts, *, seed: int
) -> dict[str, Choice]:
    """Solves each head on stored features, and gives the solution to the model.

    The strength is chosen on the first view of the images alone: a second view of an image among the others would tell
    the answer for the one that is left out. The solution is for all views, each of which is a row.

    Args:
        heads: The heads, as `linear_heads` finds them.
        features: The training images' features, `[views, images, d]`; with weights where images count differently.
        objective: What they are trained for.
        seed: Decides which images are left out together.

    Returns:
        The strength of each head, by its name.

    Raises:
        transfer.training.readout.NotFinite: A feature is NaN or infinite. Rows are counted over the views.
    """
    (array,) = features.arrays
    rows = np.asarray(array, np.float32).reshape(-1, array.shape[-1])
    weights = None if features.weights is None else features.weights.reshape(-1)
    first = features.images
    choices = {}
    for name, head in heads.items():
        labels = np.asarray(features.labels[name] if name else features.labels)
        targets = objective.parts[name].targets(labels.reshape(-1, *labels.shape[2:]), head.dense.units)
        assert targets is not None
        if features.passes == 1:
            readout = linear_readout(rows, targets, head.link, weights=weights, seed=seed)
        else:
            own = None if weights is None else weights[:first]
            choice = choose_strength(rows[:first], targets[:first], head.link, weights=own, seed=seed)
            readout = solve(rows, targets, head.link, choice, weights=weights)
        head.set(readout.kernel, readout.bias)
        choices[name] = readout.choice
    return choices


def with_class_weights(features: Features, class_weight: Mapping[int, float] | None) -> Features:
    """Returns features whose images count by their class, too."""
    if class_weight is None:
        return features
    own = np.ones(features.labels.max() + 1)
    for number, weight in class_weight.items():
        if number < len(own):
            own[number] = weight
    weights = own[features.labels.reshape(features.passes, features.images)]
    return replace(features, weights=weights if features.weights is None else weights * features.weights)
