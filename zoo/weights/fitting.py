"""Adapts pairs of a weight of a model and an array of a file, and assigns all of them or none.

`zoo.weights.pairing` makes the pairs. `adapt_stem` and `fresh_head` adapt them if the caller wants it, and `assign`
checks them and reports in one message what is wrong with the file.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from zoo.surgery.conversion import adapted_kernel

__all__ = ["Pair", "adapt_stem", "assign", "check_channels", "first_kernel", "fresh_head", "has_classifier"]

MAX_LINES = 5  # Number of weights that the message of an error shows.


@dataclass(frozen=True)
class Pair:
    """A pair of a weight of the model and its array in the file.

    Attributes:
        variable: Weight of the model. None for an array that belongs to no weight.
        name: Name of the array in the file.
        array: Array with its axes in Keras' order. None if the file has no array of that name.
    """

    variable: Any
    name: str
    array: Any

    def fits(self) -> bool:
        """Returns whether both exist, have the same shape, and the array has a floating type."""
        if self.variable is None or self.array is None:
            return False
        return self.array.shape == self.variable.shape and self.array.dtype.kind == "f"

    def __str__(self) -> str:
        weight = "nothing" if self.variable is None else f"{self.variable.path} {tuple(self.variable.shape)}"
        array = "nothing" if self.array is None else f"{self.array.dtype} {self.array.shape}"
        return f"{weight} in the model, {array} in the file under {self.name}"


def adapt_stem(model: keras.Model, pairs: list[Pair]) -> list[Pair]:
    """Adapts the first convolution of the file to the number of channels of the model's images, and warns about it.

    `zoo.surgery.conversion.adapted_kernel` explains how.
    """
    stem = _stem_pair(model, pairs)
    if stem is None or (file_channels := stem.array.shape[2]) == model.input_shape[-1]:
        return pairs
    channels = stem.variable.shape[2]
    if channels < file_channels:
        change = "is summed and rescaled"
    elif channels > file_channels:
        change = "is tiled and rescaled"
    else:  # `zoo.blocks.normalise` has repeated the channels of the image.
        change = "stays as it is, and a channel of the image stands for several"
    warnings.warn(
        f"{model.name} takes images of {model.input_shape[-1]} channels, and {file_channels} go into the first "
        f"convolution of the file: {stem.variable.path} {change}",
        stacklevel=4,
    )
    kernel = adapted_kernel(stem.array, channels)
    return [replace(pair, array=kernel) if pair is stem else pair for pair in pairs]


def check_channels(model: keras.Model, pairs: list[Pair]) -> None:
    """Checks that the weights are for images with as many channels as those of the model.

    The shapes do not tell, because `zoo.blocks.normalise` repeats the channels of a grey image.

    Raises:
        ValueError: The numbers of channels differ. The message has both.
    """
    stem = _stem_pair(model, pairs)
    if stem is not None and stem.fits() and (file_channels := stem.array.shape[2]) != model.input_shape[-1]:
        raise ValueError(
            f"{model.name} takes images of {model.input_shape[-1]} channels, and the weights are for those of "
            f'{file_channels}: in_channels="adapt" adapts them'
        )


def fresh_head(model: keras.Model, pairs: list[Pair]) -> list[Pair]:
    """Removes the pairs of classifiers that differ from those of the file only in the number of classes, and warns."""
    for layer in _other_heads(model, pairs):
        weights = {id(variable) for variable in layer.weights}
        classes = next(
            pair.array.shape[-1] for pair in pairs if id(pair.variable) in weights and pair.array is not None
        )
        warnings.warn(
            f"{model.name}: the classifier {layer.name!r} keeps its random weights, because it has {layer.units} "
            f"classes and the file {classes}",
            stacklevel=4,
        )
        pairs = [pair for pair in pairs if id(pair.variable) not in weights]
    return pairs


def has_classifier(model: keras.Model) -> bool:
    """Returns whether an output of the model is that of a dense layer."""
    return bool(_heads(model))


def _heads(model: keras.Model) -> list[keras.layers.Layer]:
    outputs = {id(output) for output in model.outputs}
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense) and id(layer.output) in outputs]


def _other_heads(model: keras.Model, pairs: list[Pair]) -> list[keras.layers.Layer]:
    """Returns the classifiers for which the file has weights that differ only in the number of classes."""
    by_variable = {id(pair.variable): pair for pair in pairs}
    heads = []
    for layer in _heads(model):
        own = [by_variable[id(variable)] for variable in layer.weights]
        if all(_differ_in(pair, axis=-1) for pair in own) and len({pair.array.shape[-1] for pair in own}) == 1:
            heads.append(layer)
    return heads


def first_kernel(model: keras.Model) -> "keras.Variable | None":
    """Returns the kernel of the first convolution."""
    return next((weight for weight in model.weights if weight.name == "kernel" and len(weight.shape) == 4), None)


def _stem_pair(model: keras.Model, pairs: list[Pair]) -> Pair | None:
    """Returns the pair of the kernel of the first convolution, if it fits or differs only in its input channels."""
    kernel = first_kernel(model)
    stem_pairs = (pair for pair in pairs if kernel is not None and pair.variable is kernel)
    return next((pair for pair in stem_pairs if pair.fits() or _differ_in(pair, axis=2)), None)


def _differ_in(pair: Pair, *, axis: int) -> bool:
    """Returns whether the weight and the array exist, and their shapes differ only in that axis."""
    if pair.variable is None or pair.array is None or pair.array.ndim != len(pair.variable.shape):
        return False
    differs = [expected != actual for expected, actual in zip(pair.variable.shape, pair.array.shape, strict=True)]
    return differs[axis] and sum(differs) == 1


def assign(model: keras.Model, pairs: list[Pair], *, source: object) -> None:
    """Assigns the arrays of the file to the weights of the model.

    Args:
        model: The model.
        pairs: Pairs of a weight and its array.
        source: Name of the file in the message of the error.

    Raises:
        ValueError: A weight does not fit its array. The message lists the first such pairs, and no weight was changed.
    """
    if wrong := [pair for pair in pairs if not pair.fits()]:
        lines = "".join(f"\n  {pair}" for pair in wrong[:MAX_LINES])
        more = f"\n  and {len(wrong) - MAX_LINES} more" if len(wrong) > MAX_LINES else ""
        raise ValueError(
            f"{source} does not fit {model.name}: of {len(pairs)} weights {len(wrong)} differ, and none was changed. "
            f"{_remedy(model, pairs, wrong)}{lines}{more}"
        )
    # All arrays are converted before the first one is assigned, so that nothing can fail half-way.
    values = [(pair.variable, np.asarray(pair.array, np.float32)) for pair in pairs]
    for variable, value in values:
        variable.assign(value)


def _remedy(model: keras.Model, pairs: list[Pair], wrong: list[Pair]) -> str:
    """Returns a sentence that says what to do, above all if only the classifier or the first convolution differs."""
    heads = {id(variable) for layer in _other_heads(model, pairs) for variable in layer.weights}
    stem = _stem_pair(model, wrong)
    if any(id(pair.variable) not in heads and pair is not stem for pair in wrong):
        return "Take a file of the same network."
    remedies = []
    if heads:
        remedies.append("the classifier keeps its random weights if create_model is given num_classes")
    if stem is not None:
        remedies.append('the first convolution is adapted if in_channels="adapt"')
    text = ", and ".join(remedies)
    return f"{text[0].upper()}{text[1:]}."
