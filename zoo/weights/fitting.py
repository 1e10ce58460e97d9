"""Pairs each weight of a model with an array of a file, and assigns all of them or none.

Files name and order weights in their own ways. Whatever the file is, it ends as a list of `Fit`s: a weight of the
model beside its array, axes in Keras' order. What is wrong with the file can then be told in one place (`assign`), and
so can what is adapted on demand (`adapt_stem`, `fresh_head`).
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.surgery.conversion import adapted_kernel

__all__ = [
    "TORCH_PARAMETERS",
    "Fit",
    "adapt_stem",
    "assign",
    "check_channels",
    "fresh_head",
    "from_application",
    "from_keras_names",
    "from_torch",
    "has_classifier",
    "numbered",
]

logger = logging.getLogger(__name__)

# Name of a layer's weight in Keras -> name of the module's parameter or buffer in PyTorch.
TORCH_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# What PyTorch counts and Keras does not.
NOT_WEIGHTS = "num_batches_tracked"
SHOWN = 5  # lines of a mismatch


@dataclass(frozen=True)
class Fit:
    """A weight of the model beside its array in the file.

    Attributes:
        variable: of the model; None for an array that no weight asked for.
        name: of the array, in the file.
        array: with its axes in Keras' order; None if the file has none of that name.
    """

    variable: Any
    name: str
    array: Any

    def fits(self) -> bool:
        if self.variable is None or self.array is None:
            return False
        return self.array.shape == self.variable.shape and self.array.dtype.kind == "f"

    def __str__(self) -> str:
        ours = "nothing" if self.variable is None else f"{self.variable.path} {tuple(self.variable.shape)}"
        theirs = "nothing" if self.array is None else f"{self.array.dtype} {self.array.shape}"
        return f"{ours} in the model, {theirs} in the file under {self.name}"


# A file's arrays -> fits


def from_keras_names(
    model: keras.Model, arrays: dict[str, np.ndarray], *, name: Callable[[keras.Model], Iterable[str]] | None = None
) -> list[Fit]:
    """For files that name weights as Keras does: "stem_conv/kernel".

    Args:
        name: from the model to the names of its weights, in their order; their paths unless told.
    """
    names = [variable.path for variable in model.weights] if name is None else name(model)
    unused = dict(arrays)
    fits = [Fit(variable, key, unused.pop(key, None)) for variable, key in zip(model.weights, names, strict=True)]
    # Without a classifier, a model is the beginning of the file's
    layers = {layer.name for layer in model.layers}
    absent = () if has_classifier(model) else {key for key in unused if key.partition("/")[0] not in layers}
    return fits + _unused(model, unused, absent)


def numbered(model: keras.Model) -> Iterator[str]:
    """What `.weights.h5` files know of the model's weights: the layer, and the place in it.

    >>> image = keras.Input((7, 9, 3))
    >>> list(numbered(keras.Model(image, keras.layers.Conv2D(4, 3, name="stem")(image))))
    ['stem/0', 'stem/1']
    """
    places: Counter = Counter()
    for variable in model.weights:
        layer = variable.path.rpartition("/")[0]
        yield f"{layer}/{places[layer]}"
        places[layer] += 1


def from_torch(model: keras.Model, arrays: dict[str, np.ndarray], modules: dict[str, str]) -> list[Fit]:
    """For files in PyTorch's names and order of axes.

    Args:
        arrays: by "MODULE.PARAMETER"; a "module." before all of them, as `DataParallel` writes it, does not count.
        modules: name of a layer here -> name of its module there.
    """
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    fits = []
    unused = {name: array for name, array in arrays.items() if not name.endswith(NOT_WEIGHTS)}
    for layer in model.layers:
        for variable in layer.weights:
            module = modules.get(layer.name, f"(a module for {layer.name})")
            name = f"{module}.{TORCH_PARAMETERS.get(variable.name, variable.name)}"
            array = unused.pop(name, None)
            fits.append(Fit(variable, name, None if array is None else _keras_axes(model, layer, variable, array)))
    # Modules whose layer is known and not in the model: a classifier that was left out.
    without = {module for layer, module in modules.items() if layer not in {each.name for each in model.layers}}
    return fits + _unused(model, unused, {name for name in unused if name.rpartition(".")[0] in without})


def _unused(model: keras.Model, arrays: dict[str, np.ndarray], absent: Iterable[str]) -> list[Fit]:
    """Arrays that no weight of the model asked for; those of layers that were left out of it are only logged."""
    if left_out := sorted(absent):
        logger.info("%s has no place for %s: left out", model.name, ", ".join(left_out))
    return [Fit(None, name, array) for name, array in arrays.items() if name not in left_out]


def _keras_axes(
    model: keras.Model, layer: keras.layers.Layer, variable: keras.Variable, array: np.ndarray
) -> np.ndarray:
    """PyTorch's [out, in, height, width] as [height, width, in, out]; a dense [out, in] as [in, out]."""
    if variable.name != "kernel" or array.ndim != len(variable.shape):
        return array
    if isinstance(layer, keras.layers.Dense) and array.size == np.prod(variable.shape):
        array = _flattened_channels_last(model, layer, array)
    space = range(2, array.ndim)
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        return array.transpose(*space, 1, 0)
    # [in * multiplier, 1, height, width] -> [height, width, in, multiplier]
    array = array.transpose(*space, 0, 1)
    multiplier = layer.depth_multiplier
    return array if array.shape[2] % multiplier else array.reshape(*array.shape[:2], -1, multiplier)


