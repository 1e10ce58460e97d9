"""Pairs each weight of a model with an array of a file.

Each kind of file names and orders the weights in its own way. For every kind there is a function here that returns the
pairs of a weight of the model and its array, with the axes in Keras' order.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import keras
import numpy as np

from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.weights.fitting import Pair, first_kernel, has_classifier

__all__ = ["TORCH_PARAMETERS", "from_application", "from_keras_names", "from_torch", "numbered"]

logger = logging.getLogger(__name__)

# Name of a weight of a layer in Keras -> name of the parameter or buffer of the module in PyTorch.
TORCH_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Buffers of this name in PyTorch have no weight in Keras.
NOT_WEIGHTS = "num_batches_tracked"


def from_keras_names(
    model: keras.Model, arrays: dict[str, np.ndarray], *, name: Callable[[keras.Model], Iterable[str]] | None = None
) -> list[Pair]:
    """Pairs the weights of a model with the arrays of a file that names them as Keras does: "stem_conv/kernel".

    Args:
        model: The model.
        arrays: Arrays of the file by their names.
        name: Function from the model to the names of its weights, in their order. Defaults to their paths.

    Returns:
        A pair for each weight, and one for each array that belongs to no weight.
    """
    names = [variable.path for variable in model.weights] if name is None else name(model)
    unused = dict(arrays)
    pairs = [Pair(variable, key, unused.pop(key, None)) for variable, key in zip(model.weights, names, strict=True)]
    # A model without a classifier is the beginning of the network in the file.
    layers = {layer.name for layer in model.layers}
    absent = () if has_classifier(model) else {key for key in unused if key.partition("/")[0] not in layers}
    return pairs + _unused(model, unused, absent)


def numbered(model: keras.Model) -> Iterator[str]:
    """Returns the names that a `.weights.h5` file gives the weights of a model: the layer, and the index in it.

    >>> image = keras.Input((7, 9, 3))
    >>> list(numbered(keras.Model(image, keras.layers.Conv2D(4, 3, name="stem")(image))))
    ['stem/0', 'stem/1']
    """
    places: Counter = Counter()
    for variable in model.weights:
        layer = variable.path.rpartition("/")[0]
        yield f"{layer}/{places[layer]}"
        places[layer] += 1


def from_torch(model: keras.Model, arrays: dict[str, np.ndarray], modules: dict[str, str]) -> list[Pair]:
    """Pairs the weights of a model with the arrays of a file that has the names and the order of axes of PyTorch.

    Args:
        model: The model.
        arrays: Arrays of the file by "MODULE.PARAMETER". A prefix "module." of all names, which `DataParallel` adds, is
            removed.
        modules: Name of a layer of the model -> name of its module in PyTorch.

    Returns:
        A pair for each weight, and one for each array that belongs to no weight.
    """
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    pairs = []
    unused = {name: array for name, array in arrays.items() if not name.endswith(NOT_WEIGHTS)}
    for layer in model.layers:
        for variable in layer.weights:
            module = modules.get(layer.name, f"(a module for {layer.name})")
            name = f"{module}.{TORCH_PARAMETERS.get(variable.name, variable.name)}"
            array = unused.pop(name, None)
            pairs.append(Pair(variable, name, None if array is None else _keras_axes(model, layer, variable, array)))
    # The modules of layers that are not in the model belong to a classifier that was left out.
    layers = {layer.name for layer in model.layers}
    without = {module for layer_name, module in modules.items() if layer_name not in layers}
    return pairs + _unused(model, unused, {name for name in unused if name.rpartition(".")[0] in without})


def _unused(model: keras.Model, arrays: dict[str, np.ndarray], absent: Iterable[str]) -> list[Pair]:
    """Returns pairs for the arrays that belong to no weight. Those of layers that were left out are only logged."""
    if left_out := sorted(absent):
        logger.info("%s has no place for %s: left out", model.name, ", ".join(left_out))
    return [Pair(None, name, array) for name, array in arrays.items() if name not in left_out]


def _keras_axes(
    model: keras.Model, layer: keras.layers.Layer, variable: keras.Variable, array: np.ndarray
) -> np.ndarray:
    """Returns a kernel [out, in, height, width] as [height, width, in, out], and a dense one [out, in] as [in, out]."""
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
    """Reorders weights [out, in] of a layer on a flattened map: PyTorch flattens [c, h, w], and Keras [h, w, c]."""
    for source in model.layers:
        if isinstance(source, keras.layers.Flatten) and source.output is layer.input and len(source.input.shape) == 4:
            _, height, width, channels = source.input.shape
            return array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return array


def from_application(
    model: keras.Model, application: keras.Model, *, keras_layer: Callable[[str], str] | None, bgr: bool
) -> list[Pair]:
    """Pairs the weights of a model with those of the same network from `keras.applications`.

    Convolutions of the application can have biases where those of the model have none, because a batch norm follows.
    The mean of this batch norm then takes the bias: `(x + bias) - mean` is `x - (mean - bias)`.

    Args:
        model: The model.
        application: The same network as `keras.applications` builds it.
        keras_layer: Function from the name of a layer to its name in the application. None pairs the layers in their
            order, for applications that number their layers.
        bgr: Whether the first kernel of the application takes the colours in the order BGR.

    Returns:
        A pair for each weight, and one for each array that belongs to no weight.

    Raises:
        ValueError: The application normalises images in another way than the model.
    """
    _check_normalisation(model, application)
    targets = [layer for layer in model.layers if layer.weights]
    sources = [layer for layer in _leaves(application) if layer.weights and not _normalises(layer)]
    if keras_layer is None:
        names = {layer.name: source.name for layer, source in zip(targets, sources, strict=False)}
    else:
        names = {layer.name: keras_layer(layer.name) for layer in targets}
    arrays = {source.name: {weight.name: np.asarray(weight) for weight in source.weights} for source in sources}
    norms = {id(layer.input): layer for layer in targets if isinstance(layer, keras.layers.BatchNormalization)}

    pairs, biases = [], {}
    for layer in targets:
        source_name = names.get(layer.name, f"(a layer for {layer.name})")
        values = arrays.get(source_name, {})
        for variable in layer.weights:
            # A weight that is alone in its layer can have any name.
            name = next(iter(values)) if len(layer.weights) == len(values) == 1 else variable.name
            array = values.pop(name, None)
            shaped = None if array is None else _shaped(array, variable.shape)
            pairs.append(Pair(variable, f"{source_name}/{name}", shaped))
        if "bias" in values and id(layer.output) in norms:
            biases[id(norms[id(layer.output)].moving_mean)] = values.pop("bias")
    for i, pair in enumerate(pairs):
        if pair.array is not None and id(pair.variable) in biases:
            pairs[i] = replace(pair, array=pair.array - biases[id(pair.variable)])
        if bgr and pair.array is not None and pair.variable is first_kernel(model):
            pairs[i] = replace(pair, array=pair.array[:, :, ::-1])
    unused = {f"{layer}/{name}": array for layer, values in arrays.items() for name, array in values.items()}
    return pairs + _unused(model, unused, ())


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Returns the layers of a model and of the models inside it."""
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else [layer]


def _normalises(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Normalization)


def _check_normalisation(model: keras.Model, application: keras.Model) -> None:
    """Checks the constants of normalisation that EfficientNets of `keras.applications` have among their weights.

    Keras' files have the standard deviation in place of the variance. A `Rescaling` follows only for these files, and
    corrects it. So the check is on what both layers do together.

    Raises:
        ValueError: The constants are not those of the model.
    """
    layers = list(_leaves(application))
    norm = next((layer for layer in layers if _normalises(layer) and layer.weights), None)
    if norm is None:
        return
    rescalings = [layer for layer in layers if isinstance(layer, keras.layers.Rescaling)]
    scale = next((np.asarray(layer.scale) for layer in rescalings if layer.input is norm.output), 1.0)
    deviation = np.sqrt(np.ravel(norm.variance)) / scale
    for statistic, expected, actual in (
        ("mean", IMAGENET_MEAN, np.ravel(norm.mean)),
        ("standard deviation", IMAGENET_STD, deviation),
    ):
        if not np.allclose(expected, actual, rtol=1e-4):
            raise ValueError(
                f"{model.name} normalises colours by the {statistic} {list(expected)}, but the weights were trained "
                f"with {[round(float(value), 4) for value in actual]}: take the file that Keras publishes"
            )


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a 1x1 kernel in the shape of a dense kernel, and one with a group per channel as a depthwise kernel."""
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    same = [n for n in array.shape if n > 1] == [n for n in shape if n > 1]
    return array.reshape(shape) if same else array