def _flattened_channels_last(model: keras.Model, layer: keras.layers.Layer, array: np.ndarray) -> np.ndarray:
    """Weights [out, in] on a flattened map, which PyTorch flattens as [c, h, w], for the map flattened as [h, w, c]."""
    for source in model.layers:
        if isinstance(source, keras.layers.Flatten) and source.output is layer.input and len(source.input.shape) == 4:
            _, height, width, channels = source.input.shape
            return array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return array


# A model of keras.applications -> fits


def from_application(
    model: keras.Model, application: keras.Model, *, keras_layer: Callable[[str], str] | None, bgr: bool
) -> list[Fit]:
    """For the same network as `keras.applications` builds it.

    Its convolutions have biases where ours have none since a batch norm follows: they go into that norm's mean, since
    `(x + bias) - mean` is `x - (mean - bias)`.

    Args:
        keras_layer: from the name of a layer to that of its twin; None where theirs are numbered through, and are
            known by their order.
        bgr: the first kernel of theirs takes the colours in the other order.

    Raises:
        ValueError: theirs normalises images in another way than the model does.
    """
    _check_normalisation(model, application)
    targets = [layer for layer in model.layers if layer.weights]
    sources = [layer for layer in _leaves(application) if layer.weights and not _normalises(layer)]
    if keras_layer is None:
        twins = {layer.name: source.name for layer, source in zip(targets, sources, strict=False)}
    else:
        twins = {layer.name: keras_layer(layer.name) for layer in targets}
    arrays = {source.name: {each.name: np.asarray(each) for each in source.weights} for source in sources}
    norms = {id(layer.input): layer for layer in targets if isinstance(layer, keras.layers.BatchNormalization)}

    fits, biases = [], {}
    for layer in targets:
        twin = twins.get(layer.name, f"(a layer for {layer.name})")
        values = arrays.get(twin, {})
        for variable in layer.weights:
            # What is alone in its layer needs no name
            name = next(iter(values)) if len(layer.weights) == len(values) == 1 else variable.name
            array = values.pop(name, None)
            fits.append(Fit(variable, f"{twin}/{name}", None if array is None else _shaped(array, variable.shape)))
        if "bias" in values and id(layer.output) in norms:
            biases[id(norms[id(layer.output)].moving_mean)] = values.pop("bias")
    for i, fit in enumerate(fits):
        if fit.array is not None and id(fit.variable) in biases:
            fits[i] = replace(fit, array=fit.array - biases[id(fit.variable)])
        if bgr and fit.array is not None and fit.variable is _stem(model):
            fits[i] = replace(fit, array=fit.array[:, :, ::-1])
    unused = {f"{layer}/{name}": array for layer, values in arrays.items() for name, array in values.items()}
    return fits + _unused(model, unused, ())


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, and of the models inside it."""
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else [layer]


def _normalises(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Normalization)


def _check_normalisation(model: keras.Model, application: keras.Model) -> None:
    """EfficientNets of `keras.applications` have the constants of their normalisation among their weights.

    As a variance, Keras' files have what is the standard deviation; a `Rescaling` that follows makes up for it, and is
    there for these files alone. What counts is what both layers together do.
    """
    layers = list(_leaves(application))
    norm = next((layer for layer in layers if _normalises(layer) and layer.weights), None)
    if norm is None:
        return
    rescalings = [layer for layer in layers if isinstance(layer, keras.layers.Rescaling)]
    scale = next((np.asarray(layer.scale) for layer in rescalings if layer.input is norm.output), 1.0)
    deviation = np.sqrt(np.ravel(norm.variance)) / scale
    for what, ours, theirs in (
        ("mean", IMAGENET_MEAN, np.ravel(norm.mean)),
        ("standard deviation", IMAGENET_STD, deviation),
    ):
        if not np.allclose(ours, theirs, rtol=1e-4):
            raise ValueError(
                f"{model.name} normalises colours by the {what} {list(ours)}, but the weights were trained with "
                f"{[round(float(value), 4) for value in theirs]}: take the file that Keras publishes"
            )


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A 1x1 convolution's kernel as that of a dense layer, one in as many groups as channels as a depthwise one's."""
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    same = [n for n in array.shape if n > 1] == [n for n in shape if n > 1]
    return array.reshape(shape) if same else array


# What is adapted on demand


def adapt_stem(model: keras.Model, fits: list[Fit]) -> list[Fit]:
    """Fits the first convolution of a network for other images to those of the model, and says so.

    See `zoo.surgery.conversion.adapted_kernel`.
    """
    stem = _stem_fit(model, fits)
    if stem is None or (theirs := stem.array.shape[2]) == model.input_shape[-1]:
        return fits
    ours = stem.variable.shape[2]
    if ours < theirs:
        how = "is summed and rescaled"
    elif ours > theirs:
        how = "is tiled and rescaled"
    else:
        how = "stays as it is, and a channel of the image stands for several"  # see `zoo.blocks.normalise`
    warnings.warn(
        f"{model.name} takes images of {model.input_shape[-1]} channels, and {theirs} go into the first convolution of "
        f"the file: {stem.variable.path} {how}",
        stacklevel=4,
    )
    kernel = adapted_kernel(stem.array, ours)
    return [replace(fit, array=kernel) if fit is stem else fit for fit in fits]


def check_channels(model: keras.Model, fits: list[Fit]) -> None:
    """Refuses weights for images of other channels where all of them would fit.

    Raises:
        ValueError: naming both numbers.
    """
    stem = _stem_fit(model, fits)
    if stem is not None and stem.fits() and (theirs := stem.array.shape[2]) != model.input_shape[-1]:
        raise ValueError(
            f"{model.name} takes images of {model.input_shape[-1]} channels, and the weights are for those of "
            f'{theirs}: in_channels="adapt" adapts them'
        )


def fresh_head(model: keras.Model, fits: list[Fit]) -> list[Fit]:
    """Without the classifiers that differ from the file's in their number of classes, and in that alone."""
    for layer in _other_heads(model, fits):
        mine = {id(variable) for variable in layer.weights}
        classes = next(fit.array.shape[-1] for fit in fits if id(fit.variable) in mine and fit.array is not None)
        warnings.warn(
            f"{model.name}: the classifier {layer.name!r} keeps its fresh weights, for it has {layer.units} "
            f"classes and the file {classes}",
            stacklevel=4,
        )
        fits = [fit for fit in fits if id(fit.variable) not in mine]
    return fits


def has_classifier(model: keras.Model) -> bool:
    return bool(_heads(model))


def _heads(model: keras.Model) -> list[keras.layers.Layer]:
    outputs = {id(output) for output in model.outputs}
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense) and id(layer.output) in outputs]


def _other_heads(model: keras.Model, fits: list[Fit]) -> list[keras.layers.Layer]:
    """Classifiers of which every weight differs from the file's in its last axis alone, and all by the same number."""
    by_variable = {id(fit.variable): fit for fit in fits}
    found = []
    for layer in _heads(model):
        mine = [by_variable[id(variable)] for variable in layer.weights]
        if all(_differ_in(fit, axis=-1) for fit in mine) and len({fit.array.shape[-1] for fit in mine}) == 1:
            found.append(layer)
    return found


def _stem(model: keras.Model) -> "keras.Variable | None":
    """The kernel of the first convolution."""
    return next((each for each in model.weights if each.name == "kernel" and len(each.shape) == 4), None)


def _stem_fit(model: keras.Model, fits: list[Fit]) -> Fit | None:
    """That kernel's, if it differs in its number of input channels at most."""
    stem = _stem(model)
    found = (fit for fit in fits if stem is not None and fit.variable is stem)
    return next((fit for fit in found if fit.fits() or _differ_in(fit, axis=2)), None)


def _differ_in(fit: Fit, *, axis: int) -> bool:
    """Whether both are there, and their shapes differ in that axis alone."""
    if fit.variable is None or fit.array is None or fit.array.ndim != len(fit.variable.shape):
        return False
    differs = [ours != theirs for ours, theirs in zip(fit.variable.shape, fit.array.shape, strict=True)]
    return differs[axis] and sum(differs) == 1


# All of them or none


def assign(model: keras.Model, fits: list[Fit], *, source: object) -> None:
    """Gives the model's weights the file's values.

    Args:
        source: what the file is called in the message.

    Raises:
        ValueError: one of them does not fit; the message lists the first such, and no weight was changed.
    """
    if wrong := [fit for fit in fits if not fit.fits()]:
        lines = "".join(f"\n  {fit}" for fit in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"{source} does not fit {model.name}: of {len(fits)} weights {len(wrong)} differ, and none was changed. "
            f"{_remedy(model, fits, wrong)}{lines}{more}"
        )
    # Converted before the first one is assigned, so that nothing can go wrong half-way.
    values = [(fit.variable, np.asarray(fit.array, np.float32)) for fit in fits]
    for variable, value in values:
        variable.assign(value)


def _remedy(model: keras.Model, fits: list[Fit], wrong: list[Fit]) -> str:
    """What to do, in a sentence: about the classifier or the first convolution if no more than these differ."""
    heads = {id(variable) for layer in _other_heads(model, fits) for variable in layer.weights}
    stem = _stem_fit(model, wrong)
    if any(id(fit.variable) not in heads and fit is not stem for fit in wrong):
        return "Take a file of the same network."
    remedies = []
    if heads:
        remedies.append("the classifier starts afresh if create_model is given num_classes")
    if stem is not None:
        remedies.append('the first convolution is adapted if in_channels="adapt"')
    text = ", and ".join(remedies)
    return f"{text[0].upper()}{text[1:]}."
